"""Keywords on a phone: built at the desk from spoken words, then listened for in what other voices say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.models import weights
from edgetransfer.runtime import Predictor

soundfile = pytest.importorskip("soundfile", reason="sounds need the extra 'audio'")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "keyword_phone"
WORDS = ("lights", "music", "stop")
OTHERS = ("table", "window", "seven", "yellow", "river", "number", "happy", "garden", "doctor", "pencil", "people")
STRANGERS = ("mighty", "brother", "table", "yellow")  # of other voices in the test; two were never heard


@pytest.fixture(scope="module")
def listen():
    spec = importlib.util.spec_from_file_location("keyword_phone", FOLDER / "listen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(run_example):
    return lambda script, *arguments, **options: run_example(
        f"keyword_phone/{script}", *arguments, text=False, **options
    )


@pytest.mark.slow
def test_words_are_learned_from_some_voices_and_each_is_heard_once_from_others(run, speech, listen, tmp_path):
    if any(status.path is None for status in weights.list_weights(["speech_embedding"])):
        pytest.skip("its weights are not here: edgetransfer weights fetch speech_embedding")
    clips = speech.write_clips(tmp_path / "clips", speech.TRAINING_VOICES, WORDS, OTHERS, each=36, seed=0)
    built = run("build.py", clips, tmp_path / "words.bundle", "--device", "android_low_end")
    assert built.returncode == 0, built.stderr.decode()
    assert "verified       yes" in built.stdout.decode()

    rng = np.random.default_rng(7)
    said = [word for pair in zip(3 * WORDS, 3 * STRANGERS, strict=False) for word in pair]
    sound, ends = speech.conversation(said, speech.OTHER_VOICES, rng)
    with Predictor.load(tmp_path / "words.bundle") as predictor:
        tries = [(word, speech.clip(word, voice, rng)) for word in WORDS for voice in speech.OTHER_VOICES]
        right = [predictor.predict(one).label == word for word, one in tries]
        heard = list(listen.keywords(predictor, np.split(sound, range(1600, len(sound), 1600))))
    assert np.mean(right) >= 0.85  # of 5 classes: by chance 0.2
    wanted = [(word, end) for word, end in zip(said, ends, strict=True) if word in WORDS]
    assert [event.label for event in heard] == [word for word, _ in wanted]
    assert all(abs(event.time_s - end) < 0.8 for event, (_, end) in zip(heard, wanted, strict=True))

    samples = np.rint(sound * 32767).astype("<i2").tobytes()
    piped = run("listen.py", tmp_path / "words.bundle", input=samples)
    assert piped.returncode == 0, piped.stderr.decode()
    assert [line.split()[2] for line in piped.stdout.decode().splitlines()] == [word for word, _ in wanted]


def test_the_loop_calls_once_for_a_sound_and_not_for_the_room(listen, tiny_sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(listen, "QUIET", ("quiet",))
    parts = [("quiet", 2.0), ("low", 2.0), ("quiet", 2.0), ("high", 2.5), ("quiet", 2.0)]
    sound = np.concatenate([tiny_sounds.sound(*part) for part in parts])
    with Predictor.load(tiny_sounds.make_sound_bundle(tmp_path / "tiny.bundle")) as predictor:
        soundfile.write(tmp_path / "evening.wav", sound, 16_000)
        heard = list(listen.keywords(predictor, listen.microphone(predictor, tmp_path / "evening.wav")))
    assert [event.label for event in heard] == ["low", "high"]
    assert 2.0 < heard[0].time_s < 4.5
    assert 6.0 < heard[1].time_s < 9.0


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    for script, arguments in (("listen.py", ()), ("build.py", (tmp_path / "words.bundle",))):
        done = run(script, tmp_path / "none", *arguments, input=b"")
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].startswith("Error: ")
