"""Samples from pipes: the same as of the file, and what is wrong with a pipe is said."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from edgetransfer.errors import InputError
from edgetransfer.runtime.sound_files import read_sound
from edgetransfer.runtime.sound_stream import SampleStream

soundfile = pytest.importorskip("soundfile", reason="compares with files; they need the extra 'audio'")

RATE_HZ = 16_000


class Trickle(io.RawIOBase):
    """A pipe that gives what it has in pieces of some bytes."""

    def __init__(self, content: bytes, most: int = 7) -> None:
        self._rest, self._most = content, most

    def read(self, size: int = -1) -> bytes:
        count = min(self._most, size if size >= 0 else self._most)
        found, self._rest = self._rest[:count], self._rest[count:]
        return found


def samples(count: int = 5_000, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(-20_000, 20_000, (count, channels)).astype(np.int16)


def wav(data: np.ndarray, rate_hz: int = RATE_HZ, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, data, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def header(kind: int = 1, channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, size: int = 0xFFFFFFFF) -> bytes:
    block = channels * bits // 8
    said = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block, block, bits)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", len(said)) + said + b"data" + struct.pack("<I", size)


def heard(content: bytes, **options) -> np.ndarray:
    return np.concatenate(list(SampleStream(Trickle(content, 7_001), RATE_HZ, **options)))


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_raw_samples_are_those_of_the_file_whatever_the_rate_and_the_channels(channels, rate_hz):
    if rate_hz != RATE_HZ:
        pytest.importorskip("soxr", reason="resampling needs the extra 'audio'")
    data = samples(channels=channels)
    got = heard(data.astype("<i2").tobytes(), rate_hz=rate_hz, channels=channels)
    np.testing.assert_array_equal(got, read_sound(wav(data, rate_hz), RATE_HZ))
    assert got.dtype == np.float32


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_wav_in_a_pipe_is_read_as_the_file_is(subtype, kind):
    data = (samples(channels=2) / 32768).astype(np.float32)
    content = wav(data, 16_000, subtype, kind)
    np.testing.assert_array_equal(heard(content), read_sound(content, RATE_HZ))


def test_a_pipe_may_give_byte_by_byte():
    data = samples(300, 2)
    for content, options in ((wav(data), {}), (data.tobytes(), {"rate_hz": RATE_HZ, "channels": 2})):
        got = np.concatenate(list(SampleStream(Trickle(content, 1), RATE_HZ, **options)))
        np.testing.assert_array_equal(got, read_sound(wav(data), RATE_HZ))


@pytest.mark.parametrize("size", [0, 0x7FFFF024, 0x80000000, 0xFFFFFFFF])
def test_a_recorder_that_does_not_know_how_long_it_takes_is_heard_to_the_end(size):
    data = samples()
    assert len(heard(header(size=size) + data.tobytes())) == len(data)


def test_what_follows_the_samples_of_a_wav_is_not_heard():
    data = samples(100)
    assert len(heard(header(size=200) + data.tobytes() + b"LIST\x04\x00\x00\x00INFO")) == 100


def test_a_wav_that_ends_before_its_header_says_is_heard_as_far_as_it_came():
    assert len(heard(header(size=20_000) + samples(700).tobytes())) == 700


@pytest.mark.parametrize(("rest", "channels"), [(1, 1), (3, 2), (1, 2)])
def test_bytes_that_are_no_whole_sample_are_left_out_and_counted(rest, channels):
    stream = SampleStream(
        io.BytesIO(samples(50, channels).tobytes() + b"x" * rest), RATE_HZ, rate_hz=16_000, channels=channels
    )
    assert sum(len(piece) for piece in stream) == 50
    assert stream.left_over_bytes == rest


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_pipe_that_is_closed_at_once_gives_no_sample(content):
    assert len(heard(content, rate_hz=RATE_HZ)) == 0


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"expected a WAV header, got b''; raw 16-bit samples need their rate \(--rate 16000\)"),
        (b"OggS" + bytes(40), {}, r"expected a WAV header, got b'OggS"),
        (header(), {"rate_hz": 44_100}, "rate in Hz: 44100 was said, its WAV header says 16000; leave it out"),
        (header(channels=2), {"rate_hz": 16_000, "channels": 1}, "channels: 1 was said, its WAV header says 2"),
        (header(bits=24), {}, "16- or 32-bit integers or 32-bit floats, got 24 bits of kind 1; ffmpeg -f s16le"),
        (header(kind=2), {}, "got 16 bits of kind 2"),
        (header(rate_hz=100), {}, "expected a sample rate of 4,000 to 384,000 Hz, got 100"),
        (header(channels=0), {}, "expected 1 to 64 channels, got 0"),
        (header(channels=65), {}, "expected 1 to 64 channels, got 65"),
        (header()[:30], {}, "the WAV ends before its samples begin"),
        (b"RIFF....WAVEdata" + bytes(4), {}, "does not say what its samples are"),
        (b"RIFF....WAVELIST\xff\xff\xff\x7f", {}, "damaged WAV header, a part b'LIST' of 2,147,483,647 bytes"),
        (bytes(100), {"rate_hz": 1}, "expected a sample rate of 4,000 to 384,000 Hz, got 1"),
    ],
)
def test_what_is_no_stream_of_samples_is_refused_with_what_came(content, options, message):
    with pytest.raises(InputError, match=message):
        SampleStream(io.BytesIO(content), RATE_HZ, **options)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "got NaN or infinity"), (50.0, "from -1 to 1, got 50")])
def test_samples_that_are_none_are_refused_with_the_time_they_came(value, message):
    data = np.zeros(48_000, "<f4")
    data[40_000] = value
    stream = SampleStream(Trickle(header(3, bits=32) + data.tobytes(), 64_000), RATE_HZ)
    with pytest.raises(InputError, match=rf"sound after 2\.00 s: expected .*{message}"):
        list(stream)


def test_another_rate_without_the_package_for_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)
    with pytest.raises(InputError, match=r"pip install 'edgetransfer\[audio\]'"):
        SampleStream(io.BytesIO(bytes(100)), RATE_HZ, rate_hz=8_000)
    assert len(heard(bytes(100), rate_hz=RATE_HZ)) == 50
