"""Models and weights that Keras 3 saved: `.keras` and `.weights.h5`, read without Keras.

A `.keras` file is a zip archive of a configuration and of an HDF5 file. There a layer's parameters stand below its
class's name and a number, in the order of the configuration's layers. Source: keras 3.15, saving/saving_lib.py.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._files import broken, group, sha256_of
from edgetransfer.transfer.sources._keras_layers import (
    KerasLayer,
    Parameter,
    as_tensor,
    class_of,
    layers_of,
    name_of,
    parameters_of,
)

SUMMARY = "models and weights of Keras 3 (.keras, .weights.h5)"
_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_JSON_BYTES = 64 << 20
_MOST_RATIO = 200  # unpacked to packed; float weights are packed to no less than a tenth
_TRAINING = ("optimizer", "metrics", "compile_metrics", "loss_tracker", "_loss_tracker", "_metrics")
_BROKEN = (
    OSError, KeyError, ValueError, TypeError, RuntimeError, RecursionError, NotImplementedError, EOFError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def recognises(looks: Looks) -> bool:
    """Whether it is a zip archive with a configuration and weights, or an HDF5 file that is not of old Keras."""
    if looks.start.startswith(_HDF5):
        from edgetransfer.models.legacy_h5 import is_legacy

        return not is_legacy(looks.path)
    return {_CONFIG, _WEIGHTS} <= looks.members


def read(path: Path) -> SourceModel:
    """Return the parameters of the model or of the weights at `path`.

    Of weights alone, the class of each layer is known by the name of its group, and the order is that of the places
    in the file; settings, and so names of layers in old files and epsilons, are not known. The weights of a `.keras`
    file stay in memory as long as one of its parameters.

    Raises:
        WeightsError: it is damaged, its parts lie in other files, or it would unpack to far more than it has.
    """
    with broken(path, "file of Keras 3", _BROKEN):
        config, version = _read_config(path)
        content = _unpacked(path)
        with _open_weights(path, content) as file:
            stored = _list_stored(file)
        kept = [one for one in stored if one.group.split("/")[0] not in _TRAINING]
        layers = _layers(config, kept)
    if not kept:
        raise WeightsError(f"source {path}: expected parameters of layers as Keras 3 saves them, got none")
    tensors = list(_tensors(layers, kept, partial(_numbers, path, content)))
    notes = [] if len(kept) == len(stored) else [f"{len(stored) - len(kept)} variables of the optimizer and of metrics"]
    return SourceModel(
        name_of(config) or path.name.split(".")[0],
        f"Keras {version}".strip(),
        "keras_file",
        path,
        sha256_of(path),
        group(
            tensors,
            kinds={layer.name: layer.kind for layer in layers},
            attributes={layer.name: layer.attributes for layer in layers},
            epsilons={layer.name: layer.epsilon for layer in layers if layer.epsilon is not None},
        ),
        tuple(f"{note} were left out" for note in notes),
    )


# === The file ===


@dataclass(frozen=True, slots=True)
class _Stored:
    """A dataset: its group without "vars", its name there, and what it has."""

    group: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    layer: str

    @property
    def name(self) -> str:
        return f"{self.group}/vars/{self.key}" if self.group else f"vars/{self.key}"


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    if not zipfile.is_zipfile(path):
        return {}, ""
    with zipfile.ZipFile(path) as archive:
        found = {}
        for name in (_CONFIG, _METADATA):
            if name in archive.namelist():
                _check_size(archive.getinfo(name), _MOST_JSON_BYTES)
                found[name] = json.loads(archive.read(name))
    config = found[_CONFIG]
    if not isinstance(config, dict):
        raise ValueError(f"{_CONFIG} is not an object")
    return config, str(found.get(_METADATA, {}).get("keras_version", ""))


def _unpacked(path: Path) -> bytes | None:
    """Return the HDF5 file inside of a zip archive; None of a file that is no archive."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(_WEIGHTS)
        _check_size(entry, _MOST_RATIO * max(entry.compress_size, 1))
        return archive.read(entry)


@contextmanager
def _open_weights(path: Path, content: bytes | None) -> Iterator[Any]:
    import h5py

    with h5py.File(path if content is None else io.BytesIO(content), "r") as file:
        yield file


def _check_size(entry: zipfile.ZipInfo, most: int) -> None:
    if entry.file_size > most:
        raise ValueError(
            f"{entry.filename} has {entry.compress_size:,} bytes and unpacks to {entry.file_size:,}; refused"
        )


def _list_stored(file: Any) -> list[_Stored]:
    """Return the variables in `file`, in the order of their places in it."""
    from edgetransfer.models.legacy_h5 import check_dataset, inside

    found = []
    names: list[str] = []
    file.visit(lambda name: names.append(str(name)))  # hard links only, each object once
    for name in names:
        where, _, key = name.rpartition("/")
        if where.rpartition("/")[2] != "vars" and where != "vars":
            continue
        dataset = inside(file, name)
        if not hasattr(dataset, "dtype") or dataset.dtype.kind not in "fiub":
            continue
        check_dataset(dataset, name)
        said = dataset.attrs.get("dtype")
        label = dataset.parent.attrs.get("name", "")
        dtype = said if isinstance(said, str) else dataset.dtype.name
        offset = dataset.id.get_offset() or 0
        found.append(_Stored(where.removesuffix("vars").rstrip("/"), key, dataset.shape, dtype, offset, str(label)))
    return sorted(found, key=lambda one: one.offset)


# === The layers ===


def _layers(config: dict[str, Any], stored: list[_Stored]) -> list[KerasLayer]:
    """Return the layers that have parameters: in the configuration's order, then those that it does not speak of."""
    groups = list(dict.fromkeys(one.group for one in stored))
    known = {layer.group: layer for layer in layers_of(config) if layer.group in groups}
    labels = {one.group: one.layer for one in stored}
    rest = [group for group in groups if group not in known]
    taken = {layer.name for layer in known.values()}
    found = list(known.values())
    for place in rest:
        name = labels[place] if labels[place] and labels[place] not in taken else place
        taken.add(name)
        found.append(KerasLayer(name or "model", class_of(place.rpartition("/")[2]), {}, place))
    return found


def _tensors(
    layers: list[KerasLayer], stored: list[_Stored], read_it: Callable[[_Stored], NDArray[Any]]
) -> Iterator[tuple[str, SourceTensor]]:
    by_group: dict[str, list[_Stored]] = {}
    for one in stored:
        by_group.setdefault(one.group, []).append(one)
    for layer in layers:
        own = sorted(by_group[layer.group], key=lambda one: (len(one.key), one.key))
        expected: tuple[Parameter | None, ...] = parameters_of(layer, len(own))
        for number, one in enumerate(own):
            parameter = expected[number] if number < len(expected) else None
            yield layer.name, as_tensor(layer, one.name, parameter, one.shape, one.dtype, partial(read_it, one))


def _numbers(path: Path, content: bytes | None, one: _Stored) -> NDArray[Any]:
    with broken(path, "file of Keras 3", _BROKEN), _open_weights(path, content) as file:
        values = np.asarray(file[one.name])
    return values.astype(np.float32) if one.dtype == "bfloat16" else values
