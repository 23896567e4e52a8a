"""Describes the machine that this runs on as a device file, and adds to one what was measured there."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgetransfer.errors import DeviceError
from edgetransfer.quantize.support import why_not
from edgetransfer.spec.device_file import ARCHITECTURES, parse_device_file
from edgetransfer.spec.latency import CPU, Speed
from edgetransfer.spec.recipe import RECIPES

_HEAD = """\
schema = 1
slug = {slug}
name = {name}
class = "sbc"
notes = ["Written by edgetransfer devices calibrate on the device itself: correct class, names and budgets by hand."]

[soc]
name = {cpu}
sources = [{{ what = "the device's own /proc/cpuinfo", where = "file:///proc/cpuinfo", checked = {today} }}]

[cpu]
sources = [{{ what = "the device's own /proc/cpuinfo", where = "file:///proc/cpuinfo", checked = {today} }}]

[[cpu.clusters]]
cores = {cores}
microarchitecture = {cpu}
simd = {simd}
big = true
{memory}
[system]
os = {os}
architecture = {architecture}
python = [{python}]
sources = [{{ what = "the device's own /etc/os-release", where = "file:///etc/os-release", checked = {today} }}]
"""
_MEMORY = """
[memory]
ram_bytes = [{ram_bytes}]
sources = [{{ what = "the device's own /proc/meminfo", where = "file:///proc/meminfo", checked = {today} }}]
"""
_ENGINE = """
[[engines]]
name = {name}
package = {package}
recipes = {recipes}
sources = [{{ what = "it ran there", where = "file:///proc/cpuinfo", checked = {today} }}]
"""
# What /proc/cpuinfo calls what device files call otherwise; x86 with 8-bit dot products is said to have `dotprod` too.
_SIMD = {
    "asimd": "neon", "neon": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "avx2": "avx2", "avx512f": "avx512",
    "avx512_vnni": "dotprod", "avx_vnni": "dotprod",
}  # fmt: skip


def describe_here(slug: str, packages: Mapping[str, str]) -> str:
    """Return a device file about this machine, as text, with the engines of `packages`, by their names.

    Raises:
        DeviceError: the processor is none that device files know.
    """
    architecture = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if architecture not in ARCHITECTURES:
        raise DeviceError(f"this machine's processor is {architecture}, not one of {', '.join(ARCHITECTURES)}")
    cpuinfo = _text("/proc/cpuinfo")
    words = set(re.findall(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)[0].split()) if cpuinfo else set()
    simd = list(dict.fromkeys(word for flag, word in _SIMD.items() if flag in words)) or ["none"]
    cpu = _first(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo) or platform.processor() or architecture
    today = datetime.date.today().isoformat()
    ram = _first(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"))
    head = _HEAD.format(
        slug=json.dumps(slug),
        name=json.dumps(platform.node() or slug),
        cpu=json.dumps(cpu.strip()),
        today=today,
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        simd=json.dumps(simd),
        memory=_MEMORY.format(ram_bytes=int(ram) * 1024, today=today) if ram else "",
        os=json.dumps(_first(r'^PRETTY_NAME="?([^"\n]+)', _text("/etc/os-release")) or platform.platform(terse=True)),
        architecture=json.dumps(architecture),
        python=json.dumps(f"{sys.version_info.major}.{sys.version_info.minor}"),
    )
    return with_engines(head, packages)


def with_engines(text: str, packages: Mapping[str, str]) -> str:
    """Return the device file `text` with the engines of `packages` too, by their names; the caller knows it has none.

    They stand before the first speed.
    """
    today = datetime.date.today().isoformat()
    added = ""
    for name, package in packages.items():
        recipes = sorted(recipe.name for recipe in RECIPES.values() if why_not(name, recipe) is None)
        values = {"name": name, "package": package, "recipes": recipes}
        added += _ENGINE.format(today=today, **{key: json.dumps(value) for key, value in values.items()})
    head, *tables = re.split(r"^(?=\[\[speed\]\])", text, maxsplit=1, flags=re.MULTILINE)
    return "\n".join([head.rstrip() + "\n" + added, *tables]) if added else text


def with_speeds(text: str, speeds: Sequence[Speed], slug: str) -> str:
    """Return the device file `text` with measured `speeds` instead of those of the same runtimes and threads.

    Raises:
        DeviceError: what came out is no device file.
    """
    new = {(speed.processor, speed.runtime, speed.threads) for speed in speeds}
    head, *tables = re.split(r"^(?=\[\[speed\]\])", text, flags=re.MULTILINE)
    old = [table for table in tables if _speaks_of(table) not in new]
    head = re.sub(r"^slug = .*$", f"slug = {json.dumps(slug)}", head, count=1, flags=re.MULTILINE)
    found = "\n\n".join([head.rstrip(), *(table.rstrip() for table in old), *(_as_toml(one) for one in speeds)]) + "\n"
    parse_device_file(found.encode(), stem=slug, where=f"{slug}.toml")
    return found


def _speaks_of(table: str) -> tuple[str, str, int]:
    return _value(table, "processor") or CPU, _value(table, "runtime"), int(_value(table, "threads") or 0)


def _as_toml(speed: Speed) -> str:
    values = {
        key: value for key, value in speed.to_json().items() if key != "ms" and (key, value) != ("processor", CPU)
    }
    lines = [f"{key} = {_number(value)}" for key, value in values.items()]
    terms = [f"{json.dumps(term)} = {_number(ms)}" for term, ms in sorted(speed.ms.items())]
    return "\n".join(["[[speed]]", *lines, "[speed.ms]", *terms])


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _value(table: str, key: str) -> str:
    return _first(rf'^{key} = "?([^"\n]+)', table) or ""


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
