"""A student that learns from a teacher: backbone or bundle, with and without further images."""

from dataclasses import replace

import pytest

from edgetransfer.errors import DataError, RecipeError
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone  # noqa: E402
from edgetransfer.pipeline.distill import TeacherChoice, distill  # noqa: E402
from edgetransfer.pipeline.finetune import checkpoint_of  # noqa: E402
from edgetransfer.transfer.distill_lesson import DistillOptions  # noqa: E402
from edgetransfer.transfer.tuning import TuneOptions  # noqa: E402

TUNING = TuneOptions(epochs=3, unfreeze=(1.0,), learning_rate=3e-3, batch_size=8, views=2)
FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")


@pytest.fixture(scope="module")
def folder(small_keras, tmp_path_factory):
    """The small network as the student, and a teacher of another architecture and input size."""
    folder = tmp_path_factory.mktemp("backbones")
    write_backbone(folder / "student.keras", small_keras, FACTS)
    keras.utils.set_random_seed(3)
    pixels = keras.Input((48, 48, 3))
    x = keras.layers.Conv2D(16, 5, 2, activation="relu")(pixels)
    teacher = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(40, 3)(x)))
    write_backbone(folder / "teacher.keras", teacher, replace(FACTS, name="wide"))
    return folder


@pytest.fixture(scope="module")
def options(folder, photos, tmp_path_factory):
    data = photos.write_photos(tmp_path_factory.mktemp("photos"), each=14, size_px=(32, 32))
    return BuildOptions(data, BackboneChoice(f"keras:{folder / 'student.keras'}"), epochs=4)


@pytest.fixture(scope="module")
def more(photos, tmp_path_factory):
    return photos.write_photos(tmp_path_factory.mktemp("more"), each=3, size_px=(40, 40), seed=9)


@pytest.fixture(scope="module")
def teacher(folder):
    return TeacherChoice(BackboneChoice(f"keras:{folder / 'teacher.keras'}"))


@pytest.mark.slow
def test_a_backbone_of_another_size_teaches_with_features_and_unlabelled_images(options, teacher, more, tmp_path):
    how = DistillOptions(feature_weight=0.5)
    report = distill(options, teacher, TUNING, how, tmp_path / "student.keras", unlabelled=more)
    assert report.unlabelled == 9
    assert [name.split(", ")[-1] for name in report.rows][1:] == ["static_int8", "float32", "static_int8"]
    assert all(set(reports) == {"val", "test"} for reports in report.rows.values())
    assert report.tuned.epochs[-1].train_loss < report.tuned.epochs[0].train_loss
    (step,) = read_facts(tmp_path / "student.keras").history
    assert (step["step"], step["about"]["teacher"], step["about"]["views"]) == ("distill", "teacher.keras", 2)
    assert not checkpoint_of(tmp_path / "student.keras").exists()
    text = report.as_text()
    assert "and 9 images without labels" in text
    assert "95 % interval of test" in text
    assert report.to_json()["temperature"] == 4.0


def test_a_bundle_that_does_not_know_the_labels_is_refused(options, tiny_bundle, tmp_path):
    bundle = tiny_bundle.make_bundle(tmp_path / "colours.bundle").path
    with pytest.raises(DataError, match="does not know 'cat', 'coffee', 'rocket'"):
        distill(options, TeacherChoice(bundle=bundle), TUNING, DistillOptions(), tmp_path / "student.keras")
    assert not (tmp_path / "student.keras").exists()


def test_a_teacher_is_one_thing_or_the_other():
    with pytest.raises(RecipeError, match="either a backbone or a bundle"):
        TeacherChoice()
