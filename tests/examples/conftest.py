"""Runs the examples as a user does: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600


@pytest.fixture(scope="session")
def run_example() -> Callable[..., subprocess.CompletedProcess[Any]]:
    """Run a script, named from the folder examples, and return what it said: text, unless `text=False`."""

    def run(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(
            [sys.executable, ROOT / "examples" / script, *map(str, arguments)],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            **{"text": True, **options},
        )

    return run


@pytest.fixture(scope="session")
def small_backbone(small_keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a backbone file that knows its normalisation."""
    from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
    from edgetransfer.spec.preprocess import Normalisation

    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    facts = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")
    write_backbone(path, small_keras, facts)
    return path
