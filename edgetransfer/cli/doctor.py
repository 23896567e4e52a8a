"""The command doctor: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from edgetransfer import __version__
from edgetransfer.cli import console, extras

ENGINES = ("litert", "onnx")
PURPOSE = {
    "litert": "run and check bundles",
    "onnx": "run bundles of the ONNX format",
    "tflm": "check microcontroller models",
    "image": "read photos from files",
    "audio": "read sounds from files",
    "text": "read sentences",
    "train": "build bundles",
    "lite1": "weights of efficientnet_lite1",
    "lite2": "weights of efficientnet_lite2",
    "demo": "run the demo",
}


@click.command(epilog=console.example("edgetransfer doctor"))
@console.json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Tell what is installed, what is missing, and how to mend it.

    Exits with 1 if no bundle can be run here for want of an engine.
    """
    findings = examine()
    console.emit(findings, as_json=as_json)
    ctx.exit(0 if any(not found.problem for found in findings.extras if found.extra in ENGINES) else 1)


@dataclass(frozen=True, slots=True)
class ExtraState:
    """One extra: the packages found, what is wrong ("" if nothing), and the command that mends it ("" if none)."""

    extra: str
    packages: dict[str, str]
    problem: str
    mend: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What this machine and this Python have."""

    versions: dict[str, str]
    machine: str
    cores: int
    usable_cores: int
    can_build: str
    extras: tuple[ExtraState, ...]
    cache: str
    cache_bytes: int
    cache_free_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        states = {
            found.extra: {
                "for": PURPOSE[found.extra],
                "packages": found.packages,
                "problem": found.problem or None,
                "mend": found.mend or None,
            }
            for found in self.extras
        }
        cache = {"folder": self.cache, "bytes": self.cache_bytes, "free_bytes": self.cache_free_bytes}
        return {
            "report": "doctor",
            "versions": self.versions,
            "machine": self.machine,
            "cores": self.cores,
            "usable_cores": self.usable_cores,
            "can_build": not self.can_build,
            "extras": states,
            "cache": cache,
        }

    def as_text(self) -> str:
        """Return the findings for people; commands to type stand alone at the end."""
        cores = f"{self.usable_cores} of {self.cores} may be used" if self.usable_cores < self.cores else self.cores
        lines = [f"{name:<14}{version}" for name, version in self.versions.items()]
        lines += [f"{'machine':<14}{self.machine}", f"{'cores':<14}{cores}"]
        free = f"{self.cache_free_bytes / 1e9:.1f} GB free"
        lines += [f"{'cache':<14}{self.cache} ({self.cache_bytes / 1e6:.1f} MB, {free})", ""]
        for found in self.extras:
            packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
            state = f"no: {found.problem}" if found.problem else f"yes: {packages}"
            lines.append(f"{found.extra:<8}{PURPOSE[found.extra]:<32}{state}")
        if self.can_build:
            lines += ["", self.can_build]
        mends = list(dict.fromkeys(found.mend for found in self.extras if found.mend))
        return "\n".join(lines + (["", "to mend what you need:", *(f"  {mend}" for mend in mends)] if mends else []))


def examine() -> Findings:
    """Return what this machine and this Python have; imports the engines, but neither Keras nor TensorFlow."""
    from edgetransfer.runtime.cores import available_cores
    from edgetransfer.spec.cache import cache_folder

    cache = cache_folder("features").parent
    return Findings(
        versions={
            "edgetransfer": __version__,
            "Python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "click": metadata.version("click"),
        },
        machine=f"{platform.machine()}, {platform.system()} {platform.release()}",
        cores=os.cpu_count() or 1,
        usable_cores=available_cores(),
        can_build="" if extras.python_builds() else extras.build_python_text(),
        extras=tuple(_state(extra) for extra in extras.EXTRAS if extra not in ENGINES or _has_engine(extra)),
        cache=str(cache),
        cache_bytes=_folder_bytes(cache),
        cache_free_bytes=_free_bytes(cache),
    )


def _has_engine(name: str) -> bool:
    return importlib.util.find_spec(f"edgetransfer.runtime.engines.{name}") is not None


def _state(extra: str) -> ExtraState:
    packages = extras.EXTRAS[extra]
    found = dict(pair for package in packages if (pair := package.found()) is not None)
    problem = ", ".join(text for package in packages if (text := package.problem()))
    if not problem and extra in ENGINES:
        problem = _engine_problem(extra, found)
    return ExtraState(extra, found, problem, extras.mend(extra, problem) if problem else "")


def _engine_problem(extra: str, found: dict[str, str]) -> str:
    """Return why an installed engine does not work, "" if it does."""
    numpy_version = metadata.version("numpy")
    if "tflite-runtime" in found and int(numpy_version.split(".")[0]) >= 2:
        return f"tflite-runtime needs numpy below 2, and numpy {numpy_version} is here"
    try:
        importlib.import_module(f"edgetransfer.runtime.engines.{extra}")
    except ImportError as error:
        return console.one_line(f"is installed, but cannot be imported ({error})")
    return ""


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 0 if path.is_dir() else path.lstat().st_size
        except FileNotFoundError:
            continue  # another run cleaned it up just now
    return total


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
