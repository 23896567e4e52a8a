"""Reads and repairs the configuration of a user's model before Keras sees it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.models.backbones._graph import scope_name

_MOST_BYTES = 64 << 20
# Layers that run code or models which the file brings along.
_UNSAFE = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_LINKS = ("inbound_nodes", "input_layers", "output_layers")


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration in the `.keras` or `.h5` model at `path`.

    Raises:
        BackboneError: another kind of file, or not a whole one.
    """
    if path.suffix in (".h5", ".hdf5"):
        from edgetransfer.models import legacy_h5

        return legacy_h5.read_config(path)
    if path.suffix != ".keras":
        raise BackboneError(f"model {path}: expected a .keras or .h5 file, got {path.suffix or 'no'} suffix")
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > _MOST_BYTES:
                raise BackboneError(f"model {path}: its configuration has {size >> 20} MiB; refused")
            config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict):
            raise ValueError("its configuration is not an object")
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as trouble:
        raise BackboneError(f"model {path}: not a whole .keras file ({trouble})") from trouble
    return config


def refuse_unsafe(config: dict[str, Any], path: Path) -> None:
    """Refuse a configuration that makes Keras run code from the file or from other packages.

    Raises:
        BackboneError: names the layer, class or function.
    """
    for part in parts(config):
        kind, module = part.get("class_name"), part.get("module")
        if kind in _UNSAFE:
            raise BackboneError(
                f"model {path}: has a {kind} layer, which would run code from the file; refused. Replace it by Keras' "
                "own layers, or save the model without it"
            )
        if isinstance(module, str) and module.split(".")[0] != "keras" and not str(kind).startswith("__"):
            raise BackboneError(
                f"model {path}: needs {module}.{part.get('config') if kind == 'function' else kind}, which is not "
                "Keras' own; refused. Save the model with Keras' own layers only"
            )


def settle_names(config: dict[str, Any]) -> bool:
    """Rename the layers that TensorFlow cannot name a scope after, in place; say whether there were any.

    Such are names with "/", with a leading "_", with spaces or letters outside of ASCII. The new names depend on
    nothing but the configuration.
    """
    layers = [part for part in parts(config) if isinstance(part.get("config"), dict)]
    found = {str(holder["name"]) for layer in layers for holder in (layer, layer["config"]) if "name" in holder}
    renamed: dict[str, str] = {}
    for name in sorted(found):
        wanted = scope_name(name)
        if wanted == name:
            continue
        while wanted in found or wanted in renamed.values():
            wanted += "_"
        renamed[name] = wanted
    for layer in layers if renamed else ():
        for holder in (layer, layer["config"]):
            if "name" in holder:
                holder["name"] = renamed.get(str(holder["name"]), holder["name"])
    if renamed:
        _rename_links(config, renamed)
    return bool(renamed)


def parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in `config` that describes an object of a class: layers, initializers, nested models."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from parts(value)


def write_copy(path: Path, copy: Path, config: dict[str, Any]) -> Path:
    """Return `copy`, the model at `path` with `config` as its configuration."""
    if path.suffix in (".h5", ".hdf5"):
        from edgetransfer.models import legacy_h5

        return legacy_h5.write_copy(path, copy, config)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for entry in source.infolist():
            if entry.filename == "config.json":
                target.writestr(entry.filename, json.dumps(config))
                continue
            with source.open(entry) as content, target.open(entry.filename, "w", force_zip64=True) as out:
                while chunk := content.read(1 << 20):
                    out.write(chunk)
    return copy


def _rename_links(part: Any, renamed: dict[str, str]) -> None:
    """Rename layers where `part` links to them."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in _LINKS:
                part[key] = _renamed(value, renamed)
            _rename_links(part[key], renamed)
    elif isinstance(part, list):
        for value in part:
            _rename_links(value, renamed)


def _renamed(value: Any, renamed: dict[str, str]) -> Any:
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, list):
        return [_renamed(item, renamed) for item in value]
    if isinstance(value, dict):
        return {key: _renamed(item, renamed) for key, item in value.items()}
    return value
