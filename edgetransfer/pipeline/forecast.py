"""Says how long an image will take on a device: before training from the float backbone, afterwards from the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgetransfer.estimate.latency import Prediction, predict
from edgetransfer.estimate.memory import Memory
from edgetransfer.estimate.op import Op, Precision
from edgetransfer.export import get_exporter
from edgetransfer.features.deploy import float_backbone
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device
from edgetransfer.spec.latency import CPU
from edgetransfer.spec.recipe import Plan, Recipe

_WEIGHTED = ("conv", "depthwise", "dense")


def why_unknown(device: Device, providers: Sequence[str]) -> str:
    """Return why nothing can be predicted of what `providers` compute on `device`; "" where it can.

    It is about the CPU; ONNX Runtime's first provider may be another processor. See `placement` for those.
    """
    if providers and providers[0] != "cpu":
        return f"no figures are known of {providers[0]} on {device.slug}"
    known = any(speed.processor == CPU for speed in device.speeds)
    return "" if known else f"the device file of {device.slug} has no figures of its CPU to predict it from"


def forecast_plan(plan: Plan, choice: BackboneChoice, device: Device) -> Prediction | None:
    """Return how long an image will take by `plan`, the head left out; None if nothing is known of the device's speed.

    The backbone is converted for it, once: the build takes the same graph from the cache.
    """
    if why_unknown(device, plan.providers):
        return None
    return predict(costs_of_plan(plan, choice), device.speeds, engine=plan.engine, threads=device.threads)


def costs_of_plan(plan: Plan, choice: BackboneChoice) -> list[Op]:
    """Return what each op of the backbone will cost as `plan` makes it, from the float graph."""
    graph = float_backbone(choice, plan.format).graph
    exporter = get_exporter(plan.format)
    # Of ONNX a graph of integers has other ops than one of floats.
    tell = getattr(exporter, "integer_costs", exporter.costs) if plan.recipe.is_static else exporter.costs
    return [replace(op, precision=_precision(op, plan.recipe)) for op in tell(graph)]


def forecast_bundle(bundle: Bundle, device: Device) -> Prediction | None:
    """Return how long an image will take in `bundle` on a device; None if nothing is known of its speed."""
    if why_unknown(device, bundle.manifest.model.providers):
        return None
    exporter = get_exporter(bundle.manifest.format)
    ops = exporter.costs((bundle.path / bundle.manifest.model.file).read_bytes())
    return predict(ops, device.speeds, engine=exporter.ENGINE, threads=device.threads)


def forecast_memory(bundle: Bundle) -> Memory | None:
    """Return the memory that `bundle` will take; None for formats whose engine does not plan by a rule known here."""
    tell = getattr(get_exporter(bundle.manifest.format), "memory", None)
    return None if tell is None else tell((bundle.path / bundle.manifest.model.file).read_bytes())


def budget_words(prediction: Prediction, max_latency_ms: float | None) -> str:
    """Return how the prediction stands to the device's target, to follow it in a line; nothing without a target."""
    if max_latency_ms is None:
        return ""
    if prediction.high_ms <= max_latency_ms:
        return f"; within the target of {max_latency_ms:g} ms"
    if prediction.low_ms <= max_latency_ms:
        return f"; may exceed the target of {max_latency_ms:g} ms"
    return f"; above the target of {max_latency_ms:g} ms: take a smaller backbone, input size or alpha"


def _precision(op: Op, recipe: Recipe) -> Precision:
    """Return what `recipe` makes a float op compute in; CPUs compute float16 files in float32."""
    if recipe.is_static:
        return "int16" if recipe.activations == "int16" else "int8"
    if op.kind in _WEIGHTED and recipe.weights == "int8":
        return "dynamic_int8"
    return "weight_int4" if op.kind in _WEIGHTED and recipe.weights == "int4" else "float32"
