"""The real clients, as tools/clients runs them; skipped where their packages cannot be had, with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from client_checks.samples import build_samples

ROOT = Path(__file__).resolve().parents[2]
FORMATS = {"mediapipe": "litert", "litert_js": "litert", "onnx": "onnx"}


@pytest.fixture(scope="module")
def small_bundles(tmp_path_factory):
    """A small bundle of each format from real photographs, and the photographs."""
    pytest.importorskip("keras", reason="building needs the extra 'train'")
    photos, bundles = build_samples(tmp_path_factory.mktemp("clients"), FORMATS.values())
    return photos, dict(zip(sorted(set(FORMATS.values())), bundles, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("client", FORMATS)
def test_a_real_client_gives_our_labels_in_our_order_and_our_answers(client, small_bundles):
    photos, bundles = small_bundles
    arguments = [client, str(bundles[FORMATS[client]]), "--data", str(photos), "--json", "--skip-if-impossible"]
    done = subprocess.run(
        [sys.executable, "-m", "client_checks", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tools"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.stdout, done.stderr
    (result,) = json.loads(done.stdout)
    if result["result"] == "skipped":
        pytest.skip(result["reason"])
    assert result["result"] == "passed", result["reason"]
    assert result["images"] >= 30
    assert result["labels"] == ["cat", "coffee", "fusée d'été"]
