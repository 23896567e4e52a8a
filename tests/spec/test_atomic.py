from __future__ import annotations

import errno

import pytest

from edgetransfer.errors import OutputError
from edgetransfer.spec import atomic
from edgetransfer.spec.atomic import refuse_place, write_atomically


def test_a_file_is_replaced_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_place_that_a_file_can_have_is_not_refused(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    refuse_place(tmp_path / "new.txt", force=False)
    refuse_place(tmp_path / "old.txt", force=True)
    assert (tmp_path / "old.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "force", "says"),
    [
        ("old.txt", False, "picture '.*old.txt': exists already; choose another name or add --force"),
        ("folder", True, "picture '.*folder': is a folder"),
        ("none/new.txt", True, "picture '.*new.txt': no such folder: .*none"),
    ],
)
def test_any_other_place_is_refused_by_its_name(name, force, says, tmp_path):
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=says):
        refuse_place(tmp_path / name, force=force, what="picture")
