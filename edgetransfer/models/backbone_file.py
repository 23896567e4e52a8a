"""A backbone as one file: a `.keras` file that plain Keras opens, with what Keras has no place for inside.

That is what the model expects of a pixel, the licence of the weights it came from, and what was done to them. So
"keras:PATH" of such a file needs no `--normalise` and loses no licence. Equal models have equal bytes.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetransfer.errors import BackboneError, BundleError
from edgetransfer.spec import json_shape
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.preprocess import Normalisation

MEMBER = "edgetransfer.json"
"""The file inside the `.keras` file, which is a zip archive; Keras reads only members that it knows."""
SCHEMA = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day a zip archive can name
_SHAPE: Any = {
    "schema": int,
    "name": str,
    "normalisation": {"scale": float, "zero_point": int},
    "licence": str,
    "licence_url": str,
    "pretrained_on": str,
    "history": [{"step": str, "about": {"*": (str, float, bool, None)}}],
}


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What is known of a backbone's weights.

    Attributes:
        name: Of the backbone that it was at first.
        normalisation: What the model expects of a pixel.
        licence: Of the weights that it was made from.
        licence_url: Where that stands.
        pretrained_on: The data that these were trained on.
        history: What was done since, oldest first: each the name of a "step" and what there is to know "about" it.
    """

    name: str
    normalisation: Normalisation
    licence: str
    licence_url: str
    pretrained_on: str
    history: tuple[Mapping[str, Any], ...] = ()

    def then(self, step: str, **about: str | float | bool | None) -> BackboneFacts:
        """Return the facts after one more `step`."""
        return replace(self, history=(*self.history, {"step": step, "about": about}))

    def to_json(self) -> dict[str, Any]:
        """Return the form that the file keeps."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "normalisation": self.normalisation.to_json(),
            "licence": self.licence,
            "licence_url": self.licence_url,
            "pretrained_on": self.pretrained_on,
            "history": [dict(step) for step in self.history],
        }


def backbone_bytes(model: Any, facts: BackboneFacts) -> bytes:
    """Return the content of a `.keras` file with `model` and `facts`; equal for equal models."""
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({"keras_version": about["keras_version"]}).encode()  # and no time of day
    members[MEMBER] = json_shape.canonical(facts.to_json())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])
    return buffer.getvalue()


def write_backbone(path: Path, model: Any, facts: BackboneFacts) -> None:
    """Write the backbone to the file `path`, whole or not at all.

    Raises:
        BackboneError: `path` does not end in .keras.
        OSError: it cannot be written.
    """
    if path.suffix != ".keras":
        raise BackboneError(f"output {str(path)!r}: expected a name that ends in .keras, which Keras asks for")
    write_atomically(path, backbone_bytes(model, facts))


def read_facts(path: Path) -> BackboneFacts | None:
    """Return what the file at `path` knows of its weights; None for a model that was not written by us.

    Raises:
        BackboneError: it says so of itself, but in a way that cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if MEMBER not in archive.namelist():
                return None
            content = archive.read(MEMBER)
    except (OSError, zipfile.BadZipFile):
        return None  # a legacy .h5, or no model at all: opening it will say what it is
    try:
        about = json_shape.parse(content, MEMBER)
    except BundleError as trouble:
        raise BackboneError(f"model {path}: {trouble}") from trouble
    if isinstance(about, dict) and about.get("schema", SCHEMA) != SCHEMA:
        raise BackboneError(f"model {path}: {MEMBER} in it has schema {about['schema']}, this version reads {SCHEMA}")
    if problems := json_shape.problems(about, _SHAPE, MEMBER):
        raise BackboneError(f"model {path}: {'; '.join(problems)}")
    return BackboneFacts(
        name=about["name"],
        normalisation=Normalisation(**about["normalisation"]),
        licence=about["licence"],
        licence_url=about["licence_url"],
        pretrained_on=about["pretrained_on"],
        history=tuple(about["history"]),
    )
