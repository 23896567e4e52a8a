"""TensorFlow Lite models: what is stored in them, made real by its scales, with the op that uses it.

The converter folds batch norms into the kernels before them, so a model has other kernels than its Keras original.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import VECTOR, SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._by_name import Guess, other
from edgetransfer.transfer.sources._files import broken, group, read_bytes, sha256_of

if TYPE_CHECKING:
    from edgetransfer.transfer.sources._tflite_file import Op, Tensor, TfliteFile

SUMMARY = "TensorFlow Lite and LiteRT models (.tflite)"
_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of a flatbuffer say what it is; schema.fbs of TensorFlow Lite
_KERNELS = {
    ("CONV_2D", 1): ("kernel", "OHWI"),
    ("CONV_3D", 1): ("kernel", "DHWIO"),
    ("TRANSPOSE_CONV", 1): ("transposed_kernel", "OHWI"),
    ("FULLY_CONNECTED", 1): ("dense_kernel", "OI"),
    ("EMBEDDING_LOOKUP", 1): ("embedding", "VE"),
    ("GATHER", 0): ("embedding", "VE"),
}
_BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "CONV_3D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
_PASSED = ("DEQUANTIZE", "DENSIFY")  # what may stand between a stored tensor and the op that uses it
_PADDING = ("SAME", "VALID")  # by number


def recognises(looks: Looks) -> bool:
    """Whether it calls itself a TensorFlow Lite model."""
    return looks.start[4:8] == _IDENTIFIER


def read(path: Path) -> SourceModel:
    """Return what is stored in the first graph of the model at `path`; the ops that use it state roles and layouts.

    Integers that no scale makes real, such as shapes, are left out. The whole file stays in memory as long as one of
    its parameters.

    Raises:
        WeightsError: it is damaged, or says it has more than it has.
    """
    from edgetransfer.transfer.sources._tflite_file import BROKEN, TfliteFile

    with broken(path, ".tflite file", BROKEN):
        file = TfliteFile(path, read_bytes(path))
        named = list(_parameters(file))
        kinds = {file.tensors[op.outputs[0]].name: op for op in file.ops if op.outputs and op.outputs[0] >= 0}
        layers = group(
            named,
            kinds={name: op.kind for name, op in kinds.items()},
            attributes={name: _attributes(op) for name, op in kinds.items()},
        )
    if not layers:
        raise WeightsError(f"source {path}: expected a model with parameters, got one without any")
    notes = [f"{file.subgraphs - 1} further graphs were left out"] if file.subgraphs > 1 else []
    return SourceModel(
        file.name if file.name not in ("", "main") else path.stem,
        "TensorFlow Lite",
        "tflite",
        path,
        sha256_of(path),
        layers,
        tuple(notes),
    )


def _parameters(file: TfliteFile) -> Iterator[tuple[str, SourceTensor]]:
    """Yield layer and parameter in the order in which ops need them, a shared one where it is first used."""
    passed = {op.outputs[0]: op.inputs[0] for op in file.ops if op.kind in _PASSED and op.inputs and op.outputs}
    made = {index: op for op in file.ops for index in op.outputs}
    seen: set[int] = set()
    names: set[str] = set()
    for op in file.ops:
        for place, index in enumerate(op.inputs if op.kind not in _PASSED else ()):
            index = passed.get(index, index)
            tensor = file.tensors[index]
            if index < 0 or index in seen or tensor.buffer is None or not _is_real(tensor):
                continue
            seen.add(index)
            owner, guess = _guess(file, op, place, tensor, made)
            if guess.role == "other" and tensor.shape in ((), (1,)):
                continue  # a single number, such as the slope of a leaky ReLU
            name = tensor.name if tensor.name not in names else f"{tensor.name} ({index})"
            names.add(name)
            yield file.tensors[owner.outputs[0]].name, SourceTensor(
                name, tensor.shape, tensor.dtype, guess.role, guess.layout, True, guess.reason,
                partial(_real, file, tensor), guess.multiplier,
            )  # fmt: skip


def _real(file: TfliteFile, tensor: Tensor) -> NDArray[Any]:
    from edgetransfer.transfer.sources._tflite_file import BROKEN

    with broken(file.path, ".tflite file", BROKEN):
        return file.real(tensor)


def _is_real(tensor: Tensor) -> bool:
    return "float" in tensor.dtype or tensor.scales.size > 0


def _guess(file: TfliteFile, op: Op, place: int, tensor: Tensor, made: dict[int, Op]) -> tuple[Op, Guess]:
    """Return the op that a parameter belongs to, and what it is there."""
    axes = len(tensor.shape)
    if place == _BIASES.get(op.kind) and axes == 1:
        return op, Guess("bias", VECTOR, f"the bias of a {op.kind}")
    if (op.kind, place) == ("DEPTHWISE_CONV_2D", 1) and axes == 4:
        return op, _depthwise(file, op, tensor)
    if (op.kind, place) in _KERNELS:
        role, layout = _KERNELS[op.kind, place]
        if axes == len(layout):
            return op, Guess(role, layout, f"input {place} of a {op.kind}")  # type: ignore[arg-type]
    if op.kind == "ADD" and len(op.inputs) == 2 and axes == 1:
        before = made.get(op.inputs[1 - place])
        if before is not None and before.kind in _BIASES and before.inputs[_BIASES[before.kind] :] in ((), (-1,)):
            return before, Guess("bias", VECTOR, f"what is added to the result of a {before.kind}")
    if op.kind in ("MUL", "ADD", "SUB") and axes == 1:
        return op, other(f"a vector of {op.kind}, as batch norms become that cannot be folded into a kernel")
    return op, other(f"input {place} of a {op.kind}, which cannot be mapped")


def _depthwise(file: TfliteFile, op: Op, tensor: Tensor) -> Guess:
    """Return the guess for a depthwise kernel; how many channels it makes of each is told by those that come in."""
    shape = file.tensors[op.inputs[0]].shape
    incoming = shape[-1] if shape else 0
    if incoming < 1 or tensor.shape[-1] % incoming:
        return other(f"a depthwise kernel of {tensor.shape[-1]} channels for {incoming} that come in")
    why = "the kernel of a DEPTHWISE_CONV_2D"
    return Guess("depthwise_kernel", "1HW(CM)", why, tensor.shape[-1] // incoming)


def _attributes(op: Op) -> dict[str, Any]:
    """Return strides, dilations and padding of a convolution, in rows and columns."""
    from edgetransfer.transfer.sources._tflite_file import options

    kinds = {
        "CONV_2D": "Conv2DOptions",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        "TRANSPOSE_CONV": "TransposeConvOptions",
    }
    found = options(op, kinds[op.kind]) if op.kind in kinds else None
    if found is None:
        return {}
    said: dict[str, Any] = {"strides": [int(found.StrideH()), int(found.StrideW())]}
    if op.kind != "TRANSPOSE_CONV":
        said["dilations"] = [int(found.DilationHFactor()), int(found.DilationWFactor())]
    padding = int(found.Padding())
    return said | {"padding": _PADDING[padding] if padding < len(_PADDING) else str(padding)}
