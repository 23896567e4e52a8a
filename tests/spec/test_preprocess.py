from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BundleError
from edgetransfer.spec.preprocess import FITS, ImageInput, Normalisation

sizes = st.integers(1, 4096)


@given(st.builds(ImageInput, sizes, sizes, st.sampled_from(FITS), st.integers(0, 255)))
def test_an_image_input_survives_the_manifest(spec):
    assert ImageInput.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.shape == (spec.height_px, spec.width_px, 3)


def test_the_fits_are_the_three_that_the_runtime_knows():
    assert FITS == ("crop", "squash", "pad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 32), "image size: expected at least 1 x 1 px, got 0 x 32"),
        ((32, -1), "image size: expected at least 1 x 1 px, got 32 x -1"),
        ((32, 32, "stretch"), "image fit: expected one of"),
        ((32, 32, "pad", 256), "image pad_value: expected 0 to 255, got 256"),
        ((32, 32, "pad", -1), "image pad_value: expected 0 to 255, got -1"),
    ],
)
def test_an_image_input_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(BundleError, match=message):
        ImageInput(*arguments)


@pytest.mark.parametrize("kind", ["audio", None, ""])
def test_input_of_a_kind_that_only_newer_versions_know_is_refused_with_what_to_do(kind):
    with pytest.raises(BundleError, match=r"expected 'image', got .*; upgrade edgetransfer"):
        ImageInput.from_json(ImageInput(8, 8).to_json() | {"kind": kind})


def test_a_normalisation_is_written_as_it_is():
    assert Normalisation(1 / 128, 127).to_json() == {"scale": 0.0078125, "zero_point": 127}
