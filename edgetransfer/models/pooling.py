"""Attention pooling and a linear head in one Keras model: what is looked at is learned together with the answer."""

from __future__ import annotations

import keras
import numpy as np

from edgetransfer.models.heads._candidates import CandidateDecay
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import Dense

_NEVER = 1e9  # taken from the score of a window that is not there; what is left of it in a softmax is 0


def build_attention(
    windows: int, features: int, outputs: int, *, dropout: float, decay: float, seed: int
) -> keras.Model:
    """Return {"windows": (n, windows, features), "present": (n, windows)} -> (n, 1, outputs) logits.

    It begins as mean pooling. Where `present` is 0 an example has no such window; it counts for nothing. The answer
    has an axis for candidates, of which there is one, so that the losses of `models.heads` take it.

    Args:
        windows: How many an example has at most.
        features: Of a window.
        outputs: Logits.
        dropout: Rate, of the pooled features.
        decay: The L2 factor of the head, and of the scoring vector.
        seed: Of dropout and start.
    """
    inputs = keras.Input((windows, features), name="windows")
    present = keras.Input((windows,), name="present")
    scorer = keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(decay),
        name="attention",
    )
    scores = keras.layers.Reshape((windows,), name="scores")(scorer(inputs))
    # A mask would travel on to layers that refuse one.
    shares = keras.layers.Softmax(name="softmax")(scores + (present - 1) * _NEVER)
    attention = keras.layers.Reshape((windows, 1), name="shares")(shares)
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
    return keras.Model({"windows": inputs, "present": present}, head(dropped), name="attention_head")


def attention_parts(model: keras.Model) -> tuple[AttentionPool, Dense]:
    """Return what `build_attention` built, trained, as plain numbers."""
    scorer = np.array(model.get_layer("attention").kernel.numpy(), np.float32)
    head = model.get_layer("logits")
    kernel, bias = np.array(head.kernel.numpy(), np.float32), np.array(head.bias.numpy(), np.float32)
    return AttentionPool(scorer[:, 0]), Dense(kernel[:, 0], bias[0])
