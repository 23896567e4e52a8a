"""Sounds from files and arrays, and the windows that a model takes of them, whole or in pieces."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import InputError
from edgetransfer.runtime import sound_files
from edgetransfer.runtime.inputs import open_reader
from edgetransfer.runtime.inputs.audio import AudioReader, AudioStream
from edgetransfer.runtime.log_mel import LogMel
from edgetransfer.spec.audio import AudioInput

soundfile = pytest.importorskip("soundfile", reason="reading files needs the extra 'audio'")

SPEC = AudioInput("yamnet", 16_000, 96, 64, 48, scale=0.05, zero_point=139)
SPEECH = AudioInput("speech_embedding", 16_000, 76, 32, 8, scale=0.1, zero_point=80)


def tone(samples: int = 20_000, rate_hz: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate_hz)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def encode(samples: np.ndarray, kind: str = "WAV", rate_hz: int = 16_000, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def reader(spec: AudioInput = SPEC) -> AudioReader:
    return open_reader(spec, lambda name: b"")


@pytest.mark.parametrize(("kind", "step"), [("WAV", 2**-15), ("FLAC", 2**-15), ("OGG", 0.05)])
def test_every_format_is_read_from_a_path_a_string_and_bytes(kind, step, tmp_path):
    path = tmp_path / "sound.bin"  # the name does not count
    path.write_bytes(encode(tone(), kind))
    want = reader().read(path)
    assert (want.shape, want.dtype) == ((20_000,), np.float32)
    assert np.abs(want - tone()).max() <= step
    np.testing.assert_array_equal(reader().read(str(path)), want)
    np.testing.assert_array_equal(reader().read(path.read_bytes()), want)


def test_arrays_are_taken_as_floats_and_as_16_bit_integers():
    np.testing.assert_array_equal(reader().read(tone()), tone())
    stored = np.array([-32768, 0, 16384, 32767], np.int16)
    np.testing.assert_array_equal(reader().read(stored), np.float32([-1, 0, 0.5, 32767 / 32768]))


def test_channels_are_averaged():
    both = np.stack([tone(), -tone() / 2], axis=1)
    np.testing.assert_allclose(reader().read(both), tone() / 4, atol=1e-7)
    np.testing.assert_allclose(reader().read(encode(both, subtype="FLOAT")), tone() / 4, atol=1e-7)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_without_a_shift(rate_hz):
    pytest.importorskip("soxr", reason="resampling needs the extra 'audio'")
    got = reader().read(encode(tone(2 * rate_hz, rate_hz), subtype="FLOAT", rate_hz=rate_hz))
    assert len(got) == 32_000
    assert np.abs(got - tone(32_000))[1000:-1000].max() < 1e-4


def test_what_overshoots_full_scale_a_little_is_clipped():
    got = reader().read(encode(3 * tone(), subtype="FLOAT"))
    assert (got.min(), got.max()) == (-1, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "expected a sound, got an empty file"),
        (b"no sound at all" * 100, r"expected a whole WAV, FLAC or Ogg file \("),
        (encode(np.zeros(0, np.float32)), "got a file without samples"),
        (encode(np.full(99, np.nan, np.float32), subtype="FLOAT"), "got NaN or infinity"),
        (encode(np.full(99, 9.0, np.float32), subtype="FLOAT"), "expected samples from -1 to 1, got 9"),
        (encode(tone(99), rate_hz=1), "expected a sample rate of 4,000 to 384,000 Hz, got 1"),
        (np.zeros(9), r"float32 from -1 to 1 or int16, got float64; make them so with .astype\(numpy.float32\)"),
        (np.zeros(0, np.float32), r"at least one, got an array \(0,\)"),
        (np.zeros((2, 2, 2), np.float32), r"expected samples \(n,\) or \(n, channels\)"),
        (np.zeros((2, 500), np.float32), r"got \(2, 500\): turn them with .T"),
        (np.float32([0, np.inf]), "got NaN or infinity"),
        (1000 * tone(), "expected samples from -1 to 1, got 500; divide 16-bit samples by 32768"),
        ("nowhere.wav", "nowhere.wav: no such file"),
        (7, "expected a path, a file's bytes or an array of samples, got int"),
    ],
)
def test_what_is_no_sound_is_refused_with_what_came_instead(source, message):
    with pytest.raises(InputError, match=message):
        reader().read(source)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_file_that_was_cut_short_is_refused_or_read_as_far_as_it_goes(kind):
    whole = encode(noise(30_000), kind)
    for share in (0.01, 0.1, 0.5, 0.9):
        try:
            got = reader().read(whole[: int(len(whole) * share)])
        except InputError:
            continue
        assert 0 < len(got) < 30_000


def test_a_file_that_would_not_fit_into_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(sound_files, "MOST_SAMPLES", 1000)
    with pytest.raises(InputError, match="expected at most 1,000 samples, got 1,001; cut the file"):
        reader().read(encode(tone(1001)))


@pytest.mark.parametrize(("package", "rate_hz"), [("soundfile", 16_000), ("soxr", 8_000)])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, rate_hz, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs the package '{package}': pip install 'edgetransfer\[audio\]'"):
        reader().read(encode(tone(), rate_hz=rate_hz))


def test_samples_at_the_models_rate_need_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert reader().prepare(reader().read(tone())).shape == (2, 96, 64, 1)


@pytest.mark.parametrize(
    ("samples", "windows"), [(1, 1), (400, 1), (15_600, 1), (15_601, 2), (23_280, 2), (23_281, 3), (80_000, 10)]
)
def test_a_clip_is_filled_up_with_silence_as_yamnet_does_it(samples, windows):
    # pad_waveform of features.py: 0.96 + 0.025 - 0.010 seconds, then a whole number of hops of 0.48 seconds.
    clip = noise(samples)
    got = reader().prepare(clip)
    assert (got.shape, got.dtype) == ((windows, 96, 64, 1), np.uint8)
    padded = np.pad(clip, (0, 15_600 + (windows - 1) * 7680 - samples))
    np.testing.assert_array_equal(got, reader().prepare(padded))


def test_windows_are_the_rounded_log_mel_one_hop_apart():
    clip = noise(40_000)
    frames = LogMel("yamnet").frames(np.pad(clip, (0, 16_000)))
    for number, window in enumerate(reader().prepare(clip)):
        real = 0.05 * (window[..., 0].astype(float) - 139)
        assert np.abs(real - frames[48 * number : 48 * number + 96]).max() <= 0.025 + 1e-9


def test_speech_windows_lie_no_further_below_their_own_peak_than_their_front_end_allows():
    clip = np.concatenate([noise(16_000), 1e-6 * noise(16_000)]).astype(np.float32)
    for window in reader(SPEECH).prepare(clip).astype(int):
        assert window.max() - window.min() <= 80  # 8 of a scale of 0.1
    assert reader(SPEECH).prepare(clip)[0].min() < reader(SPEECH).prepare(clip)[0].max()


@pytest.mark.parametrize("spec", [SPEC, SPEECH, replace(SPEC, hop_frames=96), replace(SPEC, hop_frames=130)])
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_stream_gives_the_windows_of_the_whole_clip_however_it_is_cut(spec, data):
    clip = noise(data.draw(st.integers(1, 60_000)), seed=1)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(clip)), max_size=8)))
    stream = AudioStream(spec)
    parts = [stream.push(piece) for piece in np.split(clip, cuts)] + [stream.finish()]
    np.testing.assert_array_equal(np.concatenate(parts), reader(spec).prepare(clip))


def test_a_stream_gives_a_window_as_soon_as_it_is_complete():
    stream = AudioStream(SPEC)
    assert len(stream.push(noise(15_599))) == 0
    assert len(stream.push(noise(1))) == 1
    assert len(stream.push(noise(7_679))) == 0
    assert len(stream.push(noise(1))) == 1


def test_a_stream_keeps_no_more_than_a_window_however_long_it_runs():
    stream, most = AudioStream(SPEC), 0
    for number in range(300):
        stream.push(noise(1600, seed=number))
        most = max(most, stream._frames.nbytes + stream._rest.nbytes)
        assert stream._frames.base is None
        assert stream._rest.base is None
    assert most <= 96 * 64 * 8 + 400 * 4


def test_after_its_end_a_stream_begins_anew():
    stream = AudioStream(SPEC)
    first = np.concatenate([stream.push(noise(20_000)), stream.finish()])
    again = np.concatenate([stream.push(noise(20_000)), stream.finish()])
    np.testing.assert_array_equal(first, again)
    assert len(stream.finish()) == 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(9, np.int16), r"expected \(n,\) float32 mono from -1 to 1, got int16 \(9,\)"),
        (np.zeros((9, 2), np.float32), r"got float32 \(9, 2\)"),
        ([0.0], "got list"),
        (np.float32([np.nan]), "got NaN or infinity"),
    ],
)
def test_windows_are_made_of_read_sounds_only(samples, message):
    with pytest.raises(InputError, match=message):
        AudioStream(SPEC).push(samples)
    with pytest.raises(InputError, match=message):
        reader().prepare(samples)


def test_a_clip_without_samples_has_no_windows():
    with pytest.raises(InputError, match="expected at least one sample, got none"):
        reader().prepare(np.zeros(0, np.float32))


@pytest.mark.parametrize("other", [{"sample_rate_hz": 8000}, {"bands": 40}])
def test_an_input_that_its_front_end_does_not_compute_is_refused(other):
    with pytest.raises(InputError, match="'yamnet': computes 64 bands at 16000 Hz, got"):
        reader(replace(SPEC, **other))
