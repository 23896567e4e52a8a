"""A bundle is measured on another machine: a real sshd here, see sshd.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgetransfer.cli.main import cli
from edgetransfer.errors import HostError
from edgetransfer.pipeline import remote, remote_packages
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.report import ProfileReport

# === What works ===


@pytest.mark.usefixtures("at_hand")
def test_a_bundle_is_verified_and_measured_there_and_nothing_is_left(server, odd_bundle):
    report = server.profile(odd_bundle)
    assert report.verified.passed
    assert report.profiled.one_thread.runs == 5
    assert report.host.python_version == sys.version_info[:3]
    assert report.host.machine == os.uname().machine
    assert "verified" in report.as_text()
    assert "p99 ms" in report.as_text()
    assert server.left() == []
    assert any(title.startswith("profiling") for title in server.notes)


@pytest.mark.usefixtures("at_hand")
def test_the_command_line_gives_the_devices_own_document_with_the_host_beside_it(server, odd_bundle):
    options = [word for option in server.options().ssh_options for word in ("--ssh-option", option)]
    key = ["--identity", str(server.folder / "key")]
    destination = f"127.0.0.1:{server.port}"
    how = ["--ssh", destination, *key, *options, "--runs", "5", "--seconds", "1", "--json"]
    result = CliRunner().invoke(cli, ["profile", str(odd_bundle), *how])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["report"] == "profile"
    assert ProfileReport.from_json(document).one_thread.runs == 5  # as 'report --profile' reads it
    assert document["verify"]["passed"] is True
    assert document["host"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"destination", "machine", "cpu", "os", "libc", "engine", "engine_version"} <= set(document["host"])
    assert document["threads"] == 1
    assert "connecting to 127.0.0.1" in result.stderr


@pytest.mark.usefixtures("at_hand")
def test_one_handshake_serves_all_commands(server, odd_bundle):
    before = (server.folder / "log").read_text().count("Accepted publickey")
    server.profile(odd_bundle)
    assert (server.folder / "log").read_text().count("Accepted publickey") == before + 1
    assert len((server.folder / "commands").read_text().splitlines()) == 7  # probe, folder, 2 copies, 2 runs, removal


@pytest.mark.usefixtures("at_hand")
def test_the_folder_is_left_when_that_is_asked(server, odd_bundle):
    report = server.profile(odd_bundle, keep=True)
    try:
        assert report.to_json()["host"]["folder"] == report.folder
        assert (Path(report.folder) / "own" / "bundle" / "manifest.json").is_file()
        assert (Path(report.folder) / "own" / "edgetransfer" / "_devices" / "raspberry_pi_4.toml").is_file()
        assert any(report.folder in note for note in server.notes)
    finally:
        shutil.rmtree(report.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("at_hand")
def test_threads_that_are_chosen_there_are_kept_there(server, odd_bundle):
    settings = server.folder / "home" / "settings"
    server.environment(EDGETRANSFER_CONFIG=settings)
    report = server.profile(odd_bundle, choose=True)
    assert report.profiled.threads in range(1, available_cores() + 1)
    assert str(settings) in report.profiled.threads_because
    assert json.loads((settings / "threads.json").read_text())["choices"][0]["threads"] == report.profiled.threads
    assert server.profile(odd_bundle).profiled.threads_because.startswith("the best of 1")


@pytest.mark.usefixtures("at_hand")
def test_a_shell_that_greets_does_not_disturb(server, odd_bundle):
    with (server.folder / "environment").open("a") as stream:
        stream.write("echo 'Welcome {to} this machine'\n")
    assert server.profile(odd_bundle).verified.passed


@pytest.mark.slow
def test_a_host_without_packages_pip_and_network_gets_all_that_it_needs(server, odd_bundle, tmp_path, monkeypatch):
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    server.program("python3", f'exec {python} "$@"')
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        server.environment(ALONE="unshare -n")  # no network at all; needs root
    server.program("pip", f"touch {server.folder}/pip-was-called")
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "cache"))
    began = time.perf_counter()
    try:
        first = server.profile(odd_bundle)
    except HostError as error:
        if "package index" in str(error):
            pytest.skip("no package index can be reached from here")
        raise
    between = time.perf_counter()
    second = server.profile(odd_bundle)
    print(f"first call {between - began:.1f} s, second {time.perf_counter() - between:.1f} s")
    for report in (first, second):
        assert report.verified.passed
        assert {"numpy", "click", "ai-edge-litert"} <= set(report.versions)
        assert report.host.python == str(python)
        assert report.profiled.versions["numpy"] == report.versions["numpy"]
    assert not (server.folder / "pip-was-called").exists()
    assert server.left() == []


# === What is left when it ends badly ===


@pytest.mark.usefixtures("at_hand")
def test_nothing_is_left_when_profile_fails_there(server, odd_bundle):
    with pytest.raises(HostError, match=r"verify there: .*no engine named 'nonesuch'"):
        server.profile(odd_bundle, engine="nonesuch")
    assert server.left() == []


@pytest.mark.usefixtures("at_hand")
def test_nothing_is_left_after_an_interruption_and_nothing_runs_on(server, odd_bundle, monkeypatch):
    call = remote._Workplace.call

    def interrupted(self, arguments, **options):
        if arguments[0] == "verify":
            return call(self, arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(remote._Workplace, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.profile(odd_bundle)
    assert server.left() == []


@pytest.mark.slow
def test_ctrl_c_while_it_measures_ends_the_measuring_there(server, odd_bundle):
    """A whole process, interrupted as a terminal does it: the signal goes to its group."""
    code = (
        "import sys\nfrom edgetransfer.pipeline import remote\n"
        "from edgetransfer.pipeline.remote_packages import Packages\nfrom pathlib import Path\n"
        f"remote.packages_for = lambda *_: Packages(Path({str(server.folder / 'none.tar.gz')!r}), {{}}, 0)\n"
        "from edgetransfer.cli.main import main\nmain()\n"
    )
    with tarfile.open(server.folder / "none.tar.gz", "w:gz"):
        pass
    words = [word for option in server.options().ssh_options for word in ("--ssh-option", option)]
    how = ["--ssh", f"127.0.0.1:{server.port}", "--identity", str(server.folder / "key"), *words]
    command = [sys.executable, "-c", code, "profile", str(odd_bundle), *how, "--runs", "1000000", "--seconds", "120"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    for _ in range(300):
        if measuring := measuring_processes(server):
            break
        time.sleep(0.1)
    assert measuring
    os.killpg(process.pid, 2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert server.left() == []
    assert measuring_processes(server) == []


def measuring_processes(server) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (path / "cwd").readlink()
        except OSError:
            continue
        if words[1:4] == ["-m", "edgetransfer", "profile"] and here.is_relative_to(server.folder):
            found.append(path.name)
    return found


def test_our_own_files_are_the_whole_package():
    names = {name for name, _ in remote_packages.own_files()}
    assert {"edgetransfer/__main__.py", "edgetransfer/py.typed", "edgetransfer/_devices/raspberry_pi_4.toml"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
