"""SavedModel folders of TensorFlow and Keras: their variables, read with TensorFlow's checkpoint reader.

The graph is not looked at, so roles and layouts are inferred from the variables' names and shapes. A folder with the
files of one checkpoint, NAME.index and NAME.data-..., is read the same way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._by_name import guess_all, split_name
from edgetransfer.transfer.sources._files import broken, first_line, group, sha256_of_files

SUMMARY = "SavedModel and checkpoint folders of TensorFlow"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_TRAINING = re.compile(r"(^|/)(optimizer|_optimizer|keras_api|save_counter|global_step)(/|$)|\.OPTIMIZER_SLOT", re.I)
_SLOTS = re.compile(r"/(Adam(_1)?|Momentum|RMSProp(_1)?|ExponentialMovingAverage)$")  # of TensorFlow 1's optimizers
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What the reader raises beside TensorFlow's own errors, some of which it translates.
_BROKEN = (ValueError, RuntimeError, LookupError, TypeError, MemoryError, NotImplementedError, OSError)


class _Variable(NamedTuple):
    key: str
    name: str
    shape: tuple[int, ...]
    dtype: str


def recognises(looks: Looks) -> bool:
    """Whether it is a folder with a SavedModel or with a checkpoint."""
    return not looks.start and (
        bool({"saved_model.pb", "variables"} & looks.members) or any(name.endswith(".index") for name in looks.members)
    )


def read(path: Path) -> SourceModel:
    """Return the variables of the SavedModel or checkpoint in the folder `path`, those of optimizers left out.

    Raises:
        WeightsError: there are no variables, several checkpoints, or they are damaged.
    """
    prefix = _prefix(path)
    reader = _open(path, prefix)
    with broken(path, "checkpoint", _BROKEN):
        every = list(_variables(path, reader))
        _check_sizes(every, prefix)
    of_model = [one for one in every if not (_TRAINING.search(one.key) or _SLOTS.search(one.name))]
    kept = _once(of_model, lambda key: _value(path, reader, key))
    if not kept:
        raise WeightsError(f"source {path}: expected variables of a model, got {len(every)} of training only")
    guesses = guess_all({one.name: one.shape for one in kept}, "tensorflow")
    tensors = []
    for one in kept:
        guess = guesses[one.name]
        tensors.append(
            SourceTensor(
                one.name, one.shape, one.dtype, guess.role, guess.layout, False, guess.reason,
                _numbers(path, prefix, one), guess.multiplier,
            )
        )  # fmt: skip
    left = len(every) - len(kept)
    files = [file.relative_to(path).as_posix() for file in sorted(prefix.parent.glob(f"{prefix.name}.*"))]
    return SourceModel(
        path.resolve().name,
        "TensorFlow",
        "saved_model",
        path,
        sha256_of_files(path, files),
        group((split_name(tensor.name)[0], tensor) for tensor in tensors),
        (f"{left} variables of the optimizer, of counters, or saved twice, were left out",) if left else (),
    )


def _prefix(path: Path) -> Path:
    """Return the checkpoint's path without .index."""
    folder = path / "variables" if (path / "variables").is_dir() else path
    found = sorted(folder.glob("*.index"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise WeightsError(
            f"source {path}: expected one checkpoint (variables/variables.index, or one *.index), got {names}; "
            "a SavedModel whose graph holds its weights as constants has none: convert it to .tflite or .onnx"
        )
    for file in folder.glob(f"{found[0].stem}.*"):
        if file.is_symlink() and path.resolve() not in file.resolve().parents:
            raise WeightsError(f"source {path}: {file.name} is a link out of the folder; refused")
    return found[0].with_suffix("")


def _open(path: Path, prefix: Path) -> Any:
    import tensorflow as tf

    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, *_BROKEN) as trouble:
        raise WeightsError(f"source {path}: expected a whole checkpoint: {first_line(trouble)}") from trouble


def _variables(path: Path, reader: Any) -> Iterator[_Variable]:
    """Yield the variables in the order of the object graph where the checkpoint has one, else by name."""
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    names = _full_names(path, reader) if _GRAPH in shapes else {}
    for key in [*names, *sorted(set(shapes) - set(names) - {_GRAPH})]:
        dtype = dtypes[key].name if key in dtypes else ""
        if key in shapes and re.match("u?int|float|bfloat|bool", dtype):
            name = names.get(key) or key.removesuffix(_VALUE)
            yield _Variable(key, name, tuple(int(size) for size in shapes[key]), dtype)


def _check_sizes(variables: Sequence[_Variable], prefix: Path) -> None:
    """Refuse variables that say they have more than the files, before TensorFlow makes room for them."""
    kept = sum(file.stat().st_size for file in prefix.parent.glob(f"{prefix.name}.data-*"))
    for one in variables:
        said = math.prod(one.shape) * (2 if one.dtype == "bfloat16" else np.dtype(one.dtype).itemsize)
        if said > kept or min([0, *one.shape]) < 0:
            raise ValueError(
                f"{one.key} of shape {one.shape} has {said:,} bytes, more than the {kept:,} that are there"
            )


def _full_names(path: Path, reader: Any) -> dict[str, str]:
    """Return the name of each variable, as its layer calls it, by its key in the checkpoint."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph()
    with broken(path, "checkpoint", (DecodeError, *_BROKEN)):
        graph.ParseFromString(_value(path, reader, _GRAPH))
    return {one.checkpoint_key: one.full_name for node in graph.nodes for one in node.attributes}


def _once(variables: Sequence[_Variable], value: Callable[[str], NDArray[Any]]) -> list[_Variable]:
    """Return the variables without those that are saved a second time under another key; names are unique.

    Others of the same name keep their keys as names.
    """
    found: dict[str, _Variable] = {}
    for one in variables:
        before = found.get(one.name)
        if before is None:
            found[one.name] = one
        elif (before.shape, before.dtype) != (one.shape, one.dtype) or not np.array_equal(
            value(before.key), value(one.key)
        ):
            found[one.key] = one._replace(name=one.key.removesuffix(_VALUE))
    return list(found.values())


def _numbers(path: Path, prefix: Path, one: _Variable) -> Any:
    def numbers() -> NDArray[Any]:
        found = np.asarray(_value(path, _open(path, prefix), one.key))
        return found.astype(np.float32) if one.dtype == "bfloat16" else found

    return numbers


def _value(path: Path, reader: Any, key: str) -> Any:
    import tensorflow as tf

    try:
        found = reader.get_tensor(key)
    except (tf.errors.OpError, *_BROKEN) as trouble:
        raise WeightsError(f"source {path}: {key} is damaged: {first_line(trouble)}") from trouble
    return found
