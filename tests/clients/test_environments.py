from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from client_checks import environments
from client_checks.failures import CheckFailed, Impossible


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CLIENTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installed(monkeypatch):
    """The commands that would be run to install something."""
    commands = []

    def install(command, *, cwd=None):
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(environments, "install", install)
    return commands


def test_environments_are_kept_where_the_user_says(cache, monkeypatch, tmp_path):
    assert environments.cache_folder() == cache
    monkeypatch.delenv("EDGETRANSFER_CLIENTS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / "edgetransfer-clients"


def test_an_environment_is_made_once(installed):
    first = environments.python_with("client", ["package==1"])
    assert len(installed) == 2
    assert environments.python_with("client", ["package==1"]) == first
    assert len(installed) == 2


def test_another_version_has_an_environment_of_its_own(installed):
    assert environments.python_with("client", ["package==1"]) != environments.python_with("client", ["package==2"])


def test_an_environment_that_was_not_finished_is_made_again(installed, monkeypatch):
    def interrupted(command, *, cwd=None):
        if "pip" in command:
            raise CheckFailed("no")
        Path(command[-1]).mkdir(parents=True)
        (Path(command[-1]) / "half").touch()

    with monkeypatch.context() as patch:
        patch.setattr(environments, "install", interrupted)
        with pytest.raises(CheckFailed):
            environments.python_with("client", ["package==1"])
    python = environments.python_with("client", ["package==1"])
    assert len(installed) == 2
    assert not (python.parents[1] / "half").exists()


def test_npm_installs_exactly_what_is_declared(installed, tmp_path):
    declaration = tmp_path / "package.json"
    declaration.write_text('{"dependencies": {"one": "1.0.0"}}')
    modules = environments.npm_packages(declaration)
    assert (modules.parent / "package.json").read_text() == declaration.read_text()
    assert "--ignore-scripts" in installed[0]
    declaration.write_text('{"dependencies": {"one": "1.0.1"}}')
    assert environments.npm_packages(declaration) != modules


def test_an_index_out_of_reach_is_told_apart_from_a_package_that_is_not_there():
    nowhere = ["--index-url", "http://127.0.0.1:9/simple", "--retries", "1", "--no-input", "-q", "--isolated"]
    command = [sys.executable, "-m", "pip", "download", *nowhere, "edgetransfer-no-such-package"]
    with pytest.raises(Impossible, match="out of reach"):
        environments.install(command)
    with pytest.raises(CheckFailed, match="pip download"):
        environments.install([sys.executable, "-m", "pip", "download", "--no-such-option"])


@pytest.mark.parametrize(
    "output",
    [
        "npm error code ENOTFOUND\nnpm error network request to https://example.org failed",
        "W: Failed to fetch x  Temporary failure resolving 'example.org'\nE: Unable to locate package chromium",
    ],
)
def test_npm_and_apt_without_a_network_are_recognised(output):
    assert isinstance(environments.explain(["npm"], output), Impossible)


def test_a_failure_with_a_network_is_a_failure_and_shows_its_last_lines():
    error = environments.explain(["apt-get", "install"], "E: Unable to locate package chromiun\n")
    assert isinstance(error, CheckFailed)
    assert "chromiun" in str(error)


def test_no_wheel_for_an_unusual_machine_is_no_failure(monkeypatch):
    output = "ERROR: No matching distribution found for mediapipe==1.2.2"
    monkeypatch.setattr(environments.platform, "machine", lambda: "riscv64")
    assert isinstance(environments.explain(["pip"], output), Impossible)
    monkeypatch.setattr(environments.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(environments.sys, "platform", "linux")
    assert isinstance(environments.explain(["pip"], output), CheckFailed)


def test_a_missing_program_is_named_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Impossible, match="needs chromium; on Debian and Ubuntu: sudo apt install chromium"):
        environments.find_program(("chromium", "google-chrome"), debian="chromium")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert environments.find_program(("no-such", Path(sys.executable).name), debian="x").endswith(
        Path(sys.executable).name
    )


def test_a_client_sees_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    (tmp_path / "ours.py").touch()
    with pytest.raises(CheckFailed, match="No module named 'ours'"):
        environments.run_client([sys.executable, "-c", "import ours"], cwd=tmp_path.parent, timeout_s=30)


def test_a_client_that_does_not_answer_is_ended(tmp_path):
    with pytest.raises(CheckFailed, match="no answer after"):
        environments.run_client([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path, timeout_s=0.5)
