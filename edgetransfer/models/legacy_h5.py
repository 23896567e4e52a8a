"""Reads `.h5` files of Keras 1 and 2: their weights, and their models as Keras 3 accepts them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError, WeightsError


def read_layers(path: Path) -> list[tuple[str, list[NDArray[Any]]]]:
    """Return (name, weights) of every layer with weights in the legacy `.h5` file at `path`, in the file's order.

    Raises:
        WeightsError: not such a file, damaged, or it points at other files.
    """
    try:
        with h5py.File(path, "r") as file:
            root = _inside(file, "model_weights") if "model_weights" in file else file
            if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
                raise WeightsError(
                    f"weights {path}: no weights of Keras layers in it; if Keras 3 saved it, its name must end in "
                    ".weights.h5"
                )
            found = []
            for name in _texts(root.attrs, "layer_names"):
                group = _inside(root, name)
                arrays = [np.asarray(_inside(group, weight)) for weight in _texts(group.attrs, "weight_names")]
                if arrays:
                    found.append((name, arrays))
            return found
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as trouble:
        raise WeightsError(f"weights {path}: not a whole .h5 file of Keras ({_first_line(trouble)})") from trouble


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


def _inside(group: Any, name: str) -> Any:
    """Return what `group` has at `name`, but nothing that lies in another file."""
    for part in name.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name!r} is missing or a link")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise ValueError(f"{name!r} lies in another file")
    return group


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
