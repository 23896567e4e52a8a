"""What is read from what a host prints, which wheels it gets, and what may stand behind --ssh; without a host."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from edgetransfer.errors import HostError, InputError
from edgetransfer.pipeline import remote_packages
from edgetransfer.pipeline.remote_host import MARK, PROBE, Host, read_probe
from edgetransfer.pipeline.remote_packages import packages_for
from edgetransfer.pipeline.remote_ssh import Connection, Destination, Done, _why

PI = Host("Linux", "aarch64", "Debian", "6.6.31", "glibc", (2, 36), "/usr/bin/python3", (3, 11, 2))
ARM_32 = replace(PI, machine="armv7l", packages={"numpy": "1.24.2"})


def printed(*pythons, **words) -> str:
    words = {"system": "Linux", "machine": "aarch64", "kernel": "6.6.31", "os": '"Debian GNU/Linux 12"', **words}
    lines = [f"{MARK}{name}={value}" for name, value in words.items()]
    return "\n".join(["Welcome!", *lines, *(f"{MARK}python={json.dumps(python)}" for python in pythons), "bye=1"])


def python(version=(3, 11, 2), **facts):
    usual = {"executable": "/usr/bin/python3", "name": "cpython", "bits": 64, "glibc": "glibc 2.36", "memory_kb": 1000}
    return usual | {"version": list(version), "has": ["venv"], "packages": {"numpy": "1.24.2"}} | facts


# === The probe ===


def test_what_a_pi_prints_is_read():
    assert read_probe(printed(python()), "pi@x") == replace(
        PI,
        os="Debian GNU/Linux 12",
        has=("venv",),
        packages={"numpy": "1.24.2"},
        memory_bytes=1024_000,
    )


def test_this_machine_is_understood():
    done = subprocess.run(["sh", "-s"], input=PROBE, capture_output=True, text=True, check=True)
    host = read_probe(done.stdout, "here")
    assert host.libc in ("glibc", "musl", "macOS")
    assert host.python_version >= (3, 10)
    assert host.to_json()["python"].count(".") == 2


@pytest.mark.parametrize(
    ("uname", "bits", "machine"),
    [("aarch64", 32, "armv7l"), ("x86_64", 32, "i686"), ("armv7l", 32, "armv7l"), ("x86_64", 64, "x86_64")],
)
def test_a_system_of_32_bits_on_a_kernel_of_64_is_one_of_32(uname, bits, machine):
    assert read_probe(printed(python(bits=bits), machine=uname), "pi@x").machine == machine


def test_the_first_python_that_we_run_on_is_taken():
    old, pypy = python((3, 9, 2)), python(name="pypy")
    good, newer = python((3, 12, 1), executable="/usr/bin/python3.12"), python((3, 11, 0), executable="/opt/py")
    assert read_probe(printed(old, pypy, good, newer), "pi@x").python == "/usr/bin/python3.12"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (printed(), "has no python3"),
        (printed(python((3, 9, 2))), r"needs Python 3\.10 to 3\.13, got /usr/bin/python3 3\.9\.2"),
        (printed(python((3, 14, 0))), r"got /usr/bin/python3 3\.14\.0"),
        (printed(python(executable="")), "has no python3"),
        (printed(python(glibc=None)), "expected glibc, musl or macOS"),
        (printed(python(), system="MINGW64_NT"), "expected Linux or macOS.*MINGW64_NT"),
        ("", "no answer from sh"),
        ("This service allows sftp connections only.", "no answer from sh"),
    ],
)
def test_what_will_not_do_is_said(text, words):
    with pytest.raises(HostError, match=f"^pi@x: .*{words}"):
        read_probe(text, "pi@x")


def test_damaged_answers_of_one_python_leave_the_others():
    text = printed(python()).replace("Welcome!", f"{MARK}python={{\n{MARK}python=[]\n{MARK}python=" + '{"version": 3}')
    assert read_probe(text, "pi@x").python == "/usr/bin/python3"


# === Wheels ===


def test_tags_go_from_the_hosts_own_libc_down():
    assert PI.tags()[0] == "manylinux_2_36_aarch64"
    assert PI.tags()[-3:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64")
    assert "manylinux1_x86_64" in replace(PI, machine="x86_64").tags()
    assert replace(PI, libc="musl", libc_version=(1, 2)).tags()[:2] == (
        "musllinux_1_2_aarch64",
        "musllinux_1_1_aarch64",
    )
    assert replace(PI, libc="macOS", libc_version=(14, 5), machine="arm64").tags() == ("macosx_14_0_arm64",)


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands for pip: writes empty packages that ask for what `asks` says, and remembers what it was asked."""
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    calls: list[dict[str, str]] = []
    asks = {"ai-edge-litert": ["numpy>=1.23", "tqdm", "backport; python_version < '3.11'", "more; extra == 'npu'"]}

    def install(target, host, wanted, options):
        calls.append(dict(wanted))
        for name, versions in wanted.items():
            if versions.startswith("==") and host.machine == "riscv64":
                raise remote_packages._NoWheel("none")
            folder = target / f"{name.replace('-', '_')}-9.0.dist-info"
            folder.mkdir(parents=True)
            lines = [f"Requires-Dist: {line}" for line in asks.get(name, [])]
            text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 9.0", *lines, ""])
            (folder / "METADATA").write_text(text)

    monkeypatch.setattr(remote_packages, "_pip", install)
    return calls


def get(host, engine="litert", providers=()):
    notes: list[str] = []
    return packages_for(host, engine, providers, "pi@x", notes.append), notes


def test_markers_are_judged_by_the_hosts_python_not_by_ours(pip):
    older, _ = get(replace(PI, python_version=(3, 10, 4)))
    assert "backport" in older.versions
    assert "tomli" in older.versions
    newer, _ = get(PI)
    assert {"numpy", "click", "ai-edge-litert", "tqdm"} == set(newer.versions)


def test_the_engine_comes_in_the_version_of_here_and_the_second_time_from_the_cache(pip):
    first, _ = get(PI)
    asked = len(pip)
    assert pip[0]["ai-edge-litert"] == f"=={metadata.version('ai-edge-litert')}"
    assert get(PI)[0] == first
    assert len(pip) == asked
    get(replace(PI, python_version=(3, 12, 0)))
    assert len(pip) > asked


def test_a_damaged_cache_is_made_again(pip):
    first, _ = get(PI)
    (first.archive.parent / "packages.json").write_text("{")
    assert get(PI)[0] == first


def test_where_that_version_has_no_wheel_the_newest_is_taken_and_that_is_said(pip):
    _, notes = get(replace(PI, machine="riscv64"))
    assert "has no wheel for manylinux_2_36_riscv64" in notes[0]
    assert pip[-2]["ai-edge-litert"].startswith(">=")


def test_32_bit_arm_brings_its_own_numpy_and_gets_tflite_runtime(pip):
    packages, _ = get(ARM_32)
    assert packages.versions == {"click": "9.0", "tflite-runtime": "9.0", "numpy": "1.24.2"}


@pytest.mark.parametrize(
    ("host", "engine", "providers", "words"),
    [
        (replace(ARM_32, packages={}), "litert", (), "no numpy.*apt install python3-numpy"),
        (replace(ARM_32, packages={"numpy": "2.0.1"}), "litert", (), r"numpy 2\.0\.1.*below 2"),
        (
            replace(ARM_32, python_version=(3, 13, 5)),
            "litert",
            (),
            r"no engine 'litert' for Python 3\.13.*3\.10 and 3\.11",
        ),
        (PI, "tflm", (), "no engine 'tflm'"),
        (PI, "nonesuch", (), "no engine 'nonesuch'"),
        (PI, "onnx", ("cuda", "cpu"), "no numpy and no onnxruntime-gpu.*--provider cpu"),
    ],
)
def test_what_a_host_lacks_is_said(pip, host, engine, providers, words):
    with pytest.raises(HostError, match=f"^pi@x: .*{words}"):
        get(host, engine, providers)
    assert pip == []


def test_a_host_with_a_gpu_uses_its_own_onnxruntime(pip):
    jetson = replace(PI, packages={"numpy": "1.26.1", "onnxruntime-gpu": "1.20.0"})
    packages, _ = get(jetson, "onnx", ("tensorrt", "cuda", "cpu"))
    assert packages.versions == {"click": "9.0", "numpy": "1.26.1", "onnxruntime": "1.20.0"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("/usr/bin/python: No module named pip", "ensurepip"),
        ("WARNING: Retrying (Retry(total=0)) after connection broken by NewConnectionError", "no package index"),
        ("ERROR: No matching distribution found for x", "no wheels for Python 3.11 on manylinux_2_36_aarch64"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "No space left"),
        ("", "pip failed"),
    ],
)
def test_what_pip_says_is_made_plain(said, words):
    assert words in str(remote_packages._pip_error(said, PI))


# === Destinations, and what ssh says ===


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("pi@raspberrypi.local", "pi@raspberrypi.local", None),
        ("board", "board", None),
        ("pi@10.0.0.7:2222", "pi@10.0.0.7", 2222),
        ("ssh://pi@host:22/", "pi@host", 22),
        ("pi@[fe80::1%eth0]:2222", "pi@fe80::1%eth0", 2222),
        ("fe80::1", "fe80::1", None),
        ("a@corp@host", "a@corp@host", None),
    ],
)
def test_a_destination_is_user_host_and_port(text, name, port):
    assert Destination.parse(text) == Destination(name, port)
    assert Destination.parse(text, port=port) == Destination(name, port)


@pytest.mark.parametrize(
    "text",
    ["-oProxyCommand=touch x", "-o", "--", "pi@-oProxyCommand=x", "-l@host", "", "pi@", "@host", "a b", "pi@h;ls",
     "$(x)", "pi@h\nx", "`x`@h", "h:0", "h:65536", "h:ssh", "h:", "[::1", "[::1]22", "h/../x"],
)  # fmt: skip
def test_what_is_no_destination_is_refused(text):
    with pytest.raises(InputError, match=r"^--ssh"):
        Destination.parse(text)


def test_two_ports_are_one_too_many():
    with pytest.raises(InputError, match="another port than --port 23"):
        Destination.parse("pi@h:22", port=23)


def test_our_ssh_options_come_first_for_the_first_counts(tmp_path):
    key = tmp_path / "a key"
    key.write_text("")
    connection = Connection(Destination("pi@h", 2222), identity=key, options=["BatchMode=no"])
    words = connection._ssh
    assert words.index("-oBatchMode=yes") < words.index("-oBatchMode=no")
    assert not any("StrictHostKeyChecking" in word for word in words)
    assert words[words.index("-i") + 1] == str(key)
    assert len(words[words.index("-S") + 1]) < 80
    connection._close()
    assert not connection._folder.exists()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ssh: Could not resolve hostname x: Name or service not known", "no machine of that name"),
        ("ssh: connect to host x port 22: Connection timed out", "is it switched on"),
        ("ssh: connect to host x port 22: No route to host", "no way to it"),
        ("Received disconnect: Too many authentication failures", "--identity FILE"),
        ("pi@x: Permission denied (publickey,password).", "ssh-copy-id"),
        ("Host key verification failed.", "Connect once with 'ssh -p 2222 pi@x'"),
        (
            "kex_exchange_identification: banner",
            "ssh failed: kex_exchange_identification: banner; try 'ssh -p 2222 pi@x'",
        ),
    ],
)
def test_what_ssh_says_is_made_plain(said, words):
    assert words in _why(Done(255, "", said), Destination("pi@x", 2222))


def test_without_ssh_here_that_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HostError, match="ssh is not installed here"):
        Connection(Destination("pi@x"))


def test_the_desk_side_loads_no_keras():
    code = "import sys, edgetransfer.pipeline.remote; print({'keras', 'tensorflow', 'click'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
