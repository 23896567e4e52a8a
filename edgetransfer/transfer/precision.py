"""Mixed precision: a backbone computes in 16 bits while its weights stay in 32, which GPUs with tensor cores do faster.

Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740). Only for the time of tuning: the model that is
written is float32, as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from edgetransfer.errors import RecipeError
from edgetransfer.models.layers import flat_layers

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]
LEAST_CAPABILITY = (7, 0)
"""Compute capability of the first GPUs with tensor cores (NVIDIA Volta); below it 16 bits gain nothing."""


def settled(precision: Precision, *, aware: bool) -> Precision:
    """Return what "auto" means on this machine: 16 bits where every GPU has tensor cores, else, as on a CPU, 32.

    Args:
        precision: As asked for.
        aware: Whether the integer graph is imitated, whose steps 16 bits would blur.

    Raises:
        RecipeError: 16 bits are asked for beside that.
    """
    if aware and precision not in ("auto", "float32"):
        raise RecipeError(
            f"--precision {precision}: quantization-aware tuning imitates steps that 16 bits would blur; leave it out"
        )
    if precision != "auto":
        return precision
    return "mixed_float16" if not aware and _has_tensor_cores() else "float32"


@contextmanager
def computing_in(backbone: Any, precision: Precision) -> Iterator[None]:
    """Let the layers of the Keras `backbone` compute so; afterwards they are as before, with the weights learned."""
    layers = list(flat_layers(backbone)) if precision != "float32" else []
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = precision
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def scaled(optimizer: Any, variables: Any, precision: Precision) -> Any:
    """Return the optimizer, in float16 one that scales the loss: small gradients would round to 0 there."""
    if precision != "mixed_float16":
        return optimizer
    import keras

    wrapped = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapped.build(variables)
    return wrapped


def _has_tensor_cores() -> bool:
    import tensorflow as tf

    found = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return bool(found) and min(found) >= LEAST_CAPABILITY
