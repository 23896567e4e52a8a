from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from latency.figures import read_figures
from latency.fit import tied
from latency.shipping import ALSO, SLUGS, device_of

from edgetransfer.estimate.latency import total_ms
from edgetransfer.spec.device import device_names, load_device

DEVICES = Path(__file__).resolve().parents[2] / "devices"
TABLE = DEVICES / "public_figures.csv"
OF_ACCELERATORS = DEVICES / "accelerator_figures.csv"


@pytest.fixture(scope="module")
def figures():
    return read_figures(TABLE)


@pytest.mark.parametrize(("table", "accelerators"), [(TABLE, False), (OF_ACCELERATORS, True)])
def test_the_shipped_tables_are_used_to_their_last_row(table, accelerators):
    found = read_figures(table, accelerators=accelerators)
    assert len(found.used) == len(table.read_text().splitlines()) - 1
    assert not any(found.left_out.values())


def test_no_figure_of_a_cpu_is_taken_for_one_of_an_accelerator():
    assert not read_figures(TABLE, accelerators=True).used
    assert not read_figures(OF_ACCELERATORS).used


def test_the_shipped_coefficients_of_accelerators_rest_on_the_figures_of_that_very_chip():
    misses = []
    for one in read_figures(OF_ACCELERATORS, accelerators=True).used:
        slug, processor = device_of(one)
        if not slug:
            continue
        there = [s for s in load_device(slug).speeds if (s.processor, s.runtime) == (processor, one.runtime)]
        (speed,) = [s for s in there if f"{one.precision} pointwise macs" in s.ms]
        misses.append(total_ms(one.terms, speed.ms)[0] / one.ms - 1)
    assert len(misses) > 50
    assert np.median(np.abs(misses)) < 0.25


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
