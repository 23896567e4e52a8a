"""Says what a device's GPU or NPU would compute of a graph, how fast, and what it would leave to the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgetransfer.estimate.latency import Prediction, predict
from edgetransfer.estimate.op import Op
from edgetransfer.export import OpFact, get_exporter
from edgetransfer.features.deploy import float_backbone
from edgetransfer.pipeline.forecast import costs_of_plan
from edgetransfer.quantize.plan_notes import like
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Accelerator, Device
from edgetransfer.spec.recipe import Plan, Recipe

LEAST_FALLBACK = 0.005  # of the multiply-adds: less than that off the accelerator is nobody's loss
_OPS_FORMATS = ("litert", "tflm")  # whose names of ops device files speak


@dataclass(frozen=True, slots=True)
class Placement:
    """What an accelerator would do with a model.

    Attributes:
        accelerator: Its name in the device file.
        refusal: Why it takes nothing of the model; None if it takes some.
        left: The ops that it leaves to the CPU, "KIND (what it computes in)", each once.
        share: Of the multiply-adds that stay on the CPU, 0 to 1; None where the ops that it takes are not known.
        predicted: The time for one image on it; None where it refuses, leaves ops to the CPU, or has no figures.
    """

    accelerator: str
    refusal: str | None = None
    left: tuple[str, ...] = ()
    share: float | None = None
    predicted: Prediction | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything is known of what it would do: of many neither ops nor speed are published."""
        return self.refusal is not None or self.share is not None or self.predicted is not None

    def to_json(self) -> dict[str, Any]:
        """Return the placement as JSON values."""
        return {
            "accelerator": self.accelerator,
            "refusal": self.refusal,
            "left": list(self.left),
            "cpu_share": self.share,
            "predicted": None if self.predicted is None else self.predicted.to_json(),
        }

    def as_text(self) -> str:
        """Return the placement as one line."""
        if self.refusal is not None:
            return f"{self.accelerator} would compute nothing of it: {self.refusal}"
        if self.share is None:
            takes = "which ops it takes is not published"
        elif self.left:
            takes = f"it would leave {', '.join(self.left)} to the CPU, {self.share:.1%} of the compute"
        else:
            takes = "it takes every op that computes"
        return f"{self.accelerator}: {takes}" + ("" if self.predicted is None else f"; {self.predicted.as_text()}")


def placements_as_text(placements: Sequence[Placement], label: str) -> list[str]:
    """Return a line that begins with `label` for each accelerator of which anything is known."""
    return [f"{label}{one.as_text()}" for one in placements if one.is_known]


def place_plan(plan: Plan, choice: BackboneChoice, device: Device) -> tuple[Placement, ...]:
    """Return what each accelerator of `device` would do with what `plan` builds, the head left out.

    The backbone is converted for it, once: the build takes the same graph from the cache.
    """
    if not device.accelerators:
        return ()
    ops = get_exporter(plan.format).survey(float_backbone(choice, plan.format).graph)
    computes = plan.recipe.activations if plan.recipe.is_static else "float32"
    ops = tuple(replace(op, computes=computes) for op in ops)
    return placements(ops, costs_of_plan(plan, choice), device, plan.recipe, plan.format, plan.engine)


def place_bundle(bundle: Bundle, device: Device) -> tuple[Placement, ...]:
    """Return what each accelerator of `device` would do with `bundle`."""
    if not device.accelerators:
        return ()
    manifest = bundle.manifest
    exporter = get_exporter(manifest.format)
    model = (bundle.path / manifest.model.file).read_bytes()
    costs = exporter.costs(model)
    return placements(exporter.survey(model), costs, device, manifest.recipe, manifest.format, exporter.ENGINE)


def placements(
    ops: Sequence[OpFact], costs: Sequence[Op], device: Device, recipe: Recipe, format: str, engine: str
) -> tuple[Placement, ...]:
    """Return what each accelerator of `device` would do with a graph of these ops that cost so much."""
    return tuple(_placement(ops, costs, device, item, recipe, format, engine) for item in device.accelerators)


def left_to_cpu(ops: Sequence[OpFact], item: Accelerator) -> tuple[tuple[str, ...], float]:
    """Return which ops an accelerator whose ops are known leaves to the CPU, and their share of the multiply-adds.

    Ops at the graph's ends that only convert are not counted. Where it takes one part of the graph, what follows the
    first op that it lacks is left too.
    """
    work = [op for op in ops if op.macs and not op.edge]
    off = [number for number, op in enumerate(work) if op.kind not in item.ops or op.computes not in item.precisions]
    lacking = dict.fromkeys(f"{work[number].kind} ({work[number].computes})" for number in off)
    left = work[off[0] :] if off and item.whole_graph else [work[number] for number in off]
    share = sum(op.macs for op in left) / (sum(op.macs for op in ops) or 1)
    more = ("all that follows",) if len(left) > len(off) else ()
    return ((*sorted(lacking), *more), share) if share > LEAST_FALLBACK else ((), share)


def _placement(
    ops: Sequence[OpFact],
    costs: Sequence[Op],
    device: Device,
    item: Accelerator,
    recipe: Recipe,
    format: str,
    engine: str,
) -> Placement:
    refusal = item.why_not(like(recipe), recipe.granularity)
    if refusal is not None:
        return Placement(item.name, refusal)
    left, share = left_to_cpu(ops, item) if item.ops and format in _OPS_FORMATS else ((), None)
    if left:
        return Placement(item.name, None, left, share)
    return Placement(item.name, None, (), share, _predicted(costs, device, item, engine))


def _predicted(costs: Sequence[Op], device: Device, item: Accelerator, engine: str) -> Prediction | None:
    """Return the time on the accelerator; those of phones compute floats in float16, whatever the file has."""
    halves = any("float16 ops" in speed.ms for speed in device.speeds if speed.processor == item.name)
    ops = [replace(op, precision="float16") if halves and op.precision == "float32" else op for op in costs]
    return predict(ops, device.speeds, engine=f"{engine}+{item.delegate}", threads=1, processor=item.name)
