"""The matrix recipe x format: every cell builds a bundle that its engine runs well, or is refused with the reason."""

from __future__ import annotations

import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.pipeline.train import resolve_plan
from edgetransfer.quantize.support import why_not
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT, Predictor
from edgetransfer.spec.manifest import FORMATS
from edgetransfer.spec.recipe import RECIPES

FLOOR = 0.6  # three classes of photo patches; the float model has 0.8 to 0.9
CELLS = [(recipe, format) for format in FORMATS for recipe in RECIPES]
WORKING = [cell for cell in CELLS if why_not(cell[1], RECIPES[cell[0]]) is None]


def test_every_format_runs_static_int8_and_litert_runs_everything():
    assert {("static_int8", format) for format in FORMATS} <= set(WORKING)
    assert {(recipe, "litert") for recipe in RECIPES} <= set(WORKING)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "format"), WORKING)
def test_a_cell_that_works_gives_a_bundle_that_verifies_and_knows_the_photos(recipe, format, options_for, tmp_path):
    options: BuildOptions = options_for(recipe=recipe, format=format, float_reference=False, fit="squash", hidden=16)
    report = build(options, tmp_path / "a.bundle", how=ExportOptions())
    manifest = report.bundle.manifest
    assert report.verified.passed
    assert (manifest.recipe.name, manifest.format) == (recipe, format)
    assert manifest.model.input.dtype == "uint8"
    if format != "onnx":  # its files end in floats, whatever is computed
        assert manifest.model.output.dtype == RECIPES[recipe].output_dtype
    assert report.exported["test"].accuracy >= FLOOR
    with Predictor.load(report.bundle.path) as predictor:
        assert predictor.engine.name == ENGINE_OF_FORMAT[format]


@pytest.mark.parametrize(("recipe", "format"), [cell for cell in CELLS if cell not in WORKING])
def test_a_cell_that_does_not_work_is_refused_with_the_reason_before_training(recipe, format, options_for):
    reason = why_not(format, RECIPES[recipe])
    with pytest.raises(RecipeError) as caught:
        resolve_plan(options_for(recipe=recipe, format=format))
    assert str(reason) in str(caught.value)
    assert "try recipe" in str(caught.value)
