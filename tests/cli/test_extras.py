from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgetransfer.cli import extras
from edgetransfer.errors import EdgetransferError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def declared() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    return found


@pytest.mark.parametrize(
    ("extra", "package"), [(extra, package) for extra, packages in extras.EXTRAS.items() for package in packages]
)
def test_what_is_asked_for_here_is_what_the_extra_declares(extra, package, declared):
    lines = [line.split(";")[0].strip() for line in declared[extra]]
    for name in package.distributions:
        same = [line for line in lines if line.split(">")[0].split("=")[0] == name]
        if name == "onnxruntime-gpu":
            continue  # accepted, but not what the extra installs
        assert same, f"{name} is not in the extra {extra}"
        if package.oldest and name != "tflite-runtime":
            assert f">={package.oldest}" in same[0]


def test_every_extra_but_dev_is_known_to_the_doctor(declared):
    assert set(declared) - {"dev"} == set(extras.EXTRAS)


def test_a_package_that_is_not_there_is_named():
    package = extras.Package("no_such_module_here", ("no-such-distribution-here",))
    assert package.found() is None
    assert package.problem() == "no-such-distribution-here is missing"


def test_a_package_that_is_too_old_is_told_with_the_version_it_takes():
    assert "is too old: 9999 or newer is needed" in extras.Package("click", ("click",), "9999").problem()
    assert extras.Package("click", ("click",), "8.1").problem() == ""


def test_a_missing_extra_is_refused_with_the_exact_command(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "image", (extras.Package("no_such_module", ("no-such-distribution",)),))
    with pytest.raises(
        EdgetransferError, match=r"no-such-distribution is missing: pip install 'edgetransfer\[image\]'"
    ):
        extras.require("image")


def test_an_old_package_is_answered_with_an_upgrade(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "image", (extras.Package("click", ("click",), "9999"),))
    with pytest.raises(EdgetransferError, match=r"pip install -U 'edgetransfer\[image\]'"):
        extras.require("image")


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 14, 0)])
def test_building_on_another_python_is_refused_with_the_ones_that_work(version, monkeypatch):
    monkeypatch.setattr(extras.sys, "version_info", version)
    expected = f"building needs Python 3.11 to 3.13; this is 3.{version[1]}"
    with pytest.raises(EdgetransferError, match=f"^{expected}$"):
        extras.require("train")
    assert extras.advice("keras") == expected
    assert extras.mend("train", "keras is missing") == ""
    assert extras.advice("PIL") == "the package 'PIL' is not installed: pip install 'edgetransfer[image]'"
