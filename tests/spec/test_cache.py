from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgetransfer.errors import CacheError
from edgetransfer.spec.cache import cache_folder


def test_the_variable_decides(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    assert cache_folder("weights") == tmp_path / "weights"
    assert not (tmp_path / "weights").exists()


def test_without_the_variable_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGETRANSFER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder("features") == tmp_path / ".cache" / "edgetransfer" / "features"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder("features") == tmp_path / "Library" / "Caches" / "edgetransfer" / "features"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("features") == tmp_path / "xdg" / "edgetransfer" / "features"


def test_a_relative_xdg_folder_is_ignored_as_its_specification_says(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGETRANSFER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_folder("weights").is_relative_to(tmp_path)


def test_a_home_sign_in_the_variable_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGETRANSFER_CACHE", "~/mine")
    assert cache_folder("weights") == tmp_path / "mine" / "weights"


def test_a_relative_folder_is_refused(monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", "cache")
    with pytest.raises(CacheError, match="absolute path, got 'cache'"):
        cache_folder("weights")


@pytest.mark.parametrize("kind", ["", "..", "a/b", "A", "/etc"])
def test_a_kind_cannot_leave_the_folder(kind):
    with pytest.raises(CacheError, match="cache kind"):
        cache_folder(kind)


def test_no_home_is_said(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("EDGETRANSFER_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", staticmethod(homeless))
    with pytest.raises(CacheError, match="set EDGETRANSFER_CACHE"):
        cache_folder("weights")
