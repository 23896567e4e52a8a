"""The command run: images in, answers out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option
from edgetransfer.errors import EngineError, InputError

if TYPE_CHECKING:
    from edgetransfer.runtime.predictor import Predictor

STANDARD_INPUT = "-"


@click.command(
    epilog=console.example(
        "edgetransfer run waste.bundle bottle.jpg more_photos/",
        "cat bottle.jpg | edgetransfer run waste.bundle - --json",
    )
)
@click.argument("bundle", type=FilePath)
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="How many of the likeliest labels to print; --json has them all.")  # fmt: skip
@click.option("--engine", metavar="NAME", help="An engine's name. [default: that of the bundle's format]")
@provider_option
@click.option("--threads", type=click.IntRange(1), metavar="N",
              help="Threads of one inference. [default: what 'profile --choose' kept here, else 1]")  # fmt: skip
@console.json_option
@click.pass_context
def run(
    ctx: click.Context,
    bundle: Path,
    files: tuple[str, ...],
    top: int,
    engine: str | None,
    providers: tuple[str, ...],
    threads: int | None,
    as_json: bool,
) -> None:
    """Say what is in images.

    FILES are images, folders (searched for images, below as well), or - for one image on standard input. What
    cannot be read is told on standard error, the others go on, and the exit code is 1.
    """
    extras.require("image")
    from edgetransfer.runtime.predictor import Predictor

    results = []
    with Predictor.load(bundle, engine=engine, threads=threads, providers=providers or None) as predictor:
        for file, outcome in _outcomes(predictor, files):
            results.append({"file": file, **outcome})
            if "error" in outcome:
                click.echo(f"Error: {outcome['error']}", err=True)
            elif not as_json:
                click.echo(_line(file, outcome, top))
    if as_json:
        console.emit_json({"results": results})
    ctx.exit(1 if any("error" in result for result in results) else 0)


def _outcomes(predictor: Predictor, files: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each image's name with its result, or with what is wrong with it."""
    for given in files:
        try:
            found = _images(given)
        except (InputError, OSError) as error:
            yield given, {"error": _text(given, error)}
            continue
        for name in found:
            yield name, _outcome(predictor, name)


def _images(given: str) -> list[str]:
    """Return the images that `given` stands for.

    Raises:
        InputError: it is a folder without any.
    """
    from edgetransfer.data.sources import PHOTO_SUFFIXES

    path = Path(given)
    if given == STANDARD_INPUT or not path.is_dir():
        return [given]
    found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{given}: expected images in the folder, found none ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return found


def _outcome(predictor: Predictor, name: str) -> dict[str, Any]:
    try:
        image = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name)
        found: dict[str, Any] = predictor.predict(image).to_json()
    except EngineError:
        raise  # nothing else would go better
    except (InputError, OSError) as error:
        return {"error": _text(name, error)}
    return found


def _text(name: str, error: Exception) -> str:
    text = console.os_error_text(error) if isinstance(error, OSError) else console.one_line(str(error))
    return text if name in text or name == STANDARD_INPUT else f"{name}: {text}"


def _line(name: str, outcome: dict[str, Any], top: int) -> str:
    likeliest = sorted(outcome["scores"].items(), key=lambda pair: -pair[1])[:top]
    others = ", ".join(f"{label} {score:.3f}" for label, score in likeliest[1:])
    return f"{name}: {outcome['label']} {outcome['score']:.3f}" + (f"  ({others})" if others else "")
