"""Opens a user's own `.keras` or `.h5` image model and makes a backbone of it: cut at its pooling, normalised."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.models.backbones._config import parts, read_config, refuse_unsafe, settle_names, write_copy
from edgetransfer.models.backbones._cut import Graph, cut_at_pooling, lift_front
from edgetransfer.spec.preprocess import CHANNELS, Normalisation

_NORMALISE = (
    "give --normalise SCALE,ZERO_POINT, where real = SCALE * (pixel - ZERO_POINT): 0.00392156862745098,0 if it takes "
    "pixels / 255, 0.007843137254901961,127 if it takes -1 to 1, 1,0 if it takes raw pixels"
)


@dataclass(frozen=True, slots=True)
class UserModel:
    """A user's model as a backbone: `model` takes what `normalisation` makes of pixels and gives features."""

    path: Path
    model: Any
    normalisation: Normalisation


def open_model(path: Path, input_px: int | None, normalisation: Normalisation | None) -> UserModel:
    """Return the model at `path`, cut at its pooling layer.

    A `Rescaling` layer at its front becomes the normalisation, and layers that augment are left out. With
    `normalisation` given, the model's front stays as it is and takes pixels normalised so.

    Args:
        path: A `.keras` file, or an `.h5` file of a whole model, of Keras 3 or older.
        input_px: Side of the input, for models that take any size; None for the model's own.
        normalisation: What the model expects of a pixel, if it cannot say so itself.

    Raises:
        BackboneError: no such model, unsafe to load, not an image model, or it has no pooling to be cut at, takes
            another size, or does not say what it expects of a pixel.
    """
    loaded = _load(path)
    height, width = _input_size(loaded, path, input_px)
    if normalisation is not None:
        _check_normalisation(normalisation, path)
    pooled = cut_at_pooling(loaded, f"model {path}")
    graph = Graph.of(pooled)
    front = lift_front(graph, pooled, lift=normalisation is None)
    chosen = normalisation or front.normalisation
    if chosen is None:
        what = (
            "its Rescaling layer cannot become one whole zero point"
            if front.rescaling
            else "no leading Rescaling layer"
        )
        raise BackboneError(f"model {path}: it does not say what it expects of a pixel ({what}); {_NORMALISE}")
    model = _rebuilt(pooled, height, width, front.skipped)
    return UserModel(path, model, chosen)


def input_channels(path: Path) -> int:
    """Return how many channels the model at `path` takes, without loading it; 3 where it does not say.

    Raises:
        BackboneError: another kind of file, or not a whole one.
    """
    for part in parts(read_config(path)):
        settings = part.get("config")
        shape = settings.get("batch_shape", settings.get("batch_input_shape")) if isinstance(settings, dict) else None
        if isinstance(shape, list) and len(shape) == 4 and shape[-1] in CHANNELS:
            return int(shape[-1])
    return 3


def _load(path: Path) -> Any:
    config = read_config(path)
    refuse_unsafe(config, path)
    renamed = settle_names(config)
    if path.suffix != ".keras":
        from edgetransfer.models import legacy_h5

        renamed |= legacy_h5.drop_groups(config, f"model {path}")
    import keras

    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        try:
            source = write_copy(path, Path(folder) / f"model{path.suffix}", config) if renamed else path
            model = keras.models.load_model(source, compile=False, safe_mode=True)
        except Exception as trouble:  # Keras raises whatever a wrong configuration leads to
            lines = str(trouble).strip().splitlines() or [type(trouble).__name__]
            raise BackboneError(f"model {path}: Keras {keras.__version__} cannot load it: {lines[0]}") from trouble
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations"):
        raise BackboneError(
            f"model {path}: expected a functional or sequential model that was built, got a subclassed one"
        )
    return model


def _input_size(model: Any, path: Path, input_px: int | None) -> tuple[int, int]:
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] not in CHANNELS:
        raise BackboneError(
            f"model {path}: expected one input (None, height, width, channels) of images with 1, 3 or 4 channels, got "
            f"{shapes}"
        )
    height, width = shapes[0][1:3]
    if height is None or width is None:
        if input_px is None:
            raise BackboneError(f"model {path}: takes images of any size; say which with --input-size")
        if input_px != (height or input_px) or input_px != (width or input_px):
            raise BackboneError(f"model {path}: takes {height} x {width} px, not {input_px} x {input_px}")
        return input_px, input_px
    if input_px is not None and (input_px, input_px) != (height, width):
        raise BackboneError(f"model {path}: takes {height} x {width} px only, not {input_px}; leave out --input-size")
    return int(height), int(width)


def _check_normalisation(normalisation: Normalisation, path: Path) -> None:
    if not 0 < normalisation.scale < float("inf") or not 0 <= normalisation.zero_point <= 255:
        raise BackboneError(
            f"model {path}: expected --normalise with a scale above 0 and a whole zero point of 0 to 255, got "
            f"{normalisation.scale:g},{normalisation.zero_point}"
        )


def _rebuilt(pooled: Any, height: int, width: int, skipped: frozenset[str]) -> Any:
    """Return `pooled` on an input of its own of a fixed size, with the layers named in `skipped` left out."""
    import keras

    def call(op: Any, *arguments: Any, **options: Any) -> Any:
        return arguments[0] if op.name in skipped else op(*arguments, **options)

    pixels = keras.Input((height, width, int(pooled.input.shape[-1])), name="pixels")
    for op in pooled.operations:
        if op.name == "pixels" and type(op).__name__ != "InputLayer":
            op.name = "pixels_"
    return keras.models.clone_model(
        pooled, input_tensors=pixels, clone_function=lambda layer: layer, call_function=call
    )
