"""Runs the device side with the real wheels of other machines: bundles, their outputs beside this machine's, tests.

    tools/emulate aarch64|armv7|tflite-runtime|all
    tools/emulate aarch64 waste.bundle --data photos/ --images 100 --json figures.json

aarch64 and armv7 are the Arm boards of emulation/targets.py: Debian's Python and PyPI's wheels for them, run by QEMU's
user mode. tflite-runtime is this machine with the engine of 32-bit Arm. Without bundles, a small one is built here.
Everything is kept in $EDGETRANSFER_EMULATE_CACHE, else in edgetransfer-emulate below $XDG_CACHE_HOME or ~/.cache, and
can be deleted at any time. It needs apt-get and dpkg-deb, the network the first time, and root or sudo if QEMU is not
installed yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from check_package import CheckFailed, build_package, build_sample, skipped, step
from emulation.boards import Board, make_board
from emulation.checks import Given, check_board, compute_here
from emulation.impossible import Impossible
from emulation.targets import TARGETS, get_targets

from edgetransfer.spec.bundle import Bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks of the targets that were asked for; return the exit code."""
    options = parse(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgetransfer-emulate-") as folder:
        try:
            report = check_all(Path(folder), options)
        except Impossible as reason:
            print(f"Error: {reason}", file=sys.stderr)
            return 1
        except CheckFailed as failure:
            print(f"FAILED: {failure}", flush=True)
            return 1
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if not report["targets"]:
        print("emulate: nothing could be checked here")
    else:
        print(f"emulate: {', '.join(report['targets'])} passed in {time.perf_counter() - began:.0f} s")
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line; a mistake in them ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog="tools/emulate", description=__doc__, formatter_class=_Formatter)
    parser.add_argument("target", choices=[*TARGETS, "all"], help="what to be")
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="bundles; none: a small one is built")
    parser.add_argument("--data", type=Path, help="photos of the bundles' classes: a folder or CSV, as evaluate takes")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="how many to compare (default: 100)")
    parser.add_argument("--reference", action="store_true", help="compare this machine's plain kernels too (slow)")
    parser.add_argument("--no-tests", action="store_true", help="leave the device side's tests out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--skip-if-impossible", action="store_true", help="say what is missing here, and exit with 0")
    options = parser.parse_args(arguments)
    if bool(options.bundles) != (options.data is not None):
        parser.error("bundles and --data belong together: photos of their classes")
    if options.images < 1:
        parser.error(f"--images: expected a number from 1, got {options.images}")
    for path in (*options.bundles, *([options.data] if options.data else [])):
        if not path.exists():
            parser.error(f"{path}: no such file or folder")
    return options


def check_all(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the boards, then what they run, and check them side by side; return the figures."""
    boards = make_boards(work, options)
    if not boards:
        return {"targets": {}}
    with step("the wheel, built here"):
        wheel = build_package(work / "dist")
    for board in boards:
        board.install(wheel)
    given = make_given(work, options)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {b.target.name: pool.submit(check_board, b, given, tests=not options.no_tests) for b in boards}
        return {"targets": {name: one.result() for name, one in running.items()}}


def make_boards(work: Path, options: argparse.Namespace) -> list[Board]:
    """Return the boards of the targets that were asked for."""
    boards = []
    for target in get_targets(options.target):
        try:
            with step(f"{target.name}: {target.summary}"):
                boards.append(make_board(target, work / target.name))
        except Impossible as reason:
            if not options.skip_if_impossible:
                raise Impossible(f"{target.name}: {reason}") from reason
            skipped(target.name, str(reason))
    return boards


def make_given(work: Path, options: argparse.Namespace) -> Given:
    """Return the bundles that were given, or a small one built here, with what this machine computes of them."""
    if options.bundles:
        paths, data, sample = [path.resolve() for path in options.bundles], options.data.resolve(), None
    else:
        with step("a small bundle from real photos, built here"):
            sample = build_sample(work)
        paths, data = [sample.bundle], sample.photos
    computed = []
    for number, path in enumerate(paths):
        with step(f"{path.name}: its outputs on this machine"):
            folder = work / f"here-{number}"
            bundle = Bundle.load(path)
            computed.append(compute_here(bundle, data, folder, options.images, reference=options.reference))
    return Given(tuple(computed), data, sample)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The docstring as it stands."""


if __name__ == "__main__":
    sys.exit(main())
