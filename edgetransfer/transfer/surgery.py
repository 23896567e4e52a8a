"""Changes the structure of a backbone and keeps its weights: where it ends, its input size, its activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BackboneError, UnknownNameError

SIMPLE = "relu6"
"""What smooth activations become: every engine, NPU and microcontroller has it, fused into the convolution."""
SMOOTH = ("silu", "swish", "hard_silu", "hard_swish", "gelu", "mish", "elu", "selu", "softplus")
"""Activations, as Keras names them, that integer engines compute slowly or not at all."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A model after surgery, and the layers that were changed or left out, by name."""

    model: Any
    layers: tuple[str, ...]


def cut_at(model: Any, layer: str) -> Changed:
    """Return the part of the functional Keras `model` up to `layer`, whose map is averaged to (None, channels).

    Raises:
        UnknownNameError: there is no such layer.
        BackboneError: it gives no map (None, h, w, channels).
    """
    import keras

    known = [op.name for op in model.operations]
    if layer not in known:
        raise UnknownNameError("layer", layer, known)
    # A layer may be shared by several graphs: its last call is the one in this graph.
    given = next(op for op in model.operations if op.name == layer)._inbound_nodes[-1].output_tensors
    if len(given) != 1 or len(given[0].shape) != 4:
        shapes = ", ".join(str(tuple(one.shape)) for one in given)
        raise BackboneError(f"layer {layer!r}: expected one map (None, h, w, channels) to average, got {shapes}")
    pooled = keras.layers.GlobalAveragePooling2D(name="features")(given[0])
    kept = keras.Model(model.inputs[0], pooled, name=model.name)
    names = {op.name for op in kept.operations}
    return Changed(kept, tuple(name for name in known if name not in names))


def with_input_size(model: Any, height_px: int, width_px: int) -> Changed:
    """Return `model` for images of another size; its weights are shared.

    Raises:
        BackboneError: a layer in it is made for one size.
    """
    import keras

    pixels = keras.Input((height_px, width_px, int(model.input.shape[-1])), name="pixels")
    try:
        made = keras.models.clone_model(model, input_tensors=pixels, clone_function=lambda layer: layer)
    except ValueError as trouble:
        line = str(trouble).strip().splitlines()[0]
        raise BackboneError(f"model {model.name!r}: cannot take {height_px} x {width_px} px: {line}") from trouble
    return Changed(made, ())


def with_activations(model: Any, replacements: Mapping[str, str]) -> Changed:
    """Return a copy of `model` with activations replaced by name, weights copied; names the layers that changed.

    Args:
        model: A functional Keras model without models inside it.
        replacements: Keras' name of an activation to the name of what takes its place. What the model then computes is
            another function: `finetune` or `distill` repairs it.

    Raises:
        BackboneError: nothing in the model has such an activation, or it cannot be copied.
    """
    import keras

    changed: list[str] = []

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        name = _activation(config.get("activation"))
        if name in replacements:
            changed.append(layer.name)
            config["activation"] = replacements[name]
        return type(layer).from_config(config)

    def called(op: Any, *arguments: Any, **options: Any) -> Any:
        name = _SPELT.get(type(op).__name__, "")
        if name not in replacements:
            return op(*arguments, **options)
        changed.append(op.name)
        return keras.layers.Activation(replacements[name], name=op.name)(arguments[0])

    try:
        made = keras.models.clone_model(model, clone_function=copied, call_function=called)
    except ValueError as trouble:
        raise BackboneError(f"model {model.name!r}: cannot be copied: {str(trouble).splitlines()[0]}") from trouble
    if not changed:
        raise BackboneError(f"model {model.name!r}: has none of the activations {', '.join(sorted(replacements))}")
    made.set_weights(model.get_weights())
    return Changed(made, tuple(changed))


def activations_of(model: Any) -> dict[str, int]:
    """Return how many layers have each activation, by Keras' name; "linear" is not counted."""
    found: dict[str, int] = {}
    for op in model.operations:
        config = op.get_config() if hasattr(op, "get_config") else {}
        name = _activation(config.get("activation")) or _SPELT.get(type(op).__name__, "")
        if name and name != "linear":
            found[name] = found.get(name, 0) + 1
    return found


_SPELT = {"Silu": "silu", "HardSilu": "hard_silu", "Gelu": "gelu", "Mish": "mish", "Softplus": "softplus"}
"""Operations of keras.ops, which are no layers, by the activation that they compute."""


def _activation(stated: Any) -> str:
    """Return the name of an activation as a layer's configuration states it; "" where it states none."""
    if isinstance(stated, dict):  # an activation layer inside a layer
        stated = stated.get("class_name", "")
    return stated if isinstance(stated, str) else ""
