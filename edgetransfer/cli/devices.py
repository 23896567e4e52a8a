"""The commands that list the known devices, show one, and check a user's own device file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetransfer.cli import console

if TYPE_CHECKING:
    from edgetransfer.spec.device import Device


@click.group(
    cls=console.Group,
    invoke_without_command=True,
    epilog=console.example("edgetransfer devices", "edgetransfer devices list --class camera"),
)
@click.pass_context
def devices(ctx: click.Context) -> None:
    """List the known devices, show one, or check a file.

    Without a command it lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_devices)


@devices.command(
    "list",
    epilog=console.example(
        "edgetransfer devices list --class camera --accelerator npu",
        "edgetransfer devices list --engine onnx --recipe static_int8 --json",
    ),
)
@click.option("--class", "device_class", metavar="NAME", help="Only devices of this class, such as sbc or in_car.")
@click.option("--engine", metavar="NAME", help="Only devices that this engine runs on.")
@click.option("--recipe", metavar="NAME", help="Only devices that run this recipe; with --engine, on that engine.")
@click.option("--accelerator", metavar="KIND", help="Only devices with such an accelerator: gpu or npu.")
@console.json_option
def list_devices(
    device_class: str | None, engine: str | None, recipe: str | None, accelerator: str | None, as_json: bool
) -> None:
    """List the known devices.

    More can be had with a .toml file of your own: devices/README.md explains each field.
    """
    from edgetransfer.spec import device_file
    from edgetransfer.spec.device import device_names, load_device
    from edgetransfer.spec.recipe import RECIPES

    _must_be_known("device class", device_class, device_file.CLASSES)
    _must_be_known("engine", engine, device_file.ENGINES)
    _must_be_known("recipe", recipe, RECIPES)
    _must_be_known("kind of accelerator", accelerator, device_file.ACCELERATOR_KINDS)
    known = [load_device(name) for name in device_names()]
    found = [
        device
        for device in known
        if device_class in (None, device.device_class)
        and _runs(device, engine, recipe)
        and (accelerator is None or any(item.kind == accelerator for item in device.accelerators))
    ]
    if as_json:
        console.emit_json({"devices": [device.to_json() for device in found]})
        return
    if not found:
        click.echo(f"none of the {len(known)} known devices")
        return
    rows = [["name", "what", "class", "cores", "threads", "model budget", "engines", "accelerators"]]
    click.echo(console.table(rows + [_row(device) for device in found]))


@devices.command(
    "show",
    epilog=console.example("edgetransfer devices show raspberry_pi_4", "edgetransfer devices show ./my_board.toml"),
)
@click.argument("name")
@console.json_option
def show_device(name: str, as_json: bool) -> None:
    """Show one device, with the sources of what is said.

    NAME is one of 'edgetransfer devices list', or the path of a .toml file.
    """
    from edgetransfer.spec.device import load_device

    console.emit(load_device(name), as_json=as_json)


@devices.command("check", epilog=console.example("edgetransfer devices check my_board.toml other_board.toml"))
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@console.json_option
@click.pass_context
def check_devices(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Say all that is wrong with device files of your own.

    Exits with 1 if anything is. devices/README.md explains each field.
    """
    from edgetransfer.errors import DeviceError
    from edgetransfer.spec.device import check_device

    found: dict[str, list[str]] = {}
    for file in files:
        try:
            found[file] = check_device(file)
        except DeviceError as error:
            found[file] = [str(error)]
    passed = not any(found.values())
    if as_json:
        rows = [{"file": file, "problems": problems} for file, problems in found.items()]
        console.emit_json({"passed": passed, "files": rows})
    else:
        click.echo("\n".join(line for file, problems in found.items() for line in _verdict(file, problems)))
    ctx.exit(0 if passed else 1)


@devices.command(
    "calibrate",
    epilog=console.example(
        "edgetransfer devices calibrate --output my_board.toml",
        "edgetransfer devices calibrate --device raspberry_pi_4 --threads 1 --threads 4 --output my_pi.toml",
        "edgetransfer devices calibrate --engine onnx --output my_board.toml",
        "edgetransfer plan photos/ --device ./my_board.toml",
    ),
)
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Device file to write; its name without .toml becomes the slug.")  # fmt: skip
@click.option(
    "--device",
    metavar="NAME",
    help="Take all other facts from this device; else from what this machine says of itself.",
)
@click.option("--engine", type=click.Choice(["litert", "onnx", "all"]), metavar="NAME",
              help="Measure litert, onnx or all. [default: each that is installed and --device lists]")  # fmt: skip
@click.option("--threads", multiple=True, type=click.IntRange(1), metavar="N",
              help="Measure with so many threads; can be repeated. [default: 1 and all cores]")  # fmt: skip
@console.quiet_option
@console.json_option
def calibrate_device(
    output: Path, device: str | None, engine: str | None, threads: tuple[int, ...], quiet: bool, as_json: bool
) -> None:
    """Measure this machine's speed, and write it as a device file.

    Times some 250 small graphs of single ops with each engine, fits coefficients to them, and tests those on ten small
    networks. What latency is predicted from them is then validated for this very device. Takes a minute or two for
    each engine and count of threads; let nothing else run meanwhile. Needs the extra 'train'.
    """
    from edgetransfer.cli import extras
    from edgetransfer.cli.progress import progress

    extras.require("train")
    from edgetransfer.pipeline.calibrate import PACKAGES, calibrate_here

    engines = tuple(PACKAGES) if engine == "all" else (engine,) if engine else ()
    console.interrupted_keeps("nothing was written")
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        report = calibrate_here(output, base=device, engines=engines, threads=threads, watcher=watcher)
    console.emit(report, as_json=as_json)


def _must_be_known(kind: str, name: str | None, known: Collection[str]) -> None:
    from edgetransfer.errors import UnknownNameError

    if name is not None and name not in known:
        raise UnknownNameError(kind, name, known)


def _runs(device: Device, engine: str | None, recipe: str | None) -> bool:
    """Return whether one engine of `device` is the one asked for and runs the recipe asked for."""
    return any(
        engine in (None, support.name) and (recipe is None or recipe in support.recipes) for support in device.engines
    )


def _row(device: Device) -> list[str]:
    budget = f"{device.max_model_bytes / 1e6:g} MB"
    engines = ", ".join(support.name for support in device.engines)
    kinds = ", ".join(dict.fromkeys(item.kind for item in device.accelerators)) or "-"
    counts = [str(device.cores or "?"), str(device.threads), budget]
    return [device.slug, device.name, device.device_class, *counts, engines, kinds]


def _verdict(file: str, problems: list[str]) -> list[str]:
    if not problems:
        return [f"{file}: right"]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return [f"{file}: {count}", *(f"  {console.one_line(problem)}" for problem in problems)]
