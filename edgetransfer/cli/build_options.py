"""The options that plan, train and build share, and how they become `BuildOptions`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.errors import WeightsError

if TYPE_CHECKING:
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.spec.preprocess import Normalisation

FilePath = click.Path(path_type=Path)
"""Any path; whether it is there is for the stage to say, in its own words."""
Command = Callable[..., Any]
GOLDEN_HELP = (
    "Raw images that the bundle carries, so that it can be verified on the device. own: a few of YOUR images, EXIF "
    "stripped, which anyone who has the bundle can look at; synthetic: computed patterns; none."
)
_GIVEN, _GIVEN_BY = "edgetransfer.given", "edgetransfer.given_by"
BOTH = "both"
FORMATS = click.Choice(["litert", "onnx", "tflm", BOTH])
GOLDEN = click.Choice(["own", "synthetic", "none"])
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="What computes, for ONNX Runtime: cpu, cuda, tensorrt ...; several times for an order of preference. "
    "[default: what the bundle was built for]",
)


def read_normalisation(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Normalisation | None:
    """Return what `value` writes: SCALE,ZERO_POINT, where the scale may be a fraction.

    Raises:
        BadParameter: it is something else, or out of range.
    """
    from edgetransfer.spec.preprocess import Normalisation

    if value is None:
        return None
    try:
        scale_text, zero_text = value.split(",")
        above, _, below = scale_text.partition("/")
        scale, zero_point = float(above) / float(below or 1), int(zero_text)
    except (ValueError, ZeroDivisionError):
        scale, zero_point = 0.0, 0
    if not 0 < scale < float("inf") or not 0 <= zero_point <= 255:
        raise click.BadParameter(
            f"{value!r}: expected a number above 0 and a pixel value from 0 to 255, such as 1/127,127",
            ctx,
            parameter,
        )
    return Normalisation(scale, zero_point)


def _read_config(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Make what the file says the defaults of the other options."""
    if value is None:
        return
    from edgetransfer.spec.transfer_file import read_transfer_file

    set_defaults(ctx, "--config", read_transfer_file(value))


def set_defaults(ctx: click.Context, option: str, values: Mapping[str, Any]) -> None:
    """Make `values`, by the names of options in the program, the defaults of those that the command has.

    Raises:
        UsageError: another option than `option` has done so already.
    """
    if _GIVEN_BY in ctx.meta:
        raise click.UsageError(f"{ctx.meta[_GIVEN_BY]} and {option}: both say what options are; leave one of them out")
    known = {parameter.name for parameter in ctx.command.params}
    ctx.default_map = {**(ctx.default_map or {}), **{name: one for name, one in values.items() if name in known}}
    ctx.meta[_GIVEN_BY], ctx.meta[_GIVEN] = option, dict(values)


def settings(ctx: click.Context) -> dict[str, Any]:
    """Return what the command's options are, by their names in the program, and what a file said of other commands'."""
    return {**ctx.meta.get(_GIVEN, {}), **ctx.params}


config_option: Callable[[Command], Command] = click.option(
    "--config",
    type=FilePath,
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    metavar="transfer.toml",
    help="Take DATA and options from this file; what is also given here comes first.",
)
_OF_MODEL: tuple[Callable[[Command], Command], ...] = (
    click.argument("data", type=FilePath),
    click.option("--backbone", default="efficientnet_lite0", show_default=True, metavar="NAME",
                 help="A name of 'edgetransfer backbones', or keras:PATH for your own .keras or .h5 image model."),
    click.option("--alpha", type=click.FloatRange(0, min_open=True), metavar="FACTOR",
                 help="Width multiplier. [default: the backbone's]"),
    click.option("--input-size", "input_px", type=click.IntRange(1), metavar="PX",
                 help="Height and width of the model's input. [default: the backbone's]"),
    click.option("--weights", type=FilePath, metavar="FILE",
                 help="Pretrained weights from this file, not from the cache or the network."),
    click.option("--normalise", "normalisation", callback=read_normalisation, metavar="SCALE,ZERO_POINT",
                 help="What a keras:PATH model expects of a pixel: SCALE * (pixel - ZERO_POINT), such as 1/127,127."),
    click.option("--recipe", metavar="NAME",
                 help="A name of 'edgetransfer recipes', or a .toml file of your own. [default: what suits the "
                 "device, else static_int8]"),
    click.option("--format", type=FORMATS,
                 help="File format: litert, onnx, tflm (microcontrollers), or both: litert and onnx, a bundle each. "
                 "[default: that of the device's first engine, else litert]"),
    click.option("--max-drop", type=click.FloatRange(0), metavar="POINTS",
                 help="What the recipe may cost, in points of validation accuracy beside the float model. Where it "
                 "costs more, the fewest and cheapest ops are kept in floats until it does not."),
    click.option("--max-evaluations", type=click.IntRange(1), default=16, show_default=True, metavar="N",
                 help="Heads to train at most in search of those ops."),
    click.option("--device", metavar="NAME",
                 help="What the bundle is for: a name of 'edgetransfer devices list', or a .toml file. [default: any]"),
    click.option("--fit", type=click.Choice(["crop", "squash", "pad"]),
                 help="How an image meets the square. [default: what does best on training and validation images]"),
    click.option("--head-on", type=click.Choice(["deployed", "float"]), default="deployed", show_default=True,
                 help="Train the head on features of the quantized backbone, or of the float one for comparison."),
    click.option("--golden", type=GOLDEN, default="own", show_default=True, help=GOLDEN_HELP),
    click.option("--float-reference/--no-float-reference", default=True, show_default=True,
                 help="Also train and score an all-float model, to say what quantization cost."),
)  # fmt: skip  # one option, one paragraph: exploded it would be three pages
_OF_HEAD: tuple[Callable[[Command], Command], ...] = (
    click.option("--augment", type=click.IntRange(0), default=0, show_default=True, metavar="N",
                 help="Augmented views of each training image: flipped, cropped, recoloured, partly erased."),
    click.option("--hidden", type=click.IntRange(0), metavar="N",
                 help="Size of the head's hidden layer, 0 for none. [default: chosen on the validation split; 0 where "
                 "the head is outside of the graph]"),
    click.option("--dropout", "dropouts", type=click.FloatRange(0, 1, max_open=True), multiple=True, metavar="RATE",
                 help="Dropout to choose from on the validation split; may be given several times."),
    click.option("--weight-decay", "weight_decays", type=click.FloatRange(0), multiple=True, metavar="FACTOR",
                 help="Weight decay to choose from on the validation split; may be given several times."),
    click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True,
                 metavar="SHARE", help="Share of a label's weight that goes to all classes alike."),
    click.option("--balance/--no-balance", default=False, show_default=True, help="Weight rare classes up."),
    click.option("--ensemble", is_flag=True,
                 help="Average the heads that were tried, as one larger head, where validation gains by it."),
    click.option("--epochs", type=click.IntRange(1), default=25, show_default=True, metavar="N",
                 help="At most so many; training stops early when validation gets no better."),
    click.option("--loss", metavar="NAME",
                 help="A Keras loss by name that fits the task. [default: smoothed cross-entropy]"),
    click.option("--optimizer", default="adam", show_default=True, metavar="NAME",
                 help="A Keras optimizer by name."),
    click.option("--drop-near-duplicates", is_flag=True,
                 help="Leave out training images that also stand, nearly the same, in a split that you made."),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
                 help="Of splits, augmented views, order and dropout."),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]"),
)  # fmt: skip


def build_options(function: Command) -> Command:
    """Add DATA and all options of a build; `function` gets them as one `options: BuildOptions`."""

    @functools.wraps(function)
    def with_options(**given: Any) -> Any:
        own = {name: given.pop(name) for name in list(given) if name not in names}
        return function(options=_collect(**given), **own)

    its_own = _parameters(function)
    command: Command = with_options
    for decorate in reversed((*_OF_MODEL, *_OF_HEAD, config_option)):
        command = decorate(command)
    names = _parameters(command) - its_own
    return command


def head_options(function: Command) -> Command:
    """Add DATA and the options of training a head; `function` gets them as `options`, whose backbone means nothing."""

    @functools.wraps(function)
    def with_options(**given: Any) -> Any:
        own = {name: given.pop(name) for name in list(given) if name not in names}
        options = _collect(backbone="", alpha=None, input_px=None, weights=None, normalisation=None, **given)
        return function(options=options, **own)

    its_own = _parameters(function)
    command: Command = with_options
    for decorate in reversed((_OF_MODEL[0], *_OF_HEAD, config_option)):
        command = decorate(command)
    names = _parameters(command) - its_own
    return command


def read_heads(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """Return (name, data) of each NAME=DATA.

    Raises:
        BadParameter: there is no name, or no data.
    """
    pairs = [text.partition("=") for text in value]
    for name, equals, data in pairs:
        if not (name.isidentifier() and name == name.lower() and equals and data):
            raise click.BadParameter(
                f"expected NAME=DATA, the name of lower-case letters, got {name + equals + data!r}", ctx, parameter
            )
    return tuple((name, Path(data)) for name, _, data in pairs)


REJECT_HELP = (
    "Share of inputs like the training data that may be turned away (0.05 is five in a hundred): what is unlike it "
    "then gets no label. Needs validation data; makes a --split bundle. [default: nothing is rejected]"
)
teachable_option = click.option(
    "--teachable",
    is_flag=True,
    help="Let the head be taught new labels on the device: it carries features of a few validation samples for that. "
    "Makes a --split bundle.",
)
reject_option = click.option("--reject", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="SHARE",
                             help=REJECT_HELP)  # fmt: skip


def _parameters(function: Command) -> set[str | None]:
    """Return the names of the parameters that click's decorators have given `function` so far."""
    return {parameter.name for parameter in vars(function).get("__click_params__", ())}


def _collect(
    *,
    backbone: str,
    alpha: float | None,
    input_px: int | None,
    weights: Path | None,
    normalisation: Normalisation | None,
    **others: Any,
) -> BuildOptions:
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.spec.backbone import BackboneChoice

    if weights is not None and not weights.is_file():
        raise WeightsError(f"weights file {str(weights)!r}: {'is a folder' if weights.is_dir() else 'no such file'}")
    return BuildOptions(backbone=BackboneChoice(backbone, alpha, input_px, weights, normalisation), **others)
