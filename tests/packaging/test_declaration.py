from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import edgetransfer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def declared():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_of_the_tree_is_in_the_wheel(declared):
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "edgetransfer").rglob("__init__.py")} | {
        "edgetransfer._devices"
    }
    assert declared["tool"]["setuptools"]["packages"] == sorted(found)


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "edgetransfer").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_what_is_no_python_is_declared_as_data(declared):
    data = declared["tool"]["setuptools"]["package-data"]
    others = {
        path
        for path in (ROOT / "edgetransfer").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    shipped = {
        path
        for package, patterns in data.items()
        if package != "edgetransfer._devices"
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    assert others == shipped
    assert (ROOT / "edgetransfer" / "py.typed") in shipped
    assert any(path.parent.name == "licences" for path in shipped)


def test_the_version_is_the_same_in_both_places(declared):
    assert declared["project"]["version"] == edgetransfer.__version__


def test_the_versions_of_python_are_the_same_in_all_places(declared):
    oldest, newest = declared["project"]["requires-python"].split(",")
    minors = [line.rpartition(".")[2] for line in declared["project"]["classifiers"] if "Python :: 3." in line]
    assert oldest == f">=3.{minors[0]}"
    assert newest == f"<3.{int(minors[-1]) + 1}"
    assert declared["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"


def test_the_base_is_numpy_and_click(declared):
    names = {line.split(">")[0].split(";")[0].strip() for line in declared["project"]["dependencies"]}
    assert names == {"numpy", "click", "tomli"}  # tomli below Python 3.11 only
    (tomli,) = (line for line in declared["project"]["dependencies"] if "tomli" in line)
    assert tomli.endswith("python_version < '3.11'")


def test_what_building_needs_is_asked_for_only_where_it_exists(declared):
    for line in declared["project"]["optional-dependencies"]["train"]:
        assert "python_version >= '3.11'" in line, line


@pytest.mark.parametrize(
    "name", ["tools/environment", "tools/test", "tools/demo", "tools/clients", "tools/emulate", ".ci/run"]
)
def test_the_tools_can_be_called_as_they_are(name):
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
