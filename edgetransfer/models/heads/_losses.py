"""Keras' losses by name: which fit which kind of task, and how one loss judges all candidates side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from edgetransfer import registry
from edgetransfer.errors import RecipeError, UnknownNameError


def named_loss(name: str, kind: str, activation: Callable[[Any], Any] | None) -> Callable[[Any, Any], Any]:
    """Return Keras' loss `name` as a function of targets and logits (n, candidates, outputs): (n, candidates).

    Args:
        name: As Keras takes it: "mse", "mean_squared_error" and "MeanSquaredError" are one loss.
        kind: The kind of task that it is for.
        activation: Makes of logits what the loss takes, if it does not take logits itself; None: it takes them as
            they are.

    Raises:
        UnknownNameError: Keras has no such loss; says which is near.
        RecipeError: it does not fit this kind of task; says which do.
    """
    fitting = losses_of(kind)
    try:
        found = keras.losses.get(name)
    except ValueError as error:
        raise UnknownNameError("loss", name, fitting, hint=f"These fit a {kind} task.") from error
    function = getattr(found, "fn", found)  # a loss by its class name is a wrapper about its function
    own = getattr(function, "__name__", str(name))
    if own not in fitting:
        homes = [other for other in registry.names("edgetransfer.models.heads") if own in losses_of(other)]
        where = f" (it fits {', '.join(homes)})" if homes else ""
        raise RecipeError(f"loss {name!r}: does not fit a {kind} task{where}; take one of {', '.join(fitting)}")
    if "from_logits" in inspect.signature(function).parameters:
        return lambda targets, logits: function(targets, logits, from_logits=True)
    return lambda targets, logits: function(targets, logits if activation is None else activation(logits))


def losses_of(kind: str) -> tuple[str, ...]:
    """Return the names of the Keras losses that fit tasks of this kind."""
    return tuple(getattr(registry.load("edgetransfer.models.heads", kind, kind="task"), "LOSSES", ()))
