from __future__ import annotations

import hashlib
import json


def test_inspect_tells_what_the_manifest_holds(call, bundle):
    text = call("inspect", bundle).stdout
    for part in ("single_label", "red, green, blue", "static_int8", "Apache-2.0", "own, 4 samples", "50.00%"):
        assert part in text
    sizes = {path.name: path.stat().st_size for path in bundle.iterdir() if path.is_file()}
    for name in ("model.tflite", "labels.txt", "golden.npz"):
        assert any(line.split() == [name, f"{sizes[name]:,}", "bytes"] for line in text.splitlines())


def test_inspect_json_is_the_manifest_and_its_hash(call, document, bundle):
    found = document(call("inspect", bundle, "--json"))
    content = (bundle / "manifest.json").read_bytes()
    assert found.pop("sha256") == hashlib.sha256(content).hexdigest()
    assert found == json.loads(content)


def test_inspecting_what_is_no_bundle_is_one_line(call, tmp_path):
    result = call("inspect", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "not a bundle" in result.stderr
    assert result.stderr.count("\n") == 1
