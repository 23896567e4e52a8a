"""What a page does not know, and what to type so that the next one does."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from edgetransfer.pipeline.page_figures import Figures
from edgetransfer.pipeline.page_html import Html, callout, code


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is missing: what it is, in which section it would stand, and the command that brings it."""

    what: str
    section: str
    command: str

    def to_json(self) -> dict[str, str]:
        """Return the gap as JSON values."""
        return {"what": self.what, "section": self.section, "command": self.command}


def gaps(figures: Figures) -> tuple[Gap, ...]:
    """Return what is missing, in the order of the page."""
    bundle = bundle_word(figures)
    run = shlex.quote(f"{figures.bundle.path.name.removesuffix('.bundle')}.run")
    found = []
    if figures.evaluation is None:
        what = "data and their cleaning, confusion matrix, calibration and worst mistakes: no photos were given"
        found.append(Gap(what, "data", f"edgetransfer report {bundle} --data photos/"))
    if figures.floats is None:
        what = "the float model's figures on the same photos: its run was not given"
        found.append(Gap(what, "metrics", f"edgetransfer report {bundle} --data photos/ --float-run {run}"))
    if not any(one.source for one in figures.profiles):
        what = "latency on a device: no measurement from there was given"
        then = f"edgetransfer report {bundle} --profile device.json"
        found.append(
            Gap(what, "speed", f"edgetransfer profile {bundle} --json > device.json   # on the device\n{then}")
        )
    return tuple(found)


def shown_gaps(figures: Figures, section: str) -> list[Html]:
    """Return a box for each gap of a section."""
    return [
        callout("Not in this page:", f"{gap.what}.", code(gap.command, "console"))
        for gap in gaps(figures)
        if gap.section == section
    ]


def bundle_word(figures: Figures) -> str:
    """Return the bundle's folder name as a shell wants it."""
    return shlex.quote(figures.bundle.path.name or figures.bundle.manifest.name)
