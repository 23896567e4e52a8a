"""A backbone of another structure, written as a file that `build` takes."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, OutputError, UnknownNameError
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models import backbones  # noqa: E402
from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone  # noqa: E402
from edgetransfer.pipeline.options import BuildOptions  # noqa: E402
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


def test_a_grey_backbone_remembers_that_and_says_so_itself(choice, tmp_path):
    report = reshape(choice, tmp_path / "grey.keras", channels=1)
    assert (report.before.input, report.after.input) == ((32, 32, 3), (32, 32, 1))
    assert report.after.multiply_adds < report.before.multiply_adds
    text = report.as_text()
    assert "32 x 32 x 1" in text
    assert "stem: takes grey now; of grey pictures it computes what it did" in text
    assert "edgetransfer build DATA" in text
    grey = BackboneChoice(f"keras:{tmp_path / 'grey.keras'}")
    assert (backbones.load(grey).channels, backbones.channels_of(grey)) == (1, 1)
    assert (backbones.load(choice).channels, backbones.channels_of(choice)) == (3, 3)
    (step,) = read_facts(tmp_path / "grey.keras").history
    assert step == {"step": "channels", "about": {"channels": 1, "fourth": None}}
    assert report.to_json()["stem"] == ["stem"]


@pytest.mark.parametrize(("fourth", "words"), [("zero", "counts nothing until"), ("mean", "the mean of the others")])
def test_a_backbone_of_four_channels_wants_tuning_and_the_report_says_so(choice, tmp_path, fourth, words):
    report = reshape(choice, tmp_path / "four.keras", channels=4, fourth=fourth)
    assert report.after.input == (32, 32, 4)
    assert words in report.as_text()
    assert "transfer finetune DATA" in report.as_text()
    assert report.to_json()["fourth"] == fourth


def test_changes_go_together(choice, tmp_path):
    report = reshape(choice, tmp_path / "both.keras", channels=1, cut="add")
    assert (report.after.input, report.after.features) == ((32, 32, 1), 8)
    assert [step["step"] for step in read_facts(tmp_path / "both.keras").history] == ["channels", "cut"]


def test_a_backbone_that_is_grey_already_cannot_be_made_so_again(choice, tmp_path):
    reshape(choice, tmp_path / "grey.keras", channels=1)
    with pytest.raises(BackboneError, match="to start from, got 1"):
        reshape(BackboneChoice(f"keras:{tmp_path / 'grey.keras'}"), tmp_path / "again.keras", channels=1)
    assert not (tmp_path / "again.keras").exists()


@pytest.mark.slow
def test_both_are_measured_on_the_photos_before_in_colour_and_after_in_grey(choice, folder, tmp_path):
    options = BuildOptions(folder, choice, recipe="static_int8", fit="squash", epochs=8, dropouts=(0.0,))
    report = reshape(choice, tmp_path / "grey.keras", channels=1, measured_on=options)
    before, after = (report.accuracy[name]["test"] for name in ("before", "after"))
    assert before.samples == after.samples > 0
    assert before.accuracy > 1 / 3 < after.accuracy  # of three classes, which colours tell apart
    assert "grey.keras" in report.as_text()
    assert "95 % interval of test" in report.as_text()
    assert report.to_json()["accuracy"]["after"]["test"]["accuracy"] == after.accuracy
