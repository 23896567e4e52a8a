"""Lists the photos or sounds, labels and splits of a folder, opening no file."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.report import NOUNS, Finding
from edgetransfer.data.suffixes import PHOTO_SUFFIXES, SOUND_SUFFIXES
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from edgetransfer.data.targets import Target

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Pictures and sounds that are not read: they reach the reader, whose message says what to do.
_PICTURE_SUFFIXES = PHOTO_SUFFIXES | {".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".mpo"}
_SOUND_SUFFIXES = SOUND_SUFFIXES | {".mp3", ".m4a", ".aac", ".wma", ".aif", ".aiff"}
_SUFFIXES = {"image": _PICTURE_SUFFIXES, "audio": _SOUND_SUFFIXES}
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir"})  # macOS zip files; Synology thumbnails
_SHOWN = 3  # problems that the one-line message quotes; DataError.problems holds all


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo as listed: `name` is its path relative to the data set, `split` None if none was given.

    Of a sentence `path` is the table's, `name` says its line. `label` is the answer as text, equal for equal answers;
    several labels and values are in `target` too.
    """

    path: Path
    name: str
    label: str
    split: str | None
    text: str = ""
    target: Target = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All photos of a source, the files that are none, hints for error messages, the kind of input and that of task."""

    entries: tuple[Entry, ...]
    ignored: tuple[Finding, ...]
    hint: str = ""
    kind: str = "image"
    task: str = "single_label"


def kind_of_paths(paths: Iterable[Path]) -> str:
    """Return "audio" if some of `paths` end as sounds and none as pictures, else "image"."""
    sounds = False
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in _PICTURE_SUFFIXES:
            return "image"
        sounds = sounds or suffix in _SOUND_SUFFIXES
    return "audio" if sounds else "image"


def list_folder(root: Path, kind: str | None = None) -> Listing:
    """Return the photos below `root`: a folder per class, or `train/ val/ test/` with a folder per class each.

    Args:
        root: The folder.
        kind: "image" or "audio"; None for sounds where there are some and no picture.

    Raises:
        DataError: no class folders, splits and classes side by side, a class folder without a photo, a
            name that cannot be a label.
    """
    kind = kind or kind_of_paths(_walk(root))
    ignored: list[Finding] = []
    problems: list[str] = []
    folders = _children(root, root, ignored)
    tables = [path.name for path in root.glob("*.csv")]
    hint = f"; if {sorted(tables)[0]} lists the {NOUNS[kind]}s, give that file" if tables else ""
    if not folders:
        raise DataError(f"{root}: expected a folder for each class, got none{hint}")
    splits = {folder: SPLIT_NAMES[folder.name.lower()] for folder in folders if _is_split(folder, kind)}
    if splits and len(splits) < len(folders):
        others = sorted(folder.name for folder in folders if folder not in splits)
        raise DataError(
            f"{root}: expected class folders, or split folders only; got the split {min(f.name for f in splits)!r} "
            f"beside {', '.join(map(repr, others[:_SHOWN]))}; move the others into a split"
        )
    entries: list[Entry] = []
    seen: dict[str, str] = {}
    for folder, split in splits.items():
        if split in seen:
            problems.append(f"folders {seen[split]!r} and {folder.name!r} are both the split {split!r}: merge them")
        seen[split] = folder.name
        for class_folder in _children(folder, root, ignored):
            entries += _list_class(class_folder, root, split, kind, ignored, problems)
    if not splits:
        for folder in folders:
            entries += _list_class(folder, root, None, kind, ignored, problems)
    refuse(str(root), problems)
    return Listing(tuple(entries), tuple(sorted(ignored, key=lambda f: f.path)), hint, kind)


def refuse(where: str, problems: Iterable[str]) -> None:
    """Raise one DataError that quotes the first problems and carries all of them; does nothing if there are none."""
    found = tuple(problems)
    if not found:
        return
    rest = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    count = f"{len(found)} problems: " if len(found) > 1 else ""
    raise DataError(f"{where}: {count}{'; '.join(found[:_SHOWN])}{rest}", found)


def clean_label(text: str) -> str:
    """Return `text` as a label: NFC, no blanks around it.

    Raises:
        ValueError: it is empty, not valid Unicode, or has a control character (labels are lines of a file).
    """
    label = unicodedata.normalize("NFC", text).strip()
    if not label:
        raise ValueError("empty label")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
        raise ValueError(f"label {shown(label)!r} has a control character or is not UTF-8")
    return label


def shown(text: str) -> str:
    """Return `text` fit for reports: bytes of a file name that are not UTF-8 become question marks."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def require_source(path: Path) -> None:
    """Check that `path` is there.

    Raises:
        DataError: it is not; suggests a neighbour with a similar name.
    """
    if path.exists():
        return
    neighbours = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    guess = f"; did you mean {str(path.parent / near[0])!r}?" if near else ""
    raise DataError(f"{path}: no such folder or CSV file{guess}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _is_split(folder: Path, kind: str) -> bool:
    """Whether a folder is a split: by its name, unless photos lie in it directly (a class of trains)."""
    if folder.name.lower() not in SPLIT_NAMES:
        return False
    return not any(p.is_file() and p.suffix.lower() in _SUFFIXES[kind] for p in folder.iterdir())


def _children(folder: Path, root: Path, ignored: list[Finding]) -> list[Path]:
    """Return the folders in `folder`, by name; files there belong to no class."""
    visible = sorted(path for path in folder.iterdir() if not _is_hidden(path.name))
    for path in visible:
        if not path.is_dir():
            ignored.append(Finding(_name(path, root), "not in a class folder"))
    return [path for path in visible if path.is_dir()]


def _list_class(
    folder: Path, root: Path, split: str | None, kind: str, ignored: list[Finding], problems: list[str]
) -> list[Entry]:
    try:
        label = clean_label(folder.name)
    except ValueError as error:
        problems.append(f"folder {_name(folder, root)!r}: {error}")
        return []
    entries = []
    for path in _walk(folder):
        suffix = path.suffix.lower()
        if suffix in _SUFFIXES[kind]:
            entries.append(Entry(path, _name(path, root), label, split))
        else:
            ignored.append(Finding(_name(path, root), f"not a {NOUNS[kind]} by its name ({suffix or 'no suffix'})"))
    if not entries:
        problems.append(f"class folder {_name(folder, root)!r}: holds no {NOUNS[kind]}; fill it or take it away")
    return entries


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the visible files below `folder`, sorted; links to folders are not followed (they may go in circles)."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (Path(parent, name) for name in sorted(files) if not _is_hidden(name))


def _name(path: Path, root: Path) -> str:
    return shown(path.relative_to(root).as_posix())
