"""Writes a backbone whose structure was changed for a device.

It may be cut lower, take another input size or a camera of other channels, or have simpler activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import write_backbone
from edgetransfer.models.backbones._graph import multiply_adds
from edgetransfer.pipeline.backbone_output import check_output, facts_of, tuned_options
from edgetransfer.pipeline.deployed import check_images, deployed_backbone
from edgetransfer.pipeline.finetune_report import report_row, reports_json
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.train import read_data, resolve_plan
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import CHANNELS, Fit
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.stem import Fourth, with_channels
from edgetransfer.transfer.surgery import SIMPLE, SMOOTH, activations_of, cut_at, with_activations


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is like: its input (height, width, channels), multiply-adds of one image, and so on.

    `activations` are counted by layers.
    """

    input: tuple[int, ...]
    multiply_adds: int
    parameters: int
    features: int
    activations: dict[str, int]

    @classmethod
    def of(cls, model: Any) -> Shape:
        """Return what the Keras `model` is like."""
        shape = tuple(int(size) for size in model.input.shape[1:])
        return cls(
            shape, multiply_adds(model), int(model.count_params()), int(model.output.shape[-1]), activations_of(model)
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "input": list(self.input),
            "multiply_adds": self.multiply_adds,
            "parameters": self.parameters,
            "features": self.features,
            "activations": self.activations,
        }


@dataclass(frozen=True, slots=True)
class ReshapeReport:
    """A backbone before and after, and the layers that were changed or left out.

    Attributes:
        output: The backbone file.
        source: The backbone that it was.
        before: What that is like.
        after: What it is like now.
        left_out: Layers behind the cut.
        changed: Layers with another activation.
        stem: Convolutions that take other channels now.
        fourth: What the kernel of a fourth channel is; None where there is none.
        recipe: What both were deployed with to be measured; "" where they were not.
        accuracy: How right each was on each split, with a head of its own: "before" and "after".
    """

    output: Path
    source: str
    before: Shape
    after: Shape
    left_out: tuple[str, ...]
    changed: tuple[str, ...]
    stem: tuple[str, ...] = ()
    fourth: Fourth | None = None
    recipe: str = ""
    accuracy: Mapping[str, Mapping[str, EvalReport]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "backbone": str(self.output),
            "source": self.source,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "left_out": list(self.left_out),
            "changed": list(self.changed),
            "stem": list(self.stem),
            "fourth": self.fourth,
            "recipe": self.recipe or None,
            "accuracy": {name: reports_json(one) for name, one in self.accuracy.items()},
        }

    def as_text(self) -> str:
        """Return the report for people, and what to type next."""
        rows = [["", "input", "multiply-adds", "parameters", "features", "activations"]]
        for name, shape in ((self.source, self.before), (self.output.name, self.after)):
            known = ", ".join(f"{count} {kind}" for kind, count in sorted(shape.activations.items())) or "-"
            counts = (f"{count:,}" for count in (shape.multiply_adds, shape.parameters, shape.features))
            rows.append([name, " x ".join(map(str, shape.input)), *counts, known])
        lines = aligned(rows)
        if self.left_out:
            lines.append(f"left out: {len(self.left_out)} layers from {self.left_out[0]} on")
        if self.changed:
            lines.append(f"activations of {len(self.changed)} layers are {SIMPLE} now: the weights do not fit them yet")
        if self.stem:
            lines.append(f"{', '.join(self.stem)}: takes {CHANNELS[self.after.input[2]]} now; {self._meaning()}")
        if self.accuracy:
            heading = [f"{self.recipe}, head on deployed features", "validation", "test", "95 % interval of test"]
            titles = {"before": f"{self.source} as it came", "after": self.output.name}
            lines += ["", *aligned([heading, *(report_row(titles[name], one) for name, one in self.accuracy.items())])]
        repair = "transfer finetune" if self.changed or self.fourth else "build"
        lines += ["", f"next:  edgetransfer {repair} DATA --backbone keras:{self.output} --output ..."]
        return "\n".join(lines)

    def _meaning(self) -> str:
        """Return what an adapted stem means, for people."""
        if self.fourth is None:
            return "of grey pictures it computes what it did"
        if self.fourth == "zero":
            return "the fourth channel counts nothing until the network is tuned"
        return "the fourth channel counts as the mean of the others, which tuning has to sort out"


def reshape(
    choice: BackboneChoice,
    output: Path,
    *,
    cut: str | None = None,
    simple_activations: bool = False,
    channels: int | None = None,
    fourth: Fourth = "zero",
    measured_on: BuildOptions | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> ReshapeReport:
    """Write the backbone of `choice`, at its input size there, with the changes that are asked for.

    Args:
        choice: The backbone; its `input_px` is one of the changes.
        output: NAME.keras.
        cut: A layer's name: the features are the mean of its map, and what follows is left out.
        simple_activations: Put relu6 in the place of smooth activations; the result wants tuning.
        channels: 1 or 4: for cameras of so many; the stem is adapted.
        fourth: What the kernel of a fourth channel is.
        measured_on: Data, recipe and how heads are trained, to measure the backbone as it came and as it is now, both
            deployed; its backbone is not looked at. None: nothing is measured. Data of four channels is nothing that
            the backbone as it came could look at.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: no such backbone or layer, nothing to change, an output that exists.
    """
    watcher = watcher or Silent()
    check_output(output, force=force)
    if backbones.input_of(choice) is not None:
        raise BackboneError(f"backbone {choice.name!r}: only backbones of images can be reshaped")
    if cut is None and not simple_activations and channels is None and choice.input_px is None:
        raise BackboneError("reshape: nothing to do; give --cut, --channels, --simple-activations or --input-size")
    watcher.stage(f"loading {choice.name}")
    loaded = backbones.load(choice)
    model, before = loaded.model, Shape.of(loaded.model)
    facts = facts_of(loaded, choice)
    left_out: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()
    if channels is not None:
        model, stem = (found := with_channels(model, channels, fourth=fourth)).model, found.layers
        facts = facts.then("channels", channels=channels, fourth=fourth if channels == 4 else None)
    if cut is not None:
        model, left_out = (found := cut_at(model, cut)).model, found.layers
        facts = facts.then("cut", layer=cut)
    if simple_activations:
        model, changed = (found := with_activations(model, dict.fromkeys(SMOOTH, SIMPLE))).model, found.layers
        facts = facts.then("activations", become=SIMPLE, layers=len(changed))
    if choice.input_px is not None:
        facts = facts.then("input_size", px=choice.input_px)
    write_backbone(output, model, facts)
    report = ReshapeReport(
        output, loaded.name, before, Shape.of(model), left_out, changed, stem, fourth if channels == 4 else None
    )
    return report if measured_on is None else _measured(report, choice, measured_on, watcher)


def _measured(report: ReshapeReport, choice: BackboneChoice, options: BuildOptions, watcher: Watcher) -> ReshapeReport:
    """Return the report with how right the backbone of `choice` and the one that was written are, both deployed."""
    accuracy: dict[str, Mapping[str, EvalReport]] = {}
    fit: Fit | None = options.fit
    new = tuned_options(options, report.output)
    watcher.stage("reading the data")
    dataset = read_data(new, options.data, watcher)
    check_images(new, dataset)
    if report.after.input[2] == report.before.input[2] or report.after.input[2] != 4:
        own = choice.name.startswith(backbones.OWN)
        old = replace(options, backbone=choice if own else replace(choice, input_px=None))
        found = deployed_backbone(old, dataset, "the backbone as it came", watcher)
        accuracy["before"], fit = found.reports, found.spec.fit
    found = deployed_backbone(replace(new, fit=fit), dataset, "the reshaped backbone", watcher)
    accuracy["after"] = found.reports
    return replace(report, recipe=resolve_plan(new).recipe.name, accuracy=accuracy)
