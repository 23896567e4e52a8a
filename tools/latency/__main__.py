"""Fits coefficients of latency to public figures, tests them on networks left out, and writes them into devices/.

    tools/fit_latency [--figures TABLE.csv] [--write] [--json]

Without --figures: devices/public_figures.csv and devices/accelerator_figures.csv, the figures that the shipped
coefficients rest on. With --write the device files get their coefficients, and those tables what was used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency.figures import Figure, read_figures, write_figures
from latency.fit import LeftOut, fit, leave_models_out, without_outliers
from latency.shipping import SLUGS, write_device_files

ROOT = Path(__file__).resolve().parents[2]
DEVICES = ROOT / "devices"
TABLES = {"CPU engines": DEVICES / "public_figures.csv", "accelerators": DEVICES / "accelerator_figures.csv"}
"""Where figures ship, by what they are of; the two are never fitted or reported together."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="tools/fit_latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", type=Path, metavar="TABLE.csv", help="of both [default: the two that ship]")
    parser.add_argument("--write", action="store_true", help="write devices/*.toml and the two tables there")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    reports = {}
    found: list[tuple[list[Figure], list[LeftOut]]] = []
    for name, table in TABLES.items():
        read = read_figures(asked.figures or table, accelerators=name == "accelerators")
        kept, tested = tested_figures(read.used)
        found.append((kept, tested))
        reports[name] = summary(
            tested, {**read.left_out, "beside all others by a factor of two": len(read.used) - len(kept)}
        )
    if asked.write:
        everything = ([one for kept, _ in found for one in kept], [one for _, tested in found for one in tested])
        reports["written"] = write_device_files(DEVICES, *everything)
        for (kept, _), table in zip(found, TABLES.values(), strict=True):
            write_figures(table, kept)
    print(json.dumps(reports, indent=1) if asked.json else "\n\n".join(f"{n}: {as_text(reports[n])}" for n in TABLES))


def tested_figures(used: Sequence[Figure]) -> tuple[list[Figure], list[LeftOut]]:
    """Return the figures that lie beside no others, and what is expected of each with its network left out."""
    kept: list[Figure] = []
    tested: list[LeftOut] = []
    for family in sorted({one.family for one in used}):
        floats: tuple[Figure, ...] = ()
        for precision in ("float32", "float16", "int8"):
            figures = [one for one in used if (one.family, one.precision) == (family, precision)]
            if not figures:
                continue
            beside = floats if precision == "int8" else ()
            inliers = without_outliers(figures, fit(beside) if beside else None)
            print(
                f"{family} {precision}: {len(figures)} figures, {len(figures) - len(inliers)} outlying", file=sys.stderr
            )
            kept += inliers
            tested += leave_models_out(inliers, beside)
            floats = inliers
    return kept, tested


def summary(tested: Sequence[LeftOut], left_out: dict[str, int]) -> dict[str, Any]:
    """Return the errors of networks left out, by runtime, by class of device, and over all."""
    rows = []
    for name, choose in (
        ("runtime", lambda one: f"{one.figure.runtime} {one.figure.precision}"),
        ("class", lambda one: SLUGS.get(one.figure.device, ("", "other boards"))[1]),
        ("model", lambda one: one.figure.model),
        ("all", lambda one: "all"),
    ):
        for value in sorted({choose(one) for one in tested}):
            some = [one for one in tested if choose(one) == value]
            errors = np.abs([one.error for one in some])
            rows.append(
                {
                    "by": name,
                    "value": value,
                    "figures": len(some),
                    "models": len({one.figure.model for one in some}),
                    "platforms": len({one.figure.platform for one in some}),
                    "error_median": float(np.median(errors)),
                    "error_p90": float(np.percentile(errors, 90)),
                    "bias": float(np.median([one.error for one in some])),
                    "interval_held": held(some, tested),
                }
            )
    constant = np.abs([one.error for one in single_constant([one.figure for one in tested])])
    return {
        "left_out": left_out,
        "rows": rows,
        "single_constant": {
            "error_median": float(np.median(constant)),
            "error_p90": float(np.percentile(constant, 90)),
        },
    }


def held(some: Sequence[LeftOut], tested: Sequence[LeftOut]) -> float:
    """Return how often the interval held, made for each network from the errors of the others of its runtime."""
    inside = []
    for one in some:
        like = [
            other.figure.ms / other.expected_ms
            for other in tested
            if other.figure.model != one.figure.model
            and (other.figure.family, other.figure.precision) == (one.figure.family, one.figure.precision)
        ]
        low, high = np.percentile(like, [5, 95]) if like else (0.0, np.inf)
        inside.append(low <= one.figure.ms / one.expected_ms <= high)
    return float(np.mean(inside))


def single_constant(figures: Sequence[Figure]) -> list[LeftOut]:
    """Return what one constant of multiply-adds a second for each platform would expect, networks left out."""

    def macs(one: Figure) -> float:
        return sum(amount for term, amount in one.terms.items() if term.endswith(" macs"))

    found = []
    for platform in {one.platform for one in figures}:
        there = [one for one in figures if one.platform == platform]
        for one in there:
            rates = [np.log(other.ms / macs(other)) for other in there if other.model != one.model]
            if rates:
                found.append(LeftOut(one, macs(one) * float(np.exp(np.mean(rates)))))
    return found


def as_text(report: dict[str, Any]) -> str:
    """Return the report for people."""
    lines = [f"left out: {', '.join(f'{count} {reason}' for reason, count in report['left_out'].items())}"]
    lines.append(f"{'':<34}{'figures':>8}{'models':>8}{'platforms':>10}{'median':>8}{'p90':>8}{'bias':>8}{'held':>7}")
    for row in report["rows"]:
        lines.append(
            f"{row['by'] + ' ' + row['value']:<34}{row['figures']:>8}{row['models']:>8}{row['platforms']:>10}"
            f"{row['error_median']:>8.1%}{row['error_p90']:>8.1%}{row['bias']:>+8.1%}{row['interval_held']:>7.0%}"
        )
    constant = report["single_constant"]
    lines.append(f"one constant a platform: median {constant['error_median']:.1%}, p90 {constant['error_p90']:.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
