"""What another machine cannot do is said in one line that tells what to do; against a real sshd, see sshd.py."""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest

from edgetransfer.errors import BundleError, HostError, InputError
from edgetransfer.pipeline import remote
from edgetransfer.pipeline.remote import profile_on_host


def test_a_host_whose_key_is_not_known_is_not_trusted_silently(server, odd_bundle, tmp_path):
    options = (f"UserKnownHostsFile={tmp_path / 'none'}", "GlobalKnownHostsFile=/dev/null")
    with pytest.raises(HostError, match=r"its key is not known here.*compare the fingerprint"):
        server.profile(odd_bundle, ssh_options=options)
    assert not (tmp_path / "none").exists()


def test_a_host_whose_key_has_changed_is_refused(sshd, server, odd_bundle, tmp_path):
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {sshd.make_key(tmp_path / 'other')}\n")
    options = (f"UserKnownHostsFile={tmp_path / 'known'}", "GlobalKnownHostsFile=/dev/null")
    with pytest.raises(HostError, match="its key is not the one that is known"):
        server.profile(odd_bundle, ssh_options=options)


def test_a_key_that_may_not_log_in_is_refused_without_asking_for_a_password(sshd, server, odd_bundle, tmp_path):
    sshd.make_key(tmp_path / "stranger")
    with pytest.raises(HostError, match=r"permission denied: .*ssh-copy-id.*--identity"):
        server.profile(odd_bundle, identity=tmp_path / "stranger")


def test_a_port_on_which_nothing_answers_is_named(sshd, server, odd_bundle):
    port = sshd.free_port()
    with pytest.raises(HostError, match=rf"127\.0\.0\.1 \(port {port}\): cannot be reached: nothing answers"):
        server.profile(odd_bundle, port=port)


def test_a_machine_of_no_name_is_named(server, odd_bundle):
    with pytest.raises(HostError, match=r"nowhere\.invalid.*cannot be reached"):
        profile_on_host(odd_bundle, "pi@nowhere.invalid", server.options())


def test_a_key_file_that_is_not_there_and_an_unknown_option_are_named(server, odd_bundle, tmp_path):
    with pytest.raises(InputError, match="there is none"):
        server.profile(odd_bundle, identity=tmp_path / "none")
    with pytest.raises(HostError, match="ssh-option is not one that ssh knows"):
        server.profile(odd_bundle, ssh_options=("NoSuchOption=1",))


def test_a_broken_bundle_is_refused_before_anything_is_copied(server, odd_bundle, tmp_path):
    shutil.copytree(odd_bundle, tmp_path / "b.bundle")
    (tmp_path / "b.bundle" / "labels.txt").write_text("changed\n")
    with pytest.raises(BundleError, match=r"labels\.txt"):
        server.profile(tmp_path / "b.bundle")
    assert not (server.folder / "commands").exists()


def test_a_host_without_python_is_told_what_to_install(server, odd_bundle):
    server.programs("sh", "uname", "sed", "rm", "cat", "sleep")
    server.environment(PATH=server.folder / "bin")
    with pytest.raises(HostError, match=r"has no python3 on the PATH.*apt install python3"):
        server.profile(odd_bundle)


def test_a_python_that_is_too_old_is_named_with_its_version(server, odd_bundle):
    server.programs("sh", "uname", "sed", "rm", "cat", "sleep")
    server.environment(PATH=server.folder / "bin")
    old = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    server.program("python3", f'exec {shlex.quote(sys.executable)} -c {shlex.quote(old)} "$2"')
    with pytest.raises(HostError, match=r"needs Python 3\.10 to 3\.13, got .* 3\.9\.2"):
        server.profile(odd_bundle)


@pytest.mark.usefixtures("at_hand")
def test_a_newer_python_beside_an_old_one_is_taken(server, odd_bundle):
    old = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    server.program("python3", f'exec {shlex.quote(sys.executable)} -c {shlex.quote(old)} "$2"')
    server.program(f"python3.{sys.version_info.minor}", f'exec {shlex.quote(sys.executable)} "$@"')
    assert server.profile(odd_bundle).host.python_version == sys.version_info[:3]


def test_no_wheel_for_the_platform_is_said_with_its_name(server, odd_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(HostError, match=r"no wheels for Python 3\.\d+ on \w+: .*No matching distribution"):
        server.profile(odd_bundle)
    assert server.left() == []
    assert list((tmp_path / "cache" / "remote").iterdir()) == []


@pytest.mark.usefixtures("at_hand")
def test_no_space_is_said_with_what_was_looked_at(server, odd_bundle, monkeypatch):
    monkeypatch.setattr(remote, "SPARE_BYTES", 10**17)
    with pytest.raises(HostError, match=r"no place for \d+ MB \(.*/tmp: \d+ MB free.*make room"):
        server.profile(odd_bundle)
    assert server.left() == []
