from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("bash", "cat", "cksum", "dirname", "mkdir", "rm")


@pytest.fixture
def checkout(tmp_path):
    """A checkout with only what tools/environment reads, and a PATH on which there is no Python."""
    (tmp_path / "checkout" / "tools").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "tools" / "environment", tmp_path / "checkout" / "tools")
    (tmp_path / "checkout" / "pyproject.toml").write_text("[project]\n")
    for command in COMMANDS:
        (tmp_path / "bin" / command).symlink_to(shutil.which(command))
    return tmp_path / "checkout"


@pytest.fixture
def environment(checkout):
    """Calls tools/environment there."""

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("EDGETRANSFER_")}
        return subprocess.run(
            [checkout / "tools" / "environment", *arguments],
            env=outside | {"PATH": str(checkout.parent / "bin")} | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return call


@pytest.fixture
def python(checkout):
    """Writes a stand-in for a Python that notes what it is called with and makes environments of itself."""

    def write(name: str = "python3", *, version: str = "3.12", can_make: bool = True) -> Path:
        path = checkout.parent / "bin" / name
        path.write_text(
            f"""#!/usr/bin/env bash
echo "$*" >> "{checkout.parent}/calls"
case "$*" in
    --version) echo "Python {version}.1" ;;
    *sys.exit*) {"exit 0" if version in ("3.11", "3.12", "3.13") else "exit 1"} ;;
    *ensurepip*) {"exit 0" if can_make else "exit 1"} ;;
    *-venv*) echo "python{version}-venv" ;;
    "-m venv .venv") mkdir .venv/bin; ln -s "{path}" .venv/bin/python ;;
esac
"""
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    (checkout.parent / "bin" / "ln").symlink_to(shutil.which("ln"))
    (checkout.parent / "bin" / "env").symlink_to(shutil.which("env"))
    return write


def calls(checkout: Path) -> list[str]:
    file = checkout.parent / "calls"
    lines = file.read_text().splitlines()
    file.unlink()
    return lines


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_no_python_is_answered_with_the_versions_that_build(environment, checkout):
    assert "Error: building needs Python 3.11 to 3.13, found none" in refusal(environment("dev"))
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_another_python_does_not_build(version, environment, python):
    python(version=version)
    assert "building needs Python 3.11 to 3.13" in refusal(environment("dev"))


def test_a_debian_python_without_venv_is_answered_with_the_package(environment, python):
    python(version="3.11", can_make=False)
    assert refusal(environment("dev")) == (
        "Error: python3 cannot make environments; on Debian and Ubuntu: sudo apt install python3.11-venv"
    )


@pytest.mark.parametrize("arguments", [(), ("train",)])
def test_an_unknown_extra_is_refused(arguments, environment):
    assert "Usage: tools/environment demo|dev" in refusal(environment(*arguments))


def test_a_python_that_was_named_is_not_silently_replaced_by_another(environment, python):
    python(version="3.12")
    assert "(tried: /nowhere/python3)" in refusal(environment("dev", EDGETRANSFER_PYTHON="/nowhere/python3"))


def test_an_environment_is_made_once_and_updated_when_pyproject_changes(environment, python, checkout):
    python()
    done = environment("dev")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkout}/.venv/bin/python\n"
    assert "installing the extra 'dev'" in done.stderr
    first = calls(checkout)
    assert "-m venv .venv" in first
    assert any(line.endswith("--editable .[dev]") for line in first)

    assert environment("dev").stderr == ""
    assert environment("demo").stderr == ""  # dev includes it
    assert not any("-m" in line for line in calls(checkout))

    (checkout / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    assert environment("demo").returncode == 0
    again = calls(checkout)
    assert "-m venv .venv" not in again
    assert any(line.endswith("--editable .[demo]") for line in again)


def test_an_environment_that_broke_or_has_another_python_is_made_anew(environment, python, checkout):
    python()
    environment("dev")
    (checkout / ".venv" / "bin" / "python").unlink()
    calls(checkout)
    assert environment("dev").returncode == 0
    assert "-m venv .venv" in calls(checkout)

    other = python("python3.13", version="3.13")
    assert environment("dev", EDGETRANSFER_PYTHON=str(other)).returncode == 0
    assert "-m venv .venv" in calls(checkout)


def test_somebody_elses_venv_is_left_alone(environment, python, checkout):
    python()
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    assert refusal(environment("dev")).endswith(".venv was not made by tools/environment: move it away")
    assert (checkout / ".venv" / "mine").exists()
