"""Reads `.h5` files of Keras 1 and 2: their weights, and their models as Keras 3 accepts them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError, WeightsError

_MOST_RATIO = 200  # unpacked to packed; float weights are packed to no less than a tenth
_BROKEN = (OSError, KeyError, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Stored:
    """A parameter in a legacy `.h5` file.

    Attributes:
        layer: The layer as the file lists it; of a model inside of the model, that model.
        name: What Keras called it, such as "stem/kernel:0".
        place: Where it stands in the file.
        shape: Its shape.
        dtype: numpy's name of its dtype.
    """

    layer: str
    name: str
    place: str
    shape: tuple[int, ...]
    dtype: str


def is_legacy(path: Path) -> bool:
    """Whether Keras 1 or 2, or Keras 3 in their manner, wrote the HDF5 file at `path`; not so if it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            root = inside(file, "model_weights") if "model_weights" in file else file
            return "layer_names" in root.attrs or "layer_names0" in root.attrs
    except _BROKEN:
        return False


def read_layers(path: Path) -> list[tuple[str, list[NDArray[Any]]]]:
    """Return (name, weights) of every layer with weights in the legacy `.h5` file at `path`, in the file's order.

    Raises:
        WeightsError: not such a file, damaged, or it points at other files.
    """
    with _opened(path) as file:
        layers = [(name, [np.asarray(weight) for _, weight in weights]) for name, weights in _weights(file, path)]
    return layers


def list_weights(path: Path) -> list[Stored]:
    """Return what the legacy `.h5` file at `path` has, in its order, without reading the numbers.

    Raises:
        WeightsError: as `read_layers`, or a parameter says it has more numbers than the file.
    """
    found = []
    with _opened(path) as file:
        for layer, weights in _weights(file, path):
            for name, weight in weights:
                check_dataset(weight, name)
                found.append(Stored(layer, name, str(weight.name), tuple(weight.shape), weight.dtype.name))
    return found


def read_weight(path: Path, place: str) -> NDArray[Any]:
    """Return the numbers of the parameter at `place` in the `.h5` file at `path`.

    Raises:
        WeightsError: it is not there any more, or damaged.
    """
    with _opened(path) as file:
        return np.asarray(inside(file, place.strip("/")))


def read_config(path: Path) -> dict[str, Any]:
    """Return the model_config of the `.h5` model at `path`.

    Raises:
        BackboneError: not an `.h5` file, damaged, or of weights alone.
    """
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
        config = None if text is None else json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as trouble:
        raise BackboneError(f"model {path}: not a whole .h5 file ({_first_line(trouble)})") from trouble
    if not isinstance(config, dict):
        raise BackboneError(
            f"model {path}: has weights but no architecture; save the whole model with model.save(...), or name its "
            "architecture with --backbone and give this file as --weights"
        )
    return config


def write_copy(path: Path, copy: Path, config: dict[str, Any]) -> Path:
    """Return `copy`, the `.h5` model at `path` with `config` as its model_config."""
    shutil.copyfile(path, copy)
    copy.chmod(0o600)  # the user's file may be read-only
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def drop_groups(config: dict[str, Any], where: str) -> bool:
    """Remove `groups` from every DepthwiseConv2D in `config`, in place; say whether there were any.

    Keras 2 wrote it there without using it, and Keras 3 does not know it.

    Raises:
        BackboneError: a DepthwiseConv2D with groups other than 1.
    """
    found = False
    for settings in _depthwise(config):
        if settings.pop("groups") != 1:
            raise BackboneError(f"{where}: layer {settings.get('name')!r} is a DepthwiseConv2D with groups; use Conv2D")
        found = True
    return found


def _depthwise(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of every DepthwiseConv2D in `config` that has groups, nested models' too."""
    if isinstance(config, dict):
        settings = config.get("config")
        if config.get("class_name") == "DepthwiseConv2D" and isinstance(settings, dict) and "groups" in settings:
            yield settings
        for value in config.values():
            yield from _depthwise(value)
    elif isinstance(config, list):
        for value in config:
            yield from _depthwise(value)


def inside(group: Any, name: str) -> Any:
    """Return what `group` has at `name`, but nothing that lies in another file.

    Raises:
        ValueError: it is missing, a link, or lies in another file.
    """
    for part in name.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name!r} is missing or a link")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise ValueError(f"{name!r} lies in another file")
    return group


def check_dataset(dataset: Any, name: str) -> None:
    """Refuse a dataset that would become far more numbers than the file has bytes for.

    Raises:
        ValueError: says how many.
    """
    kept, size_bytes = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
    if size_bytes > kept * _MOST_RATIO:
        raise ValueError(f"{name!r} says it has {size_bytes:,} bytes, of which the file keeps {kept:,}; refused")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _BROKEN as trouble:
        raise WeightsError(f"weights {path}: not a whole .h5 file of Keras ({_first_line(trouble)})") from trouble


def _weights(file: Any, path: Path) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield the name of each layer with weights, and name and dataset of each weight."""
    root = inside(file, "model_weights") if "model_weights" in file else file
    if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
        raise WeightsError(
            f"weights {path}: no weights of Keras layers in it; if Keras 3 saved it, its name must end in .weights.h5"
        )
    for name in _texts(root.attrs, "layer_names"):
        group = inside(root, name)
        weights = [(weight, inside(group, weight)) for weight in _texts(group.attrs, "weight_names")]
        if weights:
            yield name, weights


def _texts(attrs: Any, name: str) -> list[str]:
    """Return a list of texts from `attrs`, which Keras splits into name0, name1 ... where it is long."""
    values = list(attrs[name]) if name in attrs else []
    number = 0
    while f"{name}{number}" in attrs:
        values += list(attrs[f"{name}{number}"])
        number += 1
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _first_line(trouble: BaseException) -> str:
    lines = str(trouble).strip().splitlines()
    return lines[0] if lines else type(trouble).__name__
