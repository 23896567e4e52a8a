from __future__ import annotations

from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.preprocess import Normalisation

NORMALISATION = Normalisation(1 / 128, 127)


def test_ranges_do_not_depend_on_the_order_of_the_images(small_float, pictures):
    forward = calibrate(small_float, pictures[:20], NORMALISATION)
    backward = calibrate(small_float, pictures[:20][::-1], NORMALISATION)
    assert forward.keys() == backward.keys()
    for name, (low, high) in forward.items():
        assert abs(low - backward[name][0]) <= 1e-6 * max(1.0, abs(low))
        assert abs(high - backward[name][1]) <= 1e-6 * max(1.0, abs(high))


def test_the_same_images_give_the_same_ranges_to_the_last_bit(small_float, pictures):
    once = calibrate(small_float, pictures[:8], NORMALISATION)
    assert once == calibrate(small_float, pictures[:8], NORMALISATION)
    assert once != calibrate(small_float, pictures[8:16], NORMALISATION)


def test_the_input_range_spans_all_pixels_whatever_was_seen(small_float, pictures):
    ranges = calibrate(small_float, pictures[:4] // 2, NORMALISATION)
    graph = Graph.read(small_float)
    assert ranges[graph.name(graph.input)] == NORMALISATION.span == (-127 / 128, 1.0)


def test_calibrating_writes_nothing(small_float, pictures, capfd):
    calibrate(small_float, pictures[:4], NORMALISATION)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if not line.startswith("INFO:")] == []
