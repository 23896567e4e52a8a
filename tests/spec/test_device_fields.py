"""What a device file can say of accelerators, memory and microcontrollers, and what it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetransfer.errors import DeviceError
from edgetransfer.spec.device import DEFAULT_MAX_MODEL_BYTES, check_device, load_device

SOURCES = 'sources = [{ what = "a page", where = "https://example.org/page", checked = 2026-11-24 }]'
GOOD = f"""\
schema = 1
slug = "my_board"
name = "My board"
class = "sbc"

[soc]
name = "Maker 1"
{SOURCES}

[cpu]
{SOURCES}

[[cpu.clusters]]
cores = 2
microarchitecture = "Cortex-A76"
simd = ["neon"]
big = true

[[cpu.clusters]]
cores = 4
microarchitecture = "Cortex-A55"
simd = ["neon"]
big = false

[memory]
ram_bytes = [8_000_000_000, 2_000_000_000]
{SOURCES}

[system]
os = "Linux"
architecture = "aarch64"
{SOURCES}

[[engines]]
name = "litert"
package = "ai-edge-litert"
recipes = ["float32"]
{SOURCES}
"""
NPU = f"""
[[accelerators]]
name = "Fast 1"
kind = "npu"
tops = 4
precisions = ["int8"]
ops = ["ADD", "CONV_2D"]
delegate = "fast"
granularity = "per_tensor"
refused = {{ weight_int4 = "it computes in eight bits" }}
whole_graph = true
cache_bytes = 8_000_000
needs = "the maker's compiler"
{SOURCES}
"""
MICRO = f"""\
schema = 1
slug = "my_board"
name = "My microcontroller"
class = "mcu"

[soc]
name = "Maker 2"
{SOURCES}

[cpu]
{SOURCES}

[[cpu.clusters]]
cores = 2
microarchitecture = "Xtensa LX7"
simd = ["esp32s3_vector"]
big = true

[system]
os = "FreeRTOS"
architecture = "xtensa"
{SOURCES}

[[engines]]
name = "tflm"
package = "tflite-micro"
recipes = ["static_int8"]
{SOURCES}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my_board.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(DeviceError) as caught:
        load_device(write(folder, text))
    return str(caught.value)


def test_what_an_accelerator_takes_can_be_said(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, GOOD + NPU))
    item = device.accelerators[0]
    assert (item.delegate, item.granularity, item.whole_graph, item.cache_bytes) == (
        "fast",
        "per_tensor",
        True,
        8_000_000,
    )
    assert item.why_not("static_int8_per_tensor", "per_tensor") is None
    assert "per_tensor" in str(item.why_not("static_int8", "per_channel"))
    assert item.why_not("weight_int4", "per_channel") == "it computes in eight bits"
    said = json.loads(json.dumps(device.to_json()))["accelerators"][0]
    assert said["refused"] == {"weight_int4": "it computes in eight bits"}
    assert (said["delegate"], said["granularity"]) == ("fast", "per_tensor")
    text = device.as_text()
    for part in (
        "Fast 1, 4 TOPS: the maker's compiler",
        "through fast; computes in int8; integer weights per_tensor only; one part of the graph, the rest on the CPU; "
        "keeps 7.62939 MiB of weights",
        "not weight_int4: it computes in eight bits",
    ):
        assert part in text


def test_an_accelerator_of_which_nothing_is_known_takes_all(tmp_path: Path) -> None:
    plain = f'[[accelerators]]\nname = "Fast 1"\nkind = "gpu"\nneeds = "luck"\n{SOURCES}\n'
    item = load_device(write(tmp_path, GOOD + plain)).accelerators[0]
    assert (item.delegate, item.granularity, item.refused, item.whole_graph, item.cache_bytes) == (
        None,
        None,
        (),
        False,
        None,
    )
    assert all(item.why_not(name, "per_channel") is None for name in ("float32", "weight_int4"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fast"', '"Fast delegate"', "accelerators[0].delegate: expected one word of lower-case letters"),
        ('"per_tensor"', '"per_tensr"', "accelerators[0].granularity: expected one of per_tensor, per_channel"),
        ("weight_int4", "weight_in4", "did you mean 'weight_int4'?"),
        ("8_000_000", "0", "accelerators[0].cache_bytes: expected a whole number above 0, got 0"),
        ("= true", '= "yes"', "accelerators[0].whole_graph: expected true or false, got 'yes'"),
        ('["int8"]', '["float16"]', "accelerators[0]: expected an integer format such as int8 among precisions"),
        ("weight_int4 =", "static_int8_per_tensor =", "granularity 'per_tensor' says that it takes"),
        ('"npu"', '"gpu"', "accelerators[0].whole_graph: expected only for the kind 'npu', got 'gpu'"),
        ('"npu"', '"gpu"', "accelerators[0].cache_bytes: expected only for the kind 'npu', got 'gpu'"),
    ],
)
def test_nonsense_about_an_accelerator_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refusal(tmp_path, GOOD + NPU.replace(old, new))


def test_memory_may_say_its_bandwidth_alone_but_not_nothing(tmp_path: Path) -> None:
    size = "ram_bytes = [8_000_000_000, 2_000_000_000]"
    device = load_device(write(tmp_path, GOOD.replace(size, "bandwidth_gbs = 25.6")))
    assert (device.bandwidth_gbs, device.ram_bytes) == (25.6, ())
    assert "25.6 GB/s between memory and chip" in device.as_text()
    assert "memory: expected ram_bytes or bandwidth_gbs; leave the group out" in refusal(
        tmp_path, GOOD.replace(size, "")
    )


def test_a_microcontroller_has_its_own_budget_and_one_thread(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, MICRO))
    assert device.is_microcontroller
    assert (device.threads, device.cores, device.max_model_bytes) == (1, 2, DEFAULT_MAX_MODEL_BYTES["mcu"])
    assert not load_device("raspberry_pi_4").is_microcontroller


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"mcu"', '"camera"', "class: expected 'mcu' for the architecture 'xtensa', got 'camera'"),
        (
            '"xtensa"',
            '"aarch64"',
            "class: 'mcu' needs an architecture of armv7m, armv8m, riscv32, xtensa, got 'aarch64'",
        ),
        ('"xtensa"\n', '"xtensa"\npython = ["3.11"]\n', "system.python: expected none, for 'xtensa' runs no Python"),
        ('"tflm"', '"litert"', "engines[0].name: expected 'tflm', the only one for 'xtensa', got 'litert'"),
    ],
)
def test_a_microcontroller_cannot_be_what_runs_python(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refusal(tmp_path, MICRO.replace(old, new))


def test_checking_a_file_names_all_problems_and_none_of_a_right_one(tmp_path: Path) -> None:
    assert check_device(write(tmp_path, GOOD)) == []
    broken = GOOD.replace("cores = 2", "cores = 0").replace("big = false", "big = 1")
    assert [problem.split(":")[0] for problem in check_device(write(tmp_path, broken))] == [
        "cpu.clusters[0].cores",
        "cpu.clusters[1].big",
    ]
    assert "expected TOML in UTF-8" in check_device(write(tmp_path, "name ="))[0]
    with pytest.raises(DeviceError, match="cannot be read"):
        check_device(tmp_path / "none.toml")
