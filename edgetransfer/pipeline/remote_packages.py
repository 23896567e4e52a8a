"""What a host needs to run a bundle, put together here: packages unpacked for its platform, and our own files.

The host gets a folder for its PYTHONPATH. That needs neither pip, venv, a compiler nor a network there, leaves its own
installation as it is, and is removed as one folder; making an environment there would need all of these, and minutes
on a small board. pip chooses the wheels here by the host's platform tags and Python.

pip judges environment markers ("; python_version < '3.11'") by the Python that runs it, not by the one asked for. So
what the packages need is looked at again with the host's values, and what is missing is fetched too.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import edgetransfer
from edgetransfer.errors import HostError
from edgetransfer.pipeline.remote_host import Host
from edgetransfer.spec.cache import cache_folder

KEPT_AS = 1  # raise it when the archive is made in another way
PIP_TIMEOUT_S = 1800
OWN_PROVIDERS = ("", "cpu")
_ENGINES = {"litert": ("ai-edge-litert", "tflite-runtime"), "onnx": ("onnxruntime",), "tflm": ("tflite-micro",)}
_ARCHIVE, _CONTENTS = "packages.tar.gz", "packages.json"
_PASSES = 8  # of looking for what is still missing; chains are shorter


@dataclass(frozen=True, slots=True)
class Packages:
    """An archive to unpack on the host; `versions` by distribution, `bytes_there` when unpacked."""

    archive: Path
    versions: Mapping[str, str]
    bytes_there: int


class _NoWheel(HostError):
    """No wheel fits."""


def packages_for(
    host: Host, engine: str, providers: Sequence[str], destination: str, note: Callable[[str], None]
) -> Packages:
    """Return what `engine` needs on `host`: from the cache, else fetched by pip.

    The engine comes in the version that is installed here, where there is a wheel of it, else in the newest that we
    work with. A host that computes on a GPU, and one with 32-bit Arm, must bring what no index has for it.

    Raises:
        HostError: no wheels for that platform, no index, or the host lacks what it must bring; says what to do.
    """
    wanted = _wanted(host, engine, destination)
    brought = _brought_by(host, engine, providers, wanted, destination)
    for name in brought:
        wanted.pop(name, None)
    pinned = {name: _as_here(name, text) if name in _ENGINES[engine] else text for name, text in wanted.items()}
    ways = [pinned] if pinned == wanted else [pinned, wanted]
    for way in ways:
        if (kept := _kept(_folder(host, engine, way, brought))) is not None:
            return kept
    for way in ways[:-1]:
        try:
            return _make(_folder(host, engine, way, brought), host, way, brought)
        except _NoWheel:
            note(f"the engine's version of here has no wheel for {host.tags()[0]}: the newest that has is taken")
    try:
        return _make(_folder(host, engine, wanted, brought), host, wanted, brought)
    except _NoWheel as refusal:
        raise HostError(f"{destination}: {refusal}") from refusal


def own_files() -> Iterator[tuple[str, Path]]:
    """Yield our own package's files as (path below a folder of PYTHONPATH, file), devices' profiles included.

    A development install and a bare checkout have the profiles beside the package, an installed wheel in it.
    """
    package = Path(edgetransfer.__file__).parent
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield f"edgetransfer/{path.relative_to(package).as_posix()}", path
    if not (package / "_devices").is_dir():
        for path in sorted((package.parent / "devices").glob("*.toml")):
            yield f"edgetransfer/_devices/{path.name}", path


def _wanted(host: Host, engine: str, destination: str) -> dict[str, str]:
    """Return what our own metadata asks for on the host: name -> versions."""
    try:
        lines = metadata.requires("edgetransfer") or []
    except metadata.PackageNotFoundError as missing:
        raise HostError(
            "edgetransfer is not installed here, so what it needs is not known; in the checkout: pip install -e ."
        ) from missing
    found = _needed(lines, host, extras=("", engine))
    if not set(found) & set(_ENGINES.get(engine, ())):
        hint = "; 32-bit Arm has one for Python 3.10 and 3.11 only (tflite-runtime)" if _is_arm_32(host) else ""
        raise HostError(
            f"{destination}: there is no engine {engine!r} for Python {host.python_minor} on {host.system} "
            f"{host.machine}{hint}"
        )
    return found


def _brought_by(
    host: Host, engine: str, providers: Sequence[str], wanted: Mapping[str, str], destination: str
) -> dict[str, str]:
    """Return what the host must have itself, name -> its version."""
    names: list[tuple[str, ...]] = []
    if _is_arm_32(host):
        names = [("numpy",)]
    elif engine == "onnx" and any(provider not in OWN_PROVIDERS for provider in providers):
        names = [("numpy",), ("onnxruntime", "onnxruntime-gpu")]
    there = host.packages or {}
    brought = {alike[0]: there[name] for alike in names for name in alike if name in there}
    if missing := [alike[-1] for alike in names if alike[0] not in brought]:
        how = "Debian's: apt install python3-numpy" if _is_arm_32(host) else "its maker's build for these providers"
        raise HostError(
            f"{destination}: {host.python} has no {' and no '.join(missing)}, which no index has for it; install {how}"
            + ("" if _is_arm_32(host) else ", or measure the processor with --provider cpu")
        )
    if _is_arm_32(host) and not _allows(f"numpy{wanted['numpy']}", brought["numpy"]):
        raise HostError(
            f"{destination}: {host.python} has numpy {brought['numpy']}, and the engine for 32-bit Arm needs one from "
            "1.24 and below 2; Debian 12 has it"
        )
    return brought


def _needed(lines: Sequence[str], host: Host, extras: Sequence[str] = ("",)) -> dict[str, str]:
    """Return what these lines of metadata ask for on the host: name -> versions, as ">=1,<2"."""
    requirements: Any = _packaging("requirements")
    found: dict[str, list[str]] = {}
    for line in lines:
        needed = requirements.Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate(_environment(host, extra)) for extra in extras):
            found.setdefault(_canonical(needed.name), []).extend(filter(None, [str(needed.specifier)]))
    return {name: ",".join(versions) for name, versions in found.items()}


def _environment(host: Host, extra: str) -> dict[str, str]:
    """Return the values of environment markers on the host."""
    full = ".".join(map(str, host.python_version))
    return {
        "extra": extra,
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": host.machine,
        "platform_python_implementation": "CPython",
        "platform_release": host.kernel,
        "platform_system": host.system,
        "platform_version": "",
        "python_full_version": full,
        "python_version": host.python_minor,
        "sys_platform": host.system.lower(),
    }


def _packaging(module: str) -> Any:
    """Return a module of `packaging`: the installed one, else that inside of pip, which we call anyway."""
    try:
        return importlib.import_module(f"packaging.{module}")
    except ImportError:
        try:
            return importlib.import_module(f"pip._vendor.packaging.{module}")
        except ImportError as missing:
            raise HostError(
                "pip is not in this environment, and is needed to choose wheels: python -m ensurepip"
            ) from missing


def _allows(text: str, version: str) -> bool:
    """Whether `version` is one that the requirement `text` allows."""
    return bool(_packaging("requirements").Requirement(text).specifier.contains(version, prereleases=True))


def _as_here(name: str, versions: str) -> str:
    """Return the version that is installed here, as a pin, where it is one of `versions`; else `versions`."""
    try:
        here = metadata.version(name)
    except metadata.PackageNotFoundError:
        return versions
    return f"=={here}" if _allows(name + versions, here) else versions


def _folder(host: Host, engine: str, wanted: Mapping[str, str], brought: Mapping[str, str]) -> Path:
    made_of = {"as": KEPT_AS, "tags": host.tags(), "python": host.python_minor, "wanted": wanted, "brought": brought}
    name = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    return cache_folder("remote") / f"{host.tags()[0]}-py{host.python_minor}-{engine}-{name}"


def _kept(folder: Path) -> Packages | None:
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        return Packages(folder / _ARCHIVE, dict(contents["versions"]), int(contents["bytes_there"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(folder: Path, host: Host, wanted: Mapping[str, str], brought: Mapping[str, str]) -> Packages:
    """Fetch the packages, pack them, and put the archive into the cache as `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent) as beside:
        site, new = Path(beside) / "site", Path(beside) / "new"
        new.mkdir()
        versions = _fetch_all(site, Path(beside), host, wanted, brought)
        bytes_there = _pack(site, new / _ARCHIVE)
        contents = {"versions": versions, "bytes_there": bytes_there, "wanted": wanted}
        (new / _CONTENTS).write_text(json.dumps(contents, indent=2), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # it is there only if it cannot be read
        new.rename(folder)
    return Packages(folder / _ARCHIVE, versions, bytes_there)


def _fetch_all(
    site: Path, beside: Path, host: Host, wanted: Mapping[str, str], brought: Mapping[str, str]
) -> dict[str, str]:
    """Fetch into `site` until nothing is missing there; return the versions."""
    missing, options = dict(wanted), ["--no-deps"] if brought else []
    for number in range(_PASSES):
        part = beside / f"part{number}"
        _pip(part, host, missing, options)
        shutil.copytree(part, site, dirs_exist_ok=True)
        shutil.rmtree(part)
        there = {_canonical(found.metadata["Name"]): found for found in metadata.distributions(path=[str(site)])}
        asked = _needed([line for found in there.values() for line in found.requires or []], host)
        missing = {name: text for name, text in asked.items() if name not in there and name not in brought}
        if not missing:
            return {name: found.version for name, found in sorted(there.items())} | dict(brought)
        options = ["--no-deps"]
    raise HostError(f"packages for {host.tags()[0]}: still missing after {_PASSES} passes: {', '.join(missing)}")


def _pip(target: Path, host: Host, wanted: Mapping[str, str], options: Sequence[str]) -> None:
    """Unpack wheels for the host into the new folder `target`.

    Raises:
        HostError: no index answers, or pip fails.
        _NoWheel: there are none.
    """
    tags = [word for tag in host.tags() for word in ("--platform", tag)]
    where = ["--target", str(target), "--python-version", host.python_minor, "--implementation", "cp", *tags]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:"]
    names = [name + versions for name, versions in wanted.items()]
    command = [sys.executable, "-m", "pip", "install", *quiet, *where, *options, *names]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PIP_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as late:
        raise HostError(f"pip: no wheels within {PIP_TIMEOUT_S} s; is the network slow?") from late
    if done.returncode:
        raise _pip_error(done.stderr, host)


def _pip_error(said: str, host: Host) -> HostError:
    if "No module named pip" in said:
        return HostError("pip is not in this environment, and is needed to choose wheels: python -m ensurepip")
    if "connection" in said.lower() and "Retrying" in said:
        return HostError("pip reaches no package index from here; it is needed once for each platform, then cached")
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    words = errors[-1] if errors else (said.strip().splitlines() or ["pip failed"])[-1]
    if any("No matching distribution" in line or "ResolutionImpossible" in line for line in errors):
        hint = (
            "; wheels for musl are rare: a system with glibc, such as Debian, has them" if host.libc == "musl" else ""
        )
        return _NoWheel(f"no wheels for Python {host.python_minor} on {host.tags()[0]}: {words}{hint}")
    return HostError(f"pip: {words}")


def _pack(site: Path, archive: Path) -> int:
    """Write the files below `site` that a host needs, and return their bytes."""
    total = 0
    with tarfile.open(archive, "w:gz", compresslevel=6) as packed:
        for path in sorted(site.rglob("*")):
            inside = path.relative_to(site)
            if path.is_file() and inside.parts[0] != "bin" and "__pycache__" not in inside.parts:
                packed.add(path, inside.as_posix(), recursive=False)
                total += path.stat().st_size
    return total


def _canonical(name: str) -> str:
    return str(_packaging("utils").canonicalize_name(name))


def _is_arm_32(host: Host) -> bool:
    return host.machine == "armv7l"
