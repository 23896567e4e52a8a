"""Says in sentences what a plan means: cost, speed, threads, and what of the device stays unused."""

from __future__ import annotations

from edgetransfer.estimate import size
from edgetransfer.quantize.support import slower_than_float
from edgetransfer.spec.backbone import BackboneSpec
from edgetransfer.spec.device import Accelerator, Device, EngineSupport
from edgetransfer.spec.recipe import RECIPES, Recipe


def notes(
    backbone: BackboneSpec,
    alpha: float,
    input_px: int,
    recipe: Recipe,
    device: Device | None,
    support: EngineSupport | None,
) -> tuple[str, ...]:
    """Return the notes of a plan, most important first; `support` is what `device` says of the chosen engine."""
    found = [_size_note(backbone, alpha, input_px, recipe, device), *_recipe_notes(recipe, support)]
    if device is None:
        return (
            *found,
            "No device is named: the plan is for this machine. Threads are left open; edgetransfer profile measures "
            "one thread and all of them.",
        )
    if recipe.activations in ("int8", "uint8"):
        found += _int8_notes(device)
    found.append(_thread_note(device))
    if support is not None:
        found += _engine_notes(device, support, recipe)
    model_bytes = size.model_bytes(size.parameters(backbone, alpha), recipe)
    for item in device.accelerators:
        found += _accelerator_notes(item, recipe, model_bytes)
    if device.max_latency_ms is not None:
        found.append(
            f"The target is {device.max_latency_ms:g} ms for one image: run edgetransfer profile on the device."
        )
    return (*found, *device.notes)


def like(recipe: Recipe) -> str:
    """Return the name of the known recipe that computes as `recipe` does; its own name where there is none.

    Device files speak of known recipes; a user's own runs where one of the same dtypes does.
    """
    for known in RECIPES.values():
        if (known.weights, known.activations, known.granularity) == (
            recipe.weights,
            recipe.activations,
            recipe.granularity,
        ):
            return known.name
    return recipe.name


def megabytes(size_bytes: int) -> str:
    """Return `size_bytes` as text in MB, 10**6 bytes."""
    return f"{size_bytes / 1e6:.1f} MB"


def _size_note(backbone: BackboneSpec, alpha: float, input_px: int, recipe: Recipe, device: Device | None) -> str:
    count = size.parameters(backbone, alpha)
    work = size.macs(backbone, alpha, input_px)
    text = (
        f"The model file will take about {megabytes(size.model_bytes(count, recipe))} without the head "
        f"({count / 1e6:.2f} million parameters), one image about {work / 1e6:.0f} million multiply-adds"
    )
    return f"{text}." if device is None else f"{text}; the budget there is {megabytes(device.max_model_bytes)}."


def _recipe_notes(recipe: Recipe, support: EngineSupport | None) -> list[str]:
    slow = slower_than_float("litert" if support is None else support.name, recipe)
    if slow is not None:
        return [slow]
    if recipe.weights == "float16":
        return ["float16 halves the file, not the work: on a CPU the weights become float32 when the model is loaded."]
    return []


def _int8_notes(device: Device) -> list[str]:
    found = []
    if not device.clusters:
        found.append("What its cores are is not known, nor whether int8 gains over float32 there: measure.")
    elif not device.has_dotprod and not device.is_microcontroller:
        cores = ", ".join(dict.fromkeys(cluster.microarchitecture for cluster in device.clusters if cluster.big))
        found.append(
            f"{cores} has no 8-bit dot-product instructions (dotprod): int8 gains less over float32 there than on "
            "cores that have them."
        )
    for item in device.measurements:
        count = "1 thread" if item.threads == 1 else f"{item.threads} threads"
        found.append(
            f"Others measured there, {item.model} with {item.software} on {count}: floats {item.float_ms:g} ms, int8 "
            f"{item.int8_ms:g} ms, {item.int8_speedup:.1f} times as fast."
        )
    return found


def _thread_note(device: Device) -> str:
    if device.is_microcontroller:
        return f"TensorFlow Lite Micro computes on one core; it has {device.cores}."
    threads = "1 thread is" if device.threads == 1 else f"{device.threads} threads are"
    which = "one for each big core" if device.threads == device.big_cores else f"of {device.cores_text}"
    return f"{threads} advised, {which}. More can be slower: compare with edgetransfer profile on the device."


def _accelerator_notes(item: Accelerator, recipe: Recipe, model_bytes: int) -> list[str]:
    label = f"The {item.kind.upper()} ({item.name})"
    through = f" Models get there through {item.delegate}." if item.delegate else ""
    found = [f"{label} is not used: it needs {item.needs}.{through}"]
    reason = item.why_not(like(recipe), recipe.granularity)
    if reason is not None:
        way = "; build for it with recipe static_int8_per_tensor" if item.granularity == "per_tensor" else ""
        found.append(f"{label} would not take {recipe.name}: {reason}{way}.")
    if item.whole_graph:
        found.append(
            f"{label} takes one part of the graph: from the first op that it lacks on, the CPU computes the rest."
        )
    if item.cache_bytes is not None and model_bytes > item.cache_bytes:
        found.append(
            f"{label} keeps {megabytes(item.cache_bytes)} of weights: what is above is sent again for every image."
        )
    return found


def _engine_notes(device: Device, support: EngineSupport, recipe: Recipe) -> list[str]:
    versions = f" with Python {', '.join(device.python)}" if device.python else ""
    found = [
        f"The engine {support.name} comes there from {support.package}, for {device.os} on {device.architecture}"
        f"{versions}."
    ]
    if support.note:
        found.append(f"On that engine: {support.note}.")
    if support.package == "tflite-runtime" and recipe.has_integer_weights:
        found.append(
            "tflite-runtime 2.14 can be slow with integers: EfficientNet-Lite0 as static_int8 took it 46.7 ms on "
            "x86-64, LiteRT 2.3 2.0 ms. Compare static_int8 with float32 there."
        )
    others = ", ".join(engine.name for engine in device.engines if engine.name != support.name)
    return [*found, f"Not used: the engine {others}."] if others else found
