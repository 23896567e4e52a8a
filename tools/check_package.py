"""Builds the wheel and uses it as a device would: in empty environments, without Keras and TensorFlow.

Usage: python tools/check_package.py   (with the dev environment's Python; tools/test does so)

Every step prints its result; the first that fails ends the check with exit code 1 and the command's output.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEVICE_EXTRAS = ("litert", "image")
BUILD_SIDE = ("tensorflow", "keras", "ai_edge_quantizer", "h5py")
OLDEST_PYTHON = (3, 10)
NEWEST_WITH_NUMPY_1_26 = (3, 12)
NEWEST_WITH_TFLITE_RUNTIME = (3, 11)
COMMAND_TIMEOUT_S = 300


class CheckFailed(Exception):
    """A step did not give what it must; the message holds the command's output."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A small bundle, the photos it was built from, and its accuracy on their test split where it was built."""

    bundle: Path
    photos: Path
    photo: Path
    accuracy: float
    images: int


@dataclass(frozen=True, slots=True)
class Installation:
    """A virtual environment with the wheel in it; commands run in `folder`, far from the checkout."""

    folder: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    def run(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Call `edgetransfer` with `arguments` and return what it printed."""
        return call(self.folder / "bin" / "edgetransfer", *arguments, cwd=self.folder, code=code)

    def json(self, *arguments: object) -> Any:
        """Call `edgetransfer` with `arguments` and --json; its standard output must be one document."""
        done = self.run(*arguments, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise CheckFailed(f"not one JSON document ({error}):\n{told(done)}") from error

    def refuses(self, *arguments: object, because: str) -> None:
        """Call `edgetransfer`, which must exit with 1 and the one line `Error: ...because`."""
        done = self.run(*arguments, code=1)
        lines = done.stderr.splitlines()
        if done.stdout or len(lines) != 1 or not (lines[0].startswith("Error: ") and lines[0].endswith(because)):
            raise CheckFailed(f"expected one line, 'Error: ...{because}', got:\n{told(done)}")


def main() -> int:
    """Run all steps; return the exit code."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="edgetransfer-package-") as folder:
        try:
            check_all(Path(folder))
        except CheckFailed as failure:
            print(f"FAILED: {failure}", flush=True)
            return 1
    print(f"packaging: everything passed in {time.perf_counter() - began:.0f} s")
    return 0


def check_all(work: Path) -> None:
    """Build, install and use the package in folders below `work`."""
    with step("wheel and sdist: build, and look what is in them"):
        wheel = build_package(work / "dist")
    with step("a small bundle from real photos, built here"):
        sample = build_sample(work)
    check_newest(work, wheel, sample)
    check_other_pythons(work, wheel, sample)
    check_oldest_versions(work, wheel, sample)
    check_tflite_runtime(work, wheel, sample)
    check_without_engine(work, wheel, sample)


def check_newest(work: Path, wheel: Path, sample: Sample) -> None:
    """Run every device-side command where only [litert,image] is installed, in their newest versions."""
    with step(f"[{','.join(DEVICE_EXTRAS)}] alone: install"):
        device = install(work / "newest", sys.executable, wheel, DEVICE_EXTRAS)
    with step("[litert,image] alone: nothing of the build side is there"):
        refuse_build_side(device)
    with step("[litert,image] alone: verify, evaluate, run"):
        use_bundle(device, sample)
    with step("[litert,image] alone: --version, --help, devices, recipes, backbones, inspect, profile, doctor"):
        use_other_commands(device, sample)
    with step("[litert,image] alone: build answers with the command that installs what it needs"):
        build = ("build", sample.photos, "--output", device.folder / "new.bundle")
        device.refuses(*build, because=": pip install 'edgetransfer[train]'")


def check_other_pythons(work: Path, wheel: Path, sample: Sample) -> None:
    """Use the bundle on the oldest Python of the device side, if it is here."""
    title = "Python {}.{}, the oldest of the device side".format(*OLDEST_PYTHON)
    python = find_python(OLDEST_PYTHON, OLDEST_PYTHON)
    if python is None:
        skipped(title, "it is not on the PATH")
        return
    with step(f"{title}: install, verify, evaluate, run"):
        device = install(work / "oldest-python", python, wheel, DEVICE_EXTRAS)
        use_bundle(device, sample)
        device.json("devices", "list")
        build = ("build", sample.photos, "--output", device.folder / "new.bundle")
        device.refuses(*build, because="building needs Python 3.11 to 3.13; this is 3.10")


def check_oldest_versions(work: Path, wheel: Path, sample: Sample) -> None:
    """Use the bundle with every requirement at the lower bound that pyproject.toml states."""
    title = "the oldest versions that are declared"
    python = find_python(OLDEST_PYTHON, NEWEST_WITH_NUMPY_1_26)
    if python is None:
        skipped(title, "numpy 1.26 needs Python 3.10 to 3.12, and none is here")
        return
    pins = lower_bounds(wheel, python)
    with step(f"{title} ({', '.join(pins)}): install, verify, evaluate, run"):
        device = install(work / "oldest-versions", python, wheel, DEVICE_EXTRAS, *pins)
        use_bundle(device, sample)


def check_tflite_runtime(work: Path, wheel: Path, sample: Sample) -> None:
    """Use the bundle with the engine of 32-bit Arm boards, whose reference is another set of kernels."""
    python = find_python(OLDEST_PYTHON, NEWEST_WITH_TFLITE_RUNTIME)
    if python is None or sys.platform != "linux":
        skipped("tflite-runtime", "it has wheels for Linux and Python up to 3.11 only")
        return
    with step("tflite-runtime 2.14 and numpy 1: install, verify, evaluate, run"):
        device = install(work / "tflite-runtime", python, wheel, ("image",), "tflite-runtime==2.14.0", "numpy<2")
        use_bundle(device, sample, other_kernels=True)


def check_without_engine(work: Path, wheel: Path, sample: Sample) -> None:
    """See that what is missing is answered with the exact command that installs it."""
    with step("no extra at all: answers with the pip command"):
        bare = install(work / "bare", sys.executable, wheel, ())
        for arguments in (["verify", sample.bundle], ["profile", sample.bundle]):
            bare.refuses(*arguments, because=": pip install 'edgetransfer[litert]'")
        bare.refuses("run", sample.bundle, sample.photo, because=": pip install 'edgetransfer[image]'")
        bare.json("inspect", sample.bundle)
    with step("[image] alone, no engine: run and evaluate answer with the pip command"):
        install(work / "bare", sys.executable, wheel, ("image",))
        bare.refuses("run", sample.bundle, sample.photo, because=": pip install 'edgetransfer[litert]'")
        evaluate = ("evaluate", sample.bundle, "--data", sample.photos, "--quiet")
        bare.refuses(*evaluate, because=": pip install 'edgetransfer[litert]'")


def build_package(folder: Path) -> Path:
    """Build the sdist, and the wheel from it, into `folder`; return the wheel."""
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgetransfer").rglob("*.py")}
    licences = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgetransfer/export/licences").glob("*.txt")}
    devices = {path.name for ending in ("toml", "csv") for path in (ROOT / "devices").glob(f"*.{ending}")}
    carried = package | licences | {"edgetransfer/py.typed"}
    if not (licences and devices):
        raise CheckFailed("expected export/licences/*.txt and devices/*.toml in the checkout, found none")
    compare("wheel", in_wheel, carried | {f"edgetransfer/_devices/{name}" for name in devices})
    compare("sdist", in_sdist, carried | {f"devices/{name}" for name in devices} | {"pyproject.toml", "LICENSE"})
    stray = {name for name in in_wheel if not name.startswith(("edgetransfer/", "edgetransfer-"))}
    stray |= {name for name in in_wheel if name.endswith(".py")} - package
    if stray:
        raise CheckFailed(f"the wheel carries what is not the package's: {sorted(stray)}")
    return wheel


def build_sample(work: Path) -> Sample:
    """Build a bundle on a small random network from patches of real photographs, through all stages."""
    photos = photo_writer().write_photos(work / "photos", each=30)
    call(sys.executable, "-c", SMALL_NETWORK, work / "small.keras", cwd=work)
    bundle = work / "small.bundle"
    build: tuple[object, ...] = ("build", photos, "--backbone", f"keras:{work / 'small.keras'}", "--output", bundle)
    chosen = ("--normalise", "1/128,127", "--epochs", "10", "--fit", "squash", "--no-float-reference", "--json")
    path = {"PYTHONPATH": str(ROOT)}
    report = json.loads(call(sys.executable, "-m", "edgetransfer", *build, *chosen, cwd=work, env=path).stdout)
    test = report["exported"]["test"]
    return Sample(bundle, photos, photos / "cat" / "000.png", test["accuracy"], test["samples"])


SMALL_NETWORK = """
import sys, keras
keras.utils.set_random_seed(7)
x = inputs = keras.Input((32, 32, 3))
x = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, 2, padding="same")(x)))
x = keras.layers.ReLU(6)(keras.layers.DepthwiseConv2D(3, padding="same")(x))
x = keras.layers.ReLU(6)(keras.layers.Conv2D(24, 1)(x))
keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="small").save(sys.argv[1])
"""


def photo_writer() -> Any:
    """Return tests/photos.py, which writes the photos."""
    spec = importlib.util.spec_from_file_location("photos", ROOT / "tests" / "photos.py")
    if spec is None or spec.loader is None:
        raise CheckFailed("tests/photos.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use_bundle(device: Installation, sample: Sample, *, other_kernels: bool = False) -> None:
    """Verify, evaluate and run the bundle, and hold the answers to those of the machine that built it."""
    if not device.json("verify", sample.bundle)["passed"]:
        raise CheckFailed("verify exits with 0, but its report says that it did not pass")
    report = device.json("evaluate", sample.bundle, "--data", sample.photos, "--split", "test")
    # The same kernels give the same answers; other kernels may round an ambiguous image to the other side.
    moved = abs(report["accuracy"] - sample.accuracy) * sample.images
    if report["samples"] != sample.images or moved > (1.01 if other_kernels else 0.01):
        raise CheckFailed(f"evaluate: expected accuracy {sample.accuracy} of {sample.images} images, got {report}")
    (result,) = device.json("run", sample.bundle, sample.photo)["results"]
    scores = result["scores"]
    if set(scores) != {"cat", "coffee", "rocket"} or abs(sum(scores.values()) - 1) > 1e-3:
        raise CheckFailed(f"run: expected scores of cat, coffee and rocket that add up to 1, got {result}")
    if result["label"] not in device.run("run", sample.bundle, sample.photo).stdout:
        raise CheckFailed("run: the text names another label than the JSON")


def use_other_commands(device: Installation, sample: Sample) -> None:
    """Call the commands that need no engine, and profile."""
    version = declared_version()
    if device.run("--version").stdout != f"edgetransfer, version {version}\n":
        raise CheckFailed(f"--version: expected {version}")
    if "verify" not in device.run("--help").stdout:
        raise CheckFailed("--help does not name verify")
    shipped = {path.stem for path in (ROOT / "devices").glob("*.toml")}
    listed = {found["slug"] for found in device.json("devices", "list")["devices"]}
    if listed != shipped:
        raise CheckFailed(f"devices list: expected {sorted(shipped)}, got {sorted(listed)}")
    device.json("devices", "show", sorted(shipped)[0])
    for command in ("recipes", "backbones", "doctor"):
        device.json(command)
    device.json("inspect", sample.bundle)
    profile = device.json("profile", sample.bundle, "--runs", "20", "--seconds", "1")
    if not profile["one_thread"]["p50_ms"] > 0:
        raise CheckFailed(f"profile: expected a latency above 0, got {profile}")


def declared_version() -> str:
    """Return the version that pyproject.toml declares."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("version = ")).split('"')[1]


def refuse_build_side(device: Installation) -> None:
    """See that nothing of the build side can be imported, and that the package is the wheel's."""
    code = f"""
import importlib.util, edgetransfer
print(edgetransfer.__file__)
print([name for name in {BUILD_SIDE!r} if importlib.util.find_spec(name)])
"""
    where, there = call(device.python, "-c", code, cwd=device.folder).stdout.splitlines()
    if not Path(where).resolve().is_relative_to(device.folder.resolve()):
        raise CheckFailed(f"expected the installed package, got {where}")
    if there != "[]":
        raise CheckFailed(f"the device-side extras bring {there}")


def install(folder: Path, python: str, wheel: Path, extras: Sequence[str], *pins: str) -> Installation:
    """Make a virtual environment, unless it is there, and install the wheel with `extras` in it."""
    if not folder.exists():
        call(python, "-m", "venv", folder, cwd=wheel.parent)
    wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    pip = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
    call(folder / "bin" / "python", *pip, wanted, *pins, cwd=folder)
    return Installation(folder)


def lower_bounds(wheel: Path, python: str) -> list[str]:
    """Return what the wheel needs with the device's extras, each pinned to its lower bound."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    minor = call(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])", cwd=wheel.parent).stdout.strip()
    pins = []
    for text in metadata.get_all("Requires-Dist", []):
        needed = Requirement(text)
        here = ({"extra": extra, "python_version": minor} for extra in ("", *DEVICE_EXTRAS))
        if needed.marker is None or any(needed.marker.evaluate(one) for one in here):
            bounds = [bound.version for bound in needed.specifier if bound.operator == ">="]
            pins += [f"{needed.name}=={bound}" for bound in bounds]
    return pins


def find_python(oldest: tuple[int, int], newest: tuple[int, int]) -> str | None:
    """Return the oldest Python of that range on the PATH that works and can make environments, or None."""
    for minor in range(oldest[1], newest[1] + 1):
        for candidate in (shutil.which(f"python3.{minor}"), sys.executable):
            if candidate is None:
                continue
            probe = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, {minor}))"
            if subprocess.run([candidate, "-c", probe], capture_output=True, check=False).returncode == 0:
                return candidate
    return None


def call(
    *command: object,
    cwd: Path,
    code: int = 0,
    env: dict[str, str] | None = None,
    timeout_s: int = COMMAND_TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run `command` in `cwd` and return the finished process, which must end with `code` and no traceback."""
    outside = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "EDGETRANSFER_CACHE")
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    environment |= {"EDGETRANSFER_CACHE": str(cwd / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"} | (env or {})
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"$ {' '.join(words)}\nstill running after {timeout_s} s") from error
    if done.returncode != code or (code != 0 and "Traceback" in done.stderr):
        raise CheckFailed(f"expected exit code {code} and no traceback, got:\n{told(done)}")
    return done


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return the command, its exit code and what it printed."""
    return f"$ {' '.join(done.args)}\n{done.stdout}{done.stderr}[exit code {done.returncode}]"


def compare(what: str, found: set[str], expected: set[str]) -> None:
    """Refuse an archive that lacks any of `expected`."""
    if missing := sorted(expected - found):
        raise CheckFailed(f"the {what} lacks {missing}; see packages and package-data in pyproject.toml, MANIFEST.in")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print the step's title and, when it has ended well, how long it took."""
    began = time.perf_counter()
    try:
        yield
    except CheckFailed as failure:
        raise CheckFailed(f"{title}\n{failure}") from failure
    print(f"{time.perf_counter() - began:6.1f} s  {title}: ok", flush=True)


def skipped(title: str, reason: str) -> None:
    """Say that a step was left out, and why."""
    print(f"  skipped  {title}: {reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
