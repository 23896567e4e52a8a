"""Infers roles and layouts from names and shapes, for formats that hold named arrays and nothing else.

Two conventions cover what is published. PyTorch's modules call their parameters weight, bias, running_mean and
running_var, whatever they are; TensorFlow's, Keras' and Flax's say kernel, gamma, moving_mean. Sources: torch.nn
(`Module.state_dict`), tf.compat.v1.layers and TF-Slim, keras.layers, flax.linen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgetransfer.transfer.source import VECTOR, Role

Convention = Literal["pytorch", "tensorflow"]
Shape = tuple[int, ...]

SPATIAL = {1: "W", 2: "HW", 3: "DHW"}
"""Letters of a kernel's window by its number of axes."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What a name and a shape tell: as the fields of `SourceTensor`."""

    role: Role
    layout: str
    reason: str
    multiplier: int = 1


@dataclass(slots=True)
class _Seen:
    """What else is in the file.

    Attributes:
        ordered: Whether the layers come in the network's order.
        made: How many channels the kernels of several channels make.
        of_layer: Shapes by layer and word.
        channels: Channels out of the last kernel, 0 before the first.
    """

    ordered: bool
    made: tuple[int, ...]
    of_layer: Mapping[str, Mapping[str, Shape]]
    channels: int = 0

    def incoming(self, out: int) -> int:
        """Return how many channels come into a layer that makes `out` of one channel each; 0 if that is not known."""
        if self.ordered:
            return self.channels
        return max((made for made in self.made if out % made == 0), default=0)


_VECTORS: dict[str, Role] = {
    "bias": "bias",
    "biases": "bias",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "scale": "gamma",
    "mean": "moving_mean",
    "var": "moving_variance",
}
_KERNELS = ("kernel", "weights", "w", "depthwise_kernel", "depthwise_weights", "pointwise_kernel", "pointwise_weights")
_TABLES = ("embeddings", "embedding", "embedding_table")
_TENSORFLOW_WORDS = {*_VECTORS, *_KERNELS, *_TABLES} - {"bias", "running_mean", "running_var"}
# Last parts of names that PyTorch's modules do not use.


def split_name(name: str) -> tuple[str, str]:
    """Return layer and parameter of a parameter's name: what stands before and after the last "." or "/"."""
    at = max(name.rfind("."), name.rfind("/"))
    return (name[:at], name[at + 1 :]) if at > 0 else (name, name)


def guess_all(shapes: Mapping[str, Shape], convention: Convention, *, ordered: bool = True) -> dict[str, Guess]:
    """Return role and layout of each named array, by names, shapes and what stands beside and before it.

    Args:
        shapes: Shape of each array by its name, in the file's order.
        convention: Whose names they are.
        ordered: Whether that is the order in which the network has its layers.
    """
    of_layer: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        layer, word = split_name(name)
        of_layer.setdefault(layer, {})[word] = shape
    seen = _Seen(ordered, tuple({shape[0] for shape in shapes.values() if len(shape) > 2 and shape[1] > 1}), of_layer)
    following = _channels_after(list(shapes.values()))
    found = {}
    for (name, shape), channels in zip(shapes.items(), following, strict=True):
        layer, word = split_name(name)
        word = word.partition(":")[0]  # TensorFlow's names end in :0
        if convention == "pytorch":
            found[name] = _pytorch(layer, word, shape, seen)
        else:
            found[name] = _tensorflow(layer, word, shape, channels, of_layer[layer])
    return found


def _channels_after(shapes: Sequence[Shape]) -> list[int]:
    """Return the length of the next vector after each array, a bias or part of a normalisation; 0 if there is none."""
    found, last = [], 0
    for shape in reversed(shapes):
        found.append(last)
        last = shape[0] if len(shape) == 1 else 0
    return found[::-1]


def convention_of(names: Sequence[str]) -> Convention:
    """Return whose names these are, by their last parts."""
    words = [split_name(name)[1].partition(":")[0] for name in names]
    return "tensorflow" if sum(word in _TENSORFLOW_WORDS for word in words) > words.count("weight") else "pytorch"


def other(reason: str) -> Guess:
    """Return that nothing is known, and why."""
    return Guess("other", "", reason)


# === PyTorch ===


def _pytorch(layer: str, word: str, shape: Shape, seen: _Seen) -> Guess:
    beside = seen.of_layer[layer]
    if word == "num_batches_tracked":
        return other("a counter of training steps")
    if word == "weight":
        return _pytorch_weight(layer, shape, beside, seen)
    if word == "bias" and len(shape) == 1:
        if "running_mean" in beside or len(beside.get("weight", ())) == 1:
            return Guess("beta", VECTOR, "the bias of a normalisation")
        return Guess("bias", VECTOR, "a bias beside a weight")
    if word in ("running_mean", "running_var") and len(shape) == 1:
        return Guess(_VECTORS[word], VECTOR, f"{word} of a batch norm")
    return other(f"no module of PyTorch that is known here calls a parameter {word!r} with {len(shape)} axes")


def _pytorch_weight(layer: str, shape: Shape, beside: Mapping[str, Shape], seen: _Seen) -> Guess:
    if len(shape) == 1:
        if "running_mean" in beside or beside.get("bias") == shape:
            return Guess("gamma", VECTOR, "the weight of a normalisation")
        return other("a weight of one axis without a bias: a PReLU, or a normalisation by the root mean square")
    if len(shape) == 2:
        if "embed" in layer.lower() and "bias" not in beside:
            return Guess("embedding", "VE", "a weight of two axes whose name speaks of an embedding")
        seen.channels = shape[0]
        return Guess("dense_kernel", "OI", "a weight of two axes")
    space = SPATIAL.get(len(shape) - 2)
    if space is None:
        return other(f"a weight of {len(shape)} axes")
    return _pytorch_kernel(shape, space, beside.get("bias"), seen)


def _pytorch_kernel(shape: Shape, space: str, bias: Shape | None, seen: _Seen) -> Guess:
    out = shape[0]
    before = seen.incoming(out)
    if bias is not None and bias != (shape[0],) and bias == (shape[1],):
        seen.channels = shape[1]
        return Guess("transposed_kernel", f"IO{space}", "a kernel with a bias for each index of its second axis")
    seen.channels = out
    # A first layer sees one channel of a grey picture; a window of one number needs no depthwise convolution.
    if shape[1] == 1 and before > 1 and max(shape[2:]) > 1 and out % before == 0:
        why = f"a kernel of one channel after a layer of {before}, so each channel has its own"
        return Guess("depthwise_kernel", f"(CM)1{space}", why, out // before)
    return Guess("kernel", f"OI{space}", f"a weight of {len(shape)} axes")


# === TensorFlow, Keras, Flax ===


def _tensorflow(layer: str, word: str, shape: Shape, after: int, beside: Mapping[str, Shape]) -> Guess:
    if word in _VECTORS and len(shape) == 1:
        role: Role = "beta" if word == "bias" and "scale" in beside else _VECTORS[word]  # Flax's normalisations
        return Guess(role, VECTOR, f"called {word}")
    if word in _TABLES and len(shape) == 2:
        return Guess("embedding", "VE", f"called {word}")
    if word in _KERNELS and len(shape) == 2:
        return Guess("dense_kernel", "IO", f"called {word}, two axes")
    space = SPATIAL.get(len(shape) - 2)
    if word not in _KERNELS or space is None:
        return other(f"no layer that is known here calls a parameter {word!r} with {len(shape)} axes")
    if word.startswith("depthwise"):
        return Guess("depthwise_kernel", f"{space}CM", f"called {word}", shape[-1])
    if word.startswith("pointwise") or max(shape[:-2]) == 1 or shape[-2] == 1:
        return Guess("kernel", f"{space}IO", f"called {word}, {len(shape)} axes")
    # Keras 3 calls a depthwise kernel "kernel": what follows it tells how many channels it makes.
    if after == shape[-2] * shape[-1] != shape[-1]:
        why = f"called {word}, and {after} channels follow: as many as its last two axes have together"
        return Guess("depthwise_kernel", f"{space}CM", why, shape[-1])
    if shape[-1] == 1 and after != 1 and "depthwise" in layer.lower():
        return Guess("depthwise_kernel", f"{space}CM", f"called {word}, of a layer called depthwise", 1)
    return Guess("kernel", f"{space}IO", f"called {word}, {len(shape)} axes")
