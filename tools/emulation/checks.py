"""What is checked on a board: bundles, their outputs beside this machine's, and tests."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from check_package import ROOT, CheckFailed, Sample, call, skipped, step, use_bundle
from numpy.typing import NDArray

from edgetransfer.data import Sample as Photo
from edgetransfer.data import load_dataset
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.bundle import Bundle
from emulation.boards import Board
from emulation.comparison import Comparison, compare
from emulation.device_tests import FILES, LEFT_OUT, LEFT_OUT_OLD_ENGINE
from emulation.op_codes import check_op_versions

ON_DEVICE = Path(__file__).with_name("on_device.py")
PLUGIN = Path(__file__).with_name("few_examples.py")
SLOW_S = 1800  # a large bundle on the slowest board: three seconds an image
EVALUATED_EACH = 2  # photos a class


Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine computes of a bundle: prepared inputs, outputs of its kernels, and of its plain ones."""

    bundle: Bundle
    inputs: Path
    default: Outputs
    reference: Outputs | None


@dataclass(frozen=True, slots=True)
class Given:
    """Bundles with what this machine computes of them, photos of their classes; `sample` where they were built here."""

    bundles: tuple[Here, ...]
    data: Path
    sample: Sample | None


def check_board(board: Board, given: Given, *, tests: bool) -> dict[str, Any]:
    """Check everything on `board`; return the figures."""
    name = board.target.name
    compared: list[dict[str, Any]] = []
    for here in given.bundles:
        bundle = here.bundle
        title = f"{name}: {bundle.path.name}"
        if bundle.manifest.format not in board.target.formats:
            skipped(title, f"no engine for the format {bundle.manifest.format!r} exists there")
            continue
        with step(f"{title}: verify, evaluate, run"):
            if given.sample is not None:
                use_bundle(board, given.sample, other_kernels=True)
            else:
                _use(board, bundle, given.data)
        with step(f"{title}: outputs beside this machine's"):
            compared += [one.to_json() for one in _compare(board, here)]
    if "tflite-runtime" in " ".join((*board.target.wheels, *board.target.alone)):
        with step(f"{name}: the op versions that edgetransfer knows of are those of the wheel"):
            check_op_versions(board)
    if tests:
        with step(f"{name}: tests of the device side"):
            print(f"  {name}: {_run_tests(board)}", flush=True)
    return {"compared": compared}


def choose_photos(data: Path, images: int) -> list[Photo]:
    """Return at most `images` photos, evenly from the test split, or from all where that is too few."""
    dataset = load_dataset(data, for_training=False)
    test = dataset.split("test")
    photos = test if len(test) >= images else dataset.samples
    chosen = min(images, len(photos))
    return [photos[i * len(photos) // chosen] for i in range(chosen)]


def _use(board: Board, bundle: Bundle, data: Path) -> None:
    """Verify the bundle, evaluate it on some photos and run one."""
    if not board.json("verify", bundle.path)["passed"]:
        raise CheckFailed("verify exits with 0, but its report says that it did not pass")
    by_label: dict[str, list[Path]] = defaultdict(list)
    for photo in load_dataset(data, for_training=False).samples:
        by_label[photo.label].append(photo.path)
    few = board.folder / "photos" / bundle.path.name
    for label, paths in by_label.items():
        (few / "test" / label).mkdir(parents=True)
        for path in paths[:EVALUATED_EACH]:
            shutil.copy(path, few / "test" / label)
    report = board.json("evaluate", bundle.path, "--data", few, "--split", "test", "--quiet")
    expected = sum(min(len(paths), EVALUATED_EACH) for paths in by_label.values())
    if report["samples"] != expected:
        raise CheckFailed(f"evaluate: expected {expected} photos, got {report}")
    (result,) = board.json("run", bundle.path, next(iter(by_label.values()))[0])["results"]
    if set(result["scores"]) != set(bundle.manifest.task.labels):
        raise CheckFailed(f"run: expected scores of {bundle.manifest.task.labels}, got {result}")


def compute_here(bundle: Bundle, data: Path, folder: Path, images: int, *, reference: bool) -> Here:
    """Compute the outputs of `images` photos of `data` in the new `folder`."""
    folder.mkdir(parents=True)
    inputs = folder / "inputs.npz"
    files = [str(photo.path) for photo in choose_photos(data, images)]
    prepared = np.stack([prepare(read_image(file), bundle.manifest.image) for file in files])
    np.savez(inputs, prepared=prepared, photos=np.array(files))
    python = [sys.executable]
    default = _outputs(python, bundle, inputs, folder / "default.npz")
    plain = _outputs(python, bundle, inputs, folder / "reference.npz", "reference") if reference else None
    return Here(bundle, inputs, default, plain)


def _compare(board: Board, here: Here) -> list[Comparison]:
    """Return the outputs of the board beside those of this machine, and of its plain kernels if they were asked for."""
    path = board.folder / f"{here.bundle.path.name}.npz"
    sides = [_outputs([board.python], here.bundle, here.inputs, path)]
    sides += [] if here.reference is None else [here.reference]
    found = []
    for got in sides:
        engines = str(here.default["engine"]), str(got["engine"])
        pair = here.default["outputs"], got["outputs"]
        found.append(compare(here.bundle.manifest, pair, engines, len(got["other_pixels"])))
        print(f"  {board.target.name}: {found[-1].as_text()}", flush=True)
    if not found[0].agrees:
        raise CheckFailed(f"too many other first answers: {found[0].as_text()}")
    return found


def _outputs(python: Sequence[object], bundle: Bundle, inputs: Path, path: Path, kernels: str = "default") -> Outputs:
    # The board has its wheel; this machine's environment gets the checkout.
    env = {"PYTHONPATH": str(ROOT)} if python[0] == sys.executable else {}
    call(*python, ON_DEVICE, bundle.path, inputs, path, kernels, cwd=path.parent, env=env, timeout_s=SLOW_S)
    with np.load(path) as found:
        return dict(found)


def _run_tests(board: Board) -> str:
    """Run the device side's tests on the board, against its wheel; return pytest's last line."""
    checkout = board.folder / "checkout"
    checkout.mkdir()
    for name in ("tests", "devices"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    beside = board.folder / "beside"
    beside.mkdir()
    shutil.copy(PLUGIN, beside)
    left_out = dict(LEFT_OUT)
    if "ai-edge-litert" not in board.target.same_versions:
        _lend_schema(beside / "ai_edge_litert")
        left_out |= LEFT_OUT_OLD_ENGINE
    chosen = ("-k", "not (" + " or ".join(left_out) + ")", "-p", "no:cacheprovider", "-p", PLUGIN.stem, "-q")
    env = {"PYTHONPATH": str(beside)}
    done = call(board.python, "-m", "pytest", *chosen, *FILES, cwd=checkout, env=env, timeout_s=SLOW_S)
    return done.stdout.rstrip().splitlines()[-1]


def _lend_schema(package: Path) -> None:
    """Put LiteRT's schema, one file of Python, where its engine is not: tests write their small models with it."""
    from ai_edge_litert import schema_py_generated

    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(schema_py_generated.__file__, package)
