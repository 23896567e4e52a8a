from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from latency.figures import read_figures
from latency.fit import tied
from latency.shipping import ALSO, SLUGS

from edgetransfer.estimate.latency import total_ms
from edgetransfer.spec.device import device_names, load_device

TABLE = Path(__file__).resolve().parents[2] / "devices" / "public_figures.csv"


@pytest.fixture(scope="module")
def figures():
    return read_figures(TABLE)


def test_the_shipped_table_is_used_to_its_last_row(figures):
    assert len(figures.used) == len(TABLE.read_text().splitlines()) - 1
    assert not any(figures.left_out.values())


def test_the_shipped_coefficients_reproduce_the_figures_that_they_are_said_to_rest_on(figures):
    misses = []
    for one in figures.used:
        slug = SLUGS.get(one.device, ("", ""))[0]
        if not slug or not one.threads.isdigit():
            continue
        of_runtime = [s for s in load_device(slug).speeds if (s.runtime, s.threads) == (one.runtime, int(one.threads))]
        speeds = [s for s in of_runtime if f"{one.precision} pointwise macs" in s.ms]
        assert len(speeds) == 1, (slug, one.runtime, one.threads, one.precision)
        misses.append(total_ms(one.terms, speeds[0].ms)[0] / one.ms - 1)
    assert len(misses) > 200
    assert np.median(np.abs(misses)) < 0.1
    assert abs(np.median(misses)) < 0.03


def test_boards_that_are_the_same_computer_have_the_same_speed():
    for slug, others in ALSO.items():
        assert all(load_device(other).speeds == load_device(slug).speeds for other in others)


@pytest.mark.parametrize("name", device_names())
def test_what_a_shipped_device_says_of_its_speed_makes_sense(name):
    for speed in load_device(name).speeds:
        assert speed.basis == "public"
        assert speed.rows >= speed.models >= 4
        assert 0 < speed.error_median <= speed.error_p90
        assert speed.low < 1 < speed.high
        # Nothing takes less than no time, and only what the fit has no coefficient for takes none.
        assert all((value > 0) == (tied(term) is not None) and value >= 0 for term, value in speed.ms.items())
