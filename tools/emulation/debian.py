"""Debian's packages of another architecture, unpacked into a folder; nothing of them is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from emulation.impossible import Impossible

SUITE = "bookworm"  # that of Raspberry Pi OS with Python 3.11
MIRROR = "http://deb.debian.org/debian"  # apt checks signatures, so a plain connection will do
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def unpack(root: Path, architecture: str, packages: Sequence[str]) -> None:
    """Download `packages` and all that they depend on, and unpack them into `root`.

    apt gets folders of its own, in which no package is installed: so it needs no rights, resolves everything,
    and leaves this machine's lists alone.

    Raises:
        Impossible: apt-get or dpkg-deb is not here, or the mirror cannot be reached.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Impossible(f"{program} is not here: emulation takes its Python from Debian's packages")
    if not KEYS.exists():
        install_here("debian-archive-keyring")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-apt-") as folder:
        state = Path(folder)
        apt = ["apt-get", "-q", *_apart(state, architecture)]
        what = f"Debian's packages for {architecture}"
        _run([*apt, "-oAPT::Update::Error-Mode=any", "update"], what)
        _run([*apt, "--yes", "--no-install-recommends", "--download-only", "install", *packages], what)
        for package in sorted((state / "cache" / "archives").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(root)], what)


def install_here(package: str) -> None:
    """Install one of Debian's packages on this machine.

    Raises:
        Impossible: that needs root, and neither this process nor sudo without a password is; or it fails.
    """
    if shutil.which("apt-get") is None:
        raise Impossible(f"needs Debian's {package}, and there is no apt-get here to install it")
    as_root: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        allowed = sudo is not None and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
        if sudo is None or not allowed or allowed.returncode != 0:
            raise Impossible(f"needs Debian's {package}, and root to install it: sudo apt-get install {package}")
        as_root = [sudo, "-n"]
    print(f"  installing Debian's {package} on this machine", flush=True)
    apt = [*as_root, "apt-get", "-q", "--yes", "--no-install-recommends"]
    if subprocess.run([*apt, "install", package], capture_output=True, check=False, env=_quiet()).returncode == 0:
        return
    _run([*apt, "update"], package)  # the list of packages may be missing or old
    _run([*apt, "install", package], package)


def _apart(state: Path, architecture: str) -> list[str]:
    for folder in ("lists/partial", "cache/archives/partial", "none"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    source = f"deb [arch={architecture} signed-by={KEYS}] {MIRROR} {SUITE} main\n"
    (state / "sources.list").write_text(source, encoding="ascii")
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": state / "none",
        "Dir::Etc::preferencesparts": state / "none",
        "APT::Sandbox::User": "root",  # apt's own user may not write here
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        "Debug::NoLocking": 1,
    }
    return [f"-o{name}={value}" for name, value in options.items()]


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_quiet())
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        told = [line for line in lines if line.startswith(("E:", "W:"))] or lines[-1:]
        raise Impossible(f"{what}: {command[0]} failed: {' '.join(told[:2])}")


def _quiet() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
