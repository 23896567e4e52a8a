"""Every device file that ships: parsed, sourced, and usable in a plan."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from edgetransfer.spec.device import Device, device_names, load_device
from edgetransfer.spec.device_file import CLASSES
from edgetransfer.spec.recipe import RECIPES

FOLDER = Path(__file__).resolve().parents[2] / "devices"


@pytest.fixture(params=device_names())
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


def test_every_class_has_devices() -> None:
    classes = [load_device(name).device_class for name in device_names()]
    assert set(classes) == set(CLASSES)
    assert all(classes.count(name) >= 2 for name in CLASSES)
    assert len(classes) >= 36


def test_names_are_those_of_the_files_in_the_folder() -> None:
    assert device_names() == tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def test_the_slug_is_the_file_name(device: Device) -> None:
    assert (FOLDER / f"{device.slug}.toml").is_file()


def test_every_group_of_facts_has_a_source_that_was_read_on_a_day(device: Device) -> None:
    groups = {group for group, _ in device.sources}
    assert groups >= {"soc", "system"}
    assert ("cpu" in groups) == bool(device.clusters)
    assert ("memory" in groups) == bool(device.ram_bytes or device.bandwidth_gbs)
    sources = [source for _, source in device.sources]
    for item in (*device.engines, *device.accelerators, *device.measurements):
        assert item.sources
        sources += item.sources
    for source in sources:
        assert source.where.startswith("https://")
        assert datetime.date.fromisoformat(source.checked) >= datetime.date(2026, 1, 1)


def test_the_first_engine_runs_the_default_recipe_and_the_yardstick(device: Device) -> None:
    first = device.engines[0]
    assert first.name in (("tflm",) if device.is_microcontroller else ("litert", "onnx"))
    wanted = {"static_int8"} if device.is_microcontroller else {"static_int8", "float32"}
    assert wanted <= set(first.recipes) <= set(RECIPES)


def test_threads_never_exceed_the_big_cores(device: Device) -> None:
    if device.clusters:
        assert 1 <= device.threads <= device.big_cores <= device.cores
    else:
        assert (device.threads, device.cores) == (1, 0)


def test_a_32_bit_device_says_that_only_tflite_runtime_has_wheels() -> None:
    for name in device_names():
        device = load_device(name)
        packages = [engine.package for engine in device.engines]
        assert ("tflite-runtime" in packages) == (device.architecture == "armv7l"), name


def test_text_sentences_end_as_the_plan_prints_them(device: Device) -> None:
    assert not any(item.needs.endswith(".") for item in device.accelerators)
    assert not any(engine.note.endswith(".") for engine in device.engines if engine.note)
    assert all(note.endswith(".") for note in device.notes)


def test_the_readme_explains_every_field() -> None:
    from edgetransfer.spec import device_file

    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    fields: set[str] = set()

    def collect(shape: object) -> None:
        if isinstance(shape, list):
            collect(shape[0])
        if isinstance(shape, dict):
            for key, inner in shape.items():
                fields.add(key.removesuffix("?"))
                collect(inner)

    collect(device_file._SHAPE)
    missing = sorted(field for field in fields - {"*"} if field not in text)
    assert not missing
    assert len(fields) > 30


def test_the_readme_explains_every_word_that_names_a_delegate_or_instructions() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in device_names():
        device = load_device(name)
        words = [item.delegate for item in device.accelerators if item.delegate]
        words += [word for cluster in device.clusters for word in cluster.simd]
        assert not [word for word in words if f"`{word}`" not in text], name


def test_an_accelerator_that_takes_one_part_of_the_graph_says_which_ops_it_takes(device: Device) -> None:
    assert all(item.ops for item in device.accelerators if item.whole_graph)
    assert all(set(dict(item.refused)) <= set(RECIPES) for item in device.accelerators)
