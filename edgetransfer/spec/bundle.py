"""Bundles: one folder with a model and all that is needed to run, check and trust it.

NAME.bundle/
    manifest.json     see edgetransfer.spec.manifest; its sha256 is the bundle's
    model.tflite
    labels.txt        UTF-8, one label per line
    golden.npz        optional, see edgetransfer.spec.golden
    LICENSES/*.txt
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import BundleError, IntegrityError
from edgetransfer.spec import json_shape
from edgetransfer.spec.manifest import (
    MANIFEST_FILE,
    BackboneInfo,
    DataInfo,
    FileInfo,
    GoldenInfo,
    LicenceInfo,
    Manifest,
    ModelInfo,
    SplitMetric,
    labels_content,
)
from edgetransfer.spec.manifest_schema import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.spec.golden import Golden

__all__ = [
    "SCHEMA",
    "BackboneInfo",
    "Bundle",
    "DataInfo",
    "FileInfo",
    "Golden",
    "GoldenInfo",
    "LicenceInfo",
    "Manifest",
    "ModelInfo",
    "SplitMetric",
    "labels_content",
    "write_bundle",
]

MODEL_FILE = "model.tflite"
GOLDEN_FILE = "golden.npz"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Ours have some 5 kB; a thousand long labels have 100 kB."""
_READ_BYTES = 128 * 1024  # at a time: what is hashed is still in the cache


def __getattr__(name: str) -> Any:
    """Import golden samples when they are first asked for (PEP 562): devices predict more often than they verify."""
    if name != "Golden":
        raise AttributeError(f"module 'edgetransfer.spec.bundle' has no attribute {name!r}")
    from edgetransfer.spec.golden import Golden

    return Golden


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: its folder, manifest, and the sha256 of its manifest.json.

    The folder is text, and `path` made of it on demand, because importing pathlib takes 3 ms of a device's start.
    """

    folder: str
    manifest: Manifest
    sha256: str

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Return the bundle in the folder `path`; reads the manifest only.

        Raises:
            BundleError: not a bundle, made by a newer version, malformed, or naming a path outside of the folder.
            IntegrityError: a file is missing.
        """
        folder = os.fspath(path)
        if not os.path.isdir(folder):  # noqa: PTH112
            what = "a file, not a folder" if os.path.exists(folder) else "no such folder"  # noqa: PTH110
            raise BundleError(f"bundle {folder!r}: {what}; expected a folder with a {MANIFEST_FILE}")
        source = _inside(folder, MANIFEST_FILE)
        content = _read_manifest(source)
        manifest = Manifest.from_json(json_shape.parse(content, source), source)
        for name in manifest.files:
            _inside(folder, name)
        return cls(folder, manifest, hashlib.sha256(content).hexdigest())

    @property
    def path(self) -> Path:
        """The bundle's folder."""
        from pathlib import Path

        return Path(self.folder)

    @property
    def model_path(self) -> Path:
        """The model file; `check_model` says whether it is the one that was exported."""
        return self.path / self.manifest.model.file

    def check_model(self) -> None:
        """Check the model file alone, some milliseconds.

        Raises:
            IntegrityError: it is not the file that was exported.
        """
        if problem := self._file_problem(self.manifest.model.file):
            raise IntegrityError(f"bundle {self.folder!r}: {problem}; copy it again")

    def content(self, name: str) -> bytes:
        """Return the content of one of the bundle's files.

        Raises:
            IntegrityError: it is not the file that was written.
        """
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise IntegrityError(f"bundle {self.folder!r}: {name} cannot be read ({error.strerror})") from error
        if FileInfo.of(content) != self.manifest.files[name]:
            raise IntegrityError(f"bundle {self.folder!r}: {name} was changed; copy it again")
        return content

    def check_integrity(self) -> None:
        """Check that every file is the one that was written, and that there is no other.

        Raises:
            IntegrityError: names every missing, changed and surplus file.
        """
        if problems := self.integrity_problems():
            raise IntegrityError(f"bundle {self.folder!r}: {'; '.join(problems)}; copy it again")

    def integrity_problems(self) -> list[str]:
        """Return a sentence for every missing, changed and surplus file."""
        found = [problem for name in sorted(self.manifest.files) if (problem := self._file_problem(name))]
        expected = {MANIFEST_FILE, *self.manifest.files}
        present = (
            p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_symlink() or not p.is_dir()
        )
        return found + [f"{name} is not in the manifest" for name in sorted(present) if name not in expected]

    def golden(self) -> Golden | None:
        """Return the golden samples, None if the bundle was made without.

        Raises:
            IntegrityError: the file is not the one that was written.
            BundleError: it cannot be read, or its samples do not fit the manifest.
        """
        from edgetransfer.spec.golden import MAX_GOLDEN_BYTES, Golden

        info = self.manifest.golden
        if info is None:
            return None
        if problem := self._file_problem(info.file):
            raise IntegrityError(f"bundle {self.folder!r}: {problem}; copy it again")
        if self.manifest.files[info.file].size_bytes > MAX_GOLDEN_BYTES:
            raise BundleError(f"bundle {self.folder!r}: {info.file} is above {MAX_GOLDEN_BYTES} bytes; refused unread")
        golden = Golden.from_bytes((self.path / info.file).read_bytes())
        output = self.manifest.model.output
        expected = (info.samples, *output.shape[1:])
        if golden.own_outputs.shape != expected or str(golden.own_outputs.dtype) != output.dtype:
            raise BundleError(
                f"bundle {self.folder!r}: {info.file}: expected own outputs {output.dtype} {expected}, got "
                f"{golden.own_outputs.dtype} {golden.own_outputs.shape}"
            )
        return golden

    def _file_problem(self, name: str) -> str:
        expected, path = self.manifest.files[name], f"{self.folder}/{name}"
        try:
            size = os.stat(path).st_size  # noqa: PTH116
            if size != expected.size_bytes:
                return f"{name} has {size} bytes, expected {expected.size_bytes}"
            return "" if _sha256(path) == expected.sha256 else f"{name} was changed: its sha256 is not the manifest's"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes], *, force: bool = False
) -> Bundle:
    """Write a bundle whole or not at all, and return it.

    The files are written to a hidden folder beside `path`, flushed to the disk, and moved into place by one
    rename; an old bundle is exchanged with it. So a crash leaves the old or the new one, whole.

    Args:
        path: the folder to make, by custom NAME.bundle.
        manifest: all but `files`, which is computed here.
        files: content by path inside the bundle; the model's, golden samples', licences'. labels.txt is made here.
        force: replace the bundle that is there.

    Raises:
        OutputError: something is there already, is not a bundle, or cannot be written.
        BundleError: the manifest contradicts itself or the files.
    """
    from pathlib import Path

    from edgetransfer.spec.bundle_writer import write  # here, for a device only reads

    write(Path(path), manifest, files, force=force)
    return Bundle.load(path)


def _read_manifest(path: str) -> bytes:
    with open(path, "rb") as stream:  # noqa: PTH123
        content = stream.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path!r}: expected at most {MAX_MANIFEST_BYTES} bytes; refused unread")
    return content


def _inside(folder: str, name: str) -> str:
    """Return the path of the file `name` in `folder`; refuses links that leave the folder and what is no file."""
    path, root = f"{folder}/{name}", os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise BundleError(f"bundle {folder!r}: {name} is a link that leaves the folder; refused")
    if not os.path.isfile(path):  # noqa: PTH113
        if name == MANIFEST_FILE:
            raise BundleError(f"bundle {folder!r}: has no {MANIFEST_FILE}; not a bundle")
        raise IntegrityError(f"bundle {folder!r}: {name} is missing; copy the bundle again")
    return path


def _sha256(path: str) -> str:
    digest, block = hashlib.sha256(), memoryview(bytearray(_READ_BYTES))
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123
        while count := stream.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()
