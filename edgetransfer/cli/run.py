"""The command run: images, sounds or sentences in, answers out; streams of them are in run_stream.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option
from edgetransfer.cli.results import result_line
from edgetransfer.cli.run_stream import STANDARD_INPUT, StreamWish, Write, answer_stream, check_wish, stream_options
from edgetransfer.errors import EngineError, InputError

if TYPE_CHECKING:
    from edgetransfer.runtime.predictor import Predictor


@click.command(
    epilog=console.example(
        "edgetransfer run waste.bundle bottle.jpg more_photos/",
        "cat bottle.jpg | edgetransfer run waste.bundle - --json",
        'edgetransfer run intents.bundle "I have lost my card"',
        "edgetransfer run sounds.bundle hour.wav --stream --smooth 5 --changes",
        "arecord -q -t raw -f S16_LE -r 16000 | edgetransfer run sounds.bundle - --rate 16000",
        "ffmpeg -loglevel error -i /dev/video0 -f rawvideo -pix_fmt rgb24 -s 640x480 - \\",
        "      | edgetransfer run waste.bundle --frames - --size 640x480 --json",
    )
)
@click.argument("bundle", type=FilePath)
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True))
@stream_options
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
    wish: StreamWish,
) -> None:
    """Say what is in images, sounds or sentences.

    FILES are images or sounds, what the bundle looks at: files, folders (searched below as well), or - for one on
    standard input. For a bundle of sentences they are the sentences themselves, and - reads one from each line. What
    cannot be read is told on standard error, the others go on, and the exit code is 1.

    With --stream, --rate or --frames every window or frame is answered as it comes, with its time in seconds; --json
    then prints a document a line. A stream ends with its input or with Ctrl-C, which gives exit code 130.
    """
    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.spec.bundle import Bundle

    check_wish(wish, files)
    opened, results = Bundle.load(bundle), []
    kind = opened.manifest.preprocess.kind
    if not wish.wanted or any(name != STANDARD_INPUT for name in files):
        extras.require(kind)  # what comes through a pipe is raw and needs none
    with Predictor.load(opened, engine=engine, threads=threads, providers=providers or None) as predictor:
        if wish.wanted:
            found = [name for given in files for name in _files(given, kind)]
            answer_stream(ctx, predictor, found, wish, _line_writer(top, as_json=as_json))
        outcomes = _said(predictor, files) if kind == "text" else _outcomes(predictor, files)
        for file, outcome in outcomes:
            results.append({"file": file, **outcome})
            if "error" in outcome:
                click.echo(f"Error: {outcome['error']}", err=True)
            elif not as_json:
                click.echo(result_line(file, outcome, top))
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


def _line_writer(top: int, *, as_json: bool) -> Write:
    def write(at: str, answer: dict[str, Any]) -> None:
        if as_json:
            console.emit_json(answer, one_line=True)
        else:
            result = {key: value for key, value in answer.items() if key not in ("file", "start_s", "end_s")}
            click.echo(result_line(at, result, top))

    return write
