from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline.golden import LONGEST_PX, SAMPLES, own_frames, synthetic_frames
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.dense import apply_head


def test_synthetic_frames_are_the_same_everywhere():
    frames = synthetic_frames()
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    assert len(frames) == SAMPLES
    assert digest == "7961177d9b173bb022da00f6f094a1d09cc77302a2a6f027d69b886e7e9c4ee8"


def test_own_frames_come_from_validation_one_label_after_the_other(folder):
    dataset = load_dataset(folder)
    frames = own_frames(dataset)
    assert len(frames) == SAMPLES
    from edgetransfer.runtime.files import read_image

    validation = {read_image(sample.path).tobytes(): sample.label for sample in dataset.split("val")}
    assert [validation[frame.tobytes()] for frame in frames[:3]] == list(dataset.labels)


def test_large_photos_are_shrunk_and_carry_no_exif(tmp_path, photos):
    folder = photos.write_photos(tmp_path, each=6)
    for number in range(6):
        exif = Image.Exif()
        exif[0x010E] = "somebody's secret"
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (500, 900, 3), np.uint8))
        (folder / "large").mkdir(exist_ok=True)
        image.save(folder / "large" / f"{number}.jpg", exif=exif)
    frames = own_frames(load_dataset(folder))
    assert max(max(frame.shape[:2]) for frame in frames) == LONGEST_PX
    assert any(frame.shape == (178, LONGEST_PX, 3) for frame in frames)


def test_recorded_outputs_are_the_artifacts_own_and_the_float_models(built):
    golden = built.bundle.golden()
    trained = TrainedModel.load(built.train.run)
    engine = open_engine("litert", built.bundle.model_path)
    spec = built.bundle.manifest.preprocess
    own = np.concatenate([engine.run(prepare(frame, spec)[None]) for frame in golden.raw])
    assert np.array_equal(golden.own_outputs, own)
    np.testing.assert_array_equal(golden.float_logits, apply_head(trained.head, trained.golden["own"].float_features))


def test_the_tolerance_for_other_kernels_is_measured_on_the_reference_kernels(built):
    info, golden = built.bundle.manifest.golden, built.bundle.golden()
    engine = open_engine("litert", built.bundle.model_path, kernels="reference")
    spec = built.bundle.manifest.preprocess
    other = np.concatenate([engine.run(prepare(frame, spec)[None]) for frame in golden.raw])
    apart = int(np.abs(other.astype(int) - golden.own_outputs.astype(int)).max())
    assert info.tolerance_steps == max(2, 2 * apart)
    assert info.same_kernels_tolerance_steps == 0


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_the_bundle_verifies_on_either_kernel_set(kernels, built):
    from edgetransfer.verify import verify

    assert verify(built.bundle, kernels=kernels).passed
