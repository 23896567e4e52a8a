"""What a host is: processor, system, Python, memory; asked for by a shell script, for there may be no Python."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import HostError

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
MARK = "edgetransfer-probe "
"""Begins each line of ours: a login shell may print others before."""
ASKED_FOR = ("numpy", "onnxruntime", "onnxruntime-gpu")
"""Packages that some hosts must bring themselves."""
_PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1)))

# Old Pythons must understand it, to say how old they are. No single quotes: sh has it in them.
_FACTS = """
import json, os, struct, sys
facts = {"executable": sys.executable, "version": list(sys.version_info[:3]), "name": sys.implementation.name}
facts["bits"] = 8 * struct.calcsize("P")
try:
    facts["glibc"] = os.confstr("CS_GNU_LIBC_VERSION")
except (AttributeError, ValueError, OSError):
    facts["glibc"] = None
try:
    import importlib.util, platform
    from importlib import metadata
    facts["macos"] = platform.mac_ver()[0]
    facts["has"] = [name for name in ("pip", "venv", "ensurepip") if importlib.util.find_spec(name)]
    facts["packages"] = {}
    for name in %s:
        try:
            facts["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
except ImportError:
    pass
try:
    lines = open("/proc/meminfo").read().splitlines()
    facts["memory_kb"] = int([line for line in lines if line.startswith("MemAvailable")][0].split()[1])
except (OSError, IndexError, ValueError):
    pass
print("%spython=" + json.dumps(facts))
"""

PROBE = f"""
say() {{ printf '%s%s=%s\\n' '{MARK}' "$1" "$2"; }}
say system "$(uname -s)"
say machine "$(uname -m)"
say kernel "$(uname -r)"
say os "$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null)"
for loader in /lib/ld-musl-*; do
  [ -e "$loader" ] && say musl "$("$loader" 2>&1 </dev/null | sed -n 's/^Version //p')"
done
for name in {" ".join(_PYTHONS)}; do
  command -v "$name" >/dev/null 2>&1 && "$name" -c '{_FACTS % (json.dumps(ASKED_FOR), MARK)}' </dev/null 2>/dev/null
done
exit 0
"""
"""For the host's sh; `read_probe` reads what it prints."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that can run us.

    Attributes:
        system: "Linux" or "Darwin".
        machine: what its Python was built for: a 32-bit system on a 64-bit kernel is "armv7l".
        os: what the system calls itself.
        kernel: its release.
        libc: "glibc", "musl", or "macOS", with `libc_version`.
        python: the interpreter's path, with `python_version`.
        has: which of pip, venv and ensurepip it has; none is needed.
        packages: versions of what it has of `ASKED_FOR`.
        memory_bytes: what is free, None where it does not tell.
    """

    system: str
    machine: str
    os: str
    kernel: str
    libc: str
    libc_version: tuple[int, int]
    python: str
    python_version: tuple[int, int, int]
    has: tuple[str, ...] = ()
    packages: Mapping[str, str] | None = None
    memory_bytes: int | None = None

    @property
    def python_minor(self) -> str:
        """The Python's version as wheels name it, such as "3.11"."""
        return ".".join(map(str, self.python_version[:2]))

    def tags(self) -> tuple[str, ...]:
        """Return the platform tags of wheels that run there, the most specific first."""
        major, minor = self.libc_version
        if self.libc == "macOS":
            return (f"macosx_{major}_{minor if major == 10 else 0}_{self.machine}",)  # pip knows the older ones
        if self.libc == "musl":
            return (*(f"musllinux_{major}_{n}_{self.machine}" for n in range(minor, -1, -1)), f"linux_{self.machine}")
        old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        found: list[str] = []
        for n in range(minor, 4 if self.machine in ("x86_64", "i686") else 16, -1):
            found.append(f"manylinux_{major}_{n}_{self.machine}")
            found += [f"{old[n]}_{self.machine}"] if n in old else []
        return (*found, f"linux_{self.machine}")

    def to_json(self) -> dict[str, Any]:
        """Return what is known as JSON values."""
        return {
            "machine": self.machine,
            "os": self.os,
            "kernel": f"{self.system} {self.kernel}",
            "libc": f"{self.libc} {'.'.join(map(str, self.libc_version))}",
            "python": ".".join(map(str, self.python_version)),
            "has": list(self.has),
            "free_memory_bytes": self.memory_bytes,
        }


def read_probe(printed: str, destination: str) -> Host:
    """Return the host that `PROBE` printed `printed` on.

    Raises:
        HostError: no Python there that we run on, or a system that we do not know; says what to do.
    """
    lines = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
    words = dict(line.partition("=")[::2] for line in lines if not line.startswith("python="))
    pythons = [facts for line in lines if line.startswith("python=") and (facts := _facts(line.partition("=")[2]))]
    system, kernel = words.get("system", ""), words.get("kernel", "")
    if system not in ("Linux", "Darwin"):
        raise HostError(
            f"{destination}: expected Linux or macOS with a POSIX shell, got {system or 'no answer from sh'}"
        )
    facts = _choose_python(pythons, destination)
    libc, libc_version = _libc(facts, words.get("musl", ""), destination)
    memory_kb = facts.get("memory_kb")
    return Host(
        system=system,
        machine=_machine(words.get("machine", ""), facts["bits"]),
        os=words.get("os", "").strip().strip("\"'") or (f"macOS {facts.get('macos')}" if libc == "macOS" else system),
        kernel=kernel,
        libc=libc,
        libc_version=libc_version,
        python=facts["executable"],
        python_version=tuple(facts["version"]),
        has=tuple(facts.get("has", ())),
        packages=facts.get("packages", {}),
        memory_bytes=None if memory_kb is None else 1024 * memory_kb,
    )


def _facts(text: str) -> dict[str, Any]:
    """Return what one Python said of itself, {} if it said nothing of use."""
    try:
        facts = json.loads(text)
        version = [int(part) for part in facts["version"]]
        known = {"version": version, "bits": int(facts["bits"]), "executable": str(facts["executable"])}
    except (ValueError, KeyError, TypeError):
        return {}
    return facts | known if len(version) == 3 and known["executable"] else {}


def _choose_python(pythons: list[dict[str, Any]], destination: str) -> dict[str, Any]:
    wanted = f"Python {_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)}"
    for facts in pythons:
        if facts.get("name") == "cpython" and OLDEST_PYTHON <= tuple(facts["version"][:2]) <= NEWEST_PYTHON:
            return facts
    if not pythons:
        raise HostError(
            f"{destination}: needs {wanted}, and has no python3 on the PATH that ssh's commands get; install it there, "
            "on Debian: apt install python3"
        )
    found = ", ".join(f"{facts['executable']} {_dotted(facts['version'])}" for facts in pythons)
    raise HostError(f"{destination}: needs {wanted}, got {found}; install one there as python3.X on the PATH beside it")


def _libc(facts: Mapping[str, Any], musl: str, destination: str) -> tuple[str, tuple[int, int]]:
    kinds = {"glibc": facts.get("glibc"), "musl": musl, "macOS": facts.get("macos")}
    for kind in ("glibc", "macOS", "musl"):
        if found := re.search(r"(\d+)\.(\d+)", kinds[kind] or ""):
            return kind, (int(found[1]), int(found[2]))
    raise HostError(f"{destination}: expected glibc, musl or macOS, and found none of them; wheels cannot be chosen")


def _machine(uname: str, bits: int) -> str:
    if bits == 32:
        return {"aarch64": "armv7l", "armv8l": "armv7l", "arm64": "armv7l", "x86_64": "i686"}.get(uname, uname)
    return uname


def _dotted(version: tuple[int, ...] | list[int]) -> str:
    return ".".join(map(str, version))
