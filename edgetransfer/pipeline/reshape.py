"""Writes a backbone whose structure was changed for a device: cut lower, of another input size, simpler activations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import write_backbone
from edgetransfer.models.backbones._graph import multiply_adds
from edgetransfer.pipeline.backbone_output import check_output, facts_of
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.surgery import SIMPLE, SMOOTH, activations_of, cut_at, with_activations


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is like: multiply-adds of one image, parameters, features, activations by how many layers."""

    multiply_adds: int
    parameters: int
    features: int
    activations: dict[str, int]

    @classmethod
    def of(cls, model: Any) -> Shape:
        """Return what the Keras `model` is like."""
        return cls(multiply_adds(model), int(model.count_params()), int(model.output.shape[-1]), activations_of(model))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "multiply_adds": self.multiply_adds,
            "parameters": self.parameters,
            "features": self.features,
            "activations": self.activations,
        }


@dataclass(frozen=True, slots=True)
class ReshapeReport:
    """A backbone before and after, and the layers that were changed or left out."""

    output: Path
    source: str
    before: Shape
    after: Shape
    left_out: tuple[str, ...]
    changed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "backbone": str(self.output),
            "source": self.source,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "left_out": list(self.left_out),
            "changed": list(self.changed),
        }

    def as_text(self) -> str:
        """Return the report for people, and what to type next."""
        rows = [["", "multiply-adds", "parameters", "features", "activations"]]
        for name, shape in ((self.source, self.before), (self.output.name, self.after)):
            known = ", ".join(f"{count} {kind}" for kind, count in sorted(shape.activations.items())) or "-"
            rows.append([name, f"{shape.multiply_adds:,}", f"{shape.parameters:,}", f"{shape.features:,}", known])
        lines = aligned(rows)
        if self.left_out:
            lines.append(f"left out: {len(self.left_out)} layers from {self.left_out[0]} on")
        if self.changed:
            lines.append(f"activations of {len(self.changed)} layers are {SIMPLE} now: the weights do not fit them yet")
        repair = "transfer finetune" if self.changed else "build"
        lines += ["", f"next:  edgetransfer {repair} DATA --backbone keras:{self.output} --output ..."]
        return "\n".join(lines)


def reshape(
    choice: BackboneChoice,
    output: Path,
    *,
    cut: str | None = None,
    simple_activations: bool = False,
    force: bool = False,
    watcher: Watcher | None = None,
) -> ReshapeReport:
    """Write the backbone of `choice`, at its input size there, with the changes that are asked for.

    Args:
        choice: The backbone; its `input_px` is one of the changes.
        output: NAME.keras.
        cut: A layer's name: the features are the mean of its map, and what follows is left out.
        simple_activations: Put relu6 in the place of smooth activations; the result wants tuning.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: no such backbone or layer, nothing to change, an output that exists.
    """
    watcher = watcher or Silent()
    check_output(output, force=force)
    if backbones.input_of(choice) is not None:
        raise BackboneError(f"backbone {choice.name!r}: only backbones of images can be reshaped")
    if cut is None and not simple_activations and choice.input_px is None:
        raise BackboneError("reshape: nothing to do; give --cut, --simple-activations or --input-size")
    watcher.stage(f"loading {choice.name}")
    loaded = backbones.load(choice)
    model, before = loaded.model, Shape.of(loaded.model)
    facts = facts_of(loaded, choice)
    left_out: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    if cut is not None:
        model, left_out = (found := cut_at(model, cut)).model, found.layers
        facts = facts.then("cut", layer=cut)
    if simple_activations:
        model, changed = (found := with_activations(model, dict.fromkeys(SMOOTH, SIMPLE))).model, found.layers
        facts = facts.then("activations", become=SIMPLE, layers=len(changed))
    if choice.input_px is not None:
        facts = facts.then("input_size", px=choice.input_px)
    write_backbone(output, model, facts)
    return ReshapeReport(output, loaded.name, before, Shape.of(model), left_out, changed)
