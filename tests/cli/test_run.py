from __future__ import annotations

import shutil

import pytest

from edgetransfer.cli import extras


def test_each_image_gets_its_label_and_the_likeliest_others(call, bundle, photos):
    result = call("run", bundle, photos / "red" / "0.png", photos / "blue" / "1.png", "--top", 2)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{photos / 'red' / '0.png'}: red 0.9") or first.split(": ")[1].startswith("red 1.000")
    assert second.split(": ")[1].startswith("blue ")
    assert first.count("0.") + first.count("1.000") >= 2
    assert first.count(",") == 0  # two labels in all, one of them in brackets


def test_folders_are_searched_for_images(call, document, bundle, photos):
    found = document(call("run", bundle, photos, "--json"))["results"]
    assert len(found) == 24
    assert [result["file"] for result in found] == sorted(result["file"] for result in found)
    assert all(result["label"] in result["file"] for result in found)
    for result in found:
        assert sum(result["scores"].values()) == pytest.approx(1)
        assert result["score"] == max(result["scores"].values())


def test_an_image_can_come_on_standard_input(call, document, bundle, photos):
    content = (photos / "green" / "0.png").read_bytes()
    (found,) = document(call("run", bundle, "-", "--json", stdin=content))["results"]
    assert (found["file"], found["label"]) == ("-", "green")


def test_what_cannot_be_read_is_told_and_the_others_go_on(call, document, bundle, photos, tmp_path):
    (tmp_path / "empty.jpg").touch()
    good = photos / "red" / "0.png"
    result = call("run", bundle, tmp_path / "empty.jpg", tmp_path / "missing.jpg", good, "--json")
    assert result.exit_code == 1
    empty, missing, last = document(result)["results"]
    assert set(empty) == set(missing) == {"file", "error"}
    assert last["label"] == "red"
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Error: ")
    assert "empty.jpg" in lines[0]
    assert "missing.jpg" in lines[1]


def test_a_folder_without_images_is_told(call, bundle, tmp_path):
    result = call("run", bundle, tmp_path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "found none" in result.stderr


def test_nothing_on_standard_input_is_told(call, bundle):
    result = call("run", bundle, "-", stdin=b"")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_changed_bundle_is_refused(call, bundle, photos, tmp_path):
    changed = tmp_path / "changed.bundle"
    shutil.copytree(bundle, changed)
    content = bytearray((changed / "model.tflite").read_bytes())
    content[-1] ^= 1
    (changed / "model.tflite").write_bytes(content)
    result = call("run", changed, photos / "red" / "0.png")
    assert result.exit_code == 1
    assert "model.tflite was changed" in result.stderr


def test_without_pillow_one_line_says_what_to_install(call, bundle, photos, monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "image", (extras.Package("no_such_module", ("pillow-is-gone",)),))
    result = call("run", bundle, photos, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: pillow-is-gone is missing: pip install 'edgetransfer[image]'\n"
