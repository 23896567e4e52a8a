"""The shape of manifest.json, schema by schema: what must be in it, and how older ones become today's."""

from __future__ import annotations

from typing import Any

from edgetransfer.errors import BundleError
from edgetransfer.spec import json_shape

SCHEMA = 3
"""The newest manifest schema that this version reads, and the one that it writes."""
_TENSOR = {
    "name": str,
    "shape": [int],
    "dtype": str,
    "quantization": (None, {"scale": float, "zero_point": int}),
}
_METRIC = {"accuracy": float, "samples": int}
_IMAGE = {"kind": str, "height_px": int, "width_px": int, "fit": str, "pad_value": int}
_SHAPE: dict[str, Any] = {
    "schema": int,
    "edgetransfer": str,
    "name": str,
    "format": str,
    "model": {"file": str, "input": _TENSOR, "output": _TENSOR, "scores_in_graph": bool, "providers": [str]},
    "task": {"kind": str, "labels": [str], "temperature": float},
    "preprocess": (
        _IMAGE,
        _IMAGE | {"channels": int},  # of images that are not RGB
        {
            "kind": str,
            "front_end": str,
            "sample_rate_hz": int,
            "frames": int,
            "bands": int,
            "hop_frames": int,
            "scale": float,
            "zero_point": int,
        },
        {"kind": str, "tokens": int, "pad_id": int, "file": str},
    ),
    "backbone": {
        "name": str,
        "alpha": float,
        "weights_sha256": str,
        "normalisation": {"scale": float, "zero_point": int},
        "feature_size": int,
        "licence": str,
        "licence_url": str,
        "pretrained_on": str,
    },
    "recipe": {
        "name": str,
        "weights": str,
        "activations": str,
        "granularity": str,
        "weight_ranges": str,
        "overrides": [{"pattern": str, "weights": str, "activations": str}],
    },
    "budget": (
        None,
        {"max_drop": float, "val_float": float, "val_exported": float, "evaluations": int, "kept": [str]},
    ),
    "footprint": (None, {"arena_bytes": int}),
    "device": (None, str),
    "golden": (
        None,
        {
            "kind": str,
            "file": str,
            "samples": int,
            "engine": str,
            "engine_version": str,
            "kernels": str,
            "tolerance_steps": int,
            "same_kernels_tolerance_steps": int,
            "tolerances": {"*": int},
        },
    ),
    "metrics": {"*": _METRIC},
    "heads": [{"name": str, "file": str, "metrics": {"*": _METRIC}}],
    "licences": [{"component": str, "licence": str, "url": str, "file": (None, str)}],
    "versions": {"*": str},
    "data": {"fingerprint": str, "counts": {"*": int}},
    "allowed": [str],
    "files": {"*": {"sha256": str, "bytes": int}},
}


def shape_problems(data: Any) -> list[str]:
    """Return a sentence for everything in `data` that is missing, unknown or of the wrong type."""
    return json_shape.problems(data, _SHAPE, "manifest")


def check_schema(data: Any, where: str) -> None:
    """Refuse what is no manifest, or one of a newer schema.

    Raises:
        BundleError: says which version reads it.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise BundleError(
            f"{where}: expected an object with a schema number from 1 to {SCHEMA}; not a bundle's manifest"
        )
    if schema > SCHEMA:
        raise BundleError(
            f"{where}: made by edgetransfer >= {data.get('edgetransfer', 'unknown')}, schema {schema}; this one reads "
            f"up to schema {SCHEMA}: pip install -U edgetransfer"
        )


def migrated(data: Any) -> Any:
    """Return a manifest of an older schema in today's form; what it lacks is filled in as it was then."""
    if data["schema"] >= SCHEMA:
        return data
    # Schema 2 knew no heads outside of the graph.
    found = dict(data) | {"schema": SCHEMA, "heads": []}
    if data["schema"] > 1:
        return found
    # Schema 1 (edgetransfer 0.1): LiteRT only, no overrides, no budget, one tolerance for all other kernels. What is
    # not as it was then is left for the check that follows.
    found |= {"budget": None, "footprint": None}
    for name, new in (
        ("model", {"providers": []}),
        ("recipe", {"overrides": [], "weight_ranges": "min_max"}),
        ("golden", {"tolerances": {}}),
    ):
        if isinstance(found.get(name), dict):
            found[name] = {**found[name], **new}
    return found
