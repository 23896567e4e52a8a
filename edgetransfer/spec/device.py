"""Devices as data: reads `devices/*.toml` and users' own files of that kind.

A device says what runs there and how fast others found it; it measures nothing. `edgetransfer.quantize.plan`
decides with it. Each field is explained in devices/README.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import DeviceError, UnknownNameError
from edgetransfer.spec.device_file import parse_device_file

if TYPE_CHECKING:  # its home differs between Python 3.10 and 3.11
    from importlib.resources.abc import Traversable

DEFAULT_MAX_MODEL_BYTES = {
    "sbc": 64_000_000,
    "jetson": 256_000_000,
    "phone": 32_000_000,
    "camera": 16_000_000,
    "in_car": 64_000_000,
}
"""Budget for the model file where a device file names none: this project's convention, not a limit of the hardware.
Phones pay for it in the app's download, cameras in flash and RAM that video buffers also want."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact can be looked up: what the place says, its address, and the day it was read."""

    what: str
    where: str
    checked: str


@dataclass(frozen=True, slots=True)
class CpuCluster:
    """Equal cores of a CPU; `simd` as Linux names them in /proc/cpuinfo's terms (neon, dotprod, i8mm)."""

    cores: int
    microarchitecture: str
    clock_ghz: float | None
    simd: tuple[str, ...]
    big: bool


@dataclass(frozen=True, slots=True)
class EngineSupport:
    """An engine that can be installed there, and the recipes it runs; `refused` pairs a recipe with the reason.

    `providers` are ONNX Runtime's, in the order in which they should be tried there; empty for other engines.
    """

    name: str
    package: str
    recipes: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    note: str | None
    sources: tuple[Source, ...]
    providers: tuple[str, ...] = ()

    def why_not(self, recipe: str) -> str | None:
        """Return why this engine does not run `recipe` there, None if it does."""
        if recipe in self.recipes:
            return None
        return dict(self.refused).get(recipe, f"its device file lists only {', '.join(self.recipes)}")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU or NPU beside the CPU, as a fact; `needs` says what it would take to use it.

    `ops` are the LiteRT ops that its compiler or delegate takes; empty where that is not known.
    """

    name: str
    kind: str
    tops: float | None
    precisions: tuple[str, ...]
    needs: str
    sources: tuple[Source, ...]
    ops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """What others measured on the CPU of this device, the same model as floats and as int8; mean ms.

    Floats are float32, or float16 where that software prefers it.
    """

    model: str
    software: str
    threads: int
    float_ms: float
    int8_ms: float
    sources: tuple[Source, ...]

    @property
    def int8_speedup(self) -> float:
        """How many times faster int8 was than floats."""
        return self.float_ms / self.int8_ms


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device. `ram_bytes` are the sizes sold, smallest first; empty where the board decides.

    `threads`, `max_model_bytes` and `max_latency_ms` are advice, not facts; `advice` says why. `sources` covers
    the groups soc, cpu, memory and system, as (group, source) pairs.
    """

    slug: str
    name: str
    device_class: str
    soc: str
    clusters: tuple[CpuCluster, ...]
    ram_bytes: tuple[int, ...]
    os: str
    architecture: str
    python: tuple[str, ...]
    engines: tuple[EngineSupport, ...]
    accelerators: tuple[Accelerator, ...]
    measurements: tuple[Measurement, ...]
    threads: int
    max_model_bytes: int
    max_latency_ms: float | None
    advice: str | None
    notes: tuple[str, ...]
    sources: tuple[tuple[str, Source], ...]

    @property
    def cores(self) -> int:
        """Number of CPU cores, big and little."""
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def big_cores(self) -> int:
        """Number of big CPU cores."""
        return sum(cluster.cores for cluster in self.clusters if cluster.big)

    @property
    def has_dotprod(self) -> bool:
        """Whether every big core has the 8-bit dot-product instructions that int8 kernels want."""
        return all("dotprod" in cluster.simd for cluster in self.clusters if cluster.big)

    def to_json(self) -> dict[str, Any]:
        """Return the device as JSON values."""
        data = asdict(self)
        data["class"] = data.pop("device_class")
        data["engines"] = [{**engine, "refused": dict(engine["refused"])} for engine in data["engines"]]
        data["sources"] = [{"group": group, **source} for group, source in data["sources"]]
        return data

    def as_text(self) -> str:
        """Return the device as lines for a reader, sources last."""
        lines = [f"{self.name} ({self.slug}, {self.device_class})"]
        lines += [f"  {label:<13}{value}" for label, value in _facts(self)]
        lines += [f"  {'note':<13}{note}" for note in self.notes]
        places = dict.fromkeys((source.what, source.where, source.checked) for source in _all_sources(self))
        lines.append("  sources")
        lines += [f"    {what}: {where} (read {checked})" for what, where, checked in places]
        return "\n".join(lines) + "\n"


def device_names() -> tuple[str, ...]:
    """Return the slugs of all devices that ship, sorted; reads none of their files."""
    return tuple(sorted(item.name[:-5] for item in _folder().iterdir() if item.name.endswith(".toml")))


def load_device(slug_or_path: str | Path) -> Device:
    """Return the device of that slug, or the one in the user's own `.toml` file.

    A `Path`, and text that ends in `.toml` or has a slash in it, is a file; other text is a slug.

    Raises:
        UnknownNameError: no device of that slug ships; says which is near.
        DeviceError: the file is missing, or malformed: every problem is named.
    """
    text = str(slug_or_path)
    if isinstance(slug_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(slug_or_path)
        return _read(path, stem=path.name.removesuffix(".toml"), where=text)
    names = device_names()
    if text not in names:
        raise UnknownNameError("device", text, names, hint="A file of your own: give its path, ending in .toml.")
    return _read(_folder() / f"{text}.toml", stem=text, where=f"{text}.toml")


def _folder() -> Traversable:
    # An installed wheel has them in the package; a checkout and an editable install beside it.
    installed = files("edgetransfer") / "_devices"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "devices"


def _read(file: Path | Traversable, *, stem: str, where: str) -> Device:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DeviceError(f"device file {where}: cannot be read: {error.strerror or error}") from error
    return _device(parse_device_file(content, stem=stem, where=where))


def _device(data: dict[str, Any]) -> Device:
    advice = data.get("advice", {})
    clusters = tuple(_cluster(cluster) for cluster in data["cpu"]["clusters"])
    groups = ("soc", "cpu", "memory", "system")
    return Device(
        slug=data["slug"],
        name=data["name"],
        device_class=data["class"],
        soc=data["soc"]["name"],
        clusters=clusters,
        ram_bytes=tuple(sorted(data.get("memory", {}).get("ram_bytes", ()))),
        os=data["system"]["os"],
        architecture=data["system"]["architecture"],
        python=tuple(data["system"].get("python", ())),
        engines=tuple(_engine(engine) for engine in data["engines"]),
        accelerators=tuple(_accelerator(item) for item in data.get("accelerators", ())),
        measurements=tuple(_measurement(item) for item in data.get("measurements", ())),
        threads=advice.get("threads", sum(cluster.cores for cluster in clusters if cluster.big)),
        max_model_bytes=advice.get("max_model_bytes", DEFAULT_MAX_MODEL_BYTES[data["class"]]),
        max_latency_ms=advice.get("max_latency_ms"),
        advice=advice.get("why"),
        notes=tuple(data.get("notes", ())),
        sources=tuple((group, source) for group in groups if group in data for source in _sources(data[group])),
    )


def _sources(group: dict[str, Any]) -> tuple[Source, ...]:
    return tuple(Source(item["what"], item["where"], item["checked"].isoformat()) for item in group["sources"])


def _cluster(data: dict[str, Any]) -> CpuCluster:
    return CpuCluster(data["cores"], data["microarchitecture"], data.get("clock_ghz"), tuple(data["simd"]), data["big"])


def _engine(data: dict[str, Any]) -> EngineSupport:
    refused = tuple(sorted(data.get("refused", {}).items()))
    return EngineSupport(
        data["name"],
        data["package"],
        tuple(data["recipes"]),
        refused,
        data.get("note"),
        _sources(data),
        tuple(data.get("providers", ())),
    )


def _accelerator(data: dict[str, Any]) -> Accelerator:
    precisions = tuple(data.get("precisions", ()))
    ops = tuple(data.get("ops", ()))
    return Accelerator(data["name"], data["kind"], data.get("tops"), precisions, data["needs"], _sources(data), ops)


def _measurement(data: dict[str, Any]) -> Measurement:
    return Measurement(
        data["model"], data["software"], data["threads"], data["float_ms"], data["int8_ms"], _sources(data)
    )


def _all_sources(device: Device) -> list[Source]:
    found = [source for _, source in device.sources]
    found += [source for engine in device.engines for source in engine.sources]
    found += [source for item in device.accelerators for source in item.sources]
    return found + [source for item in device.measurements for source in item.sources]


def _facts(device: Device) -> list[tuple[str, str]]:
    facts = [("soc", device.soc)]
    facts += [("cpu", _cluster_text(cluster)) for cluster in device.clusters]
    if device.ram_bytes:
        facts.append(("ram", ", ".join(f"{size / 2**30:g} GiB" for size in device.ram_bytes)))
    python = f", Python {', '.join(device.python)}" if device.python else ""
    facts.append(("system", f"{device.os}, {device.architecture}{python}"))
    for engine in device.engines:
        facts.append(("engine", f"{engine.name} ({engine.package}): {', '.join(engine.recipes)}"))
        facts += [("", f"not {recipe}: {reason}") for recipe, reason in engine.refused]
        facts += [("", engine.note)] if engine.note else []
    facts += [("accelerator", f"{item.name}{_tops(item)}: {item.needs}") for item in device.accelerators]
    facts += [("measured", _measurement_text(item)) for item in device.measurements]
    facts.append(("threads", f"{device.threads} of {device.cores} cores"))
    facts.append(("budget", f"{device.max_model_bytes / 1e6:g} MB for the model file{_target(device)}"))
    return facts + ([("why", device.advice)] if device.advice else [])


def _cluster_text(cluster: CpuCluster) -> str:
    clock = f" at {cluster.clock_ghz:g} GHz" if cluster.clock_ghz else ""
    return f"{cluster.cores} x {cluster.microarchitecture}{clock} ({', '.join(cluster.simd)})"


def _tops(item: Accelerator) -> str:
    return f", {item.tops:g} TOPS" if item.tops else ""


def _target(device: Device) -> str:
    return f", {device.max_latency_ms:g} ms for one image" if device.max_latency_ms else ""


def _measurement_text(item: Measurement) -> str:
    count = "1 thread" if item.threads == 1 else f"{item.threads} threads"
    pair = f"floats {item.float_ms:g} ms, int8 {item.int8_ms:g} ms ({item.int8_speedup:.1f} x)"
    return f"{item.model}, {item.software}, {count}: {pair}"
