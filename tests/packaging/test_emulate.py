from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tools" / "emulate_devices.py"


@pytest.fixture
def tool(monkeypatch):
    """Imports a module of tools/ by its name."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module


@pytest.fixture
def compared(tool, tiny_bundle):
    """Compares int8 logits (n, 3) of two machines, under the tiny bundle's manifest, which grants 2 steps."""
    comparison = tool("emulation.comparison")

    def compare(here, there, *, tolerance=2, scores=False):
        golden = tiny_bundle.GoldenInfo("own", "golden.npz", 4, "litert", "2.3.0", "xnnpack-x86_64", tolerance, 0)
        manifest = tiny_bundle.manifest(golden=golden, scores_in_graph=scores)
        dtype = np.float32 if scores else np.int8
        return comparison.compare(manifest, (np.array(here, dtype), np.array(there, dtype)), ("here", "there"))

    return compare


def emulate(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *(str(argument) for argument in arguments)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: target"),
        (("riscv64",), "invalid choice: 'riscv64'"),
        (("aarch64", "{here}"), "bundles and --data belong together"),
        (("aarch64", "--data", "{here}"), "bundles and --data belong together"),
        (("aarch64", "--images", "0"), "--images: expected a number from 1, got 0"),
        (("aarch64", "/nowhere/a.bundle", "--data", "{here}"), "/nowhere/a.bundle: no such file or folder"),
    ],
)
def test_a_mistake_in_the_arguments_is_named_and_nothing_is_made(arguments, words, tool, tmp_path, capsys):
    given = [argument.replace("{here}", str(tmp_path)) for argument in arguments]
    with pytest.raises(SystemExit) as end:
        tool("emulate_devices").parse(given)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_without_apt_it_fails_with_one_line_that_says_what_is_missing(tmp_path):
    done = emulate("aarch64", PATH=str(tmp_path), EDGETRANSFER_EMULATE_CACHE=str(tmp_path / "kept"))
    assert done.returncode == 1
    assert (
        done.stderr == "Error: aarch64: needs Debian's qemu-user-static, and there is no apt-get here to install it\n"
    )


def test_what_is_impossible_here_can_be_skipped_with_the_reason(tmp_path):
    kept = str(tmp_path / "kept")
    done = emulate("armv7", "--skip-if-impossible", PATH=str(tmp_path), EDGETRANSFER_EMULATE_CACHE=kept)
    assert done.returncode == 0, done.stderr
    assert "skipped  armv7: needs Debian's qemu-user-static, and there is no apt-get" in done.stdout


def test_without_root_the_command_that_root_needs_is_named(tool, monkeypatch, tmp_path):
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        tool("emulation.impossible").Impossible, match="and root to install it: sudo apt-get install qemu-user-static"
    ):
        tool("emulation.debian").install_here("qemu-user-static")


def test_a_mirror_out_of_reach_is_one_line_with_apts_own_words(tool, monkeypatch, tmp_path):
    for name, code in (("apt-get", "echo 'E: Failed to fetch it' >&2; exit 100"), ("dpkg-deb", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    debian = tool("emulation.debian")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "KEYS", tmp_path)
    with pytest.raises(tool("emulation.impossible").Impossible) as refusal:
        debian.unpack(tmp_path / "root", "arm64", ["python3.11"])
    assert str(refusal.value) == "Debian's packages for arm64: apt-get failed: E: Failed to fetch it"


def test_steps_are_counted_over_all_outputs_and_images(compared):
    here = np.zeros((100, 3), int)
    here[:, 0] = 50
    there = here.copy()
    there[0, 1], there[1, 2], there[2, 2] = 7, -3, 2
    found = compared(here, there)
    assert (found.images, found.steps_max, found.steps_p99) == (100, 7, 2)
    assert (found.top1_agreement, found.images_beyond) == (1.0, 2)
    assert "p99 2; same first answer 100.0% (0 others were clear); 2 images beyond the 2 steps" in found.as_text()


def test_the_greatest_distance_of_int8_does_not_wrap(compared):
    assert compared([[127, 0, 0]], [[-128, 0, 0]]).steps_max == 255


@pytest.mark.parametrize(("different", "agrees"), [(0, True), (1, True), (2, False)])
def test_one_image_in_a_hundred_may_have_another_first_answer(different, agrees, compared):
    here = np.tile([9, 0, 0], (100, 1))
    there = here.copy()
    there[:different] = [0, 9, 0]
    found = compared(here, there)
    assert found.top1_agreement == pytest.approx(1 - different / 100)
    assert found.clear_disagreements == different
    assert found.agrees is agrees


@pytest.mark.parametrize(("lead", "clear"), [(4, 0), (5, 1)])
def test_a_tie_within_what_both_sides_may_move_is_no_clear_disagreement(lead, clear, compared):
    assert compared([[lead, 0, -9]], [[0, lead, -9]], tolerance=2).clear_disagreements == clear
    found = compared([[0.5, 0.5 - lead * 0.5 / 256, 0]], [[0.1, 0.5, 0]], tolerance=2, scores=True)
    assert (found.top1_agreement, found.clear_disagreements) == (0, clear)


def test_a_step_of_float_scores_is_a_256th_of_the_largest(compared):
    found = compared([[0.5, 0.25, 0.25]], [[0.5, 0.25, 0.25 + 3 * 0.5 / 256]], scores=True)
    assert found.steps_max == pytest.approx(3, abs=1e-4)


def test_outputs_that_are_no_numbers_are_beyond_every_tolerance_and_null_in_json(compared):
    found = compared([[0.5, 0.25, 0.25]], [[0.5, 0.25, np.nan]], scores=True)
    assert found.images_beyond == 1
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["steps_max"] is None


def test_photos_are_taken_evenly_from_the_test_split_or_from_all_where_that_is_too_small(tool, photos, tmp_path):
    folder = photos.write_photos(tmp_path / "photos", each=10)
    choose = tool("emulation.checks").choose_photos
    test = choose(folder, 3)
    assert {photo.split for photo in test} == {"test"}
    assert len({photo.path for photo in test}) == 3
    assert len(choose(folder, 25)) == 25
    assert len({photo.path for photo in choose(folder, 1000)}) == 30


def test_a_board_is_made_anew_when_anything_that_it_is_made_of_changes(tool):
    boards, targets = tool("emulation.boards"), tool("emulation.targets")
    one = targets.TARGETS["aarch64"]
    assert one.emulation is not None
    others = (
        replace(one, wheels=("pillow==11.0",)),
        replace(one, emulation=replace(one.emulation, packages=("python3.11",))),
        replace(one, emulation=replace(one.emulation, cpuinfo="processor: {core}\n")),
    )
    assert len({boards.kept_name(one), *map(boards.kept_name, others)}) == 4
    assert boards.kept_name(one) == boards.kept_name(replace(one))


def test_what_is_kept_is_made_once_and_nothing_is_left_of_what_failed(tool, monkeypatch, tmp_path):
    boards = tool("emulation.boards")
    monkeypatch.setenv("EDGETRANSFER_EMULATE_CACHE", str(tmp_path / "kept"))
    made = []

    def fail(folder):
        (folder / "half").touch()
        raise tool("emulation.impossible").Impossible("no network")

    with pytest.raises(Exception, match="no network"):
        boards._keep("board-1", fail)
    assert list((tmp_path / "kept").iterdir()) == []
    for _ in range(2):
        folder = boards._keep("board-1", lambda new: made.append((new / "python").touch()))
    assert len(made) == 1
    assert folder == tmp_path / "kept" / "board-1"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["board-1"]
    assert (folder / "python").exists()


def test_boards_are_kept_where_the_variables_say(tool, monkeypatch, tmp_path):
    folder = tool("emulation.boards").cache_folder
    monkeypatch.delenv("EDGETRANSFER_EMULATE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "edgetransfer-emulate"
    monkeypatch.setenv("EDGETRANSFER_EMULATE_CACHE", str(tmp_path / "own"))
    assert folder() == tmp_path / "own"


def test_tests_that_boards_run_or_leave_out_exist(tool):
    chosen = tool("emulation.device_tests")
    assert [name for name in chosen.FILES if not (ROOT / name).exists()] == []
    files = [
        path
        for name in chosen.FILES
        for path in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name])
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    left_out = {**chosen.LEFT_OUT, **chosen.LEFT_OUT_OLD_ENGINE}
    assert [name for name in left_out if f"def {name}(" not in text] == []


def test_a_probe_tells_whether_an_engine_has_an_op_in_a_version(tool):
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model = tool("emulation.op_codes")._model
    Interpreter(model_content=model(BuiltinOperator.CONV_2D, 7))
    with pytest.raises(ValueError, match="CONV_2D' version '99'"):
        Interpreter(model_content=model(BuiltinOperator.CONV_2D, 99))


def test_the_tool_can_be_called_as_it_is():
    path = ROOT / "tools" / "emulate"
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
