"""A real sshd on this machine, which plays the other machine: with another home, PATH and temporary folder.

tests/pipeline/conftest.py loads this by path, for tests are no package.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.pipeline.remote import RemoteOptions, RemoteReport, profile_on_host

SSHD = Path(shutil.which("sshd") or "/usr/sbin/sshd")
HERE = bool(SSHD.exists() and shutil.which("ssh") and shutil.which("ssh-keygen"))
QUICK = {"runs": 5, "seconds": 1.0}
CONFIG = """\
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
SHELL = """\
#!/bin/sh
. {folder}/environment
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >>{folder}/commands
exec $ALONE sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass
class Server:
    """A running sshd, and what the machine behind it has."""

    folder: Path
    port: int
    notes: list[str] = field(default_factory=list)

    def options(self, **changes: Any) -> RemoteOptions:
        known = f"UserKnownHostsFile={self.folder / 'known_hosts'}"
        trusted = (known, "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none")
        fields: dict[str, Any] = {"port": self.port, "identity": self.folder / "key", "ssh_options": trusted, **QUICK}
        return RemoteOptions(**fields | changes)

    def profile(self, bundle: Path, **changes: Any) -> RemoteReport:
        return profile_on_host(bundle, "127.0.0.1", self.options(**changes), watcher=self)

    def stage(self, title: str) -> None:
        self.notes.append(title)

    def step(self, done: int, total: int) -> None:
        assert done >= 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def reset(self) -> None:
        """Make the machine what it was at first: with this environment's Python, and nothing of the tests before."""
        self.programs()
        self.environment()
        self.program("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        self.notes.clear()
        (self.folder / "commands").unlink(missing_ok=True)

    def programs(self, *names: str) -> None:
        """Leave no programs in the folder that comes first on the PATH, but links to these."""
        shutil.rmtree(self.folder / "bin")
        (self.folder / "bin").mkdir()
        for name in names:
            (self.folder / "bin" / name).symlink_to(str(shutil.which(name)))

    def environment(self, **variables: Any) -> None:
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        defaults = {"HOME": self.folder / "home", "TMPDIR": self.folder / "temporary", "PATH": path}
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in (defaults | variables).items()]
        (self.folder / "environment").write_text("\n".join(["unset PYTHONPATH", *lines, ""]))

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def left(self) -> list[str]:
        places = (self.folder / "temporary", self.folder / "home")
        return [str(path) for place in places for path in place.glob("edgetransfer-*")]


def make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NoServer(Exception):
    """sshd does not start; the message says why."""


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Give a server whose files are all in `folder`."""
    for name in ("bin", "home", "temporary"):
        (folder / name).mkdir()
    host_key, key = make_key(folder / "host_key"), make_key(folder / "key")
    (folder / "authorized_keys").write_text(f'command="{folder}/shell" {key}\n')
    (folder / "shell").write_text(SHELL.format(folder=folder))
    (folder / "shell").chmod(0o755)
    (folder / "config").write_text(CONFIG.format(folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd wants it of root
    port = free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    with (folder / "log").open("w") as log:
        command = [str(SSHD), "-D", "-e", "-f", str(folder / "config"), "-p", str(port)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    try:
        if not answers(port, process):
            raise NoServer((folder / "log").read_text().strip()[-300:])
        yield Server(folder, port)
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return True
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return False
