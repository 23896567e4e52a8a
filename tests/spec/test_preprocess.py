from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BundleError
from edgetransfer.spec.preprocess import FITS, ImageInput, Normalisation

sizes = st.integers(1, 4096)


@given(st.builds(ImageInput, sizes, sizes, st.sampled_from(FITS), st.integers(0, 255), st.sampled_from([1, 3, 4])))
def test_an_image_input_survives_the_manifest(spec):
    assert ImageInput.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.shape == (spec.height_px, spec.width_px, spec.channels)


def test_rgb_is_written_as_it_was_when_there_was_nothing_else():
    assert ImageInput(8, 9).to_json() == {
        "kind": "image", "height_px": 8, "width_px": 9, "fit": "squash", "pad_value": 127
    }  # fmt: skip
    assert ImageInput.from_json(ImageInput(8, 9).to_json()).channels == 3
    assert ImageInput(8, 9, channels=1).to_json()["channels"] == 1


@pytest.mark.parametrize(("channels", "name"), [(1, "grey"), (3, "RGB"), (4, "RGB and a fourth channel")])
def test_the_summary_says_what_the_channels_are(channels, name):
    assert ImageInput(8, 9, channels=channels).summary == f"8 x 9 px {name}, others are met by squash"


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
        ((32, 32, "pad", 0, 2), r"image channels: expected 1 \(grey\) or 3 \(RGB\) or 4 .*, got 2"),
        ((32, 32, "pad", 0, 5), "image channels: .*, got 5"),
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
