"""Runs on the board: what a bundle computes of given inputs, and whether photos become the same pixels there.

Usage: python on_device.py BUNDLE INPUTS.npz OUTPUTS.npz default|reference

INPUTS.npz has `prepared` (n, H, W, 3) uint8 and `photos`, the n files that they were made of elsewhere. OUTPUTS.npz
gets `outputs` (n, C), `other_pixels`, the numbers of the photos that are other pixels here, and `engine`.
"""

from __future__ import annotations

import sys

import numpy as np

from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.predictor import Predictor

bundle, given, wanted, kernels = sys.argv[1:]
with np.load(given) as inputs:
    prepared, photos = inputs["prepared"], inputs["photos"]
with Predictor.load(bundle, kernels="reference" if kernels == "reference" else "default") as predictor:
    how = predictor.bundle.manifest.image
    other = [i for i, photo in enumerate(photos) if (prepare(read_image(str(photo)), how) != prepared[i]).any()]
    outputs = np.concatenate([predictor.run(pixels) for pixels in prepared])
    engine = f"{predictor.engine.name} {predictor.engine.version} ({predictor.engine.kernels})"
np.savez(wanted, outputs=outputs, other_pixels=np.array(other, np.int64), engine=np.array(engine))
