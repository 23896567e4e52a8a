"""Spoken words for tests: eSpeak NG through ctypes, with the library and data of the wheel `espeakng-loader`.

It is a synthesizer (formants), not people. Its variants differ in pitch, formants and breath, so a head that is tested
on voices it was not trained on has something to generalize over.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE_HZ = 16_000
TRAINING_VOICES = ("", "+m1", "+m2", "+m3", "+m5", "+f1", "+f2", "+f4", "+klatt", "+john", "+linda", "+steph")
OTHER_VOICES = ("+m4", "+m7", "+f3", "+f5", "+belinda", "+boris")
_RETRIEVAL, _UTF8 = 1, 1  # speak_lib.h: espeak_AUDIO_OUTPUT, espeakCHARS_UTF8
_SPEED, _PITCH = 1, 3  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Synthesizer:
    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = self._library.espeak_Initialize(_RETRIEVAL, 0, data, 1 << 15)
        assert self.rate_hz > 0, "eSpeak NG does not start"
        self._parts: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._take)  # kept, for C has only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples, count, events) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, words_a_minute: int, pitch: int) -> NDArray[np.float32]:
        self._parts.clear()
        assert self._library.espeak_SetVoiceByName(voice.encode()) == 0, f"no voice {voice}"
        self._library.espeak_SetParameter(_SPEED, words_a_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        content = text.encode()
        assert self._library.espeak_Synth(content, len(content) + 1, 0, 0, 0, _UTF8, None, None) == 0
        self._library.espeak_Synchronize()
        return np.concatenate(self._parts).astype(np.float32) / np.float32(32768)


@cache
def _synthesizer() -> _Synthesizer:
    return _Synthesizer()


def say(word: str, voice: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a word, (n,) float32 at 16 kHz, without the silence around it; speed, pitch and loudness differ."""
    spoken = _synthesizer().say(word, f"en-us{voice}", int(rng.integers(130, 190)), int(rng.integers(30, 70)))
    loud = np.flatnonzero(np.abs(spoken) > 0.01)
    spoken = soxr.resample(spoken[loud[0] : loud[-1] + 1], _synthesizer().rate_hz, RATE_HZ)
    return np.float32(rng.uniform(0.2, 0.9) / np.abs(spoken).max()) * spoken


def room(seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what is heard when nobody speaks: noise, duller or sharper, soft."""
    white = rng.standard_normal(int(seconds * RATE_HZ)).astype(np.float32)
    dull = np.convolve(white, np.ones(int(rng.integers(1, 12))), "same").astype(np.float32)
    return np.float32(10 ** rng.uniform(-3.5, -2)) * dull / np.abs(dull).max()


def clip(word: str | None, voice: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return one second with the word somewhere in it; None is the room alone."""
    found = room(1.0, rng)
    if word is not None:
        spoken = say(word, voice, rng)[: len(found)]
        start = int(rng.integers(0, len(found) - len(spoken) + 1))
        found[start : start + len(spoken)] += spoken
    return np.clip(found, -1, 1)


def write_clips(
    folder: Path, voices: tuple[str, ...], words: tuple[str, ...], others: tuple[str, ...], *, each: int, seed: int
) -> Path:
    """Write a folder for each of `words`, one of other words and one of the room, `each` clips in each."""
    rng = np.random.default_rng(seed)
    choices: dict[str, Callable[[int], str | None]] = {word: (lambda number, word=word: word) for word in words}
    choices |= {"other": lambda number: others[number % len(others)], "background": lambda number: None}
    for label, word_of in choices.items():
        (folder / label).mkdir(parents=True)
        for number in range(each):
            sound = clip(word_of(number), voices[number % len(voices)], rng)
            soundfile.write(folder / label / f"{number:03}.wav", sound, RATE_HZ, subtype="PCM_16")
    return folder


def conversation(
    said: list[str], voices: tuple[str, ...], rng: np.random.Generator, *, pause_s: float = 1.2
) -> tuple[NDArray[np.float32], list[float]]:
    """Return words with pauses between them, and when each ends in seconds."""

    def parts() -> Iterator[NDArray[np.float32]]:
        for number, word in enumerate(said):
            yield np.zeros(int(pause_s * RATE_HZ), np.float32)
            yield say(word, voices[number % len(voices)], rng)
        yield np.zeros(int(pause_s * RATE_HZ), np.float32)

    pieces = list(parts())
    ends = np.cumsum([len(piece) for piece in pieces])[1::2] / RATE_HZ
    sound = np.concatenate(pieces)
    return np.clip(sound + room(len(sound) / RATE_HZ, rng)[: len(sound)], -1, 1), ends.tolist()
