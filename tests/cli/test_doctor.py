from __future__ import annotations

import edgetransfer
from edgetransfer.cli import doctor, extras


def test_the_doctor_tells_versions_engines_cores_and_cache(call, document, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "x").write_bytes(b"12345")
    found = document(call("doctor", "--json"))
    assert found["versions"]["edgetransfer"] == edgetransfer.__version__
    assert 1 <= found["usable_cores"] <= found["cores"]
    assert found["cache"]["folder"] == str(tmp_path)
    assert found["cache"]["bytes"] == 5
    assert found["cache"]["free_bytes"] > 0
    assert found["extras"]["litert"] == {
        "for": "run and check bundles",
        "packages": found["extras"]["litert"]["packages"],
        "problem": None,
        "mend": None,
    }
    assert str(tmp_path) in call("doctor").stdout


def test_a_missing_engine_is_named_with_its_command_and_exit_code_1(call, monkeypatch):
    gone = extras.Package("no_such_engine", ("no-such-engine",))
    for name in doctor.ENGINES:
        monkeypatch.setitem(extras.EXTRAS, name, (gone,))
    result = call("doctor")
    assert result.exit_code == 1
    assert "no: no-such-engine is missing" in result.stdout
    assert "  pip install 'edgetransfer[litert]'" in result.stdout.splitlines()


def test_a_missing_extra_for_building_leaves_the_device_side_well(call, document, monkeypatch):
    monkeypatch.setattr(extras, "python_builds", lambda: True)
    monkeypatch.setitem(extras.EXTRAS, "train", (extras.Package("no_such_keras", ("no-such-keras",)),))
    result = call("doctor", "--json")
    assert result.exit_code == 0
    assert document(result)["extras"]["train"]["mend"] == "pip install 'edgetransfer[train]'"


def test_another_python_is_told_in_place_of_a_command_that_would_not_help(call, monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "train", (extras.Package("no_such_keras", ("no-such-keras",)),))
    monkeypatch.setattr(extras, "python_builds", lambda: False)
    text = call("doctor").stdout
    assert "building needs Python 3.11 to 3.13" in text
    assert "edgetransfer[train]" not in text


def test_tflite_runtime_beside_numpy_2_is_found_out(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.1.0")
    assert "needs numpy below 2" in doctor._engine_problem("litert", {"tflite-runtime": "2.14.0"})
