from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from latency.figures import Figure, read_figures, write_figures
from latency.fit import fit, group, leave_models_out, tied, without_outliers
from latency.shipping import speeds_of

from edgetransfer.estimate.latency import total_ms
from edgetransfer.estimate.terms import terms_of

MODELS = {"MobileNetV1": 224, "MobileNetV2": 224, "SqueezeNet1.1": 227, "ResNet18": 224, "MnasNet": 224}
TRUE = {"float32 ops": 0.02, "float32 pointwise macs": 0.05, "float32 conv 3x3 macs": 0.03, "activation bytes": 0.3}


def figures(*, devices=("slow", "Raspberry Pi 4"), noise=0.0):
    """Return what devices of known coefficients would publish."""
    from latency.architectures import ops_of

    rng = np.random.default_rng(0)
    found = []
    for factor, device in enumerate(devices, 1):
        for model, px in MODELS.items():
            terms = {term: amount for term, amount in terms_of(ops_of(model, px)).items() if term in TRUE}
            ms = factor * total_ms(terms, TRUE)[0] * float(np.exp(rng.normal(0, noise)))
            found.append(Figure(device, "XNNPACK", "TensorFlow Lite", "float32", "4", model, px, ms, "r", "p", terms))
    return found


def test_networks_that_the_fit_never_saw_are_predicted_where_the_world_is_as_assumed():
    errors = [abs(one.error) for one in leave_models_out(figures())]
    assert len(errors) == 2 * len(MODELS)
    assert np.median(errors) < 0.1


def test_a_figure_beside_all_others_by_a_factor_of_two_is_left_out_and_no_other():
    found = figures(noise=0.03)
    wrong = replace(found[3], ms=5 * found[3].ms)
    kept = without_outliers([wrong if one is found[3] else one for one in found])
    missing = {(one.device, one.model) for one in found} - {(one.device, one.model) for one in kept}
    assert missing == {(found[3].device, found[3].model)}
    assert len(kept) == len(found) - 1


def test_integers_borrow_their_structure_from_floats():
    floats = figures()
    terms = [{term.replace("float32", "int8"): amount for term, amount in one.terms.items()} for one in floats]
    ints = [replace(one, precision="int8", terms=work, ms=one.ms / 2) for one, work in zip(floats, terms, strict=True)][
        :4
    ]
    alone, together = fit(ints), fit(ints, fit(floats))
    unseen = replace(floats[4], precision="int8", terms=terms[4], ms=floats[4].ms / 2)

    def miss(found):
        return abs(np.log(found.predict_ms(unseen) / unseen.ms))

    assert miss(together) <= miss(alone) + 0.01
    assert miss(together) < 0.1


@pytest.mark.parametrize(
    ("term", "shared", "kind"),
    [
        ("float32 stem written", "float32 matrix written", "compute"),
        ("int8 conv 3x3 written", "int8 matrix written", "compute"),
        ("float32 hard_swish activation written", "float32 activation", "compute"),
        ("float32 max pool macs", "float32 pool", "compute"),
        ("activation bytes", "activation bytes", "memory"),
        ("int8 ops", "int8 ops", "overhead"),
        ("call", "call", "overhead"),
    ],
)
def test_terms_that_few_networks_tell_apart_share_a_coefficient(term, shared, kind):
    assert tied(term) == shared
    assert group(shared) == kind


def test_what_a_device_file_gets_says_how_far_it_can_be_trusted():
    found = figures(noise=0.05)
    speeds = speeds_of(found, leave_models_out(found))
    assert [slug for slug, _ in speeds] == ["raspberry_pi_4"]
    speed = speeds[0][1]
    assert (speed.runtime, speed.threads, speed.basis) == ("XNNPACK", 4, "public")
    assert (speed.rows, speed.models) == (5, 5)
    assert speed.low < 1 < speed.high
    one = next(one for one in found if one.device == "Raspberry Pi 4" and one.model == "MobileNetV2")
    assert total_ms(one.terms, speed.ms)[0] == pytest.approx(one.ms, rel=0.2)


TABLE = """\
device,runtime,precision,threads,model,input,latency_ms,repository,path,note
Pi,XNNPACK end2end_bench,fp32,4,MobileNetV1,224x224x3,77,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,4,MobileNetV2,224x224x3,46,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,4,MobileNetV3-Small,224x224x3,15,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,4,MobileNetV3-Large,224x224x3,40,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,4,Unheard Of,224x224x3,40,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,1,MobileNetV1,224x224x3,160,google/XNNPACK,README.md,
Pi,XNNPACK end2end_bench,fp32,4,MobileNetV1,224x224x3,60,google/XNNPACK,README.md,1000 / throughput
Pi,a GPU,fp32,4,MobileNetV1,224x224x3,7,someone,README.md,
"""


def test_rows_are_left_out_by_rule_and_counted_and_the_rest_survives_a_way_through_a_file(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    read = read_figures(tmp_path / "table.csv")
    assert [one.model for one in read.used] == ["MobileNetV1", "MobileNetV2", "MobileNetV3-Small", "MobileNetV3-Large"]
    assert read.left_out == {
        "of another runtime or precision": 1,
        "derived from a throughput": 1,
        "network that cannot be built": 1,
        "platform with few networks": 1,
    }
    write_figures(tmp_path / "again.csv", read.used)
    assert read_figures(tmp_path / "again.csv").used == read.used


def test_figures_of_accelerators_are_read_apart_and_without_graphs_that_two_processors_shared(tmp_path):
    rows = [
        ("S24", "w8a8", "MobileNetV1", "layers 30 npu 30 gpu 0 cpu 0"),
        ("S24", "w8a8", "MobileNetV2", "layers 60 npu 60 gpu 0 cpu 0"),
        ("S24", "w8a8", "MobileNetV3-Small", "layers 90 npu 80 gpu 0 cpu 10"),
        ("S24", "w8a8", "ResNet18", ""),
        ("S24", "w8a8", "ResNet50", ""),
        ("S24", "w8a16", "SqueezeNet1.1", ""),
    ]
    header = "device,runtime,precision,threads,model,input,latency_ms,repository,path,note\n"
    lines = [
        f"{device},qai-hub tflite [NPU],{kind},,{model},224x224,1.0,r,p,{note}\n" for device, kind, model, note in rows
    ]
    (tmp_path / "table.csv").write_text(header + "".join(lines))
    read = read_figures(tmp_path / "table.csv", accelerators=True)
    assert [one.model for one in read.used] == ["MobileNetV1", "MobileNetV2", "ResNet18", "ResNet50"]
    assert {(one.runtime, one.family, one.precision) for one in read.used} == {("LiteRT with QNN", "Hexagon", "int8")}
    assert read.left_out == {
        "computed in part by another processor": 1,
        "of another runtime or precision": 1,
        "platform with few networks": 0,
    }
