from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.features.augment_audio import GAIN_DB, augmented_audio
from edgetransfer.runtime.inputs.audio import AudioReader
from edgetransfer.spec.audio import AudioInput

READER = AudioReader(AudioInput("yamnet", 16_000, 96, 64, 48, scale=0.05, zero_point=139))


@pytest.fixture(scope="module")
def sound():
    time = np.arange(24_000) / 16_000
    chirp = 0.2 * np.sin(2 * np.pi * (200 * time + 1000 * time**2)) * (time > 0.5)
    return chirp.astype(np.float32)


def view(sound, *, sha256="ab", seed=0, number=1):
    return augmented_audio(sound, READER, sha256=sha256, seed=seed, view=number)


def test_a_view_has_the_windows_that_the_model_takes(sound):
    assert view(sound).shape == READER.prepare(sound).shape
    assert view(sound).dtype == np.uint8


def test_the_same_content_seed_and_number_give_the_same_view(sound):
    before = sound.copy()
    assert np.array_equal(view(sound), view(sound))
    assert np.array_equal(sound, before)


@pytest.mark.parametrize("other", [{"sha256": "cd"}, {"seed": 1}, {"number": 2}])
def test_another_content_seed_or_number_gives_another_view(other, sound):
    assert not np.array_equal(view(sound), view(sound, **other))


def test_views_are_louder_and_softer_within_the_gain(sound):
    peaks = [view(sound, number=number).max() * 0.05 for number in range(1, 60)]
    own = READER.prepare(sound).max() * 0.05
    gain = GAIN_DB / 20 * np.log(10)
    assert own - gain - 0.2 < min(peaks) < own - gain / 2
    assert own + gain / 2 < max(peaks) < own + gain + 0.2


def test_views_begin_at_other_moments(sound):
    starts = {int(view(sound, number=number)[0, :, :, 0].mean(axis=1).argmax()) for number in range(1, 30)}
    assert len(starts) > 5


def test_some_views_have_stripes_over_time_and_bands_of_one_value_and_some_have_none(sound):
    def stripes(number: int) -> tuple[bool, bool]:
        window = view(sound, number=number)[0, :, :, 0]
        return bool((np.ptp(window, axis=1) == 0).any()), bool((np.ptp(window, axis=0) == 0).any())

    found = [stripes(number) for number in range(1, 60)]
    assert 10 < sum(time for time, _ in found) < 50
    assert 10 < sum(bands for _, bands in found) < 50


@pytest.mark.parametrize("quiet", [np.zeros(1, np.float32), np.zeros(20_000, np.float32), np.ones(5, np.float32)])
def test_silence_and_clips_of_a_few_samples_can_be_augmented(quiet):
    for number in range(1, 10):
        assert view(quiet, number=number).shape == READER.prepare(quiet).shape


def test_no_view_goes_beyond_full_scale(sound):
    loud = np.sign(sound).astype(np.float32)
    for number in range(1, 20):
        assert int(view(loud, number=number).max()) <= int(READER.prepare(loud).max()) + 4
