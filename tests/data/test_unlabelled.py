"""Photos without labels: found anywhere, each content once, and never one that stands in the labelled data."""

import pytest

from edgetransfer.data import load_dataset
from edgetransfer.data.unlabelled import read_unlabelled
from edgetransfer.errors import DataError


@pytest.fixture
def folder(photos, tmp_path):
    return photos.write_photos(tmp_path / "photos", each=4)


def test_photos_are_found_at_any_depth_and_each_content_once(folder):
    one = folder / "cat" / "000.png"
    (folder / "deep" / "down").mkdir(parents=True)
    (folder / "deep" / "down" / "again.png").write_bytes(one.read_bytes())
    found = read_unlabelled(folder)
    assert len(found.samples) == 12
    assert {(sample.label, sample.split) for sample in found.samples} == {("", "train")}
    assert [sample.sha256 for sample in found.samples] == sorted(sample.sha256 for sample in found.samples)


def test_what_is_known_or_broken_or_hidden_is_left_out(folder):
    known = {sample.sha256 for sample in load_dataset(folder, seed=0).split("test")}
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "one.png").write_bytes((folder / "cat" / "000.png").read_bytes() + b" ")
    found = read_unlabelled(folder, known=known)
    assert (found.known, found.unreadable, len(found.samples)) == (len(known), 1, 12 - len(known))
    assert known.isdisjoint(sample.sha256 for sample in found.samples)


def test_a_folder_without_anything_new_is_refused(folder, tmp_path):
    known = {sample.sha256 for sample in load_dataset(folder, seed=0).samples}
    with pytest.raises(DataError, match="12 of them known"):
        read_unlabelled(folder, known=known)
    with pytest.raises(DataError, match="expected a folder"):
        read_unlabelled(tmp_path / "nowhere")
