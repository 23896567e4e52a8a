from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys

import pytest

from edgetransfer.errors import EngineError, OutputError
from edgetransfer.runtime import kept_threads, predictor
from edgetransfer.runtime.cores import available_cores, cpu_name
from edgetransfer.runtime.engines import engine_version
from edgetransfer.runtime.kept_threads import Situation, keep, situation
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.runtime.threads import choices_file, threads_for

MODEL = "a" * 64


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The folder of the user's settings, which is not there yet."""
    monkeypatch.setenv("EDGETRANSFER_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings"


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(kept_threads, "available_cores", lambda: 4)


def keep_three(**changes) -> None:
    keep(situation(MODEL, "litert")._replace(**changes), 3, {1: 9.0, 2: 6.0, 3: 5.0, 4: 7.0})


def test_without_a_choice_it_is_one_thread_and_says_how_to_find_a_better_number(settings):
    threads, because = threads_for(MODEL, "litert")
    assert threads == 1
    assert "profile BUNDLE --choose" in because
    assert not settings.exists()


@pytest.mark.usefixtures("four_cores")
def test_what_was_kept_is_used_and_its_reason_is_told(settings):
    keep_three()
    assert threads_for(MODEL, "litert") == (3, f"the best of 1, 2, 3, 4, kept in {settings / 'threads.json'}")


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    "other",
    [
        {"model_sha256": "b" * 64},
        {"engine": "onnx"},
        {"engine_version": "0.0.1"},
        {"providers": ("cuda",)},
        {"cpu": "Another"},
        {"cores": 8},
    ],
)
def test_a_choice_counts_for_nothing_but_what_was_measured(settings, other):
    keep_three(**other)
    assert threads_for(MODEL, "litert")[0] == 1


@pytest.mark.usefixtures("four_cores")
def test_a_new_choice_replaces_the_old_one_and_leaves_the_others(settings):
    keep_three()
    keep_three(model_sha256="b" * 64)
    keep(situation(MODEL, "litert"), 2, {1: 2.0, 2: 1.0})
    assert threads_for(MODEL, "litert")[0] == 2
    assert threads_for("b" * 64, "litert")[0] == 3
    document = json.loads((settings / "threads.json").read_text())
    assert len(document["choices"]) == 2
    assert [path.name for path in settings.iterdir()] == ["threads.json"]


def test_a_situation_is_this_machines_engine_and_processor():
    wanted = Situation(MODEL, "litert", engine_version("litert"), (), cpu_name(), available_cores())
    assert situation(MODEL, "litert") == wanted
    assert wanted.engine_version


DAMAGED = {
    "cut short": b'{"schema": 1, "choi',
    "not UTF-8": b"\xff\xfe",
    "another shape": b"[1, 2]",
    "of a newer version": b'{"schema": 2, "choices": []}',
    "nested too deeply": b"[" * 100_000,
    "too large": b" " * 2_000_000,
    "empty": b"",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_ignored_with_a_warning_that_says_what_to_do(settings, caplog, content):
    settings.mkdir()
    (settings / "threads.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert threads_for(MODEL, "litert")[0] == 1
    assert str(settings / "threads.json") in caplog.text
    assert "delete the file" in caplog.text


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize("threads", [0, -1, 5, 2.5, True, "2"])
def test_numbers_of_threads_that_make_no_sense_are_damage(settings, caplog, threads):
    keep_three()
    path = settings / "threads.json"
    document = json.loads(path.read_text())
    document["choices"][0]["threads"] = threads
    path.write_text(json.dumps(document))
    assert threads_for(MODEL, "litert")[0] == 1
    assert "threads" in caplog.text


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_read(settings, caplog, make):
    settings.mkdir()
    make(settings / "threads.json")
    assert threads_for(MODEL, "litert")[0] == 1
    assert "expected a file" in caplog.text


@pytest.mark.usefixtures("four_cores")
def test_a_damaged_file_is_replaced_by_a_new_choice_and_that_is_said(settings, caplog):
    settings.mkdir()
    (settings / "threads.json").write_bytes(b"{")
    keep_three()
    assert "a new one is written" in caplog.text
    assert threads_for(MODEL, "litert")[0] == 3


def test_where_the_settings_are(monkeypatch):
    for name in ("EDGETRANSFER_CONFIG", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/a/home")
    assert choices_file() == "/a/home/.config/edgetransfer/threads.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert choices_file() == "/a/home/.config/edgetransfer/threads.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert choices_file() == "/x/edgetransfer/threads.json"
    monkeypatch.setenv("EDGETRANSFER_CONFIG", "/own")
    assert choices_file() == "/own/threads.json"
    monkeypatch.setenv("EDGETRANSFER_CONFIG", "relative")
    assert choices_file() == ""
    assert threads_for(MODEL, "litert")[0] == 1
    with pytest.raises(OutputError, match="EDGETRANSFER_CONFIG: expected an absolute path, got 'relative'"):
        keep_three()


def test_a_folder_that_cannot_be_written_is_named(settings):
    settings.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"settings: .*cannot be kept.*EDGETRANSFER_CONFIG"):
        keep_three()
    assert threads_for(MODEL, "litert")[0] == 1


@pytest.mark.usefixtures("four_cores")
def test_the_file_is_the_users_alone(settings):
    keep_three()
    assert stat.S_IMODE((settings / "threads.json").stat().st_mode) == 0o600


# === What an app gets ===


@pytest.fixture
def asked(monkeypatch):
    """The numbers of threads that engines were opened with."""
    numbers: list[int] = []
    opened = predictor.open_engine

    def open_engine(*arguments, threads, **options):
        numbers.append(threads)
        return opened(*arguments, threads=threads, **options)

    monkeypatch.setattr(predictor, "open_engine", open_engine)
    return numbers


@pytest.mark.usefixtures("four_cores")
def test_a_predictor_takes_the_kept_choice_unless_it_is_told_a_number(settings, asked, tiny_bundle, tmp_path):
    bundle = tiny_bundle.make_bundle(tmp_path / "a.bundle")
    Predictor.load(bundle).close()
    keep_three(model_sha256=bundle.manifest.files["model.tflite"].sha256)
    Predictor.load(bundle).close()
    Predictor.load(bundle, threads=2).close()
    Predictor.load(bundle, kernels="reference").close()
    assert asked == [1, 3, 2, 1]


def test_a_damaged_file_does_not_keep_a_predictor_from_loading(settings, asked, tiny_bundle, tmp_path):
    settings.mkdir()
    (settings / "threads.json").write_bytes(b"{")
    Predictor.load(tiny_bundle.make_bundle(tmp_path / "a.bundle")).close()
    assert asked == [1]


@pytest.mark.usefixtures("four_cores")
def test_an_engine_that_is_not_installed_is_named_as_without_a_choice(settings, monkeypatch):
    keep_three()
    monkeypatch.setitem(sys.modules, "edgetransfer.runtime.engines.litert", None)
    with pytest.raises(EngineError, match=r"pip install 'edgetransfer\[litert\]'"):
        threads_for(MODEL, "litert")


def test_without_a_file_a_start_imports_nothing_more_and_opens_nothing(settings, tiny_bundle, tmp_path):
    bundle = tiny_bundle.make_bundle(tmp_path / "a.bundle")
    code = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from edgetransfer.runtime import Predictor\n"
        f"Predictor.load({str(bundle.path)!r})\n"
        "sys.stdout.write(str([name for name in opened if 'settings' in name or 'cpuinfo' in name]) + '\\n')\n"
        "sys.stdout.write(str({'edgetransfer.runtime.kept_threads', 'edgetransfer.spec.atomic'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "set()"]
