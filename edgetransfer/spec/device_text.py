"""Says a device in lines for a reader: facts first, their sources last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.spec.latency import CPU, Speed

if TYPE_CHECKING:
    from edgetransfer.spec.device import Accelerator, CpuCluster, Device, EngineSupport, Measurement, Source

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def device_as_text(device: Device) -> str:
    """Return `device` as lines, sources last and each of them once."""
    lines = [f"{device.name} ({device.slug}, {device.device_class})"]
    lines += [f"  {label:<13}{value}" for label, value in _facts(device)]
    lines += [f"  {'note':<13}{note}" for note in device.notes]
    places = dict.fromkeys((source.what, source.where, source.checked) for source in _all_sources(device))
    lines.append("  sources")
    lines += [f"    {what}: {where} (read {checked})" for what, where, checked in places]
    return "\n".join(lines) + "\n"


def _all_sources(device: Device) -> list[Source]:
    found = [source for _, source in device.sources]
    found += [source for engine in device.engines for source in engine.sources]
    found += [source for item in device.accelerators for source in item.sources]
    return found + [source for item in device.measurements for source in item.sources]


def _facts(device: Device) -> list[tuple[str, str]]:
    facts = [("soc", device.soc)]
    facts += [("cpu", _cluster_text(cluster)) for cluster in device.clusters] or [("cpu", "not known")]
    if device.ram_bytes:
        facts.append(("ram", ", ".join(_size_text(size) for size in device.ram_bytes)))
    if device.bandwidth_gbs is not None:
        facts.append(("bandwidth", f"{device.bandwidth_gbs:g} GB/s between memory and chip"))
    python = f", Python {', '.join(device.python)}" if device.python else ""
    facts.append(("system", f"{device.os}, {device.architecture}{python}"))
    for engine in device.engines:
        facts += _engine_facts(engine)
    for item in device.accelerators:
        facts += _accelerator_facts(item)
    facts += [("measured", _measurement_text(item)) for item in device.measurements]
    facts += [("speed", _speed_text(speed)) for speed in device.speeds]
    facts.append(("threads", f"{device.threads} of {device.cores_text}"))
    facts.append(("budget", f"{device.max_model_bytes / 1e6:g} MB for the model file{_target(device)}"))
    return facts + ([("why", device.advice)] if device.advice else [])


def _size_text(size_bytes: int) -> str:
    unit, factor = next((pair for pair in _UNITS if size_bytes >= pair[1] / 2), ("bytes", 1))
    return f"{size_bytes / factor:g} {unit}"


def _cluster_text(cluster: CpuCluster) -> str:
    clock = f" at {cluster.clock_ghz:g} GHz" if cluster.clock_ghz else ""
    return f"{cluster.cores} x {cluster.microarchitecture}{clock} ({', '.join(cluster.simd)})"


def _engine_facts(engine: EngineSupport) -> list[tuple[str, str]]:
    facts = [("engine", f"{engine.name} ({engine.package}): {', '.join(engine.recipes)}")]
    facts += [("", f"not {recipe}: {reason}") for recipe, reason in engine.refused]
    return facts + ([("", engine.note)] if engine.note else [])


def _accelerator_facts(item: Accelerator) -> list[tuple[str, str]]:
    tops = f", {item.tops:g} TOPS" if item.tops else ""
    said = [f"through {item.delegate}"] if item.delegate else []
    said += [f"computes in {', '.join(item.precisions)}"] if item.precisions else []
    said += [f"integer weights {item.granularity} only"] if item.granularity else []
    said += ["one part of the graph, the rest on the CPU"] if item.whole_graph else []
    said += [f"keeps {_size_text(item.cache_bytes)} of weights"] if item.cache_bytes else []
    facts = [("accelerator", f"{item.name}{tops}: {item.needs}")]
    facts += [("", "; ".join(said))] if said else []
    return facts + [("", f"not {recipe}: {reason}") for recipe, reason in item.refused]


def _target(device: Device) -> str:
    return f", {device.max_latency_ms:g} ms for one image" if device.max_latency_ms else ""


def _measurement_text(item: Measurement) -> str:
    count = "1 thread" if item.threads == 1 else f"{item.threads} threads"
    pair = f"floats {item.float_ms:g} ms, int8 {item.int8_ms:g} ms ({item.int8_speedup:.1f} x)"
    return f"{item.model}, {item.software}, {count}: {pair}"


def _speed_text(speed: Speed) -> str:
    threads = "1 thread" if speed.threads == 1 else f"{speed.threads} threads"
    figures = "measured there" if speed.basis == "measured" else "fitted to public figures"
    tested = (
        f"{speed.models} networks left out: median error {speed.error_median:.0%}, nine of ten below "
        f"{speed.error_p90:.0%}"
        if speed.models
        else "tested on no network"
    )
    where = f"with {threads}" if speed.processor == CPU else f"on {speed.processor}"
    return f"of {speed.runtime} {where}, {figures} ({speed.rows}); {tested}"
