from __future__ import annotations

from dataclasses import replace

import pytest

from edgetransfer.estimate.latency import predict, total_ms
from edgetransfer.estimate.op import Op
from edgetransfer.estimate.terms import terms_of
from edgetransfer.spec.latency import Speed

POINTWISE = Op("conv", 2_000_000, 1000, 2000, 1000, channels_in=16, channels_out=16)
MS = {"call": 0.5, "float32 ops": 0.1, "float32 pointwise macs": 0.25, "activation bytes": 10.0}
LITERT = Speed("LiteRT", 1, MS, "measured", 230, 10, 0.05, 0.12, 0.8, 1.2)
NCNN = Speed("ncnn", 4, MS, "public", 40, 12, 0.1, 0.3, 0.7, 1.5)


def test_a_graph_takes_the_sum_of_its_terms():
    # one call, two ops, four million multiply-adds, 16,000 bytes of activations in two ops
    found = predict([POINTWISE, POINTWISE], [LITERT], engine="litert", threads=1)
    assert found is not None
    assert found.ms == pytest.approx(0.5 + 2 * 0.1 + 4 * 0.25 + 0.016 * 10)
    assert (found.low_ms, found.high_ms) == (pytest.approx(0.8 * found.ms), pytest.approx(1.2 * found.ms))
    assert found.validated
    assert found.words == "validated for LiteRT: measured there, and tested on 10 networks, median error 5 %"


def test_figures_of_another_runtime_are_called_so_and_the_interval_is_wider():
    found = predict([POINTWISE], [NCNN], engine="litert", threads=4)
    assert found is not None
    assert not found.validated
    assert found.words == "unvalidated for LiteRT: from 40 public figures with ncnn"
    assert found.high_ms / found.ms == pytest.approx(3.0)
    assert found.ms / found.low_ms == pytest.approx(2 / 0.7)


def test_the_engines_own_figures_come_first_then_the_nearest_count_of_threads():
    four = replace(LITERT, threads=4)
    assert predict([POINTWISE], [NCNN, LITERT, four], engine="litert", threads=3).threads == 4
    assert predict([POINTWISE], [NCNN, LITERT], engine="litert", threads=4).runtime == "LiteRT"
    assert predict([POINTWISE], [], engine="litert", threads=4) is None


def test_figures_that_speak_of_the_graphs_precision_come_before_those_of_other_runtimes_that_do_not():
    floats = replace(NCNN, runtime="XNNPACK")
    both = replace(NCNN, ms=MS | {"int8 pointwise macs": 0.1})
    ints = [replace(POINTWISE, precision="int8")]
    assert predict(ints, [floats, both], engine="litert", threads=4).runtime == "ncnn"
    assert predict([POINTWISE], [floats, both], engine="litert", threads=4).runtime == "XNNPACK"


def test_figures_of_integers_alone_say_nothing_of_floats():
    ints = replace(NCNN, ms={"call": 0.5, "int8 pointwise macs": 0.1})
    assert predict([POINTWISE], [ints], engine="litert", threads=4) is None


def test_figures_without_networks_validate_nothing():
    found = predict([POINTWISE], [replace(LITERT, models=0)], engine="litert", threads=1)
    assert not found.validated
    assert found.words.startswith("unvalidated: from 230 figures")


def test_work_that_was_never_measured_is_named_and_taken_like_its_float32():
    ms, unknown = total_ms({"int8 pointwise macs": 2.0, "call": 1.0}, MS)
    assert ms == pytest.approx(0.5 + 2 * 0.25)
    assert unknown == ("int8 pointwise macs",)


def test_counts_and_bytes_that_were_never_measured_are_not_taken_like_elements_that_move():
    moves = MS | {"float32 move written": 7.0}
    ms, unknown = total_ms(
        {"int16 ops": 60.0, "far activation bytes": 5.0, "float32 gelu activation written": 2.0}, moves
    )
    assert ms == pytest.approx(60 * 0.1 + 2 * 7.0)  # ops like float32's, elements like moved ones, bytes like nothing
    assert unknown == ("int16 ops", "far activation bytes", "float32 gelu activation written")


def test_channels_count_up_to_whole_tiles():
    nine = replace(POINTWISE, channels_out=9)
    assert terms_of([nine])["float32 pointwise macs"] == pytest.approx(2.0 * 16 / 9)


@pytest.mark.parametrize(
    ("op", "term"),
    [
        (replace(POINTWISE, channels_in=3), "stem"),
        (replace(POINTWISE, taps=9), "conv 3x3"),
        (replace(POINTWISE, taps=9, stride=2), "conv"),
        (replace(POINTWISE, groups=2), "grouped"),
        (replace(POINTWISE, kind="depthwise", taps=25), "depthwise 25"),
        (replace(POINTWISE, kind="depthwise", taps=49), "depthwise large"),
    ],
)
def test_kinds_with_kernels_of_their_own_have_terms_of_their_own(op, term):
    assert f"float32 {term} macs" in terms_of([op])
