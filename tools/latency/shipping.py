"""Puts fitted coefficients into the device files, and the figures that they rest on beside them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetransfer.pipeline.device_here import with_speeds
from edgetransfer.spec.device import load_device
from edgetransfer.spec.latency import CPU, Speed
from latency import figures as tables
from latency.figures import Figure
from latency.fit import Fit, LeftOut, fit, tied

SLUGS = {
    "Raspberry Pi Zero 2 W Broadcom BCM2710A1": ("raspberry_pi_zero_2w", "sbc"),
    "Raspberry Pi 3 Model B+ Broadcom BCM2837B0": ("raspberry_pi_3b_plus", "sbc"),
    "Raspberry Pi 3B+": ("raspberry_pi_3b_plus", "sbc"),
    "Raspberry Pi 4": ("raspberry_pi_4", "sbc"),
    "Raspberry Pi 4 Model B Broadcom BCM2711B0": ("raspberry_pi_4", "sbc"),
    "Raspberry Pi 4B": ("raspberry_pi_4", "sbc"),
    "Raspberry Pi 5 Broadcom BCM2712": ("raspberry_pi_5", "sbc"),
    "NVIDIA Jetson Nano": ("jetson_nano", "jetson"),
    "NVIDIA Jetson Orin Nano": ("jetson_orin_nano", "jetson"),
    "NVIDIA Jetson AGX Orin": ("jetson_agx_orin", "jetson"),
    "Rockchip RK3588": ("rockchip_rk3588", "camera"),
    "Toybrick RV1126": ("rockchip_rv1126", "camera"),
    "Qualcomm SM8550-AB Snapdragon 8 Gen 2": ("galaxy_s23", "phone"),
    "Coral Dev Board CPU": ("coral_dev_board", "sbc"),
}
"""Slug and class of the devices of public tables that have a file; one chip in two devices counts for both."""

ALSO = {
    "raspberry_pi_4": ("raspberry_pi_4_coral",),
    "raspberry_pi_5": ("raspberry_pi_5_hailo",),
    "raspberry_pi_zero_2w": ("raspberry_pi_ai_camera",),
}
"""Boards that are the same computer with something plugged in."""

ACCELERATORS = {
    "Samsung Galaxy S24": ("galaxy_s24", "Hexagon NPU"),
    "SA8295P ADP": ("qualcomm_sa8295p", "Hexagon V68 with HMX"),
    "Coral Dev Board": ("coral_dev_board", "Edge TPU"),
}
"""The same of GPUs and NPUs that have figures of a runtime that a bundle can use: slug, and name of the accelerator."""

_SHIPPED_FAMILIES = ("Hexagon", "Edge TPU")
_OTHER_FAMILIES = {family for _, family in tables.ACCELERATORS.values()}.difference(_SHIPPED_FAMILIES)

_LEAST_SLACK = 0.1  # no interval is narrower


def write_device_files(folder: Path, figures: Sequence[Figure], tested: Sequence[LeftOut]) -> dict[str, int]:
    """Write the coefficients of every device that has a file; return how many each got."""
    found: dict[str, list[Speed]] = defaultdict(list)
    for slug, speed in speeds_of(figures, tested):
        for name in (slug, *ALSO.get(slug, ())):
            found[name].append(speed)
    for slug, speeds in sorted(found.items()):
        path = folder / f"{slug}.toml"
        bare = re.split(r"^\[\[speed\]\]", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[0]
        ordered = sorted(speeds, key=lambda one: (one.processor != CPU, one.runtime, one.threads))
        path.write_text(with_speeds(bare, ordered, slug))
    return {slug: len(speeds) for slug, speeds in sorted(found.items())}


def speeds_of(figures: Sequence[Figure], tested: Sequence[LeftOut]) -> list[tuple[str, Speed]]:
    """Return (slug, coefficients) of every device, runtime, count of threads and precision.

    Each precision has coefficients of its own, for bytes and calls too: they were fitted apart.
    """
    fits: dict[tuple[str, str], Fit] = {}
    for family, precision in sorted({(one.family, one.precision) for one in figures}):  # floats before int8
        some = [one for one in figures if (one.family, one.precision) == (family, precision)]
        floats = fits.get((family, "float32"), fits.get((family, "float16")))
        fits[family, precision] = fit(some, floats if precision == "int8" else None)
    terms = sorted({term for one in figures for term in one.terms})
    groups: dict[tuple[str, str, str, int, str], list[Figure]] = defaultdict(list)
    for one in figures:
        slug, processor = device_of(one)
        if slug:
            counted = processor != CPU or one.threads.isdigit()
            threads = int(one.threads or 1) if counted else load_device(slug).big_cores
            groups[(slug, processor, one.runtime, threads, one.precision)].append(one)
    found = sorted(groups.items())
    return [
        (slug, replace(_speed(of, fits[of[0].family, of[0].precision], tested, terms, threads), processor=processor))
        for (slug, processor, _, threads, _), of in found
    ]


def device_of(figure: Figure) -> tuple[str, str]:
    """Return the slug of the device file that `figure` speaks of, "" if none does, and the processor there."""
    if figure.family in _SHIPPED_FAMILIES:
        return ACCELERATORS.get(figure.device, ("", ""))
    return ("", "") if figure.family in _OTHER_FAMILIES else (SLUGS.get(figure.device, ("", ""))[0], CPU)


def coefficients_of(fitted: Fit, platform: tuple[str, ...], terms: Sequence[str]) -> dict[str, float]:
    """Return ms a unit of each term that the fit speaks of on `platform`.

    What it has no coefficient for costs nothing in it, and is said to: a prediction would take it like something else.
    """
    known = fitted.coefficients(platform)
    precision = platform[2]
    found = {}
    for term in terms:
        shared = tied(term)
        if shared in known:
            found[term] = known[shared]
        elif shared is None and term.partition(" ")[0] in (precision, "far"):
            found[term] = 0.0
    return found


def _speed(some: Sequence[Figure], fitted: Fit, tested: Sequence[LeftOut], terms: Sequence[str], threads: int) -> Speed:
    kind = (some[0].family, some[0].precision)
    like = [one for one in tested if (one.figure.family, one.figure.precision) == kind]
    own = [one for one in like if (one.figure.runtime, one.figure.device) == (some[0].runtime, some[0].device)]
    errors = np.abs([one.error for one in own])
    low, high = np.percentile([one.figure.ms / one.expected_ms for one in like], [5, 95])
    return Speed(
        runtime=some[0].runtime,
        threads=threads,
        ms=coefficients_of(fitted, some[0].platform, terms),
        basis="public",
        rows=len(some),
        models=len({one.model for one in some}),
        error_median=float(np.median(errors)),
        error_p90=float(np.percentile(errors, 90)),
        low=min(float(low), 1 - _LEAST_SLACK),
        high=max(float(high), 1 + _LEAST_SLACK),
    )
