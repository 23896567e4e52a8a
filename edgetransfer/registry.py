"""Finds plug-ins by file name, without importing them.

A decorator would have to import Keras to learn that a backbone exists; a folder listing does not. A file
`edgetransfer/models/backbones/NAME.py` *is* the registration of NAME. Other packages add to a folder with
an entry point in the group named after that package, for example::

    [project.entry-points."edgetransfer.models.backbones"]
    my_backbone = "my_package.my_backbone"
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib import metadata
from types import ModuleType

from edgetransfer.errors import UnknownNameError


@cache
def _locations(package: str) -> dict[str, str]:
    found = {point.name: point.value for point in metadata.entry_points(group=package)}
    folder = importlib.import_module(package)
    # What ships with edgetransfer wins: an installed package cannot replace a built-in name unnoticed.
    found.update({m.name: f"{package}.{m.name}" for m in pkgutil.iter_modules(folder.__path__) if m.name[0] != "_"})
    return found


def names(package: str) -> tuple[str, ...]:
    """Return the sorted names of all plug-ins in `package`; imports none of them."""
    return tuple(sorted(_locations(package)))


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """Import and return the plug-in `name` of `package`.

    Raises:
        UnknownNameError: there is no such plug-in; says which name is near. `kind` is the word for it.
    """
    locations = _locations(package)
    if name not in locations:
        raise UnknownNameError(kind, name, locations)
    return importlib.import_module(locations[name])
