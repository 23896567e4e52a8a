from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones._efficientnet_lite import classifier
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput

pytest.importorskip("keras", reason="building needs the extra 'train'")

# Keras 3.15 with numpy 2 warns of itself whenever it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

EGYPTIAN_CAT, ESPRESSO, MISSILE = 285, 967, 657  # ImageNet-1k classes


def weight_path(name: str) -> Path:
    path = weights.find(backbones._plugin(name).WEIGHTS[0])
    if path is None:
        pytest.skip(f"needs the package with the weights of {name}; extras 'train', 'lite1', 'lite2'")
    return path


def scores(name: str, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ImageNet logits of `photo` by the backbone with the classifier of its weight file."""
    path = weight_path(name)
    loaded = backbones.load(BackboneChoice(name))
    kernel, bias = classifier(path)
    pixels = prepare(photo, ImageInput(loaded.height_px, loaded.width_px, "crop"))
    real = (pixels.astype(np.float32) - loaded.normalisation.zero_point) * np.float32(loaded.normalisation.scale)
    logits: NDArray[np.float32] = (np.asarray(loaded.model(real[None])) @ kernel + bias)[0]
    return logits


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
@pytest.mark.parametrize(("photo", "expected"), [("chelsea", EGYPTIAN_CAT), ("coffee", ESPRESSO)])
def test_a_cat_and_an_espresso_are_recognised(name, photo, expected):
    data = pytest.importorskip("skimage.data", reason="real photographs come with the extra 'dev'")
    assert scores(name, getattr(data, photo)()).argmax() == expected


@pytest.mark.parametrize(
    ("name", "rank"),
    # lite1 and lite2 take the rocket on its pad for a drilling platform first.
    [("efficientnet_lite0", 1), ("efficientnet_lite1", 5), ("efficientnet_lite2", 5)],
)
def test_a_rocket_is_recognised(name, rank):
    data = pytest.importorskip("skimage.data", reason="real photographs come with the extra 'dev'")
    assert MISSILE in scores(name, data.rocket()).argsort()[::-1][:rank]


def test_a_loaded_backbone_says_whose_weights_it_has():
    weight_path("efficientnet_lite0")
    loaded = backbones.load(BackboneChoice("efficientnet_lite0"))
    assert (loaded.licence, loaded.pretrained_on) == ("Apache-2.0", "ImageNet-1k")
    assert (loaded.height_px, loaded.width_px, loaded.alpha, loaded.feature_size) == (224, 224, 1.0, 1280)
    assert len(loaded.weights_sha256) == 64


def test_another_size_has_the_same_weights():
    weight_path("efficientnet_lite0")
    usual, small = (backbones.load(BackboneChoice("efficientnet_lite0", input_px=px)) for px in (224, 128))
    assert small.model.input.shape == (None, 128, 128, 3)
    assert small.weights_sha256 == usual.weights_sha256


def test_the_same_file_given_by_the_user_has_the_same_weights_but_no_stated_licence():
    given = backbones.load(BackboneChoice("efficientnet_lite0", weights=weight_path("efficientnet_lite0")))
    assert given.weights_sha256 == backbones.load(BackboneChoice("efficientnet_lite0")).weights_sha256
    assert given.licence == "not stated"


def test_the_weights_of_another_network_are_refused():
    with pytest.raises(WeightsError, match="the file of another network"):
        backbones.load(BackboneChoice("efficientnet_lite1", weights=weight_path("efficientnet_lite0")))
    with pytest.raises(WeightsError, match="the file of another network"):
        backbones.load(BackboneChoice("efficientnet_lite0", weights=weight_path("efficientnet_lite2")))


def test_weights_saved_by_keras_serve_as_well(tmp_path):
    weight_path("efficientnet_lite0")
    published = backbones.load(BackboneChoice("efficientnet_lite0", input_px=64))
    published.model.save_weights(tmp_path / "mine.weights.h5")
    mine = backbones.load(BackboneChoice("efficientnet_lite0", input_px=64, weights=tmp_path / "mine.weights.h5"))
    assert mine.weights_sha256 == published.weights_sha256


def test_a_truncated_weight_file_is_one_line(tmp_path):
    (tmp_path / "cut.pth").write_bytes(weight_path("efficientnet_lite0").read_bytes()[:500_000])
    with pytest.raises(WeightsError, match=r"cut\.pth: expected a whole legacy PyTorch file") as caught:
        backbones.load(BackboneChoice("efficientnet_lite0", weights=tmp_path / "cut.pth"))
    assert "\n" not in str(caught.value)


def test_stride_two_pads_at_the_bottom_and_right_as_tensorflow_does():
    model: Any = backbones._plugin("efficientnet_lite0").build(1.0, 32, 32)
    kernel = np.zeros((3, 3, 3, 32), np.float32)
    kernel[0, 0] = 1
    model.get_layer("stem_conv").kernel.assign(kernel)
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[0, 0, 0] = 1
    assert np.asarray(model.get_layer("stem_conv")(image))[0, 0, 0, 0] == 3  # PyTorch's padding would give 0
