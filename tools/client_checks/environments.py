"""Makes what a client needs, once: its own Python environment, npm packages, a browser."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client_checks.failures import CheckFailed, Impossible

INSTALL_TIMEOUT_S = 600
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OUT_OF_REACH = (
    "NewConnectionError",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Could not resolve",
    "Connection refused",
    "Connection timed out",
    "Network is unreachable",
    "Read timed out",
    "ConnectTimeout",
    "ProxyError",
    "EAI_AGAIN",
    "ENOTFOUND",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "ENETUNREACH",
    "Could not connect",
    "Unable to connect",
)
"""What pip, npm and apt print when they do not reach their registry."""


def cache_folder() -> Path:
    """Return where environments are kept: outside the checkout, and shared by all checkouts."""
    if chosen := os.environ.get("EDGETRANSFER_CLIENTS_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "edgetransfer-clients"


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of an environment that has `requirements` and nothing of ours; made when it is not there.

    Raises:
        Impossible: the package index is out of reach, or has no wheel for this machine.
        CheckFailed: it is in reach, and pip fails.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / f"{name}-{_digest(version, sys.base_prefix, *requirements)}"
    python = folder / "bin" / "python"

    def make() -> None:
        install([sys.executable, "-m", "venv", str(folder)])
        pip = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2")
        install([str(python), *pip, "--only-binary", ":all:", *requirements])

    _keep(folder, make)
    return python


def npm_packages(declaration: Path) -> Path:
    """Return the folder `node_modules` with what the package.json `declaration` pins.

    Raises:
        Impossible: npm is not there and cannot be installed, or its registry is out of reach.
        CheckFailed: it is in reach, and npm fails.
    """
    folder = cache_folder() / f"npm-{_digest(declaration.read_text(encoding='utf-8'))}"

    def make() -> None:
        npm = find_program(("npm",), debian="npm")
        folder.mkdir(parents=True)
        shutil.copy(declaration, folder / "package.json")
        quiet = ("--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
        patience = ("--fetch-retries=2", "--fetch-retry-mintimeout=2000")
        install([npm, "install", *quiet, *patience], cwd=folder)

    _keep(folder, make)
    return folder / "node_modules"


def find_program(names: Sequence[str], *, debian: str) -> str:
    """Return the path of the first program of `names`; as root on Debian the package `debian` brings it.

    Raises:
        Impossible: it is not there, and cannot be installed.
    """
    if found := _which(names):
        return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Impossible(f"needs {names[0]}; on Debian and Ubuntu: sudo apt install {debian}")
    # An update that fails for some source says so and exits with 0; its words explain why the package is not found.
    _, updated = _run(["apt-get", "update", "-qq"])
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", debian]
    code, output = _run(command)
    if code:
        raise explain(command, updated + output)
    if found := _which(names):
        return found
    raise CheckFailed(f"Debian's package {debian} is installed, but {' or '.join(names)} is not on the PATH")


def install(command: Sequence[str], *, cwd: Path | None = None) -> None:
    """Run an installer.

    Raises:
        Impossible: it cannot reach its registry, or the registry has nothing for this kind of machine.
        CheckFailed: it fails otherwise.
    """
    code, output = _run(command, cwd=cwd)
    if code:
        raise explain(command, output)


def explain(command: Sequence[str], output: str) -> CheckFailed | Impossible:
    """Return the error of an installer that failed: a registry out of reach is no fault of what is checked."""
    lines = [line for line in output.strip().splitlines() if line.strip()] or ["it printed nothing"]
    what = " ".join(command)
    for line in lines:
        if any(sign in line for sign in OUT_OF_REACH):
            return Impossible(f"{what}: out of reach ({line.strip()[:200]})")
    usual = sys.platform == "linux" and platform.machine() == "x86_64"
    if "No matching distribution found" in output and not usual:
        return Impossible(f"{what}: no wheel for {sys.platform} on {platform.machine()}")
    return CheckFailed(f"{what} failed:\n" + "\n".join(lines[-20:]))


def run_client(command: Sequence[str], *, cwd: Path, timeout_s: float) -> None:
    """Run a client in its environment, where nothing of ours can be imported.

    Raises:
        CheckFailed: it ends with an error, or not in time.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=_without_ours(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"no answer after {timeout_s:g} s") from error
    if done.returncode:
        raise CheckFailed("\n".join(done.stderr.strip().splitlines()[-15:]) or f"exit code {done.returncode}")


def _run(command: Sequence[str], *, cwd: Path | None = None) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=_without_ours() | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Impossible(f"{' '.join(command)}: not done after {INSTALL_TIMEOUT_S} s") from error
    return done.returncode, done.stdout + done.stderr


def _which(names: Sequence[str]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def _without_ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _keep(folder: Path, make: Callable[[], None]) -> None:
    """Call `make` unless an earlier call filled `folder` to the end."""
    mark = folder / ".complete"
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if mark.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        make()
        mark.touch()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
