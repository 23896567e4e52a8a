"""Runs the README's lines for each image where the client alone is installed, and writes what they gave as JSON.

Usage: python run_block.py mediapipe|onnx BLOCK.py IMAGES.npy ANSWERS.json   (in a folder that has waste.bundle)

The lines find the image as `frame` (H, W, 3) and as `pixels` (1, H, W, 3), uint8 RGB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Read the arguments, run the lines, write the answers."""
    client, block, images, answers = sys.argv[1:]
    code = compile(Path(block).read_text(encoding="utf-8"), block, "exec")
    given = []
    for image in np.load(images):
        names: dict[str, Any] = {"frame": image, "pixels": image[None]}
        exec(code, names)
        given.append(READERS[client](names))
    Path(answers).write_text(json.dumps(given), encoding="utf-8")


def read_mediapipe(names: dict[str, Any]) -> dict[str, Any]:
    """Return labels and outputs in the order of the category indices."""
    (classifications,) = names["answer"].classifications
    categories = {category.index: category for category in classifications.categories}
    ordered = [categories[index] for index in range(len(categories))]
    return {
        "best": names["best"].category_name,
        "labels": [category.category_name for category in ordered],
        "outputs": [float(category.score) for category in ordered],
    }


def read_onnx(names: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of the file's metadata and the logits."""
    metadata = names["session"].get_modelmeta().custom_metadata_map
    return {
        "best": names["label"],
        "labels": json.loads(metadata["labels"]),
        "outputs": [float(logit) for logit in names["logits"][0]],
    }


READERS = {"mediapipe": read_mediapipe, "onnx": read_onnx}

if __name__ == "__main__":
    main()
