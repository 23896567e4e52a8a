"""The small network of `networks.py` in every format, written once."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import pytest

_spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
assert _spec is not None
assert _spec.loader is not None
_networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_networks)


@pytest.fixture(scope="session")
def networks() -> ModuleType:
    """The helper `tests/transfer/networks.py`."""
    pytest.importorskip("keras", reason="source models are read with the extra 'train'")
    return _networks


@pytest.fixture(scope="session")
def source_paths(networks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths of the network by format; tests must not change the files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of legacy formats, and of converters about their own packages
        paths: dict[str, Path] = networks.write_all(tmp_path_factory.mktemp("sources"))
    return paths
