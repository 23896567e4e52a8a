"""Builds one bundle for each of the formats litert and onnx: each head learns what its own engine will compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetransfer.errors import OutputError
from edgetransfer.pipeline.build import BuildReport, build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import refuse_existing, resolve_plan

FORMATS = ("litert", "onnx")


@dataclass(frozen=True, slots=True)
class BothReport:
    """The report of each format's build, by the format's name."""

    reports: Mapping[str, BuildReport]

    def to_json(self) -> dict[str, Any]:
        """Return the reports as JSON values."""
        return {"formats": {format: report.to_json() for format, report in self.reports.items()}}

    def as_text(self) -> str:
        """Return the reports one after the other."""
        return "\n\n".join(f"== {format}\n{report.as_text()}" for format, report in self.reports.items())


def build_both(
    options: BuildOptions,
    output: Path,
    *,
    run: Path | None = None,
    how: ExportOptions | None = None,
    watcher: Watcher | None = None,
) -> BothReport:
    """Build NAME.litert.bundle and NAME.onnx.bundle, where `output` is NAME.bundle; runs lie beside them.

    Raises:
        OutputError: a run's place is given, for there are two; or one of the outputs exists.
        EdgetransferError: as `build`; what was finished before stays.
    """
    how = how or ExportOptions()
    if run is not None:
        raise OutputError(f"run {str(run)!r}: --format both makes two runs, beside the bundles; leave --run out")
    stem = output.name.removesuffix(".bundle")
    outputs = {format: output.with_name(f"{stem}.{format}.bundle") for format in FORMATS}
    for format, path in outputs.items():  # what will be refused is refused before hours of work
        refuse_existing(path, holds="manifest.json", force=how.force)
        resolve_plan(replace(options, format=format))
    return BothReport(
        {
            format: build(replace(options, format=format), path, how=how, watcher=watcher)
            for format, path in outputs.items()
        }
    )
