"""Where edgetransfer keeps what it can make or fetch again: weights, exported backbones, features."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from edgetransfer.errors import CacheError


def cache_folder(kind: str) -> Path:
    """Return the folder for one `kind` of cached things, such as "weights"; it may not exist yet.

    It lies in $EDGETRANSFER_CACHE if that is set; else in $XDG_CACHE_HOME/edgetransfer, on macOS in
    ~/Library/Caches/edgetransfer, else in ~/.cache/edgetransfer. The whole folder can be moved to another machine,
    to work there without a network, and can be deleted at any time.

    Raises:
        CacheError: the variable is set to a relative path (it would mean another folder in every directory), there
            is no home folder, or `kind` is not a plain word.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", kind):
        raise CacheError(f"cache kind: expected a word of small letters, got {kind!r}")
    return _root() / kind


def _root() -> Path:
    own = os.environ.get("EDGETRANSFER_CACHE")
    if own:
        try:
            folder = Path(own).expanduser()
        except RuntimeError as trouble:
            raise CacheError(
                f"EDGETRANSFER_CACHE={own!r}: the home folder is unknown; give an absolute path"
            ) from trouble
        if not folder.is_absolute():
            raise CacheError(f"EDGETRANSFER_CACHE: expected an absolute path, got {own!r}")
        return folder
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():  # the XDG specification: a relative path is to be ignored
        return shared / "edgetransfer"
    try:
        home = Path.home()
    except RuntimeError as trouble:
        raise CacheError("no home folder to cache in: set EDGETRANSFER_CACHE to a folder") from trouble
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "edgetransfer"
