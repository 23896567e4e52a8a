"""The seam to the engines: one file each, which alone imports its vendor's package."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, Protocol, cast

from numpy.typing import NDArray

from edgetransfer.errors import EngineError, InputError
from edgetransfer.spec.tensor import TensorSpec

Kernels = Literal["default", "reference"]
"""Which kernel set an engine uses: its fastest here, or its plain one, which is the same on every machine."""


class Engine(Protocol):
    """A loaded model that turns one input into one output. Not safe from several threads at once."""

    @property
    def name(self) -> str:
        """The engine's name, that of its file."""

    @property
    def version(self) -> str:
        """The version of the vendor's package."""

    @property
    def kernels(self) -> str:
        """What computes: a kernel set and, where it depends on it, the processor's architecture."""

    @property
    def input(self) -> TensorSpec:
        """The model's only input."""

    @property
    def output(self) -> TensorSpec:
        """The model's only output."""

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the stored output of `x`, which must have exactly the input's shape and dtype; a new array."""

    def close(self) -> None:
        """Let go of the model's memory; `run` must not be called any more."""


def open_engine(
    name: str,
    model: str | os.PathLike[str] | bytes,
    *,
    threads: int = 1,
    kernels: Kernels = "default",
    providers: Sequence[str] = (),
) -> Engine:
    """Return the engine `name` with `model` loaded.

    Args:
        name: a file of this folder, or an entry point of the group `edgetransfer.runtime.engines`.
        model: the model's file, or its content.
        threads: how many threads one inference may use, from 1. More can be slower: measure.
        kernels: "default" is the fastest here.
        providers: what computes, in order of preference, for engines that have a choice ("cuda", "cpu"); all of them
            must be there. Empty is the CPU.

    Raises:
        UnknownNameError: no such engine.
        EngineError: its package or a provider is not installed (says what to install), or it refuses the model.
        InputError: `threads` or `kernels` make no sense.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads: expected a whole number from 1, got {threads!r}")
    if kernels not in ("default", "reference"):
        raise InputError(f"kernels: expected 'default' or 'reference', got {kernels!r}")
    module: Any = _module(name)
    if not providers:
        return cast(Engine, module.open_model(model, threads=threads, kernels=kernels))
    if not hasattr(module, "available_providers"):
        raise InputError(f"providers: expected none, for the engine {name!r} has no choice of them; got {providers!r}")
    return cast(Engine, module.open_model(model, threads=threads, kernels=kernels, providers=tuple(providers)))


def engine_version(name: str) -> str:
    """Return the version of the vendor's package of the engine `name`, "" if its file does not tell before it is open.

    Raises:
        UnknownNameError: no such engine.
        EngineError: its package is not installed (says what to install).
    """
    module: Any = _module(name)
    return str(module.installed_version()) if hasattr(module, "installed_version") else ""


def _module(name: str) -> ModuleType:
    try:
        if name.isidentifier() and importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f"{__name__}.{name}")  # without a search through all installed packages
        from edgetransfer import registry

        return registry.load(__name__, name, kind="engine")
    except ImportError as missing:
        hint = f"pip install 'edgetransfer[{name}]'"
        raise EngineError(f"engine {name!r}: cannot be imported ({missing}); install it: {hint}") from missing
