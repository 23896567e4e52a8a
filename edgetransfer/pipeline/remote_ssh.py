"""A connection to another machine through the system's ssh, which knows the user's keys, aliases and known hosts.

One handshake serves all commands: a master connection is opened first, its socket in a folder of its own. ssh never
asks anything (BatchMode), and whether a host's key is trusted stays its own decision.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from edgetransfer.errors import HostError, InputError

CONNECT_TIMEOUT_S = 15
HANDSHAKE_TIMEOUT_S = 60  # key exchange takes seconds on a slow board
CHUNK_BYTES = 256 * 1024
_LONGEST_FOLDER = 60  # a socket's path may have 104 bytes on macOS, and ssh adds 17 while it makes one
_HOST = re.compile(r"(?!-)[\w.:%-]+")
_USER = re.compile(r"(?!-)[\w.+@\\$-]+")
_QUIET = ("BatchMode=yes", f"ConnectTimeout={CONNECT_TIMEOUT_S}", "ServerAliveInterval=10", "ServerAliveCountMax=3")
# What a user's configuration may add for their own sessions, and would disturb ours.
_PLAIN = ("ClearAllForwardings=yes", "RequestTTY=no", "RemoteCommand=none", "PermitLocalCommand=no", "LogLevel=ERROR")
_LINGER = "ControlPersist=10m"  # should we be killed; and longer than any download between two commands


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to connect: `name` as ssh takes it, such as user@host or an alias of ~/.ssh/config."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str, port: int | None = None) -> Destination:
        """Return what `text` names: [user@]host, with :port behind it, an IPv6 address with a port in brackets.

        Raises:
            InputError: it could be taken for an option, has signs that no host has, or names another port.
        """
        user, at, rest = text.removeprefix("ssh://").rstrip("/").rpartition("@")
        host, found = _host_and_port(rest)
        if not _HOST.fullmatch(host) or (at and not _USER.fullmatch(user)):
            raise InputError(f"--ssh {text!r}: expected [user@]host[:port], or an alias of ~/.ssh/config")
        if found is not None and not (found.isascii() and found.isdigit() and 0 < int(found) < 65536):
            raise InputError(f"--ssh {text!r}: expected a port from 1 to 65535, got {found!r}")
        if found is not None and port not in (None, int(found)):
            raise InputError(f"--ssh {text!r}: names another port than --port {port}; give one")
        return cls(f"{user}{at}{host}", port if found is None else int(found))

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name} (port {self.port})"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command on the host left: its exit code and what it printed."""

    code: int
    output: str
    errors: str

    def last_words(self) -> str:
        """Return the last lines of what it said went wrong, as one."""
        lines = [line.strip() for line in (self.errors.strip() or self.output.strip()).splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or f"exit code {self.code}"


class Connection:
    """An open connection; a context manager that closes it."""

    def __init__(self, destination: Destination, *, identity: Path | None = None, options: Sequence[str] = ()) -> None:
        """Prepare a connection; `options` are for ssh -o, behind ours, of which the first named counts.

        Raises:
            HostError: there is no ssh here.
            InputError: `identity` is no file.
        """
        if shutil.which("ssh") is None:
            raise HostError("ssh is not installed here; on Debian: apt install openssh-client")
        if identity is not None and not identity.is_file():
            raise InputError(f"--identity {str(identity)!r}: expected the file of a private key; there is none")
        self._destination = destination
        self._folder = _short_folder()
        words = [f"-o{option}" for option in (*_QUIET, *_PLAIN, *options)]
        if identity is not None:
            words += ["-i", str(identity).replace("%", "%%"), "-oIdentitiesOnly=yes"]
        if destination.port is not None:
            words += ["-p", str(destination.port)]
        self._ssh = ["ssh", "-T", "-x", "-a", "-S", str(self._folder / "s"), *words]

    def __enter__(self) -> Connection:
        """Open the connection.

        Raises:
            HostError: the host cannot be reached, is not known, or refuses us; says what to do.
        """
        try:
            # -f returns once the handshake is done; what it printed before is all that it prints.
            done = self._call(
                ["-oControlMaster=yes", f"-o{_LINGER}", "-N", "-f"], [], io.BytesIO(), HANDSHAKE_TIMEOUT_S
            )
            if done.code != 0:
                raise HostError(f"{self._destination}: {_why(done, self._destination)}")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def run(
        self,
        command: str,
        stdin: bytes | BinaryIO = b"",
        *,
        timeout_s: float,
        progress: Callable[[int], None] | None = None,
    ) -> Done:
        """Run `command`, which the user's login shell there takes apart, and return what came of it.

        Args:
            command: quoted already, and without line breaks, which some shells refuse inside of quotes.
            stdin: what the command reads.
            timeout_s: it is ended after that long.
            progress: is called with the bytes of `stdin` that are sent.

        Raises:
            HostError: the connection failed, or the time is over.
        """
        source = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
        done = self._call(["-oControlMaster=no"], [command], source, timeout_s, progress)
        if done.code == 255:  # ssh's own; commands here end otherwise
            raise HostError(f"{self._destination}: {_why(done, self._destination)}")
        return done

    def script(self, text: str, *, timeout_s: float) -> Done:
        """Run `text` by the host's sh, whatever the user's login shell is; for errors see `run`."""
        return self.run("exec sh -s", text.encode(), timeout_s=timeout_s)

    def _call(
        self,
        options: Sequence[str],
        command: Sequence[str],
        source: BinaryIO,
        timeout_s: float,
        progress: Callable[[int], None] | None = None,
    ) -> Done:
        words = [*self._ssh, *options, "--", self._destination.name, *command]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            # A session of its own: Ctrl-C is for us, who then need the connection to clean up.
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=output, stderr=errors, start_new_session=True
            )
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(timeout_s, end)
            timer.start()
            try:
                _feed(process.stdin, source, progress)
                code = process.wait()
            finally:
                timer.cancel()
                process.kill()
                process.wait()
            if late.is_set():
                raise HostError(
                    f"{self._destination}: no answer within {timeout_s:g} s; is it busy, or the network slow?"
                )
            return Done(code, _text(output), _text(errors))

    def _close(self) -> None:
        try:
            if (self._folder / "s").exists():
                self._call(["-Oexit"], [], io.BytesIO(), CONNECT_TIMEOUT_S)
        except HostError:
            pass  # the master ends by itself
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _host_and_port(text: str) -> tuple[str, str | None]:
    if bracketed := re.fullmatch(r"\[([^]]*)\](?::(.*))?", text):
        return bracketed[1], bracketed[2]
    host, colon, port = text.partition(":")
    return (text, None) if not colon or ":" in port else (host, port)


def _short_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgetransfer-ssh-"))
    if len(str(folder)) <= _LONGEST_FOLDER and re.fullmatch(r"[\w./-]+", str(folder)):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="edgetransfer-ssh-", dir="/tmp"))


def _feed(stdin: IO[bytes] | None, source: BinaryIO, progress: Callable[[int], None] | None) -> None:
    assert stdin is not None
    sent = 0
    try:
        while chunk := source.read(CHUNK_BYTES):
            stdin.write(chunk)
            stdin.flush()
            sent += len(chunk)
            if progress is not None:
                progress(sent)
        stdin.close()
    except BrokenPipeError:
        pass  # it ended early; its exit code and words say why


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _why(done: Done, destination: Destination) -> str:
    """Return what ssh's words mean, and what to do."""
    words = done.errors
    login = f"ssh {'' if destination.port is None else f'-p {destination.port} '}{destination.name}"
    for sign, meaning in _MEANINGS:
        if sign in words.lower():
            return f"{meaning.format(login=login)} (ssh says: {done.last_words()})"
    return f"ssh failed: {done.last_words()}; try '{login}'"


_MEANINGS = (
    (
        "remote host identification has changed",
        "its key is not the one that is known: either it was set up anew, then remove the old key with ssh-keygen -R, "
        "or this is another machine in its place",
    ),
    (
        "host key verification failed",
        "its key is not known here. Connect once with '{login}', compare the fingerprint with the host's "
        "(there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and accept it",
    ),
    (
        "too many authentication failures",
        "refused: too many keys were offered; name the right one with --identity FILE",
    ),
    (
        "permission denied (",
        "permission denied: no key that is offered may log in, and passwords are never asked for. Put a key there with "
        "ssh-copy-id, or name one with --identity FILE; a key with a passphrase must be in the agent (ssh-add)",
    ),
    ("could not resolve hostname", "cannot be reached: no machine of that name is known, here or in ~/.ssh/config"),
    ("connection refused", "cannot be reached: nothing answers on that port; is sshd running, and --port right?"),
    ("timed out", "cannot be reached: no answer; is it switched on and in this network?"),
    ("no route to host", "cannot be reached: no way to it in this network"),
    ("network is unreachable", "cannot be reached: no network"),
    ("bad configuration option", "an --ssh-option is not one that ssh knows"),
    ("command-line line 0", "an --ssh-option is not as ssh wants it"),
    ("no space left", "no space is left on a disk"),
)
