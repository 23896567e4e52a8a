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
from edgetransfer.spec.device_file import MICROCONTROLLERS, device_file_problems, parse_device_file
from edgetransfer.spec.device_text import device_as_text
from edgetransfer.spec.latency import Speed

if TYPE_CHECKING:  # its home differs between Python 3.10 and 3.11
    from importlib.resources.abc import Traversable

DEFAULT_MAX_MODEL_BYTES = {
    "sbc": 64_000_000,
    "jetson": 256_000_000,
    "phone": 32_000_000,
    "camera": 16_000_000,
    "in_car": 64_000_000,
    "mcu": 2_000_000,
}
"""Budget for the model file where a device file names none: this project's convention, not a limit of the hardware.
Phones pay for it in the app's download, cameras in flash and RAM that video buffers also want, microcontrollers in the
flash that holds the firmware."""


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

    `ops` are the LiteRT ops that its compiler or delegate takes; empty where that is not known. `delegate` is the word
    for what brings it to an engine or runs its models, `granularity` the only one of integer weights that it takes,
    and `refused` pairs a recipe that it does not take with the reason. With `whole_graph` it takes one part of the
    graph, from the start to the first op that it lacks; the CPU computes all that follows. `cache_bytes` is how many
    bytes of weights stay on it from one image to the next.
    """

    name: str
    kind: str
    tops: float | None
    precisions: tuple[str, ...]
    needs: str
    sources: tuple[Source, ...]
    ops: tuple[str, ...] = ()
    delegate: str | None = None
    granularity: str | None = None
    refused: tuple[tuple[str, str], ...] = ()
    whole_graph: bool = False
    cache_bytes: int | None = None

    def why_not(self, recipe: str, granularity: str) -> str | None:
        """Return why it does not take `recipe`, whose weights have that granularity; None if nothing is known."""
        reason = dict(self.refused).get(recipe)
        if reason is not None or self.granularity is None or granularity in ("-", self.granularity):
            return reason
        return f"it takes integer weights that are {self.granularity} only"


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

    `clusters` is empty where nobody says what the CPU is; then nothing is assumed of it, and one thread is advised.

    `bandwidth_gbs` is what its maker says that the memory transfers, in 10**9 bytes a second. `threads`,
    `max_model_bytes` and `max_latency_ms` are advice, not facts; `advice` says why. `sources` covers the groups soc,
    cpu, memory and system, as (group, source) pairs. `speeds` are what latency is predicted from.
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
    bandwidth_gbs: float | None = None
    speeds: tuple[Speed, ...] = ()

    @property
    def cores(self) -> int:
        """Number of CPU cores, big and little; 0 where that is not known."""
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def big_cores(self) -> int:
        """Number of big CPU cores."""
        return sum(cluster.cores for cluster in self.clusters if cluster.big)

    @property
    def cores_text(self) -> str:
        """How many cores there are, as a phrase."""
        return f"{self.cores} cores" if self.clusters else "an unknown number of cores"

    @property
    def has_dotprod(self) -> bool:
        """Whether every big core is known to have the 8-bit dot-product instructions that int8 kernels want."""
        big = [cluster for cluster in self.clusters if cluster.big]
        return bool(big) and all("dotprod" in cluster.simd for cluster in big)

    @property
    def is_microcontroller(self) -> bool:
        """Whether it has no system that could run Python: models become part of its firmware."""
        return self.architecture in MICROCONTROLLERS

    def to_json(self) -> dict[str, Any]:
        """Return the device as JSON values."""
        data = asdict(self)
        data["class"] = data.pop("device_class")
        for key in ("engines", "accelerators"):
            data[key] = [{**item, "refused": dict(item["refused"])} for item in data[key]]
        data["sources"] = [{"group": group, **source} for group, source in data["sources"]]
        return data

    def as_text(self) -> str:
        """Return the device as lines for a reader, sources last."""
        return device_as_text(self)


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
    file = _found(slug_or_path)
    where = str(slug_or_path) if isinstance(file, Path) and file == Path(slug_or_path) else file.name
    return _device(parse_device_file(_content(file, where), stem=file.name.removesuffix(".toml"), where=where))


def device_file_text(slug_or_path: str | Path) -> str:
    """Return the device file that `load_device` would read, as it stands.

    Raises:
        UnknownNameError: no device of that slug ships.
        DeviceError: the file is missing or malformed.
    """
    load_device(slug_or_path)
    return _content(_found(slug_or_path), str(slug_or_path)).decode()


def check_device(path: str | Path) -> list[str]:
    """Return all that is wrong with the device file there; nothing if `load_device` takes it.

    Raises:
        DeviceError: the file cannot be read.
    """
    file = Path(path)
    return device_file_problems(_content(file, str(path)), stem=file.name.removesuffix(".toml"))


def _folder() -> Traversable:
    # An installed wheel has them in the package; a checkout and an editable install beside it.
    installed = files("edgetransfer") / "_devices"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "devices"


def _found(slug_or_path: str | Path) -> Path | Traversable:
    text = str(slug_or_path)
    if isinstance(slug_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return Path(slug_or_path)
    names = device_names()
    if text not in names:
        raise UnknownNameError("device", text, names, hint="A file of your own: give its path, ending in .toml.")
    return _folder() / f"{text}.toml"


def _content(file: Path | Traversable, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DeviceError(f"device file {where}: cannot be read: {error.strerror or error}") from error


def _device(data: dict[str, Any]) -> Device:
    advice = data.get("advice", {})
    clusters = tuple(_cluster(cluster) for cluster in data.get("cpu", {}).get("clusters", ()))
    big_cores = sum(cluster.cores for cluster in clusters if cluster.big)
    is_microcontroller = data["system"]["architecture"] in MICROCONTROLLERS
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
        threads=advice.get("threads", 1 if is_microcontroller else max(1, big_cores)),
        max_model_bytes=advice.get("max_model_bytes", DEFAULT_MAX_MODEL_BYTES[data["class"]]),
        max_latency_ms=advice.get("max_latency_ms"),
        advice=advice.get("why"),
        notes=tuple(data.get("notes", ())),
        sources=tuple((group, source) for group in groups if group in data for source in _sources(data[group])),
        bandwidth_gbs=data.get("memory", {}).get("bandwidth_gbs"),
        speeds=tuple(Speed(**item) for item in data.get("speed", ())),
    )


def _sources(group: dict[str, Any]) -> tuple[Source, ...]:
    return tuple(Source(item["what"], item["where"], item["checked"].isoformat()) for item in group["sources"])


def _cluster(data: dict[str, Any]) -> CpuCluster:
    return CpuCluster(data["cores"], data["microarchitecture"], data.get("clock_ghz"), tuple(data["simd"]), data["big"])


def _engine(data: dict[str, Any]) -> EngineSupport:
    return EngineSupport(
        data["name"],
        data["package"],
        tuple(data["recipes"]),
        _refused(data),
        data.get("note"),
        _sources(data),
        tuple(data.get("providers", ())),
    )


def _accelerator(data: dict[str, Any]) -> Accelerator:
    return Accelerator(
        name=data["name"],
        kind=data["kind"],
        tops=data.get("tops"),
        precisions=tuple(data.get("precisions", ())),
        needs=data["needs"],
        sources=_sources(data),
        ops=tuple(data.get("ops", ())),
        delegate=data.get("delegate"),
        granularity=data.get("granularity"),
        refused=_refused(data),
        whole_graph=data.get("whole_graph", False),
        cache_bytes=data.get("cache_bytes"),
    )


def _refused(data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(data.get("refused", {}).items()))


def _measurement(data: dict[str, Any]) -> Measurement:
    return Measurement(
        data["model"], data["software"], data["threads"], data["float_ms"], data["int8_ms"], _sources(data)
    )
