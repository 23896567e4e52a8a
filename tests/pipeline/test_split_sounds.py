"""Sounds through the whole pipeline, on YAMNet's small variant with random weights: pip brings no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import BackboneError, DataError, RecipeError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.models import backbones
from edgetransfer.models.backbones import _yamnet
from edgetransfer.pipeline.golden import synthetic_raws
from edgetransfer.pipeline.options import Silent
from edgetransfer.pipeline.recommend import RecommendOptions, recommend
from edgetransfer.pipeline.recommend_candidates import Space
from edgetransfer.pipeline.split import build_split, train_head
from edgetransfer.pipeline.split_backbone import backbone_of
from edgetransfer.pipeline.split_head import HeadWish
from edgetransfer.pipeline.train import train
from edgetransfer.runtime.heads import add_head, read_head, remove_head
from edgetransfer.runtime.inputs import open_reader
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.verify import verify

soundfile = pytest.importorskip("soundfile", reason="sounds need the extra 'audio'")
RATE_HZ = 16_000


def sound(kind: str, seed: int) -> np.ndarray:
    """Return 0.7 to 2.2 s of a tone, of noise, or of clicks."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(int(rng.uniform(0.7, 2.2) * RATE_HZ)) / RATE_HZ
    if kind == "tone":
        return 0.3 * np.sin(2 * np.pi * rng.uniform(300, 900) * seconds) + rng.normal(0, 0.003, len(seconds))
    if kind == "noise":
        return rng.normal(0, rng.uniform(0.05, 0.2), len(seconds))
    return 0.8 * ((seconds * rng.uniform(6, 12)) % 1 < 0.01) + rng.normal(0, 0.003, len(seconds))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for kind in ("click", "noise", "tone"):
        (root / kind).mkdir()
        for number in range(24):
            soundfile.write(root / kind / f"{number:02}.wav", sound(kind, 100 * number + len(kind)), RATE_HZ)
    return root


@pytest.fixture(scope="module")
def options(tmp_path_factory, options_for, sounds):
    rng = np.random.default_rng(0)
    model = _yamnet.build("yamnet_256", 6, 96, 96)
    for variable in model.weights:
        values = rng.normal(0, 1, variable.shape)
        if variable.path.endswith("moving_variance"):
            values = 0.5 + values**2
        elif variable.path.endswith("kernel"):
            inputs = int(np.prod(variable.shape[:2] if "depthwise" in variable.path else variable.shape[:3]))
            values *= np.sqrt(2 / inputs)
        variable.assign(values.astype(np.float32))
    path = tmp_path_factory.mktemp("weights") / "yamnet.keras"
    model.save(path)
    return replace(options_for(), data=sounds, backbone=BackboneChoice("yamnet_256", weights=path))


@pytest.fixture(scope="module")
def built(tmp_path_factory, options, sounds):
    return build_split(options, [HeadWish("sound", sounds)], tmp_path_factory.mktemp("built") / "sounds.bundle")


def test_a_folder_of_sounds_becomes_a_verified_bundle_that_knows_them(built):
    assert built.verified.passed
    assert built.heads[0].exported["test"].accuracy > 0.6
    assert "16000 Hz mono" in built.as_text()
    with Predictor.load(built.bundle.path) as predictor:
        found = [predictor.predict(sound(kind, 7).astype(np.float32)).label for kind in ("click", "noise", "tone")]
    assert sum(label == kind for label, kind in zip(found, ("click", "noise", "tone"), strict=True)) >= 2


def test_a_clip_is_answered_by_the_mean_of_its_windows(built, sounds):
    with Predictor.load(built.bundle) as predictor:
        raw = predictor.reader.read(sounds / "tone" / "00.wav")
        windows = predictor.reader.prepare(raw)
        to_real = built.bundle.manifest.model.output.to_real
        rows = [to_real(predictor.run(one)[0]) for one in windows]
        assert len(windows) > 1
        assert np.allclose(predictor.embed(sounds / "tone" / "00.wav"), np.mean(rows, axis=0), atol=1e-6)


def test_golden_sounds_are_one_window_each_and_verify_elsewhere(built):
    golden = built.bundle.golden()
    assert golden is not None
    assert all(one.dtype == np.float32 and one.ndim == 1 for one in golden.raw)
    assert verify(built.bundle, kernels="reference").passed


def test_a_head_is_trained_for_a_bundle_of_sounds_without_its_weights(built, options, sounds, tmp_path):
    report = train_head(built.bundle, HeadWish("again", sounds), tmp_path / "again.head", options)
    assert report.row.exported["test"].accuracy > 0.6


def test_a_head_that_pools_by_attention_answers_on_the_device_as_it_was_measured(built, options, sounds, tmp_path):
    asked = replace(options, pooling="attention", dropouts=(0.0,), weight_decays=(1e-3,))
    report = train_head(built.bundle, HeadWish("attentive", sounds), tmp_path / "attentive.head", asked)
    assert "pooled by attention" in report.as_text()
    head = read_head(report.path)
    assert head.pool is not None
    assert head.training["pooling"]["taken"] == "attention"
    add_head(built.bundle, head)
    dataset = load_dataset(sounds, kind="audio")
    again = evaluate_bundle(built.bundle, dataset, "test", head="attentive")
    assert again.to_json() == report.row.exported["test"].to_json()
    with Predictor.load(built.bundle, heads=[report.path]) as predictor:
        windows = predictor.embed_windows(sounds / "tone" / "00.wav")
        assert len(windows) > 1
        scores = predictor.predict(sounds / "tone" / "00.wav").scores
        pooled = head.pool.apply(windows)
        assert scores == predictor.answers(pooled).scores != predictor.answers(windows.mean(axis=0)).scores
    remove_head(built.bundle, "attentive")


def test_windows_of_sounds_are_cached_and_those_that_are_not_there_are_nan(built, sounds, monkeypatch):
    from edgetransfer.features import windows as windows_file

    backbone = backbone_of(built.bundle)
    samples = load_dataset(sounds, kind="audio").split("val")
    first = backbone.windows(samples, Silent())
    counts = [len(backbone.reader.prepare(backbone.reader.read(sample.source))) for sample in samples]
    assert len(set(counts)) > 1
    assert first.shape[1] == max(counts)
    assert (~np.isnan(first[..., 0])).sum(axis=1).tolist() == counts
    np.testing.assert_allclose(np.nanmean(first, axis=1), backbone.features(samples, Silent()), atol=1e-5)
    monkeypatch.setattr(windows_file, "windows", None)  # computing anything would fail
    np.testing.assert_array_equal(backbone.windows(samples, Silent()), first)


def test_augmented_sounds_train_too(options, sounds, tmp_path):
    varied = replace(options, augment=1, float_reference=False)
    assert build_split(varied, [HeadWish("sound", sounds)], tmp_path / "varied.bundle").verified.passed


def test_synthetic_sounds_are_the_same_everywhere():
    spec = backbones.input_of(BackboneChoice("yamnet_256"))
    reader = open_reader(spec, lambda name: b"")
    some = synthetic_raws(spec, reader)
    assert all((one == other).all() for one, other in zip(some, synthetic_raws(spec, reader), strict=True))
    assert {len(reader.prepare(one)) for one in some} == {1}


def test_what_has_no_run_or_is_for_photos_is_refused_with_the_way_out(options, sounds, tmp_path):
    with pytest.raises(RecipeError, match="in one go with edgetransfer build"):
        train(options, tmp_path / "sounds.run")
    with pytest.raises(BackboneError, match="among backbones for photos"):
        recommend(RecommendOptions(sounds, space=Space(backbones=("yamnet_256",))))
    with pytest.raises(DataError):
        train(replace(options, backbone=BackboneChoice("efficientnet_lite0")), tmp_path / "photos.run")
    assert list(tmp_path.iterdir()) == []
