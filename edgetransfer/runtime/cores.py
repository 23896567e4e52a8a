"""How many processor cores there are for us, and what the processor is called."""

from __future__ import annotations

import os
import platform


def available_cores() -> int:
    """Return how many cores this process may use: its affinity where the system knows it, else all."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_name() -> str:
    """Return what the machine calls its board or processor."""
    try:
        board = _text("/proc/device-tree/model").strip("\0\n ")  # "Raspberry Pi 4 Model B Rev 1.4"
        return f"{board} ({platform.machine()})"
    except OSError:
        pass
    try:
        lines = _text("/proc/cpuinfo").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def has_vnni() -> bool:
    """Return whether this x86 processor multiplies 8-bit integers in instructions that do not saturate.

    False where the system does not tell, as outside of Linux.
    """
    try:
        flags = next(line for line in _text("/proc/cpuinfo").splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return any(word in ("avx512_vnni", "avx_vnni") for word in flags.split())


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
        return stream.read()
