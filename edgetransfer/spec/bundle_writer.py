"""Writes a bundle's folder whole or not at all: a temporary folder beside it, flushed, then one rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgetransfer.errors import OutputError
from edgetransfer.spec import json_shape
from edgetransfer.spec.manifest import LABELS_FILE, MANIFEST_FILE, FileInfo, Manifest, labels_content


def write(target: Path, manifest: Manifest, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write the bundle's folder `target`; see `edgetransfer.spec.bundle.write_bundle`."""
    everything = {**files, LABELS_FILE: labels_content(manifest.task.labels)}
    full = replace(manifest, files={name: FileInfo.of(content) for name, content in sorted(everything.items())})
    content = full.to_bytes()
    Manifest.from_json(json_shape.parse(content, MANIFEST_FILE))  # never write what would not be read
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(target)
        _check_target(target, force=force)
        partial = target.parent / f".{target.name}.{os.getpid()}.partial"
        try:
            _write_files(partial, {**everything, MANIFEST_FILE: content})
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OutputError:
        raise
    except OSError as error:
        hint = "make room and run again" if error.errno == errno.ENOSPC else "choose another --output"
        raise OutputError(f"output {str(target)!r}: cannot be written ({error.strerror}); {hint}") from error


def _check_target(target: Path, *, force: bool) -> None:
    if not (target.exists() or target.is_symlink()):
        return
    if not force:
        raise OutputError(f"output {str(target)!r}: exists already; choose another name or give --force to replace it")
    if target.is_symlink() or not target.is_dir() or (any(target.iterdir()) and not (target / MANIFEST_FILE).is_file()):
        raise OutputError(
            f"output {str(target)!r}: is not a bundle, so --force does not remove it; choose another name"
        )


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    for inner in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        _fsync_folder(inner)


def _put_in_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
    elif not _exchange(partial, target):
        aside = target.parent / f".{target.name}.{os.getpid()}.old"
        target.rename(aside)
        try:
            partial.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _fsync_folder(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    at_fdcwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    done: int = renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange)
    return done == 0


def _clean_up(target: Path) -> None:
    """Remove what a crashed write left; a bundle that was moved aside and not replaced comes back."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"(\d+)\.(partial|old)")
    for path in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or _is_running(int(match[1])):
            continue
        if match[2] == "old" and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _fsync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot; the renames are still in order
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
