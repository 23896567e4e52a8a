from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import DeviceError, UnknownNameError
from edgetransfer.spec.device import DEFAULT_MAX_MODEL_BYTES, device_names, load_device
from edgetransfer.spec.device_file import parse_device_file

SOURCES = 'sources = [{ what = "a page", where = "https://example.org/page", checked = 2026-11-24 }]'
GOOD = f"""\
schema = 1
slug = "my_board"
name = "My board"
class = "sbc"
notes = ["Mine."]

[soc]
name = "Maker 1"
{SOURCES}

[cpu]
{SOURCES}

[[cpu.clusters]]
cores = 2
microarchitecture = "Cortex-A76"
clock_ghz = 2
simd = ["neon", "dotprod"]
big = true

[[cpu.clusters]]
cores = 4
microarchitecture = "Cortex-A55"
simd = ["neon", "dotprod"]
big = false

[memory]
ram_bytes = [8_000_000_000, 2_000_000_000]
{SOURCES}

[system]
os = "Linux"
architecture = "aarch64"
python = ["3.11"]
{SOURCES}

[[engines]]
name = "litert"
package = "ai-edge-litert"
recipes = ["float32"]
refused = {{ static_int8 = "its kernels are broken" }}
{SOURCES}
"""


def write(folder: Path, text: str, name: str = "my_board.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(DeviceError) as caught:
        load_device(write(folder, text))
    return str(caught.value)


def test_a_users_own_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    device = load_device(path)
    assert load_device(str(path)) == device
    assert (device.slug, device.soc, device.cores, device.big_cores) == ("my_board", "Maker 1", 6, 2)
    assert device.ram_bytes == (2_000_000_000, 8_000_000_000)
    assert device.clusters[1].clock_ghz is None
    assert device.engines[0].why_not("float32") is None
    assert device.engines[0].why_not("static_int8") == "its kernels are broken"
    assert device.engines[0].why_not("float16") == "its device file lists only float32"


def test_advice_that_is_left_out_comes_from_class_and_big_cores(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, GOOD))
    assert device.threads == 2
    assert device.max_model_bytes == DEFAULT_MAX_MODEL_BYTES["sbc"]
    assert device.max_latency_ms is None
    advised = GOOD + '[advice]\nthreads = 1\nmax_model_bytes = 5_000_000\nmax_latency_ms = 50\nwhy = "it is hot"\n'
    device = load_device(write(tmp_path, advised))
    assert (device.threads, device.max_model_bytes, device.max_latency_ms) == (1, 5_000_000, 50)
    assert "it is hot" in device.as_text()


def test_dotprod_counts_only_where_every_big_core_has_it(tmp_path: Path) -> None:
    assert load_device(write(tmp_path, GOOD)).has_dotprod
    without = GOOD.replace('simd = ["neon", "dotprod"]\nbig = true', 'simd = ["neon"]\nbig = true')
    assert not load_device(write(tmp_path, without)).has_dotprod


def test_a_misspelt_slug_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'raspberry_pi_4'\?.*ending in \.toml"):
        load_device("rasberry_pi_4")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"none\.toml: cannot be read: No such file"):
        load_device(tmp_path / "none.toml")


def test_an_unknown_key_is_refused_with_the_key_that_was_meant(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD.replace("clock_ghz = 2", "clok_ghz = 2"))
    assert "1 problem: cpu.clusters[0].clok_ghz: unknown field; did you mean 'clock_ghz'?" in message


def test_a_group_without_sources_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD.replace(f'[soc]\nname = "Maker 1"\n{SOURCES}', '[soc]\nname = "Maker 1"'))
    assert "soc.sources: missing; every group of facts names its sources" in message
    assert "sources: expected a list with at least one entry" in refusal(
        tmp_path, GOOD.replace(SOURCES, "sources = []")
    )


def test_all_problems_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    broken = (
        GOOD.replace('class = "sbc"', 'class = "sbcs"')
        .replace("cores = 2", "cores = 0")
        .replace('name = "litert"', 'name = "litrt"')
        .replace("big = false", 'big = "no"')
        .replace("2026-11-24", '"yesterday"')
        .replace("https://", "http://")
        + "ram = 3\n"
    )
    message = refusal(tmp_path, broken)
    for part in (
        "class: expected one of sbc, jetson, phone, camera, in_car, mcu, got 'sbcs'; did you mean 'sbc'?",
        "cpu.clusters[0].cores: expected a whole number above 0, got 0",
        "engines[0].name: expected one of litert, onnx, tflm, got 'litrt'; did you mean 'litert'?",
        "cpu.clusters[1].big: expected true or false, got 'no'",
        "soc.sources[0].checked: expected a date such as 2026-11-24, got 'yesterday'",
        "memory.sources[0].where: expected an https:// address",
        "engines[0].ram: unknown field",
        "devices/README.md explains each field",
    ):
        assert part in message
    assert "\n" not in message


def test_contradictions_are_reported_together(tmp_path: Path) -> None:
    broken = GOOD.replace('slug = "my_board"', 'slug = "other"').replace(
        'recipes = ["float32"]', 'recipes = ["static_int8"]'
    )
    broken = broken.replace("big = true", "big = false") + '[advice]\nthreads = 7\nwhy = "?"\n'
    message = refusal(tmp_path, broken)
    assert "4 problems" in message
    assert "slug: expected the file's name 'my_board', got 'other'" in message
    assert "expected at least one with big = true" in message
    assert "advice.threads: expected at most the 6 cores of the CPU, got 7" in message
    assert "recipe 'static_int8' stands in both recipes and refused" in message


def test_a_misspelt_refused_recipe_is_found(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD.replace("static_int8 =", "static_in8 ="))
    assert "engines[0].refused" in message
    assert "did you mean 'static_int8'?" in message


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD.replace("schema = 1", "schema = 2").replace("[soc]", "[chip]"))
    assert "schema 2 is newer than 1" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "content",
    [b"name = ", b"\xff\xfe", b'name = "a"\nname = "b"\n', b"a = " + b"[" * 5000],
    ids=["cut", "utf16", "twice", "deep"],
)
def test_what_is_not_toml_is_refused(content: bytes) -> None:
    with pytest.raises(DeviceError, match=r"device file x\.toml: (expected TOML in UTF-8|nested too deeply)"):
        parse_device_file(content, stem="x", where="x.toml")


def test_an_empty_file_names_every_missing_group() -> None:
    with pytest.raises(DeviceError) as caught:
        parse_device_file(b"", stem="x", where="x.toml")
    for group in ("schema", "slug", "name", "class", "soc", "system", "engines"):
        assert f"{group}: missing" in str(caught.value)
    for group in ("cpu", "memory"):
        assert group not in str(caught.value)


def test_of_a_cpu_that_nobody_describes_nothing_is_assumed() -> None:
    device = load_device("ambarella_cv25")
    assert not device.has_dotprod
    assert "1 of an unknown number of cores" in device.as_text()


@given(st.binary(max_size=300))
def test_any_bytes_are_either_read_or_refused(content: bytes) -> None:
    with pytest.raises(DeviceError):
        parse_device_file(content, stem="x", where="x.toml")


VALUES = st.one_of(
    st.integers(),
    st.text(max_size=5).map(json.dumps),
    st.sampled_from(["true", "[]", "{}", "nan", "1979-05-27", "[1, 'a']"]),
)


@given(st.sampled_from([line for line in GOOD.splitlines() if " = " in line]), VALUES)
def test_any_value_in_any_field_is_either_read_or_refused(line: str, value: object) -> None:
    text = GOOD.replace(line, f"{line.split(' = ')[0]} = {value}")
    try:
        data = parse_device_file(text.encode("utf-8", "replace"), stem="my_board", where="my_board.toml")
    except DeviceError as error:
        assert "my_board.toml" in str(error)  # noqa: PT017
    else:
        assert data["slug"] == "my_board"


def test_json_can_be_dumped_and_says_class() -> None:
    data = json.loads(json.dumps(load_device("raspberry_pi_4").to_json()))
    assert data["class"] == "sbc"
    assert data["engines"][0]["refused"] == {}
    assert data["clusters"][0]["microarchitecture"] == "Cortex-A72"
    assert {source["group"] for source in data["sources"]} == {"soc", "cpu", "memory", "system"}


def test_text_names_facts_once_and_sources_last() -> None:
    text = load_device("raspberry_pi_zero_2w").as_text()
    assert "4 x Cortex-A53 at 1 GHz (neon)" in text
    assert "0.5 GiB" in text
    assert "16 MB for the model file" in text
    places = re.findall(r"https://\S+", text.split("  sources\n")[1])
    assert places
    assert "https://" not in text.split("  sources\n")[0]


def test_an_installed_package_is_read_before_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetransfer.spec import device as module

    (tmp_path / "_devices").mkdir()
    write(tmp_path / "_devices", GOOD)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    assert device_names() == ("my_board",)
    assert load_device("my_board").name == "My board"


def test_names_are_listed_without_reading_a_file() -> None:
    code = (
        "import sys; from edgetransfer.spec import device, device_file\n"
        "device._read = device_file.parse_device_file = None\n"
        "print(len(device.device_names()), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, has_numpy = done.stdout.split()
    assert int(count) == len(device_names())
    assert has_numpy == "False"
