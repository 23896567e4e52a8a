"""What Keras' own layers call their parameters, in the order in which they save them, and what each is.

Source: keras 3.15, `build` of each layer in keras/src/layers. Keras 2 has the same but for a depthwise kernel's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgetransfer.transfer import layouts
from edgetransfer.transfer.source import VECTOR, Role, SourceTensor


class Parameter(NamedTuple):
    """A parameter of a class of layers; without `wish`, or where the layer's `wish` is true, the layer has it."""

    word: str
    role: Role
    layout: str
    wish: str = ""


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer as a configuration speaks of it.

    Attributes:
        name: Its name, after those of the models around it, with "/".
        kind: Its class.
        settings: What its constructor takes.
        group: The group of a Keras 3 weights file that has its parameters.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""

    @property
    def epsilon(self) -> float | None:
        """What it adds to a variance, if it normalises."""
        value = self.settings.get("epsilon")
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def attributes(self) -> dict[str, Any]:
        """Its settings that matter to whoever maps its parameters."""
        return {key: self.settings[key] for key in _TELLING if key in self.settings}


_TELLING = ("strides", "padding", "dilation_rate", "groups", "depth_multiplier", "activation", "axis", "output_padding")
_BIAS = Parameter("bias", "bias", VECTOR, "use_bias")
_SCALE = Parameter("gamma", "gamma", VECTOR, "scale")
_CENTRE = Parameter("beta", "beta", VECTOR, "center")
_MOVING = (Parameter("moving_mean", "moving_mean", VECTOR), Parameter("moving_variance", "moving_variance", VECTOR))
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel")


def _kernel(role: Role, layout: str) -> tuple[Parameter, ...]:
    return Parameter("kernel", role, layout), _BIAS


def _separable(space: str) -> tuple[Parameter, ...]:
    depthwise, pointwise = _SEPARABLE
    return Parameter(depthwise, "depthwise_kernel", f"{space}CM"), Parameter(pointwise, "kernel", f"{space}IO"), _BIAS


PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "Conv1D": _kernel("kernel", "WIO"),
    "Conv2D": _kernel("kernel", "HWIO"),
    "Conv3D": _kernel("kernel", "DHWIO"),
    "Conv1DTranspose": _kernel("transposed_kernel", "WOI"),
    "Conv2DTranspose": _kernel("transposed_kernel", "HWOI"),
    "Conv3DTranspose": _kernel("transposed_kernel", "DHWOI"),
    "DepthwiseConv1D": _kernel("depthwise_kernel", "WCM"),
    "DepthwiseConv2D": _kernel("depthwise_kernel", "HWCM"),
    "SeparableConv1D": _separable("W"),
    "SeparableConv2D": _separable("HW"),
    "Dense": _kernel("dense_kernel", "IO"),
    "Embedding": (Parameter("embeddings", "embedding", "VE"),),
    "BatchNormalization": (_SCALE, _CENTRE, *_MOVING),
    "LayerNormalization": (_SCALE, _CENTRE),
    "GroupNormalization": (_SCALE, _CENTRE),
}
"""Parameters of each class, in the order of saving."""


def name_of(model: Mapping[str, Any]) -> str:
    """Return the name of a model by its configuration, "" if it has none."""
    inner = model.get("config")
    return str(inner.get("name", "")) if isinstance(inner, Mapping) else ""


def layers_of(model: Mapping[str, Any], group: str = "", outer: str = "") -> Iterator[KerasLayer]:
    """Yield the layers in the configuration of a model, inner models' too, in its order.

    Args:
        model: The configuration of a functional or sequential model; others have no layers in it.
        group: The group of a Keras 3 weights file that has the model.
        outer: What to put before the layers' names.
    """
    inner = model.get("config")
    listed = inner.get("layers") if isinstance(inner, Mapping) else inner  # Keras 1 has a list in its place
    counts: dict[str, int] = {}
    for layer in listed if isinstance(listed, list) else ():
        settings = layer.get("config", {}) if isinstance(layer, Mapping) else None
        if not isinstance(settings, Mapping):
            continue
        kind = str(layer.get("class_name", ""))
        word = snake_case(kind)
        place = f"{group}layers/{word}" + (f"_{counts[word]}" if word in counts else "")
        counts[word] = counts.get(word, 0) + 1
        name = f"{outer}{settings.get('name', layer.get('name', word))}"
        if isinstance(settings.get("layers"), list):
            yield from layers_of(layer, f"{place}/", f"{name}/")
        else:
            yield KerasLayer(name, kind, settings, place)


def snake_case(kind: str) -> str:
    """Return the name of a class as Keras 3 writes it in a weights file: Conv2D is conv2d, ReLU re_lu."""
    word = re.sub(r"\W+", "", kind)
    word = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", word)
    return re.sub("([a-z])([A-Z])", r"\1_\2", word).lower()


def class_of(group: str) -> str:
    """Return the class whose layers Keras 3 calls `group` in a weights file, such as conv2d_3; "" if none is known."""
    word, _, number = group.rpartition("_")
    name = word if number.isdigit() else group
    return next((kind for kind in PARAMETERS if snake_case(kind) == name), "")


def parameters_of(layer: KerasLayer, count: int) -> tuple[Parameter, ...]:
    """Return the first `count` parameters that `layer` saves; fewer where it is not known what it saves."""
    expected = PARAMETERS.get(layer.kind, ())
    if layer.settings:
        expected = tuple(one for one in expected if not one.wish or layer.settings.get(one.wish, True))
    elif count < len(expected) and layer.kind.endswith("Normalization"):
        return ()  # without its settings nobody knows which one was left out
    return expected[:count]


def as_tensor(
    layer: KerasLayer,
    name: str,
    parameter: Parameter | None,
    shape: tuple[int, ...],
    dtype: str,
    read: Callable[[], NDArray[Any]],
) -> SourceTensor:
    """Return the parameter `name` of `layer`, with what its class says of it."""
    problem = _problem(layer, parameter, shape, dtype)
    if parameter is None or problem:
        return SourceTensor(name, shape, dtype, "other", "", True, problem, read)
    reason = f"{parameter.word} of {layer.kind}"
    multiplier = shape[-1] if parameter.role == "depthwise_kernel" else 1
    return SourceTensor(name, shape, dtype, parameter.role, parameter.layout, True, reason, read, multiplier)


def _problem(layer: KerasLayer, parameter: Parameter | None, shape: tuple[int, ...], dtype: str) -> str:
    """Return why the parameter cannot be mapped, "" if it can."""
    if parameter is not None and not dtype.startswith(("float", "bfloat")):
        return f"{parameter.word} of {layer.kind}, quantized by Keras: save the model before it was quantized"
    if parameter is not None and len(layouts.axes_of(parameter.layout)) != len(shape):
        return f"{parameter.word} of {layer.kind} with {len(shape)} axes instead of those of {parameter.layout}"
    if parameter is not None:
        return ""
    if layer.kind in PARAMETERS:
        return f"a {layer.kind} whose settings the file does not have"
    return f"of a layer {layer.kind!r}, which cannot be mapped" if layer.kind else "of a layer of an unknown class"
