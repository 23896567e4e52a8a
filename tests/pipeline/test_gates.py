"""Each gate is shown a real bundle that it lets through, and the same bundle spoiled in one way: its own."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import ExportError, UnknownNameError
from edgetransfer.export import get_exporter
from edgetransfer.export._litert_metadata import add_metadata
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.export import ExportOptions, export
from edgetransfer.pipeline.gates import GATES, Candidate, allowed_names, as_text, check, labels_sha256
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import load_device
from edgetransfer.spec.recipe import Override


@pytest.fixture(scope="module")
def sound(built):
    manifest = built.bundle.manifest
    model = (built.bundle.path / manifest.model.file).read_bytes()
    outputs = np.array([[10, -20, 30], [40, 0, -9], [3, 2, 1]], np.int8)
    return Candidate(
        model,
        manifest,
        labels_sha256(manifest.task.labels),
        outputs=outputs,
        accuracy=(0.90, 0.89),
        val_samples=200,
        device=load_device("raspberry_pi_4_coral"),
    )


def refused(candidate, gate):
    """Return why `gate`, and no other, refuses the candidate; with its name allowed it goes through."""
    with pytest.raises(ExportError) as caught:
        check(candidate, ())
    text = str(caught.value)
    assert f"--allow {gate}" in text
    gates = check(candidate, (gate,))
    assert allowed_names(gates) == (gate,)
    assert f"gate allowed   {gate}" in as_text(gates)[0]
    return text


def test_a_sound_bundle_passes_every_gate(sound):
    gates = check(sound, ())
    assert [gate.name for gate in gates] == list(GATES)
    assert all(gate.passed and not gate.allowed for gate in gates)
    assert as_text(gates) == [f"gates          {len(GATES)} hold"]


def test_a_custom_op_is_refused_by_its_name(sound):
    from ai_edge_litert import schema_py_generated as schema

    graph = Graph.read(sound.model)
    code = graph.model.operatorCodes[graph.subgraph.operators[1].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"
    model = labelled(graph.to_bytes(), sound.manifest.task.labels)
    assert "FlexErf" in refused(replace(sound, model=model, device=None), "foreign_ops")


def test_float_ops_in_an_integer_recipe_are_refused_with_their_share(options_for, sound, tmp_path):
    report = build(options_for(recipe="float32", float_reference=False, fit="squash"), tmp_path / "a.bundle")
    model = (report.bundle.path / "model.tflite").read_bytes()
    text = refused(replace(sound, model=model, device=None), "float_islands")
    assert "CONV_2D" in text
    assert "% of the compute" in text
    kept = replace(sound.manifest.recipe, overrides=(Override(".*", "float32", "float32"),))
    gates = check(replace(sound, model=model, device=None, manifest=replace(sound.manifest, recipe=kept)), ())
    assert next(gate for gate in gates if gate.name == "float_islands").detail.endswith("100.0% of the compute")
    # A head behind an op that is kept in floats has no choice; one behind an op that strayed has.
    ops = [op for op in get_exporter("litert").survey(model) if op.macs and not op.edge]
    head = [op.name for op in ops if op.of_head]
    assert head
    last = next(op.name for op in reversed(ops) if not op.of_head)
    for left_out, passes in ((head, True), ([*head, last], False)):
        pattern = "^(?!(?:" + "|".join(re.escape(name) for name in left_out) + ")$)"
        kept = replace(sound.manifest.recipe, overrides=(Override(pattern, "float32", "float32"),))
        other = replace(sound, model=model, device=None, manifest=replace(sound.manifest, recipe=kept))
        if passes:
            assert check(other, ())
        else:
            assert f"left {len(left_out)} ops in floats" in refused(other, "float_islands")


def labelled(model, labels):
    return add_metadata(model, name="small", labels=labels, licence="none")


@pytest.mark.parametrize(
    ("labels", "why"),
    [(("coffee", "cat", "rocket"), "output 0 is 'cat'"), (("cat", "coffee"), "names 2 labels for 3 outputs")],
)
def test_labels_of_another_order_or_number_are_refused(sound, labels, why):
    bare = Graph.read(sound.model)
    bare.model.metadata = [entry for entry in bare.model.metadata if entry.name != b"TFLITE_METADATA"]
    assert why in refused(replace(sound, model=labelled(bare.to_bytes(), labels)), "labels")


def test_a_run_whose_labels_were_changed_after_training_is_refused(built, tmp_path):
    import shutil

    run = tmp_path / "changed.run"
    shutil.copytree(built.train.run, run)
    about = json.loads((run / "run.json").read_text())
    about["description"]["task"]["labels"].reverse()
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(ExportError, match="not those that its head was trained with"):
        export(run, tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.parametrize(
    ("accuracy", "samples", "max_drop", "fails"),
    [
        ((0.90, 0.80), 200, None, True),  # ten points: nobody would ship that unknowingly
        ((0.90, 0.87), 200, None, False),
        ((0.90, 0.80), 20, None, False),  # two photos
        ((0.90, 0.895), 200, 0.2, True),
        ((0.90, 0.899), 1000, 0.2, False),
        ((0.90, 0.95), 200, 0.0, False),
    ],
)
def test_the_accuracy_gate_knows_the_budget(sound, accuracy, samples, max_drop, fails):
    candidate = replace(sound, accuracy=accuracy, val_samples=samples, max_drop=max_drop)
    if fails:
        assert "points lost" in refused(candidate, "accuracy")
    else:
        check(candidate, ())


def test_a_model_larger_than_the_devices_budget_is_refused_with_both_sizes(sound):
    small = replace(sound.device, max_model_bytes=1000)
    assert f"{len(sound.model):,} bytes, the budget" in refused(replace(sound, device=small), "size")


def test_an_op_too_new_for_an_old_runtime_is_refused(sound):
    graph = Graph.read(sound.model)
    code = next(code for code in graph.model.operatorCodes if code.builtinCode == 3)  # CONV_2D
    code.version = 99
    model = labelled_again(graph, sound)
    text = refused(replace(sound, model=model, device=load_device("rockchip_rv1126")), "runtime")
    assert "CONV_2D" in text
    assert "tflite-runtime 2.14" in text


def labelled_again(graph, sound):
    """Packing drops the labels that are appended to the file."""
    graph.model.metadata = [entry for entry in graph.model.metadata if entry.name != b"TFLITE_METADATA"]
    return labelled(graph.to_bytes(), sound.manifest.task.labels)


def test_ops_that_the_accelerator_does_not_take_are_refused_with_the_share_that_falls_back(sound):
    item = sound.device.accelerators[0]
    picky = replace(sound.device, accelerators=(replace(item, ops=tuple(o for o in item.ops if o != "CONV_2D")),))
    text = refused(replace(sound, device=picky), "accelerator")
    assert "Edge TPU does not take CONV_2D (int8)" in text
    assert "falls back to the CPU" in text


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        (np.full((8, 3), 7, np.int8), "are the same for all 8 photos"),
        (np.array([[127, -128, 127], [-128, 127, 127]], np.int8), "saturated"),
    ],
)
def test_constant_and_saturated_outputs_are_refused(sound, outputs, why):
    assert why in refused(replace(sound, outputs=outputs), "outputs")


def test_a_gate_that_does_not_exist_cannot_be_allowed(built, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'labels'"):
        export(built.train.run, tmp_path / "a.bundle", ExportOptions(allow=("label",)))


def test_what_was_allowed_stands_in_the_manifest(options_for, tmp_path, monkeypatch):
    from edgetransfer.pipeline import gates

    monkeypatch.setattr(gates, "MOST_SATURATED", -1.0)
    with pytest.raises(ExportError, match="--allow outputs"):
        build(options_for(float_reference=False), tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()
    report = build(options_for(float_reference=False), tmp_path / "a.bundle", how=ExportOptions(allow=("outputs",)))
    assert Bundle.load(tmp_path / "a.bundle").manifest.allowed == ("outputs",)
    assert "gate allowed   outputs" in report.as_text()
