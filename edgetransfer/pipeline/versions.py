"""Which versions of packages a model was made with."""

from __future__ import annotations

from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what is built."""
    names = ("keras", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "ai-edge-quantizer", "numpy", "pillow")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
