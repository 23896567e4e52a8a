"""Finds, fetches and checks pretrained weights. Once a file is in the cache, no network is needed.

The cache is the folder "weights" of `edgetransfer.spec.cache`. A file is looked for there, then in the pip package
that carries it, then in Keras' own cache. What is known of a file's content is checked each time it is loaded: our
sha256, or the MD5 in Keras' source; of MobileNetV2 nothing is published, so the sha256 at the time of the download is
kept beside the file and tells later damage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from edgetransfer import registry
from edgetransfer.errors import CacheError, WeightsError
from edgetransfer.spec.backbone import WeightFile
from edgetransfer.spec.cache import cache_folder

Progress = Callable[[int, int], None]

_PACKAGE = "edgetransfer.models.backbones"
_TIMEOUT_S = 60
_ANY_WHEEL = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")
"""Of packages with compiled parts, when there is no wheel for this machine: a file is taken out of it, no code run."""
_CHUNK_BYTES = 1 << 20
_PUBLISHED_MD5 = {  # keras 3.15, applications/mobilenet_v3.py, WEIGHTS_HASHES
    "weights_mobilenet_v3_large_224_0.75_float_no_top_v2.h5": "40af19a13ebea4e2ee0c676887f69a2e",
    "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5": "07fb09a5933dd0c8eaafa16978110389",
    "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5": "ebdb5cc8e0b497cd13a7c275d475c819",
    "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5": "d3e8ec802a04aa4fc771ee12a9a9b836",
}


@dataclass(frozen=True, slots=True)
class WeightStatus:
    """A published file of weights, and where it is on this machine; `path` is None where it is not."""

    backbone: str
    file: WeightFile
    path: Path | None

    @property
    def checked_by(self) -> str:
        """What the file is held against when it is loaded."""
        if self.file.sha256:
            return "sha256"
        return "md5" if self.file.name in _PUBLISHED_MD5 else "sha256 at download"

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {
            "backbone": self.backbone,
            "file": self.file.name,
            "source": self.file.source,
            "licence": self.file.licence,
            "bytes": self.file.size_bytes,
            "sha256": self.file.sha256 or None,
            "md5": _PUBLISHED_MD5.get(self.file.name),
            "checked_by": self.checked_by,
            "present": self.path is not None,
            "path": None if self.path is None else str(self.path),
        }


def list_weights(names: Iterable[str] | None = None) -> tuple[WeightStatus, ...]:
    """Return the published weight files of the backbones `names` (None: of all); loads no Keras.

    Raises:
        UnknownNameError: no backbone of such a name.
    """
    chosen = registry.names(_PACKAGE) if names is None else tuple(names)
    return tuple(
        WeightStatus(name, file, find(file))
        for name in chosen
        for file in registry.load(_PACKAGE, name, kind="backbone").WEIGHTS
    )


def fetch(name: str, file: WeightFile | None = None, *, progress: Progress | None = None) -> Path:
    """Put the weights of backbone `name` into the cache, unless they are there, and return their path.

    They are copied from this machine (pip package, Keras' cache) if they are on it, else downloaded. What else the
    backbone takes from the same pip package, such as a tokenizer, comes along.

    Args:
        name: A registered backbone.
        file: Which of its files; None for that of its default width and size.
        progress: Is told of bytes done and in all (0: not known).

    Raises:
        UnknownNameError: no such backbone.
        WeightsError: they cannot be reached, or are not the published ones.
        CacheError: the cache cannot be written.
    """
    plugin = registry.load(_PACKAGE, name, kind="backbone")
    if file is None:
        alphas = plugin.SPEC.alphas
        file = plugin.weight_file(1.0 if not alphas or 1.0 in alphas else alphas[0], plugin.SPEC.input_px)
    missing = [one for one in _together(plugin.WEIGHTS, file) if not _from_here(one, progress)]
    if missing and file.source.startswith("pip:"):
        _fetch_with_pip(name, missing)
    elif missing:
        _download(name, file, cached_path(file), progress)
    return cached_path(file)


def locate(name: str, file: WeightFile, *, progress: Progress | None = None) -> Path:
    """Return the path of `file`, checked; weights with an address of their own are downloaded if they are not here.

    Raises:
        WeightsError: not here and not to be had, or not the published ones; says what to do.
    """
    path = find(file)
    if path is not None:
        return check(file, path)
    if not file.source.startswith("pip:"):
        return fetch(name, file, progress=progress)
    size = "" if file.size_bytes is None else f", {file.size_bytes / 1e6:.0f} MB"
    raise WeightsError(
        f"backbone {name!r}: its weights ({file.name}{size}) are not here; run 'edgetransfer weights fetch {name}' "
        f"or pip install {file.source.removeprefix('pip:')}, put the file at {cached_path(file)}, "
        "or give --weights FILE"
    )


def find(file: WeightFile) -> Path | None:
    """Return where `file` is on this machine, unchecked, or None: cache, pip package, Keras' cache."""
    return next((path for path in _places(file) if path.is_file()), None)


def cached_path(file: WeightFile) -> Path:
    """Return where the cache keeps `file`."""
    return cache_folder("weights") / file.name


def check(file: WeightFile, path: Path) -> Path:
    """Return `path` if its content is that of the published `file`.

    Raises:
        WeightsError: it is another content, or cannot be read.
    """
    md5, note = _PUBLISHED_MD5.get(file.name), path.with_name(f"{path.name}.sha256")
    try:
        if file.sha256:
            kind, wanted = "sha256", file.sha256
        elif md5 is not None:
            kind, wanted = "md5", md5
        elif note.is_file():
            kind, wanted = "sha256", note.read_text(encoding="ascii").strip()
        else:
            return path
        got = file_hash(path, kind)
    except (OSError, ValueError) as trouble:
        raise WeightsError(f"weights {path}: cannot be read ({trouble})") from trouble
    if got != wanted:
        raise WeightsError(
            f"weights {path}: expected the published {file.name} with {kind} {wanted}, got {got}; the file is damaged "
            "or another one: delete it and fetch it again, or give it as --weights FILE if you trust it"
        )
    return path


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Return the hash of the file's bytes, in hex."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _places(file: WeightFile) -> Iterator[Path]:
    yield cached_path(file)
    if file.source.startswith("pip:") and file.member is not None:
        distribution = file.source.removeprefix("pip:").partition("==")[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield Path(str(metadata.distribution(distribution).locate_file(file.member)))
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        yield Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / file.name


def _together(files: Iterable[WeightFile], file: WeightFile) -> tuple[WeightFile, ...]:
    """Return `file` and those that come with it: others of the same pip package."""
    others = [one for one in files if file.member and one.source == file.source and one.name != file.name]
    return (file, *others)


def _from_here(file: WeightFile, progress: Progress | None) -> bool:
    """Whether `file` is in the cache now, checked, because it was there or elsewhere on this machine."""
    target, here = cached_path(file), find(file)
    if here is None:
        return False
    check(file, here)
    if here != target:
        _copy_in(file, here, target, progress)
    return True


def _copy_in(file: WeightFile, here: Path, target: Path, progress: Progress | None) -> None:
    try:
        with here.open("rb") as content:
            _keep(file, content, target, progress, here.stat().st_size)
    except OSError as trouble:
        raise WeightsError(f"weights {here}: cannot be read ({trouble.strerror})") from trouble


def _fetch_with_pip(name: str, files: Sequence[WeightFile]) -> None:
    """Download the one wheel that has `files`, and keep them."""
    wanted = files[0].source.removeprefix("pip:")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        trouble = _download_wheel(wanted, folder)
        if trouble and _download_wheel(wanted, folder, *_ANY_WHEEL):
            raise WeightsError(_unreachable(name, files[0], cached_path(files[0]), trouble))
        (path,) = Path(folder).glob("*.whl")
        for file in files:
            try:
                with zipfile.ZipFile(path) as wheel, wheel.open(str(file.member)) as content:
                    _keep(file, content, cached_path(file), None, file.size_bytes or 0)
            except (KeyError, zipfile.BadZipFile) as broken:
                raise WeightsError(f"weights of {name!r}: {wanted} came without {file.member} ({broken})") from broken


def _download_wheel(wanted: str, folder: str, *options: str) -> str:
    """Put one wheel into `folder` and return ""; else what pip said."""
    # A wheel only: an sdist would run its own code to be built.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", folder, *options, wanted],
        capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    whole = done.returncode == 0 and len(list(Path(folder).glob("*.whl"))) == 1
    return "" if whole else _last_line(done.stderr)


def _download(name: str, file: WeightFile, target: Path, progress: Progress | None) -> None:
    if not file.source.startswith("https://"):
        raise WeightsError(f"weights of {name!r}: expected an https address, got {file.source!r}")
    try:
        answer = urllib.request.urlopen(file.source, timeout=_TIMEOUT_S)
    except (OSError, ValueError) as trouble:
        raise WeightsError(_unreachable(name, file, target, str(getattr(trouble, "reason", trouble)))) from trouble
    with answer:
        _keep(file, answer, target, progress, int(answer.headers.get("Content-Length") or 0))


def _keep(file: WeightFile, content: IO[bytes], target: Path, progress: Progress | None, total: int) -> None:
    """Write `content` to `target`, whole and checked or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    except OSError as trouble:
        raise CacheError(f"cache {target.parent}: cannot be written ({trouble.strerror})") from trouble
    try:
        with os.fdopen(handle, "wb") as out:
            _copy(content, out, progress, total)
        check(file, Path(part))
        if not file.sha256:
            note = target.with_name(f"{target.name}.sha256")
            fresh = Path(f"{part}.sha256")
            fresh.write_text(file_hash(Path(part)) + "\n", encoding="ascii")
            fresh.replace(note)
        Path(part).replace(target)
    except OSError as trouble:
        raise WeightsError(f"weights {file.name}: could not be fetched whole ({trouble}); try again") from trouble
    finally:
        for rest in (Path(part), Path(f"{part}.sha256")):
            rest.unlink(missing_ok=True)


def _copy(content: IO[bytes], out: IO[bytes], progress: Progress | None, total: int) -> None:
    if progress is None:
        shutil.copyfileobj(content, out, _CHUNK_BYTES)
    else:
        while chunk := content.read(_CHUNK_BYTES):
            out.write(chunk)
            progress(out.tell(), total)
    if total and out.tell() != total:
        raise OSError(f"expected {total} bytes, got {out.tell()}")


def _unreachable(name: str, file: WeightFile, target: Path, reason: str) -> str:
    return (
        f"backbone {name!r}: could not fetch {file.name} from {file.source} ({reason}); put the file at {target}, or "
        "give --weights FILE"
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "pip said nothing"
