"""Puts the weights of a Keras file into a backbone of the same architecture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError


def load_into(model: Any, path: Path) -> None:
    """Give `model` the weights in `path`; a classifier on top in the file is left out.

    Args:
        model: A backbone whose layers are those of the file's model, from the first on.
        path: A `.keras` model, a `.weights.h5` of Keras 3, or an `.h5` of a whole model or of weights, as
            keras.applications publishes them.

    Raises:
        WeightsError: the file cannot be read, or is that of another network, alpha or depth.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file")
    if path.name.endswith((".keras", ".weights.h5")):
        _load_keras3(model, path)
    elif path.suffix in (".h5", ".hdf5"):
        _load_legacy(model, path)
    else:
        raise WeightsError(
            f"weights {path}: expected a .keras, .weights.h5 or .h5 file, got {path.suffix or 'no'} suffix"
        )


def _load_keras3(model: Any, path: Path) -> None:
    for variable in model.weights:  # Keras only warns of some weights that it did not find
        variable.assign(np.full(variable.shape, np.nan, np.float32))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path)
    except Exception as trouble:  # Keras, h5py and zipfile each raise their own kinds for a wrong file
        raise WeightsError(f"{_other(model, path)} ({_first_line(trouble)})") from trouble
    for variable in model.weights:
        if np.isnan(np.asarray(variable)).any():
            raise WeightsError(f"{_other(model, path)}: it has no whole {variable.path}")


def _load_legacy(model: Any, path: Path) -> None:
    from edgetransfer.models import legacy_h5

    stored = legacy_h5.read_layers(path)
    by_name = dict(stored)
    layers = [layer for layer in model.layers if layer.weights]
    if all(layer.name in by_name for layer in layers):
        found: Sequence[Sequence[NDArray[Any]]] = [by_name[layer.name] for layer in layers]
    else:  # published MobileNetV3 files have the names of an older Keras, in the same order
        found = [arrays for _, arrays in stored[: len(layers)]]
    if len(found) < len(layers):
        raise WeightsError(f"{_other(model, path)}: it has {len(found)} layers with weights, not {len(layers)}")
    for layer, arrays in zip(layers, found, strict=True):
        wanted, got = [tuple(v.shape) for v in layer.weights], [array.shape for array in arrays]
        if wanted != got:
            raise WeightsError(f"{_other(model, path)}: {layer.name} needs {wanted}, the file has {got}")
    for layer, arrays in zip(layers, found, strict=True):
        for variable, array in zip(layer.weights, arrays, strict=True):
            variable.assign(np.asarray(array, np.float32))


def _other(model: Any, path: Path) -> str:
    return f"weights {path}: not those of this {model.name} (another network, --alpha, or a damaged file)"


def _first_line(trouble: BaseException) -> str:
    lines = str(trouble).strip().splitlines()
    return lines[0] if lines else type(trouble).__name__
