"""Refuses what cannot be trained to a run, before any work is done."""

from __future__ import annotations

from edgetransfer.errors import RecipeError
from edgetransfer.models import backbones
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.recipe import Plan


def check_kind(options: BuildOptions) -> None:
    """Refuse what has no run: sounds and sentences, whose heads are outside of the graph.

    Raises:
        RecipeError: the backbone looks at something else than images.
    """
    given = backbones.input_of(options.backbone)
    if given is not None:
        raise RecipeError(
            f"backbone {options.backbone.name!r} looks at {given.kind}, which has no run folder: build it in one go "
            "with edgetransfer build"
        )


def check_budget(options: BuildOptions, plan: Plan) -> None:
    """Refuse a budget that cannot be searched for.

    Raises:
        RecipeError: ops cannot be kept in floats, or the head does not see them.
    """
    if options.max_drop is None:
        return
    if options.head_on == "float":
        raise RecipeError("--max-drop needs heads on deployed features: leave --head-on float out")
    if plan.format == "tflm":
        raise RecipeError("--max-drop keeps ops in floats, which the format 'tflm' has no room for: leave it out")
