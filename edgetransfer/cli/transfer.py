"""The group transfer: what models of other tasks, architectures and frameworks have learned."""

from __future__ import annotations

from pathlib import Path

import click

from edgetransfer.cli import (
    console,
    extras,
    transfer_adapt,
    transfer_learn,
    transfer_shape,
    transfer_tune,
    transfer_weights,
)
from edgetransfer.cli.build_options import FilePath


@click.group(cls=console.Group, epilog=console.example("edgetransfer transfer inspect old_model.pth"))
def transfer() -> None:
    """Move what one model has learned into another.

    Files of other frameworks are read, never run: no pickle calls a function, no layer is built, no graph is executed.
    """


for _command in (
    transfer_tune.finetune,
    transfer_learn.distill,
    transfer_learn.clean,
    transfer_tune.fuse,
    transfer_adapt.adapt,
    transfer_shape.reshape,
    transfer_tune.compare,
    transfer_weights.weights,
):
    transfer.add_command(_command)


@transfer.command(
    "inspect",
    epilog=console.example(
        "edgetransfer transfer inspect old_model.pth", "edgetransfer transfer inspect model.onnx --json"
    ),
)
@click.argument("source", type=FilePath)
@console.json_option
def inspect_source(source: Path, as_json: bool) -> None:
    """List the parameters of a model, and which can be used.

    SOURCE is a file of Keras (.keras, .weights.h5, .h5), PyTorch (.pth, .pt: state dicts), safetensors, ONNX or
    TensorFlow Lite, or the folder of a SavedModel; its content is what tells. For each parameter: role, order of axes,
    shape and dtype; for those that cannot be put into another network, why.
    """
    extras.require("train")
    from edgetransfer.transfer.inspection import inspect
    from edgetransfer.transfer.sources import open_source

    with console.standard_output_kept():  # TensorFlow, which reads SavedModels, greets
        report = inspect(open_source(source))
    console.emit(report, as_json=as_json)
