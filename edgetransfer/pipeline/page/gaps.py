"""What a page does not know, and what to type so that the next one does."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from edgetransfer.pipeline.page.figures import Figures
from edgetransfer.pipeline.page.html import Html, callout, code
from edgetransfer.pipeline.page.words import words


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
    of_answers = _of_heads(figures, bundle) if figures.bundle.manifest.is_split else _of_graph(figures, bundle)
    if any(one.source for one in figures.profiles):
        return tuple(of_answers)
    what = "latency on a device: no measurement from there was given"
    then = f"edgetransfer report {bundle} --profile device.json"
    command = f"edgetransfer profile {bundle} --json > device.json   # on the device\n{then}"
    return (*of_answers, Gap(what, "speed", command))


def _of_graph(figures: Figures, bundle: str) -> list[Gap]:
    run = shlex.quote(f"{figures.bundle.path.name.removesuffix('.bundle')}.run")
    found = []
    if figures.evaluation is None:
        what = "data and their cleaning, confusion matrix, calibration and worst mistakes: no photos were given"
        found.append(Gap(what, "data", f"edgetransfer report {bundle} --data photos/"))
    if figures.floats is None:
        what = "the float model's figures on the same photos: its run was not given"
        found.append(Gap(what, "metrics", f"edgetransfer report {bundle} --data photos/ --float-run {run}"))
    return found


def _of_heads(figures: Figures, bundle: str) -> list[Gap]:
    said = words(figures.bundle.manifest)
    found = []
    for number, one in enumerate(figures.heads):
        name = one.head.name
        given = f"--head {name}={said.data}" if number else f"--data {said.data}"
        if one.measured is None:
            what = f"measurements of head {name}: no {said.many} were given for it"
            found.append(Gap(what, f"head-{name}", f"edgetransfer report {bundle} {given}"))
        elif one.rejection is not None and one.rejection.strangers is None:
            what = f"how many strangers head {name} finds: none were given"
            found.append(
                Gap(what, f"head-{name}", f"edgetransfer report {bundle} {given} --strangers {said.strangers}")
            )
    return found


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
