"""Streams on the command line: the windows of the file, whether it is a file or comes through a pipe."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="sounds need the extra 'audio'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sounds(tiny_sounds, tmp_path_factory):
    """A bundle that tells high from low from quiet."""
    return tiny_sounds.make_sound_bundle(tmp_path_factory.mktemp("bundles") / "sounds.bundle").path


@pytest.fixture(scope="module")
def clip(tiny_sounds):
    """Quiet, low, quiet, high: 6.4 s."""
    parts = [("quiet", 1.5), ("low", 1.5), ("quiet", 1.5), ("high", 1.9)]
    return np.concatenate([tiny_sounds.sound(*part) for part in parts])


def wav(samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
    return buffer.getvalue()


def raw(samples: np.ndarray) -> bytes:
    return np.rint(samples * 32768).astype("<i2").tobytes()


def lines(result) -> list[dict]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def without_file(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in one.items() if key != "file"} for one in found]


def test_a_pipe_gets_the_answers_of_the_file(call, sounds, clip, tmp_path):
    (tmp_path / "clip.wav").write_bytes(wav(clip))
    of_file = lines(call("run", sounds, tmp_path / "clip.wav", "--stream", "--json", "--smooth", 2))
    of_raw = lines(call("run", sounds, "-", "--rate", 16_000, "--json", "--smooth", 2, stdin=raw(clip)))
    of_wav = lines(call("run", sounds, "-", "--stream", "--json", "--smooth", 2, stdin=wav(clip)))
    assert without_file(of_file) == without_file(of_raw) == without_file(of_wav)
    assert of_file[0]["file"] == str(tmp_path / "clip.wav")
    assert of_raw[0]["file"] == "-"
    assert [one["start_s"] for one in of_file] == [round(0.48 * number, 2) for number in range(len(of_file))]
    assert of_file[-1]["end_s"] == len(clip) / 16_000


def test_the_same_in_stereo_at_another_rate(call, sounds, tiny_sounds, tmp_path):
    pytest.importorskip("soxr", reason="resampling needs the extra 'audio'")
    both = np.stack([tiny_sounds.sound("low", 5), tiny_sounds.sound("high", 5)], axis=1)
    (tmp_path / "clip.wav").write_bytes(wav(both, 44_100))
    of_file = lines(call("run", sounds, tmp_path / "clip.wav", "--stream", "--json"))
    piped = call("run", sounds, "-", "--rate", 44_100, "--channels", 2, "--json", stdin=raw(both))
    assert without_file(of_file) == without_file(lines(piped))


def test_smoothed_over_all_windows_a_stream_ends_with_the_clips_answer(call, document, sounds, clip):
    (whole,) = document(call("run", sounds, "-", "--json", stdin=wav(clip)))["results"]
    last = lines(call("run", sounds, "-", "--stream", "--smooth", 99, "--json", stdin=wav(clip)))[-1]
    assert {key: last[key] for key in ("label", "score", "scores")} == {
        key: whole[key] for key in ("label", "score", "scores")
    }


def test_an_answer_is_a_line_with_its_time(call, sounds, clip):
    result = call("run", sounds, "-", "--rate", 16_000, "--top", 2, stdin=raw(clip))
    assert result.exit_code == 0
    found = result.stdout.splitlines()
    assert found[0].startswith("0.00 s: quiet 0.9")
    assert found[1].startswith("0.48 s: quiet ")
    assert any(line.split(": ")[1].startswith("high ") for line in found)


def test_with_changes_only_the_first_answer_of_each_label_is_printed(call, sounds, clip):
    all_of_them = lines(call("run", sounds, "-", "--rate", 16_000, "--json", stdin=raw(clip)))
    changes = lines(call("run", sounds, "-", "--rate", 16_000, "--json", "--changes", stdin=raw(clip)))
    assert [one["label"] for one in changes] == ["quiet", "low", "quiet", "high"]
    assert all(one in all_of_them for one in changes)


def test_several_files_are_told_apart_and_what_cannot_be_read_does_not_end_it(call, sounds, clip, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(clip))
    (tmp_path / "aa.wav").write_bytes(b"nothing")
    result = call("run", sounds, tmp_path, "--stream", "--changes")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 8
    assert result.stdout.splitlines()[4].startswith(f"{tmp_path / 'b.wav'} 0.00 s: quiet ")
    assert result.stderr.startswith(f"Error: {tmp_path / 'aa.wav'}: expected a whole WAV")
    assert result.stderr.count("\n") == 1


def test_half_a_sample_at_the_end_is_left_out_and_told(call, sounds, clip):
    whole = call("run", sounds, "-", "--rate", 16_000, stdin=raw(clip))
    more = call("run", sounds, "-", "--rate", 16_000, stdin=raw(clip) + b"x")
    assert (more.exit_code, more.stdout) == (0, whole.stdout)
    assert more.stderr == "note: left out 1 byte at the end, which are no whole sample of every channel\n"


def test_a_stream_that_ends_within_a_window_is_answered_to_its_end(call, sounds, clip):
    found = lines(call("run", sounds, "-", "--rate", 16_000, "--json", stdin=raw(clip[:20_000])))
    assert [one["end_s"] for one in found] == [0.975, 1.25]


def test_silence_has_an_answer(call, sounds):
    found = lines(call("run", sounds, "-", "--rate", 16_000, "--json", stdin=bytes(64_000)))
    assert {one["label"] for one in found} == {"quiet"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", ["--rate", 16_000], "standard input: expected samples, got none"),
        (b"", ["--stream"], "expected a WAV header, got b''; raw 16-bit samples need their rate (--rate 16000)"),
        (bytes(99), ["--stream"], "expected a WAV header"),
        (bytes(99), ["--rate", 10], "expected a sample rate of 4,000 to 384,000 Hz, got 10"),
        (bytes(99), ["--rate", 16_000.5], "--rate: expected a whole number of samples a second, got 16000.5"),
        (wav(np.zeros(99)), ["--rate", 44_100], "44100 was said, its WAV header says 16000"),
        (wav(np.full(99, np.nan, np.float32), subtype="FLOAT"), ["--stream"], "sound after 0.00 s: expected finite"),
    ],
)
def test_what_is_no_stream_of_samples_is_told_in_a_line(call, sounds, content, options, message):
    result = call("run", sounds, "-", *options, stdin=content)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_frames_are_answered_as_they_come(call, bundle, tiny_bundle):
    frames = [*tiny_bundle.shades(0, 2), *tiny_bundle.shades(2, 2)]
    content = b"".join(frame.tobytes() for frame in frames)
    options = ["--frames", "-", "--size", "16x16"]
    found = lines(call("run", bundle, *options, "--rate", 4, "--json", stdin=content))
    assert [(one["label"], one["start_s"]) for one in found] == [
        ("red", 0),
        ("red", 0.25),
        ("blue", 0.5),
        ("blue", 0.75),
    ]
    changes = lines(call("run", bundle, *options, "--rate", 4, "--changes", "--json", stdin=content))
    assert changes == [found[0], found[2]]
    live = lines(call("run", bundle, *options, "--json", stdin=content))
    times = [one["start_s"] for one in live]
    assert times == sorted(times)
    assert [one["scores"] for one in live] == [one["scores"] for one in found]


def test_frames_come_from_a_file_too_and_need_no_pillow(call, bundle, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "frames.rgb").write_bytes(tiny_bundle.shades(1, 1)[0].tobytes())
    result = call("run", bundle, "--frames", tmp_path / "frames.rgb", "--size", "16x16")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("0.00 s: green ")


def test_a_frame_that_is_not_whole_is_left_out_and_none_at_all_is_an_error(call, bundle, tiny_bundle):
    content = tiny_bundle.shades(0, 1)[0].tobytes()
    result = call("run", bundle, "--frames", "-", "--size", "16x16", stdin=content + b"abc")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert result.stderr == "note: left out 3 bytes at the end, which are no whole frame of 16 x 16 pixels\n"
    none = call("run", bundle, "--frames", "-", "--size", "160x16", stdin=content)
    assert none.exit_code == 1
    assert "frames: expected 7,680 bytes for one of 160 x 16 pixels, got 768" in none.stderr


def test_a_bundle_of_another_kind_is_told_apart(call, bundle, sounds):
    image = call("run", bundle, "-", "--rate", 16_000, stdin=bytes(999))
    assert image.exit_code == 1
    assert "takes image inputs, not sounds" in image.stderr
    sound = call("run", sounds, "--frames", "-", "--size", "2x2", stdin=bytes(12))
    assert sound.exit_code == 1
    assert "takes audio inputs, not images" in sound.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'FILES...'"),
        (["-", "--frames", "-", "--size", "2x2"], "--frames: takes the place of FILES, got '-' as well"),
        (["--frames", "-"], "--frames and --size: each needs the other"),
        (["a.jpg", "--size", "2x2"], "--frames and --size: each needs the other"),
        (["--frames", "-", "--size", "640"], "'640': expected width and height in pixels, such as 640x480"),
        (["--frames", "-", "--size", "0x9"], "expected width and height in pixels"),
        (["a.wav", "--rate", "16000"], "--rate: is for raw samples on standard input (-)"),
        (["-", "--stream", "--channels", "2"], "--channels: is for raw samples on standard input, with --rate"),
        (["a.wav", "--smooth", "3"], "--smooth and --changes: are for streams"),
        (["a.wav", "--changes"], "--smooth and --changes: are for streams"),
        (["--frames", "-", "--size", "2x2", "--stream"], "--stream: is for sounds"),
    ],
)
def test_options_that_do_not_go_together_are_refused(call, sounds, arguments, message):
    result = call("run", sounds, *arguments, stdin=b"")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def started(*arguments: object, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgetransfer", "run", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, **options)


def test_an_answer_is_there_before_the_stream_goes_on_and_ctrl_c_ends_it_quietly(sounds, clip):
    pipe = subprocess.PIPE
    with started(sounds, "-", "--rate", 16_000, "--json", stdin=pipe, stdout=pipe, stderr=pipe) as running:
        try:
            running.stdin.write(raw(clip[:16_000]))
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["label"] == "quiet"  # and the pipe is still open
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=60) == 130
            assert running.stderr.read() == b""
            assert running.stdout.read() == b""
        finally:
            running.kill()


def test_a_reader_that_has_seen_enough_ends_it_without_a_word(sounds, clip, tmp_path):
    (tmp_path / "long.wav").write_bytes(wav(np.tile(clip, 200)))
    pipe = subprocess.PIPE
    with started(sounds, tmp_path / "long.wav", "--stream", stdout=pipe, stderr=pipe) as running:
        assert running.stdout.readline().startswith(b"0.00 s: quiet")
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 1
