from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import edgetransfer

ROOT = Path(__file__).resolve().parents[1]
ANNOUNCING = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "edgetransfer").rglob("*.py")
    if "\n__all__ = " in path.read_text(encoding="utf-8")
)


def test_the_modules_that_announce_names_are_found():
    assert {"edgetransfer", "edgetransfer.runtime", "edgetransfer.data"} <= set(ANNOUNCING)


@pytest.mark.parametrize("name", ANNOUNCING)
def test_every_announced_name_is_there(name):
    module = importlib.import_module(name)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [announced for announced in module.__all__ if not hasattr(module, announced)]
    assert missing == []


@pytest.mark.parametrize("module", ["edgetransfer", "edgetransfer.runtime"])
def test_a_misspelt_name_is_refused_as_python_does(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Predicter'"):
        getattr(importlib.import_module(module), "Predicter")  # noqa: B009


def test_the_lazy_names_are_those_of_their_homes():
    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.spec.bundle import Bundle

    assert edgetransfer.Predictor is Predictor is importlib.import_module("edgetransfer.runtime").Predictor
    assert edgetransfer.Bundle is Bundle


def test_completion_shows_the_public_names_only():
    assert dir(edgetransfer) == sorted(edgetransfer.__all__)


def test_a_submodule_is_not_hidden_by_a_public_name():
    """`edgetransfer.build` is the function; no module of that name may stand beside it."""
    beside = {path.stem for path in (ROOT / "edgetransfer").iterdir()}
    assert set(edgetransfer.__all__) & beside == set()
