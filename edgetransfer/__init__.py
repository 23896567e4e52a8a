"""From a folder of labelled examples to a verified model on a small device.

The public names are loaded on first use, so that `import edgetransfer` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Predictor": "edgetransfer.runtime.predictor",
    "Bundle": "edgetransfer.spec.bundle",
    "load_dataset": "edgetransfer.data",
    "load_device": "edgetransfer.spec.device",
    "build": "edgetransfer.pipeline.build",
    "EdgetransferError": "edgetransfer.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'edgetransfer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
