"""What must hold before a bundle is written: gates, each of which can be passed knowingly by its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import ExportError, UnknownNameError
from edgetransfer.export import OpFact, get_exporter
from edgetransfer.pipeline.placement import left_to_cpu
from edgetransfer.quantize import op_versions
from edgetransfer.spec.device import Device
from edgetransfer.spec.manifest import Manifest
from edgetransfer.spec.tensor import TensorSpec

GATES: dict[str, str] = {
    "foreign_ops": "every op is one that a plain engine has: no flex, no custom op",
    "float_islands": "an integer recipe computes in integers throughout, but for ops that the recipe keeps in floats",
    "labels": "the model file has the head's labels, in its order and number",
    "accuracy": "accuracy on validation photos is within the budget of the float model's",
    "size": "the model file fits the device's budget",
    "runtime": "the device's engine knows every op in the version that the file has",
    "accelerator": "the device's accelerator takes every op that computes",
    "outputs": "outputs differ from photo to photo and are not at the end of their range",
}
"""Every gate's name and what it promises."""
LEFT_OUT = "of examples left out in turn"
"""What accuracy is measured on where there are too few examples to keep some for validation."""
DEFAULT_MAX_DROP = 5.0  # points; where no budget was named, what nobody would ship unknowingly
MOST_SATURATED = 0.01  # of logits on real photos; the head's ranges have a seventh to spare


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: whether it holds, what was found, and whether the user passed it knowingly."""

    name: str
    passed: bool
    detail: str
    allowed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the gate as JSON values."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail, "allowed": self.allowed}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that is about to become a bundle, and what was measured of it.

    Attributes:
        model: The finished model file.
        manifest: What would be written of it.
        labels_sha256: Of the labels that the head was trained with, in order; see `labels_sha256`.
        outputs: Stored outputs (n, C) on real photos; None where there were none.
        accuracy: Metric on the validation split, 1 at its best, of the float model and of this one; None if not
            measured.
        val_samples: How many photos it was measured on.
        measure: What the metric is, where it is not accuracy on the validation split.
        max_drop: The budget in points; None if none was named.
        device: What it is for; None for any.
    """

    model: bytes
    manifest: Manifest
    labels_sha256: str
    outputs: NDArray[Any] | None = None
    accuracy: tuple[float, float] | None = None
    val_samples: int = 0
    measure: str = ""
    max_drop: float | None = None
    device: Device | None = None


def labels_sha256(labels: Sequence[str]) -> str:
    """Return the hash of `labels` in their order."""
    return hashlib.sha256("\n".join(labels).encode()).hexdigest()


def check_names(allowed: Sequence[str]) -> None:
    """Refuse names that no gate has.

    Raises:
        UnknownNameError: says which gate is near.
    """
    for name in allowed:
        if name not in GATES:
            raise UnknownNameError("gate", name, GATES)


def check(candidate: Candidate, allowed: Sequence[str]) -> tuple[Gate, ...]:
    """Return every gate; `allowed` are the names that may fail.

    Raises:
        UnknownNameError: `allowed` names no gate.
        ExportError: a gate fails that is not allowed; names all that do.
    """
    check_names(allowed)
    ops = get_exporter(candidate.manifest.format).survey(candidate.model)
    found = {
        "foreign_ops": _foreign_ops(ops),
        "float_islands": _float_islands(ops, candidate.manifest),
        "labels": _labels(candidate),
        "accuracy": _accuracy(candidate),
        "size": _size(candidate),
        "runtime": _runtime(candidate),
        "accelerator": _accelerator(ops, candidate.device, candidate.manifest),
        "outputs": _outputs(candidate.outputs, candidate.manifest.model.output),
    }
    gates = tuple(
        Gate(name, not fault, fault or fine, bool(fault) and name in allowed) for name, (fault, fine) in found.items()
    )
    closed = [gate for gate in gates if not gate.passed and not gate.allowed]
    if closed:
        ways = " ".join(f"--allow {gate.name}" for gate in closed)
        faults = "; ".join(f"{gate.name}: {gate.detail}" for gate in closed)
        raise ExportError(f"nothing was written: {faults}. To write it all the same and have that recorded: {ways}")
    return gates


def allowed_names(gates: Sequence[Gate]) -> tuple[str, ...]:
    """Return the names of the gates that failed and were allowed, for the manifest."""
    return tuple(gate.name for gate in gates if gate.allowed)


Finding = tuple[str, str]
"""What is wrong ("" if nothing), and what to say if nothing is."""


def _foreign_ops(ops: Sequence[OpFact]) -> Finding:
    foreign = sorted({op.kind for op in ops if not op.builtin})
    fault = f"the engine has no {', '.join(foreign)}; replace the layers that make them" if foreign else ""
    return fault, f"{len(ops)} ops, all built in"


def _float_islands(ops: Sequence[OpFact], manifest: Manifest) -> Finding:
    recipe = manifest.recipe
    if not recipe.is_static:
        return "", f"recipe {recipe.name} computes in floats by design"
    total = sum(op.macs for op in ops) or 1
    islands = [op for op in ops if op.computes == "float32" and not op.edge and op.macs]
    overrides = [(op, recipe.override_of(op.name)) for op in islands]
    meant = [op for op, override in overrides if override is not None and override.activations == "float32"]
    body = [op for op in ops if op.macs and not op.edge and not op.of_head]
    if body and body[-1] in meant:  # what the head takes decides what it computes in
        meant += [op for op in islands if op.of_head and op not in meant]
    stray = [op for op in islands if op not in meant]
    share = sum(op.macs for op in meant) / total
    fine = f"{len(meant)} ops kept in floats as asked, {share:.1%} of the compute" if meant else "none"
    if not stray:
        return "", fine
    named = ", ".join(f"{op.kind} {op.name} ({op.macs / total:.1%})" for op in stray[:5])
    more = f" and {len(stray) - 5} more" if len(stray) > 5 else ""
    return (
        f"recipe {recipe.name} left {len(stray)} ops in floats, {sum(op.macs for op in stray) / total:.1%} of the "
        f"compute: {named}{more}; recipe float16 or dynamic_int8 may suit this backbone",
        fine,
    )


def _labels(candidate: Candidate) -> Finding:
    manifest = candidate.manifest
    if manifest.is_split:
        return "", "each head carries its own"
    wanted = manifest.task.labels
    got = tuple(get_exporter(manifest.format).labels(candidate.model))
    outputs = manifest.model.output.shape[-1]
    fine = f"{len(wanted)} labels for as many outputs, in the head's order"
    if len(got) != outputs:
        return f"the model file names {len(got)} labels for {outputs} outputs; export the run again", fine
    if got != wanted:
        place = next(i for i, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1])
        return f"output {place} is {wanted[place]!r} but the model file calls it {got[place]!r}", fine
    if labels_sha256(wanted) != candidate.labels_sha256:
        return f"the run's labels {', '.join(wanted)} are not those that its head was trained with; train again", fine
    return "", fine


def _accuracy(candidate: Candidate) -> Finding:
    if candidate.accuracy is None:
        return "", "not measured: no validation photos, or no float model beside it"
    reference, exported = candidate.accuracy
    drop = 100 * (reference - exported)
    named = candidate.max_drop is not None
    budget = candidate.max_drop if candidate.max_drop is not None else DEFAULT_MAX_DROP
    # Without a budget of the user's a handful of photos is no reason to refuse.
    fails = drop > budget + 1e-9 and (named or drop * candidate.val_samples > 300)
    what = {"": "on validation photos", LEFT_OUT: LEFT_OUT}.get(
        candidate.measure, f"{candidate.measure} on validation photos"
    )
    fine = f"{exported:.1%} {what}, {-drop:+.1f} points beside the float model (budget -{budget:g})"
    return (
        f"{exported:.1%} {what}, the float model {reference:.1%}: {drop:.1f} points lost, more than "
        f"{'the budget of' if named else 'any budget should be:'} {budget:g}; try --max-drop, another recipe or "
        "backbone"
        if fails
        else ""
    ), fine


def _size(candidate: Candidate) -> Finding:
    size_bytes = len(candidate.model)
    if candidate.device is None:
        return "", f"{size_bytes:,} bytes, for no device in particular"
    room_bytes = candidate.device.max_model_bytes
    text = f"{size_bytes:,} bytes, the budget of {candidate.device.slug} is {room_bytes:,}"
    return f"{text}; take a smaller backbone, alpha or recipe" if size_bytes > room_bytes else "", text


def _runtime(candidate: Candidate) -> Finding:
    device, manifest = candidate.device, candidate.manifest
    support = None if device is None else next((one for one in device.engines if one.name == "litert"), None)
    if device is None or support is None or manifest.format != "litert":
        return "", "nothing older than the newest engine is asked for"
    if support.package != "tflite-runtime":
        return "", f"{support.package} is current"
    late = op_versions.too_new(candidate.model)
    fine = "tflite-runtime 2.14 has every op in the version that the file needs"
    return (
        f"{device.slug} has tflite-runtime 2.14, which is too old for {', '.join(late)}; another recipe may do without"
        if late
        else ""
    ), fine


def _accelerator(ops: Sequence[OpFact], device: Device | None, manifest: Manifest) -> Finding:
    known = [] if device is None else [item for item in device.accelerators if item.ops]
    if device is None or not known or manifest.format == "onnx":
        return "", "no accelerator whose ops are known is asked for"
    faults = []
    for item in known:
        left, share = left_to_cpu(ops, item)
        if left:
            faults.append(
                f"{item.name} does not take {', '.join(left)}: {share:.1%} of the compute falls back to the CPU"
            )
    return "; ".join(faults), f"{', '.join(item.name for item in known)}: takes every op that computes"


def _outputs(outputs: NDArray[Any] | None, tensor: TensorSpec) -> Finding:
    if outputs is None or len(outputs) < 2:
        return "", "not looked at: no real photos at hand"
    fine = f"differ over {len(outputs)} photos"
    if not np.isfinite(outputs.astype(np.float64)).all():
        return "some are NaN or infinite; the backbone overflows, try recipe float32", fine
    if (outputs == outputs[0]).all():
        return f"are the same for all {len(outputs)} photos: the model does not see its input", fine
    if tensor.dtype != "float32":
        limits = np.iinfo(tensor.dtype)
        share = float(np.isin(outputs, (limits.min, limits.max)).mean())
        if share > MOST_SATURATED:
            return f"{share:.1%} of the logits are at the end of {tensor.dtype}'s range: saturated", fine
    return "", fine


def as_text(gates: Sequence[Gate]) -> list[str]:
    """Return a line for people: all hold, or which were allowed."""
    allowed = [gate for gate in gates if gate.allowed]
    if not allowed:
        return [f"gates          {len(gates)} hold"]
    return [f"gate allowed   {gate.name}: {gate.detail}" for gate in allowed]
