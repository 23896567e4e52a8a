"""Measures a bundle on another machine: brings there what is needed, runs verify and profile, brings back the reports.

The host needs sshd, a POSIX shell and Python 3.10 or newer, nothing else; what is brought lies in one folder, which is
removed in the end, whatever happens.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shlex
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from edgetransfer.errors import EdgetransferError, HostError
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.remote_host import PROBE, Host, read_probe
from edgetransfer.pipeline.remote_packages import own_files, packages_for
from edgetransfer.pipeline.remote_ssh import Connection, Destination, Done
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.manifest import MANIFEST_FILE
from edgetransfer.spec.report import ProfileReport, VerifyReport

PROBE_TIMEOUT_S = 60
COPY_TIMEOUT_S = 1800
VERIFY_TIMEOUT_S = 600
CLEAN_TIMEOUT_S = 60
SPARE_BYTES = 16 * 1024 * 1024  # beside what is unpacked: Python's compiled files and some room
_NAME = "edgetransfer-"
_BEGIN = "edgetransfer-begin"
# /var/tmp before /tmp, which may be memory. A folder mounted noexec cannot hold libraries.
_MAKE_FOLDER = """
import json, os
name, needed, tried = %r, %r, []
for place in (os.environ.get("TMPDIR"), "/var/tmp", "/tmp", os.path.expanduser("~")):
    try:
        found = os.statvfs(place)
        free = found.f_bavail * found.f_frsize
        if found.f_flag & getattr(os, "ST_NOEXEC", 0):
            tried.append(place + ": mounted noexec")
        elif free < needed:
            tried.append("%%s: %%d MB free" %% (place, free // 1000000))
        else:
            os.mkdir(os.path.join(place, name), 0o700)
            print(%r + json.dumps({"folder": os.path.join(place, name)}))
            break
    except (OSError, TypeError) as error:
        tried.append("%%s: %%s" %% (place, error)) if place else None
else:
    print(%r + json.dumps({"tried": tried}))
"""
# One line, for it is on the command line of a login shell.
_UNPACK = (
    "import sys,tarfile;t=tarfile.open(fileobj=sys.stdin.buffer,mode='r|gz');"
    "t.extractall(sys.argv[1],**({'filter':'data'} if hasattr(tarfile,'data_filter') else {}))"
)
_SIGNALS = {
    132: "illegal instruction: the engine's wheel asks for a newer processor",
    134: "it aborted",
    135: "a bus error",
    137: "it was killed, most likely for want of memory",
    139: "it crashed",
}


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to reach the host, and what to measure there; see `Connection` and `edgetransfer.profile.profile`."""

    port: int | None = None
    identity: Path | None = None
    ssh_options: tuple[str, ...] = ()
    engine: str | None = None
    providers: tuple[str, ...] = ()
    runs: int = 200
    seconds: float = 10.0
    choose: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True)
class RemoteReport:
    """What verify and profile said on the host.

    Attributes:
        destination: where that was.
        host: what it is.
        versions: of the packages that it was given, by distribution.
        verified: whether it computes what it should; a device that does not is broken, not slow.
        profiled: how fast it is.
        folder: what was left there, "" if nothing was.
    """

    destination: str
    host: Host
    versions: dict[str, str]
    verified: VerifyReport
    profiled: ProfileReport
    folder: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the device's own report of its profile, with `host` and `verify` beside it."""
        engine = {"engine": self.profiled.engine, "engine_version": self.profiled.engine_version}
        host = {"destination": self.destination, "cpu": self.profiled.cpu} | self.host.to_json() | engine
        host |= {"packages": self.versions, "folder": self.folder or None}
        return self.profiled.to_json() | {"host": host, "verify": self.verified.to_json()}

    def as_text(self) -> str:
        """Return the report as plain text."""
        host = self.host.to_json()
        about = f"{host['os']}, {host['machine']}, {host['libc']}, Python {host['python']}"
        return f"{self.destination}: {about}\n\n{self.verified.as_text()}\n\n{self.profiled.as_text()}"


def profile_on_host(
    bundle: str | os.PathLike[str], destination: str, options: RemoteOptions, *, watcher: Watcher | None = None
) -> RemoteReport:
    """Return what verify and profile say of the bundle on the machine `destination`.

    Raises:
        BundleError: the folder is no bundle, or was changed.
        HostError: the machine cannot be reached, lacks something, or fails; says what to do.
        InputError: a destination or an option makes no sense.
    """
    watcher = watcher or Silent()
    opened = Bundle.load(bundle)
    opened.check_integrity()
    where = Destination.parse(destination, options.port)
    engine = options.engine or opened.manifest.format
    watcher.stage(f"connecting to {where}")
    with Connection(where, identity=options.identity, options=options.ssh_options) as connection:
        host = read_probe(connection.script(PROBE, timeout_s=PROBE_TIMEOUT_S).output, str(where))
        watcher.stage(f"wheels for {host.machine}, {host.libc} and Python {host.python_minor}")
        providers = options.providers or opened.manifest.model.providers
        packages = packages_for(host, engine, providers, str(where), watcher.note)
        with _Workplace(connection, host, str(where), watcher, keep=options.keep) as place:
            place.make(packages.bytes_there + SPARE_BYTES + _size(opened))
            with packages.archive.open("rb") as archive:
                watcher.stage("copying the engine")
                place.unpack(archive, "packages", packages.archive.stat().st_size)
            with tempfile.TemporaryFile() as own:
                watcher.stage("copying the bundle")
                place.unpack(own, "own", _pack(opened, own))
            verified, profiled = _measure(place, options, watcher)
        return RemoteReport(str(where), host, dict(packages.versions), verified, profiled, place.left)


class _Workplace:
    """A folder on the host, which goes when the context ends."""

    def __init__(self, connection: Connection, host: Host, where: str, watcher: Watcher, *, keep: bool) -> None:
        self._connection, self._host, self.where, self._watcher = connection, host, where, watcher
        self._keep = keep
        self._name = f"{_NAME}{secrets.token_hex(8)}"  # chosen here, so that it can be removed whatever was answered
        self._folder = ""
        self.left = ""

    def __enter__(self) -> _Workplace:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder, with what may still run in it; never hides the error that ended the work."""
        if self._keep and self._folder:
            self.left = self._folder
            self._watcher.note(f"{self.where}: {self._folder} is left there, as asked")
            return
        problem = "interrupted"
        try:
            places = " ".join(
                f"{place}/{self._name}" for place in ('"${TMPDIR:-/var/tmp}"', "/var/tmp", "/tmp", '"$HOME"')
            )
            done = self._connection.script(_REMOVE.format(places=places), timeout_s=CLEAN_TIMEOUT_S)
            problem = "" if done.code == 0 else done.last_words()
        except EdgetransferError as error:
            problem = str(error)
        finally:
            if problem:
                name = self._folder or f"{self._name} in /var/tmp or /tmp"
                self._watcher.note(f"{self.where}: {name} could not be removed ({problem}); remove it there")

    def make(self, needed_bytes: int) -> None:
        """Make the folder where there is room."""
        script = _MAKE_FOLDER % (self._name, needed_bytes, _BEGIN, _BEGIN)
        command = f"exec {shlex.quote(self._host.python)} -"
        done = self._connection.run(command, script.encode(), timeout_s=PROBE_TIMEOUT_S)
        answer = _document(done) or {}
        if "tried" in answer:
            raise HostError(
                f"{self.where}: no place for {needed_bytes / 1e6:.0f} MB ({'; '.join(answer['tried'])}); make room "
                "there, or set TMPDIR there"
            )
        if not str(answer.get("folder", "")).endswith(f"/{self._name}"):
            raise HostError(f"{self.where}: no folder could be made: {done.last_words()}")
        self._folder = str(answer["folder"])

    def unpack(self, archive: BinaryIO | IO[bytes], name: str, total_bytes: int) -> None:
        """Unpack a .tar.gz into the folder's part `name`."""
        target = f"{self._folder}/{name}"
        command = f"exec {shlex.join([self._host.python, '-c', _UNPACK, target])}"
        done = self._connection.run(
            command,
            cast(BinaryIO, archive),
            timeout_s=COPY_TIMEOUT_S,
            progress=lambda sent: self._watcher.step(sent // 1024, total_bytes // 1024),
        )
        if done.code:
            hint = "; make room there" if "No space left" in done.errors else ""
            raise HostError(f"{self.where}: files cannot be unpacked there: {done.last_words()}{hint}")

    def call(self, arguments: Sequence[str], *, timeout_s: float) -> Done:
        """Run edgetransfer there with `arguments` and --json."""
        words = shlex.join([self._host.python, "-m", "edgetransfer", *arguments, "--json"])
        script = _RUN.format(folder=shlex.quote(self._folder), begin=_BEGIN, words=words)
        return self._connection.script(script, timeout_s=timeout_s)


_RUN = """
cd {folder} || exit 1
PYTHONPATH="$PWD/own:$PWD/packages" PYTHONUTF8=1
export PYTHONPATH PYTHONUTF8
echo {begin}
{words} </dev/null &
echo "$!" >running
wait "$!"
code="$?"
rm -f running
exit "$code"
"""
_REMOVE = """
for folder in {places}; do
  [ -d "$folder" ] || continue
  [ -f "$folder/running" ] && kill "$(cat "$folder/running")"
  rm -rf "$folder" || {{ sleep 1; rm -rf "$folder"; }} || exit 1
done 2>/dev/null
exit 0
"""


def _measure(place: _Workplace, options: RemoteOptions, watcher: Watcher) -> tuple[VerifyReport, ProfileReport]:
    how = ["--engine", options.engine] if options.engine else []
    how += [word for provider in options.providers for word in ("--provider", provider)]
    watcher.stage("verifying there")
    done = place.call(["verify", "own/bundle", *how], timeout_s=VERIFY_TIMEOUT_S)
    document = _document(done)
    if document is None:
        raise HostError(f"{place.where}: verify there: {_failure(done)}")
    verified = VerifyReport.from_json(document)
    watcher.stage("profiling there")
    how += ["--runs", str(options.runs), "--seconds", str(options.seconds), *(["--choose"] if options.choose else [])]
    done = place.call(["profile", "own/bundle", *how], timeout_s=VERIFY_TIMEOUT_S + 100 * min(options.seconds, 3600))
    document = _document(done)
    if document is None:
        wrong = "" if verified.passed else f"; it does not verify either:\n{verified.as_text()}"
        raise HostError(f"{place.where}: profile there: {_failure(done)}{wrong}")
    return verified, ProfileReport.from_json(document)


def _document(done: Done) -> dict[str, Any] | None:
    """Return the JSON behind our mark, None if there is none: it failed before."""
    try:
        document = json.loads(done.output.rpartition(_BEGIN)[2])
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _failure(done: Done) -> str:
    return _SIGNALS.get(done.code) or done.last_words().removeprefix("Error: ")


def _size(bundle: Bundle) -> int:
    return sum(file.size_bytes for file in bundle.manifest.files.values())


def _pack(bundle: Bundle, target: IO[bytes]) -> int:
    """Write our own package and the bundle as a .tar.gz, and return its size."""
    names = (MANIFEST_FILE, *bundle.manifest.files)
    files = [*own_files(), *((f"bundle/{name}", bundle.path / name) for name in names)]
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as packed:
        for inside, path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(inside)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    size = target.tell()
    target.seek(0)
    return size
