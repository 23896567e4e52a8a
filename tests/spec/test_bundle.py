from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import BundleError, IntegrityError, OutputError
from edgetransfer.spec import bundle_writer
from edgetransfer.spec.bundle import Bundle, FileInfo, Golden, Manifest, labels_content, write_bundle
from edgetransfer.spec.manifest_schema import SCHEMA
from edgetransfer.verify import verify

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[1] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

FILES = {"model.tflite": b"weights", "LICENSES/tiny.txt": b"A licence.\n"}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.make_bundle(tmp_path / "tiny.bundle")


def edit(bundle: Bundle, change) -> None:
    path = bundle.path / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_bundle_comes_back_as_it_was_written(bundle):
    again = Bundle.load(bundle.path)
    assert again == bundle
    assert again.manifest.task.labels == tiny.LABELS
    assert (bundle.path / "labels.txt").read_text() == "red\ngreen\nblue\n"
    again.check_integrity()


def test_the_same_content_gives_the_same_hash_wherever_it_is_written(tmp_path, bundle):
    other = tiny.make_bundle(tmp_path / "elsewhere" / "other.bundle")
    assert other.sha256 == bundle.sha256
    changed = tiny.make_bundle(tmp_path / "third.bundle", device="raspberry_pi_4")
    assert changed.sha256 != bundle.sha256


def test_the_manifest_is_canonical_json(bundle):
    content = (bundle.path / "manifest.json").read_bytes()
    assert content == (json.dumps(json.loads(content), sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
    assert str(bundle.path.parent).encode() not in content


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=2, max_size=6, unique=True))
def test_manifests_come_back_whatever_the_script_of_the_labels(labels):
    files = {**FILES, "labels.txt": labels_content(tuple(labels))}
    made = tiny.manifest(labels=tuple(labels), files={name: FileInfo.of(content) for name, content in files.items()})
    assert Manifest.from_json(json.loads(made.to_bytes())) == made


@pytest.mark.parametrize("label", ["two\nlines", "a\rb", "para\u2029graph", "", "  "])
def test_a_label_that_is_not_one_line_is_refused(tmp_path, label):
    with pytest.raises(BundleError, match="one line"):
        write_bundle(tmp_path / "b.bundle", tiny.manifest(labels=("a", "b", label)), FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused_with_the_way_out(bundle):
    edit(bundle, lambda data: data.update(schema=SCHEMA + 1, edgetransfer="9.1.0", new_field=[]))
    with pytest.raises(BundleError, match=rf"made by edgetransfer >= 9\.1\.0, schema {SCHEMA + 1}.*pip install -U"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_a_bundle_of_every_past_schema_is_read_and_verifies(schema):
    """The folders were written by the versions that had these schemas, and are never written again."""
    folder = Path(__file__).parent / "schemas" / str(schema)
    bundle = Bundle.load(folder)
    assert bundle.manifest.recipe.weight_ranges == ("min_max" if schema == 1 else "best")
    assert bundle.manifest.golden.tolerances == {}
    assert verify(folder).passed


def test_a_damaged_manifest_of_an_old_schema_is_refused_not_mended(tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(Path(__file__).parent / "schemas" / "1", folder)
    data = json.loads((folder / "manifest.json").read_text())
    data["model"] = None
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"manifest\.model: expected an object"):
        Bundle.load(folder)


def test_all_problems_of_a_manifest_are_named_at_once(bundle):
    def spoil(data):
        data["name"] = 3
        data["model"]["input"]["shape"] = [1, "16", 16, 3]
        del data["recipe"]["weights"]
        data["surprise"] = 1
        data["metrics"]["test"]["accuracy"] = True

    edit(bundle, spoil)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle.path)
    for words in ("manifest.name: expected text, got 3", "shape[1]", "recipe.weights: missing", "surprise: unknown",
                  "accuracy: expected a number, got true"):  # fmt: skip
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["model"]["output"].update(shape=[1, 4]), "3 labels"),
        (lambda d: d["model"]["output"].update(quantization=None), "integers need a quantization"),
        (lambda d: d["model"]["output"]["quantization"].update(scale=0), "scale"),
        (lambda d: d["model"]["input"].update(shape=[1, 17, 16, 3]), "model.input"),
        (lambda d: d["task"].update(labels=["red", "red", "blue"]), "no label twice"),
        (lambda d: d["task"].update(labels=["red", "green", "black"]), "labels.txt does not hold"),
        (lambda d: d["task"].update(temperature=-1), "temperature"),
        (lambda d: d["preprocess"].update(fit="zoom"), "fit"),
        (lambda d: d.update(format="onxx"), "format"),
        (lambda d: d["files"].pop("golden.npz"), "'golden.npz' is named but not listed"),
        (lambda d: d["golden"].update(tolerance_steps=-1), "tolerances from 0"),
        (lambda d: d["golden"].update(kind="mine"), "golden.kind"),
        (lambda d: d["golden"].update(samples=10**30), "64-bit"),
        (lambda d: d["metrics"]["test"].update(accuracy=1.5), "accuracy from 0 to 1"),
        (lambda d: d["files"]["model.tflite"].update(sha256="ABC"), "sha256 in hex"),
        (lambda d: d.update(device="\ud800"), "surrogates"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(bundle, change, words):
    edit(bundle, change)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle.path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"[]", b"null", b'{"schema": "1"}', b'{"schema": true}', b"{" * 3, b"[" * 200_000,
        b'{"schema": 1, "schema": 1}', b'{"schema": NaN}', b'{"schema": 1}', b'{"schema": ' + b"9" * 6000 + b"}",
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused_in_one_line(bundle, content):
    (bundle.path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Bundle.load(bundle.path)
    assert "\n" not in str(caught.value)
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(bundle, number):
    path = bundle.path / "manifest.json"
    path.write_text(path.read_text().replace('"temperature": 1.0', f'"temperature": {number}'))
    with pytest.raises(BundleError, match=r"not JSON|finite"):
        Bundle.load(bundle.path)


def test_a_huge_manifest_is_refused_unread(bundle):
    with (bundle.path / "manifest.json").open("ab") as stream:
        stream.truncate(5 * 1024 * 1024)
    with pytest.raises(BundleError, match="at most 4194304 bytes"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize(
    "name", ["../model.tflite", "/etc/passwd", "a/../../b", "a\\b", "C:model", "", ".", "a//b", "a\nb", "manifest.json"]
)
def test_a_path_that_leaves_the_folder_is_refused(bundle, name):
    def rename(data):
        data["files"][name] = data["files"].pop("model.tflite")
        data["model"]["file"] = name

    edit(bundle, rename)
    with pytest.raises(BundleError, match=r"manifest\.files"):
        Bundle.load(bundle.path)


def test_a_link_that_leaves_the_folder_is_refused(bundle, tmp_path):
    model = bundle.path / "model.tflite"
    model.rename(tmp_path / "outside.tflite")
    model.symlink_to(tmp_path / "outside.tflite")
    with pytest.raises(BundleError, match="link that leaves the folder"):
        Bundle.load(bundle.path)


def test_what_is_no_bundle_says_so(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.load(tmp_path / "nowhere.bundle")
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.load(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="a file, not a folder"):
        Bundle.load(tmp_path / "file")


def test_a_missing_file_is_named(bundle):
    (bundle.path / "labels.txt").unlink()
    with pytest.raises(IntegrityError, match=r"labels\.txt is missing"):
        Bundle.load(bundle.path)


def test_every_changed_missing_and_surplus_file_is_named(bundle):
    model = bundle.path / "model.tflite"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(content)
    (bundle.path / "labels.txt").write_text("short\n")
    (bundle.path / "golden.npz").unlink()
    (bundle.path / "LICENSES" / "extra.txt").write_text("")
    with pytest.raises(IntegrityError) as caught:
        bundle.check_integrity()
    for words in ("model.tflite was changed", "labels.txt has 6 bytes, expected 15", "golden.npz is missing",
                  "LICENSES/extra.txt is not in the manifest"):  # fmt: skip
        assert words in str(caught.value)


# Golden samples


def test_golden_samples_come_back_and_their_bytes_are_always_the_same(bundle):
    golden = bundle.golden()
    assert golden is not None
    again = Golden.from_bytes(golden.to_bytes())
    assert again.to_bytes() == golden.to_bytes()
    assert again.input_sha256 == golden.input_sha256
    for one, other in zip(again.raw, tiny.frames(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.own_outputs, golden.own_outputs)
    assert again.own_outputs.dtype == np.int8


def test_a_bundle_without_golden_samples_gives_none(tmp_path):
    assert tiny.make_bundle(tmp_path / "b.bundle", golden=False).golden() is None


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK\x03\x04", npz(), npz(raw_0=b"not an array"), npz(raw_0=header("(1000000, 1000000, 3)")),
        npz(raw_0=header("(-5, 3)")), npz(raw_0=header("(2,)", "'|O'") + b"cos\nsystem\n"),
        npz(raw_0=header("(9,)") + b"12"),
        npz(raw_0=header("__import__('os')")), npz(raw_0=b"\x93NUMPY\x03\x00\xff\xff\xff\xff{"),
    ],
)  # fmt: skip
def test_hostile_golden_samples_are_refused(content):
    with pytest.raises(BundleError, match="golden samples"):
        Golden.from_bytes(content)


def test_golden_samples_that_do_not_fit_each_other_are_refused():
    frame, logits = np.zeros((4, 4, 3), np.uint8), np.zeros((1, 3), np.float32)
    with pytest.raises(BundleError, match="as many hashes"):
        Golden((frame,), (), logits, logits)
    for raw in (frame[:, :, 0], frame[:, :, :2]):
        with pytest.raises(BundleError, match="raw_0"):
            Golden((raw,), ("a",), logits, logits)
    with pytest.raises(BundleError, match="finite"):
        Golden((frame,), ("a",), logits * np.nan, logits)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_golden_images_have_the_channels_of_the_camera(channels):
    frame, logits = np.zeros((4, 4, channels), np.uint8), np.zeros((1, 3), np.float32)
    again = Golden.from_bytes(Golden((frame,), ("a" * 64,), logits, logits).to_bytes())
    assert again.raw[0].shape == (4, 4, channels)


# Writing


def test_an_output_that_exists_is_left_alone_without_force(bundle):
    with pytest.raises(OutputError, match="--force"):
        tiny.make_bundle(bundle.path)
    bundle.check_integrity()


def test_force_replaces_the_old_bundle_and_leaves_nothing_beside_it(bundle):
    new = write_bundle(bundle.path, tiny.manifest(device="raspberry_pi_5"), FILES, force=True)
    assert new.manifest.device == "raspberry_pi_5"
    new.check_integrity()
    assert [p.name for p in bundle.path.parent.iterdir()] == ["tiny.bundle"]


def test_force_never_removes_a_folder_that_is_no_bundle(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"precious")
    with pytest.raises(OutputError, match="is not a bundle"):
        write_bundle(tmp_path / "photos", tiny.manifest(), FILES, force=True)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"precious"


def test_without_an_exchange_of_folders_force_works_too(bundle, monkeypatch):
    monkeypatch.setattr(bundle_writer, "_exchange", lambda one, other: False)
    new = write_bundle(bundle.path, tiny.manifest(device="pi"), FILES, force=True)
    assert new.manifest.device == "pi"
    assert [p.name for p in bundle.path.parent.iterdir()] == ["tiny.bundle"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_ctrl_c_leaves_the_old_bundle_whole(bundle, monkeypatch, error):
    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((OutputError, KeyboardInterrupt), match="make room" if isinstance(error, OSError) else "^$"):
        write_bundle(bundle.path, tiny.manifest(device="pi"), FILES, force=True)
    monkeypatch.undo()
    assert Bundle.load(bundle.path) == bundle
    bundle.check_integrity()
    assert [p.name for p in bundle.path.parent.iterdir()] == ["tiny.bundle"]


def test_a_failed_rename_puts_the_old_bundle_back(bundle, monkeypatch):
    monkeypatch.setattr(bundle_writer, "_exchange", lambda one, other: False)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(bundle.path, tiny.manifest(device="pi"), FILES, force=True)
    monkeypatch.undo()
    assert Bundle.load(bundle.path) == bundle


def dead_pid() -> int:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def test_what_a_crash_left_is_cleaned_and_what_it_moved_aside_comes_back(bundle):
    folder, pid = bundle.path.parent, dead_pid()
    partial = folder / f".tiny.bundle.{pid}.partial"
    partial.mkdir()
    alive = folder / f".tiny.bundle.{os.getppid()}.partial"
    alive.mkdir()
    bundle.path.rename(folder / f".tiny.bundle.{pid}.old")
    with pytest.raises(OutputError, match="exists already"):
        write_bundle(bundle.path, tiny.manifest(), FILES)
    assert Bundle.load(bundle.path) == bundle
    assert not partial.exists()
    assert alive.exists(), "another process is still writing that one"


def test_files_that_the_manifest_names_must_be_given(tmp_path):
    with pytest.raises(BundleError, match=r"'model\.tflite' is named but not listed"):
        write_bundle(tmp_path / "b.bundle", tiny.manifest(), {"LICENSES/tiny.txt": b""})
    with pytest.raises(BundleError, match="leaves the bundle"):
        write_bundle(tmp_path / "b.bundle", tiny.manifest(), {**FILES, "../evil": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "b.bundle", tiny.manifest(), FILES)
