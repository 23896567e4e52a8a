from __future__ import annotations

import sys
from importlib import metadata

import pytest

from edgetransfer import registry
from edgetransfer.errors import UnknownNameError

PACKAGE = "plugin_farm"


@pytest.fixture
def farm(tmp_path, monkeypatch):
    """A package with the plug-ins `apple` and `pear`, a private file, and an entry point from elsewhere."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    for name in ("__init__", "apple", "pear", "_shared"):
        (folder / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "elsewhere.py").write_text("NAME = 'plum'\n")
    (tmp_path / "impostor.py").write_text("NAME = 'impostor'\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('this plug-in is broken')\n")
    points = [
        metadata.EntryPoint("plum", "elsewhere", PACKAGE),
        metadata.EntryPoint("apple", "impostor", PACKAGE),
        metadata.EntryPoint("quince", "broken", PACKAGE),
    ]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda *, group: points if group == PACKAGE else [])
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._locations.cache_clear()
    yield PACKAGE
    registry._locations.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "elsewhere", "impostor")]:
        del sys.modules[name]


def test_files_and_entry_points_are_names_and_what_begins_with_an_underscore_is_not(farm):
    assert registry.names(farm) == ("apple", "pear", "plum", "quince")


def test_listing_imports_no_plug_in(farm):
    registry.names(farm)
    assert not {f"{farm}.apple", f"{farm}.pear", "elsewhere", "broken"} & set(sys.modules)


def test_a_plug_in_is_loaded_by_its_name(farm):
    assert registry.load(farm, "pear", kind="fruit").NAME == "pear"
    assert registry.load(farm, "plum", kind="fruit").NAME == "plum"


def test_an_installed_package_cannot_replace_what_ships(farm):
    assert registry.load(farm, "apple", kind="fruit").NAME == "apple"


def test_a_misspelt_name_is_answered_with_the_nearest(farm):
    with pytest.raises(UnknownNameError, match=r"no fruit named 'aple'; did you mean 'apple'\?"):
        registry.load(farm, "aple", kind="fruit")


@pytest.mark.parametrize("name", ["_shared", "", "../apple", "apple.NAME", "__init__"])
def test_what_is_no_plug_ins_name_is_refused(name, farm):
    with pytest.raises(UnknownNameError):
        registry.load(farm, name, kind="fruit")


def test_a_plug_in_that_is_broken_says_so_itself(farm):
    with pytest.raises(RuntimeError, match="this plug-in is broken"):
        registry.load(farm, "quince", kind="fruit")


@pytest.mark.parametrize(
    ("package", "some"),
    [
        ("edgetransfer.models.backbones", "efficientnet_lite0"),
        ("edgetransfer.models.heads", "single_label"),
        ("edgetransfer.runtime.decoders", "single_label"),
        ("edgetransfer.runtime.engines", "litert"),
    ],
)
def test_the_real_folders_have_their_plug_ins(package, some):
    assert some in registry.names(package)
