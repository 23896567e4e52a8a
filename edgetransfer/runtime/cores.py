"""How many processor cores there are for us."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return how many cores this process may use: its affinity where the system knows it, else all."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1
