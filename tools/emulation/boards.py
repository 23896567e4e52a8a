"""Boards: folders with a `bin/python` and `bin/edgetransfer` like those of an environment, which are another machine's.

What takes long is made once and kept, in a folder whose name is a hash of everything that it was made of: Debian's
packages unpacked, wheels in them. A board is a few lines of shell that call Python there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from check_package import Installation, call, find_python

from emulation.debian import install_here, unpack
from emulation.impossible import Impossible
from emulation.targets import Emulation, Target

KEPT_AS = 1  # raise it when what is kept is made in another way
CORES = 4
PYTHON = "3.11"  # Debian bookworm's, and the newest that tflite-runtime has wheels for
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"  # where Debian's Python looks beside its own packages

PYTHON_SCRIPT = """\
#!/bin/sh
export PYTHONPATH={site}${{PYTHONPATH:+:$PYTHONPATH}}
export EDGETRANSFER_EMULATED_PYTHON={own}
exec {command} "$@"
"""
COMMAND_SCRIPT = """\
#!/bin/sh
exec {python} -m edgetransfer "$@"
"""
# A Python that starts itself again must start the emulator, which the kernel does not know to do.
SITE_CUSTOMIZE = """\
import os
import sys

sys.executable = os.environ.get("EDGETRANSFER_EMULATED_PYTHON", sys.executable)
"""


@dataclass(frozen=True, slots=True)
class Board(Installation):
    """A device to be: `folder` has its commands, and this run's wheel."""

    target: Target

    def install(self, wheel: Path) -> None:
        """Put the project's wheel on the board."""
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
        call(*pip, "--no-deps", "--target", self.folder / "site", wheel, cwd=self.folder)


def make_board(target: Target, folder: Path) -> Board:
    """Return the board of `target`, with its commands in the new `folder`; what is kept is made if it is not there.

    Raises:
        Impossible: something that it needs is neither here nor to be had.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Impossible(f"expected Linux on x86-64, got {sys.platform} on {platform.machine()}")
    command = _local_python(target) if target.emulation is None else _emulated_python(target, target.emulation)
    (folder / "bin").mkdir(parents=True)
    own = folder / "bin" / "python"
    words = {"site": shlex.quote(str(folder / "site")), "own": shlex.quote(str(own)), "command": shlex.join(command)}
    _write_script(own, PYTHON_SCRIPT.format(**words))
    _write_script(folder / "bin" / "edgetransfer", COMMAND_SCRIPT.format(python=shlex.quote(str(own))))
    return Board(folder, target)


def cache_folder() -> Path:
    """Return the folder in which boards are kept."""
    if own := os.environ.get("EDGETRANSFER_EMULATE_CACHE"):
        return Path(own).expanduser().absolute()
    above = os.environ.get("XDG_CACHE_HOME")
    return (Path(above) if above else Path.home() / ".cache") / "edgetransfer-emulate"


def kept_name(target: Target, *more: str) -> str:
    """Return the name of the folder that keeps the board of `target`: another one when any version changes."""
    made_of = {"as": KEPT_AS, "target": asdict(target), "wheels": wheels_of(target), "more": more}
    return f"{target.name}-{hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]}"


def wheels_of(target: Target) -> tuple[str, ...]:
    """Return what pip shall install with what it needs: a part in the versions of this environment."""
    return (*(f"{name}=={metadata.version(name)}" for name in target.same_versions), *target.wheels)


def _emulated_python(target: Target, emulation: Emulation) -> list[str]:
    if shutil.which(emulation.qemu) is None:
        install_here("qemu-user-static")
    root = _keep(kept_name(target, PYTHON), lambda new: _make_root(new, target, emulation))
    return [emulation.qemu, "-cpu", emulation.processor, "-L", str(root), str(root / f"usr/bin/python{PYTHON}")]


def _make_root(root: Path, target: Target, emulation: Emulation) -> None:
    unpack(root, emulation.architecture, emulation.packages)
    for link, place in emulation.links:
        (root / link).symlink_to(place)
    (root / "proc").mkdir(exist_ok=True)
    cpuinfo = "".join(emulation.cpuinfo.format(core=core) for core in range(CORES))
    (root / "proc" / "cpuinfo").write_text(cpuinfo, encoding="ascii")
    customize = root / f"usr/lib/python{PYTHON}/sitecustomize.py"
    customize.unlink(missing_ok=True)
    customize.write_text(SITE_CUSTOMIZE, encoding="ascii")
    tags = [word for tag in target.tags for word in ("--platform", tag)]
    where = ["--target", str(root / SITE), "--python-version", PYTHON, "--implementation", "cp", *tags]
    for wheels, how in ((wheels_of(target), []), (target.alone, ["--no-deps"])):
        if wheels:
            _pip(sys.executable, [*where, "--only-binary=:all:", *how, *wheels])


def _local_python(target: Target) -> list[str]:
    minor = tuple(int(part) for part in PYTHON.split("."))
    python = find_python((minor[0], minor[1]), (minor[0], minor[1]))
    if python is None:
        raise Impossible(f"tflite-runtime has wheels for Python up to {PYTHON}, which is not on the PATH")

    def make(folder: Path) -> None:
        call(python, "-m", "venv", folder, cwd=folder)
        _pip(str(folder / "bin" / "python"), list(wheels_of(target)))

    folder = _keep(kept_name(target, str(Path(python).resolve())), make)
    return [str(folder / "bin" / "python")]


def _pip(python: str, arguments: list[str]) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[
            -1:
        ]
        raise Impossible(f"pip cannot get its wheels: {' '.join(errors)}")


def _keep(name: str, make: Callable[[Path], None]) -> Path:
    """Return the kept folder called `name`, made beside and moved into place if it is not there."""
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=folder.parent, ignore_cleanup_errors=True) as beside:
        new = Path(beside) / "new"
        new.mkdir()
        make(new)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker
                raise
    return folder


def _write_script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
