from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgetransfer.spec.device import device_names, load_device

FOLDER = Path(__file__).resolve().parents[2] / "devices"


def listed(result):
    assert result.exit_code == 0
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


def test_the_devices_are_listed_by_the_names_that_build_takes(call, document):
    assert tuple(listed(call("devices", "list"))) == device_names()
    found = document(call("devices", "list", "--json"))["devices"]
    assert tuple(device["slug"] for device in found) == device_names()


def test_without_a_command_they_are_listed_too(call):
    assert call("devices").stdout == call("devices", "list").stdout


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (["--class", "camera"], lambda d: d.device_class == "camera"),
        (["--engine", "onnx"], lambda d: any(e.name == "onnx" for e in d.engines)),
        (["--recipe", "weight_int4"], lambda d: any("weight_int4" in e.recipes for e in d.engines)),
        (["--accelerator", "npu"], lambda d: any(a.kind == "npu" for a in d.accelerators)),
        (
            ["--class", "sbc", "--accelerator", "npu"],
            lambda d: d.device_class == "sbc" and any(a.kind == "npu" for a in d.accelerators),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_list_is_filtered(options, fits, call, document):
    expected = [name for name in device_names() if fits(load_device(name))]
    assert 0 < len(expected) < len(device_names())
    assert listed(call("devices", "list", *options)) == expected
    found = document(call("devices", "list", *options, "--json"))["devices"]
    assert [device["slug"] for device in found] == expected


def test_a_recipe_beside_an_engine_must_run_on_that_engine(call, document):
    nobody = call("devices", "list", "--engine", "onnx", "--recipe", "weight_int4")
    assert nobody.exit_code == 0
    assert nobody.stdout == f"none of the {len(device_names())} known devices\n"
    found = document(call("devices", "list", "--engine", "onnx", "--recipe", "weight_int4", "--json"))
    assert found["devices"] == []


@pytest.mark.parametrize(
    ("option", "word", "near"),
    [
        ("--class", "cameras", "did you mean 'camera'?"),
        ("--engine", "litrt", "did you mean 'litert'?"),
        ("--recipe", "static_in8", "did you mean 'static_int8'?"),
        ("--accelerator", "npus", "did you mean 'npu'?"),
    ],
)
def test_a_misspelt_filter_is_answered_with_the_nearest(option, word, near, call):
    result = call("devices", "list", option, word)
    assert (result.exit_code, result.stdout) == (1, "")
    assert near in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_device_is_shown_with_its_sources(call, document, tmp_path):
    assert "sources" in call("devices", "show", "raspberry_pi_4").stdout
    assert document(call("devices", "show", "raspberry_pi_4", "--json"))["slug"] == "raspberry_pi_4"
    shutil.copy(FOLDER / "esp32_s3.toml", tmp_path)
    assert document(call("devices", "show", str(tmp_path / "esp32_s3.toml"), "--json"))["class"] == "mcu"


def test_a_misspelt_device_is_answered_with_the_nearest(call):
    result = call("devices", "show", "raspbery_pi4", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'raspberry_pi_4'?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_every_file_that_ships_is_right(call):
    result = call("devices", "check", *(str(path) for path in sorted(FOLDER.glob("*.toml"))))
    assert result.exit_code == 0
    assert all(line.endswith(": right") for line in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) == len(device_names())


def test_all_that_is_wrong_with_files_is_said_at_once(call, document, tmp_path):
    text = (FOLDER / "raspberry_pi_4.toml").read_text(encoding="utf-8")
    good, bad, none = tmp_path / "raspberry_pi_4.toml", tmp_path / "bad.toml", tmp_path / "none.toml"
    good.write_text(text, encoding="utf-8")
    bad.write_text(text.replace('"sbc"', '"sbcs"').replace("cores = 4", "cores = 0"), encoding="utf-8")
    result = call("devices", "check", str(good), str(bad), str(none))
    assert result.exit_code == 1
    for part in (
        f"{good}: right",
        f"{bad}: 2 problems",
        "  class: expected one of sbc",
        "  cpu.clusters[0].cores: expected a whole number above 0, got 0",
        f"{none}: 1 problem",
        "cannot be read",
    ):
        assert part in result.stdout
    result = call("devices", "check", str(good), str(bad), "--json")
    assert result.exit_code == 1
    found = document(result)
    assert not found["passed"]
    assert [len(row["problems"]) for row in found["files"]] == [0, 2]


def test_a_check_needs_a_file(call):
    assert call("devices", "check").exit_code == 2
