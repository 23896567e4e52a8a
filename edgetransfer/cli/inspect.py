"""The command inspect: what is in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console
from edgetransfer.cli.build_options import FilePath

if TYPE_CHECKING:
    from edgetransfer.spec.bundle import Bundle
    from edgetransfer.spec.task import Task
    from edgetransfer.spec.tensor import TensorSpec


@click.command(epilog=console.example("edgetransfer inspect waste.bundle"))
@click.argument("bundle", type=FilePath)
@console.json_option
def inspect(bundle: Path, as_json: bool) -> None:
    """Show what is in a bundle.

    Reads its manifest; whether the files are the ones it speaks of says edgetransfer verify.
    """
    from edgetransfer.spec.bundle import Bundle

    console.emit(_Contents(Bundle.load(bundle)), as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Contents:
    """A bundle, as the report of inspect."""

    bundle: Bundle

    def to_json(self) -> dict[str, Any]:
        """Return the whole manifest and the bundle's hash."""
        return {"sha256": self.bundle.sha256, **self.bundle.manifest.to_json()}

    def as_text(self) -> str:
        """Return what a reader wants to know, a line each."""
        facts = [*_model_facts(self.bundle), *_origin_facts(self.bundle)]
        files = [[name, f"{file.size_bytes:,} bytes"] for name, file in self.bundle.manifest.files.items()]
        lines = [f"{self.bundle.manifest.name}  {self.bundle.sha256[:12]}"]
        lines += [f"  {name:<12}{value}" for name, value in facts]
        lines += ["  files", *(f"    {line}" for line in console.table(files).splitlines())]
        return "\n".join(lines)


def _model_facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    from edgetransfer.runtime.heads import load_heads

    recipe = manifest.recipe
    kind = "scores" if manifest.model.scores_in_graph else "features" if manifest.is_split else "logits"
    tasks = [(f"head {head.name}", head.task) for head in load_heads(bundle)] if manifest.is_split else []
    return [
        *(fact for name, task in tasks or [("task", manifest.task)] for fact in _task_facts(name, task)),
        (manifest.preprocess.kind, manifest.preprocess.summary),
        ("input", _tensor(manifest.model.input)),
        ("output", f"{_tensor(manifest.model.output)}, {kind}"),
        ("recipe", f"{recipe.name}: weights {recipe.weights}, activations {recipe.activations}"),
        ("format", manifest.format),
    ]


def _task_facts(name: str, task: Task) -> list[tuple[str, str]]:
    if task.kind == "regression":
        return [(name, f"{task.kind}, {task.labels[0]}{f' in {task.unit}' if task.unit else ''}")]
    temperature = "" if task.temperature == 1 else f", temperature {task.temperature:g}"
    return [(name, f"{task.kind}, {len(task.labels)} labels{temperature}"), ("labels", ", ".join(task.labels))]


def _origin_facts(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    backbone, golden = manifest.backbone, manifest.golden
    facts = [("backbone", f"{backbone.name}, alpha {backbone.alpha:g}, pretrained on {backbone.pretrained_on}")]
    facts += [("licence", f"{item.component}: {item.licence} {item.url}") for item in manifest.licences]
    facts.append(("device", manifest.device or "any"))
    facts.append(("golden", "none" if golden is None else f"{golden.kind}, {golden.samples} samples"))
    for split, metric in manifest.metrics.items():
        facts.append(("accuracy", f"{metric.accuracy:.2%} of {metric.samples} {split} samples"))
    counts = ", ".join(f"{split} {count}" for split, count in manifest.data.counts.items())
    facts.append(("data", f"{counts}; fingerprint {manifest.data.fingerprint[:12]}"))
    facts += [("allowed", text) for text in manifest.allowed]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    facts.append(("made by", f"edgetransfer {manifest.edgetransfer}" + (f" with {versions}" if versions else "")))
    return facts


def _tensor(tensor: TensorSpec) -> str:
    pair = tensor.quantization
    meaning = "" if pair is None else f", real = {pair.scale:g} * (stored - {pair.zero_point})"
    return f"{tensor.dtype} {tensor.shape}{meaning}"
