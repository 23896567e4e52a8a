"""What is written as transfer.toml is read as the same options."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.transfer_file import read_transfer_file
from edgetransfer.spec.transfer_text import transfer_text

VALUES = {
    "backbone": "efficientnet_lite0",
    "input_px": 96,
    "recipe": "static_int8",
    "tune_epochs": 3,
    "unfreeze": (0.35, 1.0),
    "learning_rate": 3e-5,
    "quantization_aware": False,
    "dropouts": (0.2, 0.4),
    "seed": 7,
}


def read_back(values, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transfer.toml").write_text(transfer_text(values, folder), encoding="utf-8")
    return read_transfer_file(folder / "transfer.toml")


def test_values_come_back_as_the_options_take_them(tmp_path):
    found = read_back(VALUES, tmp_path)
    assert found == {**VALUES, "unfreeze": "0.35,1.0", "dropouts": [0.2, 0.4]}


def test_what_is_none_empty_or_of_no_field_is_left_out(tmp_path):
    assert read_back({"alpha": None, "dropouts": (), "quiet": True, "seed": 0}, tmp_path) == {"seed": 0}


def test_a_relative_path_goes_with_the_folder_and_an_absolute_one_stays(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "photos").mkdir(parents=True)
    monkeypatch.chdir(project)
    values = {
        "data": Path("photos"),
        "replay": tmp_path / "old",
        "backbone": "keras:my.keras",
        "tuned": (Path("a.keras"),),
    }
    run = Path("runs/one")
    read_back(values, run)
    moved = tmp_path / "elsewhere"
    project.rename(moved)
    found = read_transfer_file(moved / run / "transfer.toml")
    assert Path(found["data"]).resolve() == moved / "photos"
    assert found["replay"] == str(tmp_path / "old")
    assert Path(found["backbone"].removeprefix("keras:")).resolve() == moved / "my.keras"
    assert [Path(one).resolve() for one in found["tuned"]] == [moved / "a.keras"]


def test_the_heads_of_a_file_come_back_with_their_orders_and_units(tmp_path):
    source = tmp_path / "mine.toml"
    source.write_text(
        '[data]\npath = "x"\norder = ["a=1", "b, or c"]\n[[heads]]\nname = "lid"\ndata = "l.csv"\nunit = "kg"\n'
        '[[heads]]\nname = "cap"\ndata = "c"\norder = ["low", "high"]\n'
    )
    values = read_transfer_file(source)
    assert read_back(values, tmp_path / "run") == values


def test_a_teacher_that_is_a_folder_is_a_bundle(tmp_path):
    (tmp_path / "large").mkdir()
    text = transfer_text({"teacher": str(tmp_path / "large")}, tmp_path)
    assert text.splitlines() == ["[transfer.teacher]", f'bundle = "{tmp_path / "large"}"']
    assert transfer_text({"teacher": "mobilenet_v2"}, tmp_path).splitlines()[1] == 'name = "mobilenet_v2"'


def test_a_normalisation_is_read_as_it_was(tmp_path):
    from edgetransfer.cli.build_options import read_normalisation

    wanted = Normalisation(1 / 127.5, 127)
    found = read_back({"normalisation": wanted}, tmp_path)["normalisation"]
    assert read_normalisation(None, None, found) == wanted


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(1e-300, 1e300))
def test_any_text_and_any_number_come_back(text, number):
    tomllib = pytest.importorskip("tomllib", reason="is in the standard library from Python 3.11 on")
    found = tomllib.loads(transfer_text({"loss": text, "learning_rate": number}, Path()))
    assert found["training"]["loss"] == text
    assert math.isclose(found["transfer"]["learning_rate"], number, rel_tol=0)
