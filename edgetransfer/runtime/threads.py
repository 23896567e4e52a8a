"""How many threads a model runs on here when nobody says a number.

Every start of an app asks, so this stays small: where nothing was chosen it costs one stat of a file. What is in the
file is read by `edgetransfer.runtime.kept_threads`, imported only then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DEFAULT_THREADS = 1
FOLDER_VARIABLE = "EDGETRANSFER_CONFIG"
CHOOSE = "edgetransfer profile BUNDLE --choose"
"""The command that measures, and keeps what is best."""
_FILE = "threads.json"


def threads_for(model_sha256: str, engine: str, providers: Sequence[str] = ()) -> tuple[int, str]:
    """Return the number of threads that is kept for this model and engine on this machine, else 1; and why in words.

    Never fails for what is in the file: a damaged one is ignored, and a warning in the log says how to be rid of it.

    Raises:
        EngineError: the file has a choice for the model, but the engine is not installed.
    """
    path = choices_file()
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: a NUL in a variable
        return DEFAULT_THREADS, f"the default; '{CHOOSE}' finds what is best here"
    from edgetransfer.runtime.kept_threads import kept_threads

    return kept_threads(path, found, model_sha256, engine, providers)


def choices_file() -> str:
    """Return the path of the file, which may not exist; "" where no folder for settings is known.

    It lies in $EDGETRANSFER_CONFIG if that is an absolute path; else in $XDG_CONFIG_HOME/edgetransfer, on macOS in
    ~/Library/Application Support/edgetransfer, else in ~/.config/edgetransfer.
    """
    own = os.environ.get(FOLDER_VARIABLE, "")
    if own:
        return f"{own}/{_FILE}" if os.path.isabs(own) else ""  # noqa: PTH117
    above = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(above):  # noqa: PTH117
        home = os.path.expanduser("~")  # noqa: PTH111
        if not os.path.isabs(home):  # noqa: PTH117
            return ""
        above = f"{home}/Library/Application Support" if sys.platform == "darwin" else f"{home}/.config"
    return f"{above}/edgetransfer/{_FILE}"
