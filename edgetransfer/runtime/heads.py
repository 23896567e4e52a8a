"""Heads beside a bundle: found, added, taken away and put to use, while the backbone stays where it is.

A bundle `NAME.bundle` carries heads in its hashed files; those that come later lie in `NAME.heads/` beside it, one
file each, so that the bundle stays what was verified. One of the same name there stands in for the bundle's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError, OutputError, UnknownNameError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.head import HEAD_SUFFIX, Head

HeadSource = str | os.PathLike[str] | Head


@dataclass(frozen=True, slots=True)
class Answers(Mapping[str, Any]):
    """The results of several heads for one input, by their names."""

    results: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        if name not in self.results:
            raise UnknownNameError("head", name, self.results)
        return self.results[name]

    def __iter__(self) -> Any:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_json(self) -> dict[str, Any]:
        """Return each head's result as JSON values."""
        return {name: result.to_json() for name, result in self.results.items()}


def heads_folder(bundle: Bundle) -> Path:
    """Return the folder beside `bundle` where heads are that were added later; it need not exist."""
    path = Path(bundle.folder)
    return path.parent / f"{path.name.removesuffix('.bundle')}.heads"


def load_heads(bundle: Bundle, given: Sequence[HeadSource] | None = None) -> tuple[Head, ...]:
    """Return the heads that answer for `bundle`, in order of their names.

    Args:
        bundle: Whose features they take.
        given: Files or heads to use, and no others; None takes the bundle's own and those beside it.

    Raises:
        BundleError: a file is no head, or one was trained on another backbone.
        IntegrityError: one of the bundle's own was changed.
    """
    if given is not None:
        found = [one if isinstance(one, Head) else read_head(Path(one)) for one in given]
    else:
        own = {head.name: Head.from_bytes(bundle.content(head.file), head.file) for head in bundle.manifest.heads}
        beside = {head.name: head for head in map(read_head, sorted(heads_folder(bundle).glob(f"*{HEAD_SUFFIX}")))}
        found = list((own | beside).values())
    for head in found:
        head.check_fits(bundle.manifest, bundle.folder)
    return tuple(sorted(found, key=lambda head: head.name))


def read_head(path: Path) -> Head:
    """Return the head in the file `path`.

    Raises:
        BundleError: it cannot be read or is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"head {str(path)!r}: cannot be read ({error.strerror})") from error
    return Head.from_bytes(content, f"head {str(path)!r}")


def write_head(path: Path, head: Head) -> int:
    """Write `head` as the file `path`, whole or not at all, and return how many bytes it has.

    Raises:
        OutputError: it cannot be written.
    """
    content = head.to_bytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"head {str(path)!r}: cannot be written ({error.strerror})") from error
    return len(content)


def add_head(bundle: Bundle, head: Head) -> Path:
    """Put `head` beside `bundle`, replacing one of its name, and return its file; the bundle is not touched.

    Raises:
        BundleError: the bundle's graph has its head inside, or the head was trained on another backbone.
        OutputError: the file cannot be written.
    """
    if not bundle.manifest.is_split:
        raise BundleError(
            f"bundle {bundle.folder!r}: its head is inside the graph, so none can be added; build it with --split"
        )
    head.check_fits(bundle.manifest, bundle.folder)
    path = heads_folder(bundle) / f"{head.name}{HEAD_SUFFIX}"
    write_head(path, head)
    return path


def remove_head(bundle: Bundle, name: str) -> None:
    """Take the head `name` away from beside `bundle`; one that the bundle carries answers again.

    Raises:
        UnknownNameError: no such head was added.
    """
    path = heads_folder(bundle) / f"{name}{HEAD_SUFFIX}"
    if not path.is_file():
        raise UnknownNameError("added head", name, [one.stem for one in path.parent.glob(f"*{HEAD_SUFFIX}")])
    path.unlink()


def answer(head: Head, windows: NDArray[np.float32]) -> Any:
    """Return the result of `head` for one input, of whose windows these are the real features (W, D).

    What is unlike the head's training data has no label.
    """
    features = head.pooled(windows)
    result = get_decoder(head.task.kind).decode(head.logits(features[None])[0], head.task)
    if head.outliers is None:
        return result
    from edgetransfer.runtime.decoders.single_label import reject

    return reject(result, float(head.outliers.score(features[None])[0]), head.outliers)
