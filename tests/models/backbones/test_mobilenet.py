from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models import backbones
from edgetransfer.models.backbones import _mobilenet
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import ImageInput

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

# Keras 3.15 with numpy 2 warns of itself whenever it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

MAKERS = {
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
}


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """A real photograph, (224, 224, 3) uint8 RGB."""
    data = pytest.importorskip("skimage.data", reason="real photographs come with the extra 'dev'")
    return prepare(data.chelsea(), ImageInput(224, 224, "crop"))


@pytest.fixture
def dequantised(shared) -> Path:
    """A whole MobileNetV2 1.0 with real weights, its batch norm folded away."""
    return shared / "data/backbones/mobilenetv2-1.0-imagenet/mobilenetv2_1.0_224_dequant.keras"


def original(name: str, px: int, alpha: float = 1.0, *, top: bool = True) -> Any:
    """The network of keras.applications, with weights and batch norm statistics that are not the initial ones."""
    options = {} if name == "mobilenet_v2" else {"include_preprocessing": False}
    keras.utils.set_random_seed(5)
    model = MAKERS[name](weights=None, input_shape=(px, px, 3), alpha=alpha, include_top=top, **options)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            for variable, (low, high) in zip(
                layer.weights, ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5)), strict=True
            ):
                variable.assign(rng.uniform(low, high, variable.shape).astype(np.float32))
    return model


def normalised(image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    norm = backbones.get_spec(name).normalisation
    real: NDArray[np.float32] = (image[None].astype(np.float32) - norm.zero_point) * np.float32(norm.scale)
    return real


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("suffix", ["model.keras", "model.weights.h5", "model.h5", "bare.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_come_from_every_kind_of_keras_file_with_a_classifier_or_without(name, suffix, tmp_path):
    sums = set()
    for top in (True, False):
        model, path = original(name, 64, 0.75, top=top), tmp_path / f"{top}_{suffix}"
        if suffix in ("model.keras", "model.h5"):
            model.save(path)
        elif suffix == "bare.h5":  # as keras.applications publishes them
            import h5py
            from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

            with h5py.File(path, "w") as file:
                save_weights_to_hdf5_group(file, model)
        else:
            model.save_weights(path)
        loaded = backbones.load(BackboneChoice(name, alpha=0.75, input_px=64, weights=path))
        kernel = next(layer for layer in model.layers if layer.weights).kernel
        np.testing.assert_array_equal(next(layer for layer in loaded.model.layers if layer.weights).kernel, kernel)
        sums.add(loaded.weights_sha256)
    assert len(sums) == 1


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_zero_point_gives_the_original_inside_and_half_a_grey_level_off_at_the_edge(name, photo, tmp_path):
    model = original(name, 224, top=False)
    model.save_weights(tmp_path / "w.weights.h5")
    loaded = backbones.load(BackboneChoice(name, weights=tmp_path / "w.weights.h5"))
    first, norm = ("Conv1", "bn_Conv1") if name == "mobilenet_v2" else ("conv", "conv_bn")
    head = keras.Model(model.input, model.get_layer(norm).output)
    ours = keras.Model(loaded.model.input, loaded.model.get_layer(norm).output)
    want = np.asarray(head(photo[None].astype(np.float32) / 127.5 - 1))[0]
    got = np.asarray(ours(normalised(photo, name)))[0]
    # Stride 2 on an even size pads at the bottom and right only.
    np.testing.assert_allclose(got[:-1, :-1], want[:-1, :-1], atol=2e-5)
    layer, batch_norm = model.get_layer(first), model.get_layer(norm)
    gain = np.abs(np.asarray(batch_norm.gamma) / np.sqrt(np.asarray(batch_norm.moving_variance) + 1e-3))
    most = gain * np.abs(np.asarray(layer.kernel)).sum(axis=(0, 1, 2)) * 0.5 / 127.5
    assert (np.abs(got - want).max(axis=(0, 1)) <= most + 2e-5).all()


def test_real_weights_give_the_originals_features_on_a_photo(dequantised, photo):
    model = keras.models.load_model(dequantised, compile=False)
    pooled = keras.Model(model.input, model.layers[-2].output)
    want = np.asarray(pooled(photo[None].astype(np.float32) / 127.5 - 1))
    loaded = backbones.load(BackboneChoice("mobilenet_v2", weights=dequantised))
    got = np.asarray(loaded.model(normalised(photo, "mobilenet_v2")))
    cosine = float((want * got).sum() / np.linalg.norm(want) / np.linalg.norm(got))
    assert cosine > 0.9999
    assert np.abs(got - want).max() < 0.02 * want.max()


def test_the_offset_has_to_be_folded_for_that(dequantised, photo):
    """Without it the features are an order of magnitude further off: the tolerance above can fail."""
    loaded = backbones.load(BackboneChoice("mobilenet_v2", weights=dequantised)).model
    real = normalised(photo, "mobilenet_v2")
    folded = np.asarray(loaded(real))
    want = np.asarray(keras.models.load_model(dequantised, compile=False).get_layer("Conv1")(real)).shape
    unfolded = _mobilenet.build("v2", 1.0, 224, 224)
    _mobilenet.load_into(unfolded, dequantised)
    assert want == (1, 112, 112, 32)
    exact = np.asarray(unfolded(photo[None].astype(np.float32) / 127.5 - 1))
    assert np.abs(np.asarray(unfolded(real)) - exact).max() > 3 * np.abs(folded - exact).max()


def test_weights_of_another_width_or_network_are_refused_in_one_line(tmp_path):
    original("mobilenet_v2", 64, 0.5).save(tmp_path / "half.keras")
    for choice in (
        BackboneChoice("mobilenet_v2", weights=tmp_path / "half.keras"),
        BackboneChoice("mobilenet_v3_small", weights=tmp_path / "half.keras"),
    ):
        with pytest.raises(WeightsError, match="not those of this mobilenet") as caught:
            backbones.load(choice)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_legacy_weights_of_another_width_are_refused(tmp_path):
    original("mobilenet_v2", 64, 0.5).save(tmp_path / "half.h5")
    with pytest.raises(WeightsError, match="Conv1 needs"):
        backbones.load(BackboneChoice("mobilenet_v2", weights=tmp_path / "half.h5"))


@pytest.mark.parametrize("name", ["w.keras", "w.weights.h5", "w.h5", "w.txt"])
def test_a_file_that_is_no_weights_is_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="weights ") as caught:
        backbones.load(BackboneChoice("mobilenet_v2", weights=tmp_path / name))
    assert "\n" not in str(caught.value)


def test_published_files_are_those_of_keras_applications(monkeypatch):
    """Keras itself is asked which file it would fetch, for every width and size with weights."""
    asked: list[str] = []

    def note(name, origin, **options):
        asked.append(origin)
        raise FileNotFoundError

    for module in ("mobilenet_v2", "mobilenet_v3"):
        file_utils = pytest.importorskip(f"keras.src.applications.{module}").file_utils
        monkeypatch.setattr(file_utils, "get_file", note)
    for name, maker in MAKERS.items():
        plugin: Any = backbones._plugin(name)
        for alpha in (plugin.SPEC.alphas[0], plugin.SPEC.alphas[-1]):
            for px in plugin.SPEC.sizes_px[:1]:
                with pytest.raises(FileNotFoundError):
                    maker(input_shape=(px, px, 3), alpha=alpha, include_top=False)
                assert plugin.weight_file(alpha, px).source == asked[-1]
