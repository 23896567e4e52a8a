from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgetransfer.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]

_spec = importlib.util.spec_from_file_location("tiny_bundle", ROOT / "tests" / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle that tells red, green and blue apart; tests must not change it."""
    path: Path = tiny.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle").path
    return path


@pytest.fixture(scope="session")
def split_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that ends in features, with the head `colour`; tests must not change it."""
    path: Path = tiny.make_split_bundle(tmp_path_factory.mktemp("bundles") / "split.bundle").path
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight reddish, greenish and bluish photos each, a folder a colour."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for channel, label in enumerate(tiny.LABELS):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 120, (40, 60, 3))
            pixels[..., channel] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def call() -> Callable[..., Result]:
    """Calls the command line inside this process; an exception that gets out of it fails the test."""

    def call_it(*arguments: object, stdin: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call_it


@pytest.fixture
def document() -> Callable[[Result], Any]:
    """Parses standard output, which must be one JSON document and nothing else."""
    return lambda result: json.loads(result.stdout)


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls the command line as users do, in a process of its own."""

    def start(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgetransfer", *(str(argument) for argument in arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=environment, **options
        )

    return start
