"""Fusing a backbone with what was tuned from it: validation chooses how far to go."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone  # noqa: E402
from edgetransfer.pipeline.fuse import FuseRow, chosen_of, fuse  # noqa: E402

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")


@pytest.fixture(scope="module")
def folder(small_keras, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbones")
    write_backbone(folder / "source.keras", small_keras, FACTS)
    other = keras.models.clone_model(small_keras)
    rng = np.random.default_rng(0)
    other.set_weights([one * rng.normal(1, 0.1, one.shape) for one in small_keras.get_weights()])
    write_backbone(folder / "tuned.keras", other, FACTS)
    return folder


@pytest.fixture(scope="module")
def options(folder, photos, tmp_path_factory):
    data = photos.write_photos(tmp_path_factory.mktemp("photos"), each=14, size_px=(32, 32))
    return BuildOptions(data, BackboneChoice(f"keras:{folder / 'source.keras'}"), epochs=4)


def test_validation_chooses_and_the_file_holds_what_it_chose(options, folder, tmp_path):
    report = fuse(options, [folder / "tuned.keras"], tmp_path / "fused.keras", alphas=(0.5, 1.0))
    assert [(row.alpha, row.re_estimated) for row in report.rows[:3]] == [(0, False), (0.5, False), (1.0, False)]
    assert report.chosen.rank == max(row.rank for row in report.rows)
    assert read_facts(tmp_path / "fused.keras").history[-1]["about"]["alpha"] == report.chosen.alpha
    kernels = [
        np.asarray(keras.models.load_model(path).get_layer("stem").kernel)
        for path in (folder / "source.keras", folder / "tuned.keras", tmp_path / "fused.keras")
    ]
    alpha = report.chosen.alpha
    np.testing.assert_allclose(kernels[2], (1 - alpha) * kernels[0] + alpha * kernels[1], rtol=1e-5, atol=1e-7)
    assert "chosen" in report.as_text()
    assert report.to_json()["alpha"] == alpha


def test_statistics_are_estimated_again_when_that_is_asked_for(options, folder, tmp_path):
    out = tmp_path / "fused.keras"
    report = fuse(options, [folder / "tuned.keras"], out, alphas=(1.0,), batch_norm="re_estimate")
    assert [row.re_estimated for row in report.rows] == [False, True]


def test_the_old_task_chooses_among_models_that_are_nearly_as_good_on_the_new_one(options, folder, photos, tmp_path):
    old = photos.write_photos(tmp_path / "old", each=14, size_px=(32, 32))
    how = {"alphas": (1.0,), "batch_norm": "keep", "old": old}
    report = fuse(options, [folder / "tuned.keras"], tmp_path / "fused.keras", **how)
    assert all(set(row.old) == {"val", "test"} for row in report.rows)
    best = max(row.reports["val"].accuracy for row in report.rows)
    near = [row for row in report.rows if row.reports["val"].accuracy >= best - 0.01]
    assert report.chosen in near
    assert report.chosen.old["val"].log_loss == min(row.old["val"].log_loss for row in near)
    assert "test, old task" in report.as_text()
    assert "old_task" in report.to_json()["tried"][0]


@pytest.mark.parametrize(
    ("new", "old", "wanted"),
    [((0.90, 0.92, 0.915), (0.99, 0.50, 0.60), 2), ((0.90, 0.92, 0.90), (0.99, 0.50, 0.99), 1)],
)
def test_no_more_than_a_point_of_the_new_task_is_given_up(new, old, wanted):
    class Report:
        def __init__(self, accuracy):
            self.accuracy, self.log_loss = accuracy, 1 - accuracy

    rows = [
        FuseRow(alpha, False, {"val": Report(one)}, {"val": Report(other)})
        for alpha, one, other in zip((0.0, 1.0, 0.5), new, old, strict=True)
    ]
    assert chosen_of(rows) is rows[wanted]


def test_a_model_of_another_kind_is_refused(options, folder, tmp_path):
    narrow = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    )
    write_backbone(folder / "narrow.keras", narrow, FACTS)
    with pytest.raises(BackboneError, match="fuse models of one kind"):
        fuse(options, [folder / "narrow.keras"], tmp_path / "fused.keras")
