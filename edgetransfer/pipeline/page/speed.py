"""The part of a page about sizes and times: this bundle's, and what others measured on the devices that were named."""

from __future__ import annotations

from collections.abc import Sequence

from edgetransfer.pipeline.page.charts import latency_chart
from edgetransfer.pipeline.page.facts import megabytes, milliseconds, model_bytes
from edgetransfer.pipeline.page.figures import Figures, LatencyRow, Profiled
from edgetransfer.pipeline.page.gaps import shown_gaps
from edgetransfer.pipeline.page.html import Content, Html, element, facts, join, link, paragraph, section, table
from edgetransfer.pipeline.page.words import words
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device, Measurement


def speed(figures: Figures) -> Html:
    """Return sizes, latencies with their ranges, and the devices."""
    return section(
        "speed",
        "Size and speed",
        _sizes(figures.bundle),
        _latencies(figures),
        _memory(figures.profiles),
        shown_gaps(figures, "speed"),
        [_device(device, figures.bundle) for device in figures.devices],
    )


def _sizes(bundle: Bundle) -> Html:
    manifest = bundle.manifest
    rows: list[Sequence[Content]] = [
        [name, f"{info.size_bytes:,}", megabytes(info.size_bytes)] for name, info in sorted(manifest.files.items())
    ]
    total = sum(info.size_bytes for info in manifest.files.values())
    rows.append(["all", f"{total:,}", megabytes(total)])
    shown = table("Files of the bundle", ["file", "bytes", "size"], rows)
    if manifest.footprint is None:
        return shown
    arena = f"Beside the file the interpreter needs {manifest.footprint.arena_bytes:,} bytes of RAM."
    return join(shown, paragraph(arena))


def _latencies(figures: Figures) -> Html:
    rows, one = figures.latencies, words(figures.bundle.manifest).one
    if not rows:
        return paragraph("No latency is known: none was measured, and there is no prediction.")
    title = f"Latency of {len(rows)} measurements or predictions with their ranges; all values in the table below"
    caption = "Filled dots are measured, hollow ones predicted; lines reach over the range that the table names."
    head = ["device", "how", "where the figure is from", f"one {one}", "range", "what the range is"]
    cells: list[Sequence[Content]] = [
        [row.device, row.how, row.basis, milliseconds(row.ms), _range(row), row.interval] for row in rows
    ]
    return join(
        element("figure", latency_chart(rows, title), element("figcaption", caption)),
        table(
            f"Time of one inference on a prepared input; preparing a {one} is not in it{_whatever(figures)}",
            head,
            cells,
            texts=3,
        ),
    )


def _whatever(figures: Figures) -> str:
    manifest = figures.bundle.manifest
    windows = "; a sound takes one for each of its windows" if manifest.preprocess.kind == "audio" else ""
    return windows + ("; the same for any number of heads" if manifest.is_split else "")


def _range(row: LatencyRow) -> str:
    if row.low_ms is None and row.high_ms is None:
        return "not known"
    low = "" if row.low_ms is None else f"{milliseconds(row.low_ms)} "
    high = "" if row.high_ms is None else f"to {milliseconds(row.high_ms)}"
    return f"{low}{high}".strip()


def _memory(profiles: Sequence[Profiled]) -> Html | None:
    if not profiles:
        return None
    rows: list[Sequence[Content]] = [
        [
            one.report.cpu,
            one.basis,
            f"{one.report.engine} {one.report.engine_version} ({one.report.kernels})",
            milliseconds(one.report.load_ms),
            milliseconds(one.report.first_ms),
            f"{one.report.peak_memory_bytes / 1e6:.1f} MB",
        ]
        for one in profiles
    ]
    head = ["device", "where the figure is from", "engine", "to load", "first input", "memory above the start"]
    return table("Start and memory", head, rows, texts=3)


def _device(device: Device, bundle: Bundle) -> Html:
    manifest = bundle.manifest
    size, most = model_bytes(manifest), device.max_model_bytes
    fits = "fits" if size <= most else "does NOT fit"
    pairs: list[tuple[str, Content]] = [
        ("Chip", f"{device.soc}, {device.cores_text}, {device.architecture}"),
        ("Model file", f"{fits}: {megabytes(size)}, advised are at most {megabytes(most)}"),
        ("Recipe", _runs(device, ENGINE_OF_FORMAT.get(manifest.format, manifest.format), manifest.recipe.name)),
        ("Threads", f"{device.threads} of {device.cores_text} are advised"),
    ]
    if device.max_latency_ms is not None:
        pairs.append(("Target", f"{milliseconds(device.max_latency_ms)} for one input"))
    heading = element("h3", device.name)
    if not device.measurements:
        none = paragraph("Its device file names no public measurement.")
        return element("div", heading, facts(pairs), none, class_="device")
    return element("div", heading, facts(pairs), _measurements(device.measurements), class_="device")


def _runs(device: Device, engine: str, recipe: str) -> str:
    support = next((one for one in device.engines if one.name == engine), None)
    if support is None:
        known = ", ".join(one.name for one in device.engines)
        return f"the device file knows no engine {engine}, only {known}"
    why = support.why_not(recipe)
    return f"{recipe} runs there with {support.package}" if why is None else f"{recipe} does not run there: {why}"


def _measurements(measurements: Sequence[Measurement]) -> Html:
    rows: list[Sequence[Content]] = [
        [
            one.model,
            one.software,
            _sources(one),
            str(one.threads),
            milliseconds(one.float_ms),
            milliseconds(one.int8_ms),
            f"{one.int8_speedup:.1f}",
        ]
        for one in measurements
    ]
    caption = "Other models on this device's CPU, measured by others: they tell of the device, not of this bundle"
    head = ["model", "software", "source", "threads", "floats", "int8", "times as fast"]
    return table(caption, head, rows, texts=3)


def _sources(measurement: Measurement) -> Html:
    return join([element("span", link(one.where, one.what), f" (read {one.checked}) ") for one in measurement.sources])
