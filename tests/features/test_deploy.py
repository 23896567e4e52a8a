from __future__ import annotations

import pytest

from edgetransfer.data import load_dataset
from edgetransfer.features import deploy as deploying
from edgetransfer.features.deploy import deploy, float_backbone, float_graph
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES

SPEC = ImageInput(32, 32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backbones"


@pytest.fixture(scope="module")
def choice(tmp_path_factory, small_keras):
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    small_keras.save(path)
    return BackboneChoice(f"keras:{path}", normalisation=Normalisation(1 / 128, 127))


@pytest.fixture(scope="module")
def samples(tmp_path_factory, photos):
    return load_dataset(photos.write_photos(tmp_path_factory.mktemp("photos"), each=10)).split("train")


@pytest.fixture
def exports(monkeypatch):
    seen = []
    real = deploying._convert

    def convert(choice, path, format):
        seen.append(path)
        return real(choice, path, format)

    monkeypatch.setattr(deploying, "_convert", convert)
    return seen


def test_a_backbone_is_exported_once(choice, exports):
    assert float_backbone(choice) == float_backbone(choice)
    assert len(exports) == 1


@pytest.mark.parametrize("suffix", ["litert", "json"])
def test_a_damaged_cache_file_is_made_again(suffix, choice, exports, own_cache):
    first = float_backbone(choice)
    damaged = next(own_cache.glob(f"*.{suffix}"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert float_backbone(choice) == first
    assert len(exports) == 2


def test_another_normalisation_is_another_backbone(choice, exports):
    float_backbone(choice)
    float_backbone(BackboneChoice(choice.name, normalisation=Normalisation(1 / 255, 0)))
    assert len(exports) == 2


def test_the_order_and_names_of_the_images_do_not_matter(choice, samples):
    backbone = float_backbone(choice)
    recipe = RECIPES["static_int8"]
    assert deploy(backbone, recipe, samples, SPEC) == deploy(backbone, recipe, samples[::-1], SPEC)


def test_an_image_that_several_heads_learn_from_is_calibrated_with_once(choice, samples):
    backbone = float_backbone(choice)
    twice = [*samples, *reversed(samples)]
    once = deploy(backbone, RECIPES["static_int8"], samples, SPEC)
    drawn = deploying.drawn_for_calibration(twice)
    hashes = sorted({sample.sha256 for sample in samples})
    assert [sample.sha256 for sample in drawn] == hashes[: deploying.CALIBRATION_IMAGES]
    assert deploy(backbone, RECIPES["static_int8"], twice, SPEC) == once


def test_the_float_graph_takes_raw_pixels(choice):
    graph = Graph.read(float_graph(float_backbone(choice)))
    assert graph.dtype(graph.input) == "uint8"
    assert graph.ops()[0].name == "DEQUANTIZE"
