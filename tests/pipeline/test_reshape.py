"""A backbone of another structure, written as a file that `build` takes."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, OutputError, UnknownNameError
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models import backbones  # noqa: E402
from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone  # noqa: E402
from edgetransfer.pipeline.reshape import reshape  # noqa: E402

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")


@pytest.fixture
def choice(small_keras, tmp_path):
    write_backbone(tmp_path / "small.keras", small_keras, FACTS)
    return BackboneChoice(f"keras:{tmp_path / 'small.keras'}")


def test_a_cut_backbone_is_smaller_and_remembers_the_cut(choice, small_keras, tmp_path):
    report = reshape(choice, tmp_path / "cut.keras", cut="add")
    assert report.after.features == 8
    assert report.after.multiply_adds < report.before.multiply_adds
    assert "last" in report.left_out
    assert "left out: 2 layers from last on" in report.as_text()
    loaded = backbones.load(BackboneChoice(f"keras:{tmp_path / 'cut.keras'}"))
    assert (loaded.feature_size, loaded.licence) == (8, "Apache-2.0")
    pixels = np.zeros((1, 32, 32, 3), "float32")
    maps = keras.Model(small_keras.input, small_keras.get_layer("add").output)(pixels)
    np.testing.assert_allclose(np.asarray(loaded.model(pixels)), np.mean(maps, axis=(1, 2)), rtol=1e-5, atol=1e-6)
    (step,) = read_facts(tmp_path / "cut.keras").history
    assert step == {"step": "cut", "about": {"layer": "add"}}
    assert report.to_json()["after"]["features"] == 8


def test_simple_activations_want_tuning_and_the_report_says_so(tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, activation="silu", name="first")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="smooth")
    write_backbone(tmp_path / "smooth.keras", model, FACTS)
    report = reshape(
        BackboneChoice(f"keras:{tmp_path / 'smooth.keras'}"), tmp_path / "simple.keras", simple_activations=True
    )
    assert report.after.activations == {"relu6": 1}
    assert "activations of 1 layers are relu6 now" in report.as_text()
    assert "transfer finetune DATA" in report.as_text()


def test_what_cannot_be_done_is_refused_before_anything_is_written(choice, tmp_path):
    with pytest.raises(UnknownNameError, match="layer"):
        reshape(choice, tmp_path / "out.keras", cut="ad")
    with pytest.raises(BackboneError, match="nothing to do"):
        reshape(choice, tmp_path / "out.keras")
    with pytest.raises(BackboneError, match="only backbones of images"):
        reshape(BackboneChoice("minilm"), tmp_path / "out.keras", cut="add")
    assert not (tmp_path / "out.keras").exists()
    with pytest.raises(OutputError, match="exists already"):
        reshape(choice, tmp_path / "small.keras", cut="add")
    with pytest.raises(OutputError, match="no such folder"):
        reshape(choice, tmp_path / "none" / "cut.keras", cut="add")
