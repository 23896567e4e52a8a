"""Measures the range of every activation on training images, once; the ranges are then kept and reused.

A range is the mean over the images of each image's least and greatest value. Unlike the quantizer's own moving
average, which moved 41 of 60 ranges when the same images came in another order, it does not depend on the order.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
from numpy.typing import NDArray

from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.preprocess import Normalisation


def calibrate(float_model: bytes, images: NDArray[Any], normalisation: Normalisation) -> dict[str, tuple[float, float]]:
    """Return the range of every activation of `float_model` over `images`.

    Args:
        float_model: A `.tflite` with one float32 input (1, H, W, 3) of normalised pixels, or int32 ids of tokens.
        images: (n, H, W, 3) uint8 RGB or (n, tokens) int32, prepared; from the training split only.
        normalisation: How a pixel becomes the model's input; its full span 0..255 is the input's range, because
            the range seen would clip the brightest and darkest pixels.
    """
    inputs = float_inputs(images, normalisation)
    calibrator = Calibrator(
        float_model,
        num_threads=available_cores(),
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=_add,
    )
    key = next(iter(calibrator.get_signature_list()))
    name = calibrator.get_signature_list()[key]["inputs"][0]
    # The calibrator draws a progress bar on standard error, which is ours to write on.
    with contextlib.redirect_stderr(io.StringIO()):
        calibrator.calibrate({key: [{name: one[None]} for one in inputs]}, None)
    ranges = {tensor: _mean(total) for tensor, total in calibrator.get_model_qsvs().items()}
    graph = Graph.read(float_model)
    if graph.dtype(graph.input) == "float32":
        ranges[graph.name(graph.input)] = normalisation.span
    return dict(sorted(ranges.items()))


def float_inputs(images: NDArray[Any], normalisation: Normalisation) -> NDArray[Any]:
    """Return what a float model takes of prepared `images`: real numbers of pixels, ids of tokens as they are."""
    return images if images.dtype == np.int32 else normalisation.to_real(images)


def _add(total: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        "min": total["min"] + new["min"],
        "max": total["max"] + new["max"],
        "images": total.get("images", 1) + 1,
    }


def _mean(total: dict[str, Any]) -> tuple[float, float]:
    images = total.get("images", 1)
    return float(np.ravel(total["min"])[0]) / images, float(np.ravel(total["max"])[0]) / images
