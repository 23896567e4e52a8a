"""Attention pooling and a linear head in one Keras model: what is looked at is learned together with the answer."""

from __future__ import annotations

import keras
import numpy as np

from edgetransfer.models.heads._candidates import CandidateDecay
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import Dense


def build_attention(
    windows: int, features: int, outputs: int, *, dropout: float, decay: float, seed: int
) -> keras.Model:
    """Return (n, windows, features) -> (n, 1, outputs) logits; it begins as mean pooling.

    The answer has an axis for candidates, of which there is one, so that the losses of `models.heads` take it.

    Args:
        windows: How many an example has.
        features: Of a window.
        outputs: Logits.
        dropout: Rate, of the pooled features.
        decay: The L2 factor of the head, and of the scoring vector.
        seed: Of dropout and start.
    """
    inputs = keras.Input((windows, features), name="windows")
    scorer = keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(decay),
        name="attention",
    )
    attention = keras.layers.Softmax(axis=1, name="softmax")(scorer(inputs))
    pooled = keras.layers.Dot(axes=1, name="pooled")([attention, inputs])  # (n, 1, features)
    dropped = keras.layers.Dropout(dropout, seed=seed, name="dropout")(pooled)
    head = keras.layers.EinsumDense(
        "bkd,dkc->bkc",
        output_shape=(1, outputs),
        bias_axes="kc",
        kernel_regularizer=CandidateDecay([decay]),
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        name="logits",
    )
    return keras.Model(inputs, head(dropped), name="attention_head")


def attention_parts(model: keras.Model) -> tuple[AttentionPool, Dense]:
    """Return what `build_attention` built, trained, as plain numbers."""
    scorer = np.array(model.get_layer("attention").kernel.numpy(), np.float32)
    head = model.get_layer("logits")
    kernel, bias = np.array(head.kernel.numpy(), np.float32), np.array(head.bias.numpy(), np.float32)
    return AttentionPool(scorer[:, 0]), Dense(kernel[:, 0], bias[0])
