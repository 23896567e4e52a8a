"""The published front ends, computed again: by TensorFlow as YAMNet's features.py does, and from librosa's formula."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgetransfer.errors import InputError
from edgetransfer.models.backbones import _yamnet
from edgetransfer.runtime.log_mel import LogMel, front_end

RATE_HZ = 16_000


def sounds() -> dict[str, np.ndarray]:
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    rng = np.random.default_rng(0)
    found = {
        "noise": rng.uniform(-1, 1, len(time)),
        "quiet noise": 1e-4 * rng.standard_normal(len(time)),
        "tone": np.sin(2 * np.pi * 440 * time),
        "sweep": np.sin(2 * np.pi * (50 * time + 1950 * time**2)),
        "square": np.sign(np.sin(2 * np.pi * 100 * time)),
        "click": (np.arange(len(time)) == 9000).astype(float),
        "silence": np.zeros(len(time)),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def published_yamnet(samples: np.ndarray, dtype: str) -> np.ndarray:
    """What features.py computes: tf.signal's own frames, window, transform and mel matrix."""
    tf = pytest.importorskip("tensorflow", reason="the reference needs the extra 'train'")
    magnitude = tf.abs(tf.signal.stft(tf.cast(samples, dtype), frame_length=400, frame_step=160, fft_length=512))
    matrix = tf.signal.linear_to_mel_weight_matrix(64, 257, RATE_HZ, 125.0, 7500.0, tf.as_dtype(dtype))
    found: np.ndarray = tf.math.log(tf.matmul(magnitude, matrix) + tf.constant(0.001, dtype)).numpy()
    return found


@pytest.mark.parametrize("name", sounds())
def test_yamnets_log_mel_is_the_published_one_to_the_last_digits_of_float64(name):
    got, want = LogMel("yamnet").frames(sounds()[name]), published_yamnet(sounds()[name], "float64")
    assert got.shape == want.shape == (198, 64)
    assert np.abs(got - want).max() < 1e-12  # 9e-14 found, in the sweep


@pytest.mark.parametrize("name", sounds())
def test_it_is_within_a_quarter_of_a_stored_step_of_the_published_one_in_float32(name):
    # TensorFlow's float32 is what is off: 0.0076 in the sweep, where bands beside a loud tone are nearly silent.
    got, want = LogMel("yamnet").frames(sounds()[name]), published_yamnet(sounds()[name], "float32")
    assert np.abs(got - want).max() < _yamnet.NORMALISATION.scale / 4


REFERENCE = [-3.55141539, 4.782151793, 4.338685769, 2.48367816, -6.8911154]
# tf.signal in float64 (TensorFlow 2.21) of the tone: frame 100, bands 0, 8, 9, 10 and 63.


def test_a_few_values_are_those_that_tensorflow_gave():
    got = LogMel("yamnet").frames(sounds()["tone"])[100, [0, 8, 9, 10, 63]]
    np.testing.assert_allclose(got, REFERENCE, rtol=0, atol=1e-8)


def reference_speech(samples: np.ndarray) -> np.ndarray:
    """Decibels of melspectrogram.onnx, from its parts: a direct Fourier sum, librosa's matrix; / 10 + 2."""
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    turn = np.exp(-2j * np.pi * np.outer(np.arange(512), np.arange(257)) / 512)
    frames = np.stack([samples[start : start + 512] for start in range(0, len(samples) - 511, 160)])
    mel = np.abs((frames * window) @ turn) ** 2 @ slaney_matrix()
    return np.log10(np.maximum(mel, 1e-10)) + 2


def slaney_matrix() -> np.ndarray:
    """librosa.filters.mel(sr=16000, n_fft=512, n_mels=32, fmin=60, fmax=3800), band by band."""

    def hertz(mel: float) -> float:
        return 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    low, high = 60 * 3 / 200, 15 + 27 * np.log(3.8) / np.log(6.4)
    edges = [hertz(mel) for mel in np.linspace(low, high, 34)]
    found = np.zeros((257, 32))
    for band, (left, peak, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        points = np.interp(np.arange(257) * 31.25, [left, peak, right], [0, 1, 0])
        found[:, band] = points * 2 / (right - left)
    return found


@pytest.mark.parametrize("name", sounds())
def test_the_speech_front_end_is_that_of_its_formula(name):
    got, want = LogMel("speech_embedding").frames(sounds()[name]), reference_speech(sounds()[name])
    assert got.shape == want.shape == (197, 32)
    loud = np.maximum(want, want.max() - 8)  # what its file keeps
    assert np.abs(np.maximum(got, got.max() - 8) - loud).max() < 1e-6


def test_no_sound_within_full_scale_has_a_log_mel_that_uint8_would_clip():
    # Cauchy and Schwarz: a band is at most the norm of its weights times that of the magnitudes, and those of half a
    # spectrum are at most half of 512 times the energy of the window, by Parseval.
    weights = front_end("yamnet").weights
    energy = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)) ** 2
    most = np.log(np.sqrt((weights**2).sum(axis=0).max() * 256 * energy.sum()) + 0.001)
    low, high = _yamnet.NORMALISATION.span
    assert 6.1 < most < high < most + 2 * _yamnet.NORMALISATION.scale
    assert low == pytest.approx(np.log(0.001), abs=1e-12)


@pytest.mark.parametrize("name", ["yamnet", "speech_embedding"])
def test_a_frame_does_not_depend_on_those_computed_with_it(name):
    noise, log_mel = np.random.default_rng(1).uniform(-1, 1, 160 * 700).astype(np.float32), LogMel(name)
    together = log_mel.frames(noise)
    for number in (0, 1, 255, 256, 600):
        start = number * 160
        alone = log_mel.frames(noise[start : start + log_mel.front_end.frame_samples])
        # On Arm numpy's logarithm differs in its last bit between whole vectors and what is left over of them.
        np.testing.assert_array_max_ulp(alone[0], together[number], maxulp=4)


def test_a_sound_shorter_than_a_frame_has_none():
    assert LogMel("yamnet").frames(np.zeros(399, np.float32)).shape == (0, 64)
    assert LogMel("yamnet").frames(np.zeros(400, np.float32)).shape == (1, 64)


def test_a_front_end_of_a_later_version_is_refused():
    with pytest.raises(InputError, match=r"expected 'yamnet' or 'speech_embedding', got 'vggish'; upgrade"):
        LogMel("vggish")


def test_it_needs_nothing_but_numpy():
    code = (
        "import sys\nfrom edgetransfer.runtime.inputs.audio import AudioStream\n"
        "print(sorted({'scipy', 'soundfile', 'soxr', 'librosa', 'tensorflow', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
