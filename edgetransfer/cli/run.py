"""The command run: images, sounds or sentences in, answers out."""

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
        'edgetransfer run intents.bundle "I have lost my card"',
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
    """Say what is in images, sounds or sentences.

    FILES are images or sounds, what the bundle looks at: files, folders (searched below as well), or - for one on
    standard input. For a bundle of sentences they are the sentences themselves, and - reads one from each line. What
    cannot be read is told on standard error, the others go on, and the exit code is 1.
    """
    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.spec.bundle import Bundle

    opened, results = Bundle.load(bundle), []
    kind = opened.manifest.preprocess.kind
    extras.require(kind)
    with Predictor.load(opened, engine=engine, threads=threads, providers=providers or None) as predictor:
        outcomes = _said(predictor, files) if kind == "text" else _outcomes(predictor, files)
        for file, outcome in outcomes:
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
            found = _files(given, predictor.bundle.manifest.preprocess.kind)
        except (InputError, OSError) as error:
            yield given, {"error": _text(given, error)}
            continue
        for name in found:
            yield name, _outcome(predictor, name)


def _said(predictor: Predictor, sentences: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each sentence with its result, or with what is wrong with it."""
    for given in sentences:
        for text in sys.stdin.read().splitlines() if given == STANDARD_INPUT else [given]:
            try:
                found: dict[str, Any] = predictor.predict(text).to_json()
            except InputError as error:
                found = {"error": console.one_line(str(error))}
            yield text, found


def _files(given: str, kind: str) -> list[str]:
    """Return the images or sounds that `given` stands for.

    Raises:
        InputError: it is a folder without any.
    """
    from edgetransfer.data.suffixes import SUFFIXES

    suffixes = SUFFIXES[kind]
    path = Path(given)
    if given == STANDARD_INPUT or not path.is_dir():
        return [given]
    found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        what = "images" if kind == "image" else "sounds"
        raise InputError(f"{given}: expected {what} in the folder, found none ({', '.join(sorted(suffixes))})")
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
    """Return an outcome as a line; of several heads one line each."""
    if all(isinstance(value, dict) for value in outcome.values()):
        return "\n".join([f"{name}:", *(f"  {_line(head, found, top)}" for head, found in outcome.items())])
    if "label" not in outcome or "scores" not in outcome:
        return f"{name}: {', '.join(f'{key} {_brief(value)}' for key, value in outcome.items())}"
    likeliest = sorted(outcome["scores"].items(), key=lambda pair: -pair[1])[:top]
    if outcome["label"] is None:
        guesses = ", ".join(f"{label} {score:.3f}" for label, score in likeliest)
        return f"{name}: unknown: {outcome.get('reason', '')}  ({guesses})"
    others = ", ".join(f"{label} {score:.3f}" for label, score in likeliest[1:])
    return f"{name}: {outcome['label']} {outcome['score']:.3f}" + (f"  ({others})" if others else "")


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = [_brief(one) for one in value[:8]]
        return f"[{', '.join(shown)}{', ...' if len(value) > len(shown) else ''}]"
    return str(value)
