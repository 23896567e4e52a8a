"""What users will surely do wrong: each gets one clear line on standard error, exit 1, and loses nothing."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


def refused(result):
    """Return the one line that a refusal prints."""
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.fixture
def table(tmp_path, photos):
    """Writes a CSV beside the photos and returns its path."""
    folder = tmp_path / "data"
    shutil.copytree(photos, folder)

    def write(content, encoding="utf-8"):
        (folder / "labels.csv").write_bytes(content.encode(encoding))
        return folder / "labels.csv"

    return write


def rows(*extra, split=True, labels=("red", "green", "blue"), header="path,label,split"):
    lines = [header]
    for label, name in zip(("red", "green", "blue"), labels, strict=True):
        for number in range(8):
            part = ("test", "val", "train", "train")[number % 4]
            lines.append(f"{label}/{number}.png,{name}" + (f",{part}" if split else ""))
    return "\n".join([*lines, *extra]) + "\n"


def test_no_such_folder(call):
    assert "nowhere: no such folder or CSV file" in refused(call("plan", "nowhere"))


def test_a_folder_with_one_class(call, photos, tmp_path):
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    assert "at least 2 classes, got 1: 'red'" in refused(call("plan", tmp_path / "one"))


def test_a_class_with_one_image(call, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "few")
    for path in sorted((tmp_path / "few" / "red").iterdir())[1:]:
        path.unlink()
    assert "class 'red': expected at least 3 photos" in refused(call("plan", tmp_path / "few"))


def test_a_split_with_a_class_missing(call, table):
    content = "\n".join(line for line in rows().splitlines() if not (line.endswith("val") and "red" in line))
    assert "'red'" in refused(call("plan", table(content)))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("red/99.png,red,train", "line 26: no such file: red/99.png"),
        ("red/0.png,red,trian", "line 26: unknown split 'trian'"),
        ("red/1.png,,train", "line 26: empty label"),
        ("red/1.png,red, or blue,train", "line 26: expected 3 fields, got 4"),
    ],
)
def test_a_wrong_line_in_a_csv_is_named(line, wanted, call, table):
    assert wanted in refused(call("plan", table(rows(line))))


def test_all_wrong_lines_are_named_at_once(call, table):
    line = refused(call("plan", table(rows("red/99.png,red,train", "red/1.png,,train", "red/0.png,red,trian"))))
    assert all(part in line for part in ("3 problems", "line 26", "line 27", "line 28"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "labels", [("赤", "緑", "青"), ("rød", "grønn", "blå"), ('"red, dark"', "green", "blue")], ids=str
)
def test_a_byte_order_mark_and_labels_in_any_script_are_fine(labels, encoding, call, table, document):
    result = call("plan", table(rows(labels=labels), encoding), "--json")
    assert result.exit_code == 0, result.stderr
    counts = document(result)["data"]["counts"]["train"]
    assert sorted(counts) == sorted(label.strip('"') for label in labels)


def test_damaged_photos_are_listed_and_left_out(call, photos, tmp_path, document):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    whole = (folder / "red" / "0.png").read_bytes()
    (folder / "red" / "empty.png").write_bytes(b"")
    (folder / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (4, 4)).save(folder / "red" / "moving.gif")
    report = document(call("plan", folder, "--json"))["data"]
    reasons = json.dumps(report)
    assert all(name in reasons for name in ("empty.png", "cut.png", "moving.gif"))
    assert sum(sum(split.values()) for split in report["counts"].values()) == 24


def test_files_that_cannot_be_read_do_not_stop_the_others(call, bundle, photos, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "moving.gif")
    good = photos / "red" / "0.png"
    result = call("run", bundle, tmp_path / "empty.png", good, tmp_path / "moving.gif")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "red" in result.stdout
    assert "empty file (0 bytes)" in result.stderr
    assert "GIF" in result.stderr


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--backbone", "efficientnet_lit0"], "did you mean 'efficientnet_lite0'?"),
        (["--device", "raspberry_pi4"], "did you mean 'raspberry_pi_4'?"),
        (["--recipe", "static_int"], "did you mean 'static_int8'?"),
        (["--backbone", "mobilenet_v2", "--alpha", "0.4"], "expected an alpha of 0.35, 0.5"),
        (["--backbone", "keras:nothing.keras"], "nothing.keras"),
    ],
)
def test_misspelt_names_are_answered_with_the_nearest(options, wanted, call, photos):
    assert wanted in refused(call("plan", photos, *options))


def test_an_output_that_exists_asks_for_force(call, bundle, photos):
    line = refused(call("build", photos, "--output", bundle))
    assert "exists already" in line
    assert "--force" in line


@pytest.mark.parametrize("command", ["verify", "run"])
def test_a_bundle_with_a_changed_byte_is_not_trusted(command, call, bundle, photos, tmp_path):
    copied = tmp_path / "a.bundle"
    shutil.copytree(bundle, copied)
    content = bytearray((copied / "model.tflite").read_bytes())
    content[-1] ^= 1
    (copied / "model.tflite").write_bytes(content)
    extra = [] if command == "verify" else [photos / "red" / "0.png"]
    result = call(command, copied, *extra)
    assert result.exit_code == 1
    assert "model.tflite was changed" in result.output


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda m: m | {"schema": 99}, "pip install -U edgetransfer"),
        (lambda m: m | {"model": m["model"] | {"file": "../../secret"}}, "leaves the bundle's folder"),
        (lambda m: m | {"name": "x" * 5_000_000}, "refused unread"),
    ],
)
def test_a_hostile_manifest_is_refused(change, wanted, call, bundle, tmp_path):
    copied = tmp_path / "a.bundle"
    shutil.copytree(bundle, copied)
    manifest = json.loads((copied / "manifest.json").read_text())
    changed = change(manifest)
    if changed["model"]["file"] != manifest["model"]["file"]:
        changed["files"] = changed["files"] | {changed["model"]["file"]: changed["files"]["model.tflite"]}
    (copied / "manifest.json").write_text(json.dumps(changed))
    assert wanted in refused(call("verify", copied))


def test_evaluating_on_other_labels_names_them(call, bundle, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "blue").rename(tmp_path / "photos" / "azure")
    line = refused(call("evaluate", bundle, "--data", tmp_path / "photos"))
    assert "'azure'" in line
    assert "'blue'" in line
