from __future__ import annotations

import inspect
import re

import pytest

from edgetransfer import errors
from edgetransfer.errors import DataError, EdgetransferError, UnknownNameError

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, Exception) and found.__module__ == errors.__name__
}


def drawn_tree() -> dict[str, str]:
    """Return each error of the docstring's drawing with its parent, which is the nearest one further left."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( *)[*x+] (\w+)", errors.__doc__ or "", re.MULTILINE):
        while above and above[-1][0] >= len(indent):
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((len(indent), name))
    return parents


def test_the_drawn_tree_is_that_of_the_classes():
    assert drawn_tree() == {name: found.__bases__[0].__name__ for name, found in CLASSES.items()}


def test_the_drawing_has_one_root():
    assert [name for name, parent in drawn_tree().items() if parent == "Exception"] == ["EdgetransferError"]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_says_what_it_is_for(name):
    assert issubclass(CLASSES[name], EdgetransferError)
    assert (CLASSES[name].__doc__ or "").endswith(".")


def test_a_data_error_lists_all_problems_beside_its_message():
    error = DataError("2 files cannot be used", (problem for problem in ("a.png: empty", "b.png: truncated")))
    assert str(error) == "2 files cannot be used"
    assert error.problems == ("a.png: empty", "b.png: truncated")
    assert DataError("no such folder").problems == ()


def test_an_unknown_name_is_answered_with_the_nearest():
    error = UnknownNameError("device", "rasberry_pi4", ["raspberry_pi_5", "raspberry_pi_4", "pixel_8"])
    assert str(error) == (
        "no device named 'rasberry_pi4'; did you mean 'raspberry_pi_4'? Known: pixel_8, raspberry_pi_4, raspberry_pi_5."
    )
    assert (error.kind, error.name, error.suggestion) == ("device", "rasberry_pi4", "raspberry_pi_4")


def test_a_name_that_is_like_none_gets_no_guess():
    error = UnknownNameError("recipe", "qqq", ["float32"], hint="Write your own.")
    assert str(error) == "no recipe named 'qqq' Known: float32. Write your own."
    assert error.suggestion is None


def test_of_hundreds_of_names_the_nearest_are_told():
    names = [f"block{number}_{part}" for number in range(16) for part in ("add", "conv", "bn", "relu", "depthwise")]
    text = str(UnknownNameError("layer", "block10_ad", names))
    assert "did you mean 'block10_add'?" in text
    assert "Known: block10_add, " in text
    assert text.endswith(f" and {len(names) - errors.NEAREST} more.")
    assert len(text) < 300


def test_nothing_known_is_said_so():
    assert "Known: none." in str(UnknownNameError("engine", "litert", []))


def test_errors_are_also_what_python_calls_such_errors():
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.UnknownNameError, LookupError)
    assert issubclass(errors.OutputError, OSError)
