"""Fixtures that several folders of tests use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a folder in one worker: they share what is built once a session."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(item.path.parent.relative_to(ROOT).as_posix()))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real weights and data that development machines have beside the checkout."""
    folder = Path(os.environ.get("EDGETRANSFER_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("needs the development data beside the checkout (a folder 'shared'), which is not here")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _cache_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never read or fill the user's own cache and settings."""
    os.environ.setdefault("EDGETRANSFER_CACHE", str(tmp_path_factory.mktemp("cache")))
    os.environ["EDGETRANSFER_CONFIG"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def small_keras() -> Any:
    """A small convolutional network with every kind of op that our backbones have: (32, 32, 3) -> (24,)."""
    keras = pytest.importorskip("keras", reason="building needs the extra 'train'")
    keras.utils.set_random_seed(7)
    inputs = keras.Input((32, 32, 3), name="pixels")
    x = keras.layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.ReLU(6, name="stem_relu")(keras.layers.BatchNormalization(name="stem_norm")(x))
    y = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = keras.layers.ReLU(6, name="depthwise_relu")(keras.layers.BatchNormalization(name="depthwise_norm")(y))
    y = keras.layers.Conv2D(8, 1, use_bias=False, name="project")(y)
    y = keras.layers.BatchNormalization(name="project_norm")(y)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.ReLU(6, name="last_relu")(keras.layers.Conv2D(24, 1, name="last")(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x), name="small")


@pytest.fixture(scope="session")
def small_float(small_keras: Any) -> bytes:
    """The small network as a float32 `.tflite`."""
    from edgetransfer.export.litert import convert

    return convert(small_keras)


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """Patches of real photographs, (60, 32, 32, 3) uint8 RGB; they come with scikit-image."""
    data = pytest.importorskip("skimage.data", reason="real photographs come with the extra 'dev'")
    rng = np.random.default_rng(3)
    patches = []
    for photo in (data.chelsea(), data.coffee(), data.rocket()):
        for _ in range(20):
            top, left = (int(rng.integers(0, size - 64)) for size in photo.shape[:2])
            patches.append(photo[top : top + 64 : 2, left : left + 64 : 2])
    return np.stack(patches)


@pytest.fixture(scope="session")
def photo_patches() -> ModuleType:
    """The helper `tests/photos.py`, which writes small folders of real photographs."""
    return _load("photos")


@pytest.fixture(scope="session")
def photos(photo_patches: ModuleType) -> Any:
    """The same by a shorter name, which some folders of tests have for photos of their own."""
    return photo_patches


@pytest.fixture(scope="session")
def tiny_bundle() -> ModuleType:
    """The helper `tests/tiny_bundle.py`, which makes a real bundle of a few kilobytes in milliseconds."""
    return _load("tiny_bundle")


@pytest.fixture(scope="session")
def tiny_sounds() -> ModuleType:
    """The helper `tests/tiny_sound_bundle.py`, which makes a real bundle for sounds, and sounds for it."""
    return _load("tiny_sound_bundle")


@pytest.fixture(scope="session")
def speech() -> ModuleType:
    """The helper `tests/speech.py`, which speaks words with a synthesizer."""
    pytest.importorskip("espeakng_loader", reason="spoken words come with the extra 'dev'")
    return _load("speech")


def _load(name: str) -> ModuleType:
    # Tests are imported without a package of their own, so a helper is loaded by its path.
    spec = importlib.util.spec_from_file_location(f"edgetransfer_tests_{name}", ROOT / "tests" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
