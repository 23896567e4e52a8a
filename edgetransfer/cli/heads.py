"""The commands heads: a few kilobytes each, trained for, added to and taken from a bundle that stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, head_options, reject_option, teachable_option
from edgetransfer.cli.head_options import HeadSays, head_says

if TYPE_CHECKING:
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.spec.head import Head


@click.group(
    cls=console.Group,
    epilog=console.example(
        "edgetransfer heads train lids/ --bundle waste.bundle --output lid.head",
        "edgetransfer heads add waste.bundle lid.head",
    ),
)
def heads() -> None:
    """List, train, add or remove heads of a bundle.

    A bundle that was built with --split ends in features; heads of a few kilobytes make answers of them. Heads come
    and go on the device while the backbone stays, and the backbone computes once for all of them.
    """


@heads.command("list", epilog=console.example("edgetransfer heads list waste.bundle"))
@click.argument("bundle", type=FilePath)
@console.json_option
def list_heads(bundle: Path, as_json: bool) -> None:
    """List the heads that answer for BUNDLE."""
    from edgetransfer.runtime.heads import load_heads
    from edgetransfer.spec.bundle import Bundle

    console.emit(_Heads(load_heads(Bundle.load(bundle))), as_json=as_json)


@heads.command("add", epilog=console.example("edgetransfer heads add waste.bundle lid.head"))
@click.argument("bundle", type=FilePath)
@click.argument("head", type=FilePath)
@console.json_option
def add(bundle: Path, head: Path, as_json: bool) -> None:
    """Put HEAD beside BUNDLE, where it answers from now on.

    A head of the same name is replaced. The bundle's own files stay as they were verified.
    """
    from edgetransfer.runtime.heads import add_head, load_heads, read_head
    from edgetransfer.spec.bundle import Bundle

    opened = Bundle.load(bundle)
    add_head(opened, read_head(head))
    console.emit(_Heads(load_heads(opened)), as_json=as_json)


@heads.command("remove", epilog=console.example("edgetransfer heads remove waste.bundle lid"))
@click.argument("bundle", type=FilePath)
@click.argument("name")
@console.json_option
def remove(bundle: Path, name: str, as_json: bool) -> None:
    """Take the head NAME away from beside BUNDLE.

    One of that name that the bundle itself carries answers again.
    """
    from edgetransfer.runtime.heads import load_heads, remove_head
    from edgetransfer.spec.bundle import Bundle

    opened = Bundle.load(bundle)
    remove_head(opened, name)
    console.emit(_Heads(load_heads(opened)), as_json=as_json)


@heads.command(
    "train", epilog=console.example("edgetransfer heads train lids/ --bundle waste.bundle --output lid.head")
)
@head_options
@click.option("--bundle", type=FilePath, required=True, metavar="NAME.bundle", help="Whose backbone the head is for.")
@click.option("--output", type=FilePath, required=True, metavar="NAME.head", help="The file to write.")
@click.option("--name", metavar="NAME", help="What results are called by. [default: the output's name]")
@head_says
@reject_option
@teachable_option
@click.option("--force", is_flag=True, help="Replace what is there already.")
@console.json_option
@console.quiet_option
def train(
    options: BuildOptions,
    says: HeadSays,
    bundle: Path,
    output: Path,
    name: str | None,
    reject: float | None,
    teachable: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a head for the backbone inside a bundle.

    DATA is as for build. Features are computed by the bundle's own model, so no weights are needed, and what the head
    learns from is what the device computes. A table with the column labels or value makes a head of several labels or
    of a quantity.
    """
    extras.require("train")
    from edgetransfer.cli.build import working
    from edgetransfer.pipeline.split import train_head
    from edgetransfer.spec.bundle import Bundle

    (wish,) = says.wishes([(name or output.name.removesuffix(".head"), options.data)])
    with working(quiet, kept="features that were computed are in the cache") as watcher:
        report = train_head(
            Bundle.load(bundle),
            wish,
            output,
            says.options(options),
            reject=reject,
            teachable=teachable,
            force=force,
            watcher=watcher,
        )
    console.emit(report, as_json=as_json)


@heads.command("teach", epilog=console.example("edgetransfer heads teach waste.bundle battery photos/batteries/*.jpg"))
@click.argument("bundle", type=FilePath)
@click.argument("label")
@click.argument("files", nargs=-1, required=True)
@click.option("--head", metavar="NAME", help="Which head, of a bundle that has several.")
@click.option("--max-forgetting", type=click.FloatRange(0, 1), default=0.0, show_default=True, metavar="SHARE",
              help="Share of the right answers so far that the lesson may cost, as far as the head's own memory of "
              "examples can tell.")  # fmt: skip
@console.json_option
def teach(
    bundle: Path, label: str, files: tuple[str, ...], head: str | None, max_forgetting: float, as_json: bool
) -> None:
    """Teach a head a label from a few examples, on this device.

    A LABEL that it does not know becomes a new one; one that it knows is corrected. Needs numpy and the engine only,
    and a head that was built with --teachable. The bundle's own files stay as they are; heads undo takes it back.
    """
    from edgetransfer.runtime.personalizer import Personalizer
    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.spec.bundle import Bundle

    opened = Bundle.load(bundle)
    extras.require(opened.manifest.preprocess.kind)
    with Predictor.load(opened) as predictor:
        lesson = Personalizer(predictor, head).teach(label, files, max_forgetting=max_forgetting)
    console.emit(lesson, as_json=as_json)


@heads.command("undo", epilog=console.example("edgetransfer heads undo waste.bundle"))
@click.argument("bundle", type=FilePath)
@click.option("--head", metavar="NAME", help="Which head, of a bundle that has several.")
@console.json_option
def undo(bundle: Path, head: str | None, as_json: bool) -> None:
    """Take the last lesson back.

    Again and again, up to the head as it came.
    """
    from edgetransfer.runtime.heads import load_heads
    from edgetransfer.runtime.personalizer import Personalizer
    from edgetransfer.runtime.predictor import Predictor

    with Predictor.load(bundle) as predictor:
        Personalizer(predictor, head).undo()
        console.emit(_Heads(load_heads(predictor.bundle)), as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Heads:
    """The heads of a bundle, for a reader."""

    heads: tuple[Head, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the heads as JSON values."""
        return {
            "heads": [
                {
                    "name": head.name,
                    "task": head.task.to_json(),
                    "rejects": None if head.outliers is None else head.outliers.false_reject_rate,
                    "metrics": {split: dict(values) for split, values in head.metrics.items()},
                }
                for head in self.heads
            ]
        }

    def as_text(self) -> str:
        """Return a line for each head."""
        if not self.heads:
            return "no heads: the bundle gives features only"
        return console.table([[head.name, head.task.kind, *_answers(head)] for head in self.heads])


def _answers(head: Head) -> list[str]:
    """Return how many answers a head has, and which; of a quantity its name and unit."""
    if head.task.kind == "regression":
        return ["a value", f"{head.task.labels[0]}{f' in {head.task.unit}' if head.task.unit else ''}"]
    return [f"{len(head.task.labels)} labels", _labels(head)]


def _labels(head: Head) -> str:
    text = ", ".join(head.task.labels)
    return text if len(text) <= 60 else f"{text[:57]}..."
