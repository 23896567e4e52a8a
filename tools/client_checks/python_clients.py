"""MediaPipe Tasks and plain ONNX Runtime: each in an environment of its own, running the README's lines."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client_checks.comparison import Answers
from client_checks.documented import lines_for
from client_checks.environments import python_with, run_client
from client_checks.failures import CheckFailed
from client_checks.samples import Sample

MEDIAPIPE = ("mediapipe==1.2.2",)
ONNXRUNTIME = ("onnxruntime==1.32.0",)
TIMEOUT_S = 120


def ask_mediapipe(sample: Sample, document: str) -> Answers:
    """Return what MediaPipe Tasks' ImageClassifier says of the sample's images."""
    block = lines_for("mediapipe tasks", "python", document)
    return _ask("mediapipe", python_with("mediapipe", MEDIAPIPE), block, sample)


def ask_onnx(sample: Sample, document: str) -> Answers:
    """Return what ONNX Runtime says of the sample's images, with nothing of ours installed."""
    block = lines_for("plain onnxruntime", "python", document)
    return _ask("onnx", python_with("onnxruntime", ONNXRUNTIME), block, sample)


def read_answers(given: Sequence[dict[str, Any]]) -> Answers:
    """Return the answers that run_block.py wrote.

    Raises:
        CheckFailed: the label that the README's lines show is not that of the largest output, or labels change.
    """
    labels = given[0]["labels"]
    for number, one in enumerate(given):
        if one["labels"] != labels:
            raise CheckFailed(f"image {number}: expected the labels of image 0, {labels}, got {one['labels']}")
        largest = {label for label, output in zip(labels, one["outputs"], strict=True) if output == max(one["outputs"])}
        if one["best"] not in largest:
            raise CheckFailed(
                f"image {number}: expected the first label to be in {sorted(largest)}, got {one['best']!r}"
            )
    return Answers(tuple(labels), np.array([one["outputs"] for one in given], np.float64))


def _ask(client: str, python: Path, block: str, sample: Sample) -> Answers:
    with tempfile.TemporaryDirectory(prefix="edgetransfer-clients-") as folder:
        work = Path(folder)
        (work / "waste.bundle").symlink_to(sample.bundle.path.resolve(), target_is_directory=True)
        (work / "block.py").write_text(block, encoding="utf-8")
        np.save(work / "images.npy", sample.inputs)
        script = Path(__file__).with_name("run_block.py")
        arguments = [str(script), client, "block.py", "images.npy", "answers.json"]
        run_client([str(python), *arguments], cwd=work, timeout_s=TIMEOUT_S)
        return read_answers(json.loads((work / "answers.json").read_text(encoding="utf-8")))
