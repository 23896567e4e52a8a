"""What all commands that write a backbone file have in common: its place, its facts, and options that take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetransfer.errors import OutputError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import BackboneFacts, read_facts
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.atomic import refuse_place
from edgetransfer.spec.backbone import BackboneChoice


def check_output(output: Path, *, force: bool) -> None:
    """Refuse a place that a backbone file cannot be written to, or a name that Keras does not take.

    Raises:
        OutputError: says which.
    """
    if output.suffix != ".keras":
        raise OutputError(f"output {str(output)!r}: expected a name that ends in .keras")
    refuse_place(output, force=force)


def tuned_options(options: BuildOptions, output: Path) -> BuildOptions:
    """Return `options` with the backbone in the file `output`."""
    return replace(options, backbone=BackboneChoice(f"{backbones.OWN}{output}"))


def facts_of(loaded: backbones.Backbone, choice: BackboneChoice) -> BackboneFacts:
    """Return what is known of a loaded backbone's weights, with what was done to them before."""
    found = None
    if choice.name.startswith(backbones.OWN):
        found = read_facts(Path(choice.name.removeprefix(backbones.OWN)))
    return found or BackboneFacts(
        loaded.name, loaded.normalisation, loaded.licence, loaded.licence_url, loaded.pretrained_on
    )
