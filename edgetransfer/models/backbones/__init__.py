"""Pretrained backbones, one file each: `NAME.py` here is the backbone NAME.

A backbone's file has `SPEC` (a `BackboneSpec`) and `WEIGHTS` (its published files), readable without Keras, and the
functions of `Plugin`. What several of them share is in files that begin with "_". Besides the registered names there
is "keras:PATH", a user's own model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from edgetransfer import registry
from edgetransfer.errors import BackboneError, UnknownNameError, WeightsError
from edgetransfer.models import weights
from edgetransfer.models.backbone_file import BackboneFacts, read_facts
from edgetransfer.spec.backbone import BackboneChoice, BackboneSpec, WeightFile
from edgetransfer.spec.preprocess import Normalisation

if TYPE_CHECKING:
    from edgetransfer.models.backbones._keras_file import UserModel
    from edgetransfer.spec.audio import AudioInput
    from edgetransfer.spec.text import TextInput

OWN = "keras:"
"""What a `BackboneChoice.name` begins with that is the path of a user's model."""
MOST_PX = 2048
NOT_STATED = "not stated"
_RULES = 1  # raise when the same weights give another model than before


class Plugin(Protocol):
    """What a file in this folder offers.

    One that does not look at images also has `INPUT`, an `AudioInput` or `TextInput`; its model takes (None, *shape)
    of real log-mel, or of int32 token ids. One of sentences has `assets(path)`, which returns the files that the
    bundle carries for it, by name, from the file of weights.
    """

    SPEC: BackboneSpec
    WEIGHTS: tuple[WeightFile, ...]

    def weight_file(self, alpha: float, input_px: int) -> WeightFile:
        """Return the published file for this width and size."""

    def build(self, alpha: float, height_px: int, width_px: int) -> Any:
        """Return the Keras model, untrained: (None, height_px, width_px, 3) -> (None, D)."""

    def load(self, path: Path, alpha: float, height_px: int, width_px: int) -> Any:
        """Return the Keras model with the weights in `path`, which takes pixels normalised as SPEC says."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A choice with its defaults filled in, and checked."""

    spec: BackboneSpec
    alpha: float
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class Backbone:
    """A loaded backbone.

    Attributes:
        model: `keras.Model`, float32 (None, height_px, width_px, channels) normalised pixels -> (None, feature_size).
        weights_sha256: Of the weights in use: `weights_fingerprint`.
        licence: Of the weights; "not stated" for a file that the user gave.
    """

    name: str
    alpha: float
    height_px: int
    width_px: int
    feature_size: int
    normalisation: Normalisation
    licence: str
    licence_url: str
    pretrained_on: str
    weights_sha256: str
    model: Any
    channels: int = 3


def names() -> tuple[str, ...]:
    """Return the names of all registered backbones; imports none of them."""
    return registry.names(__name__)


def get_spec(name: str) -> BackboneSpec:
    """Return what the registered backbone `name` offers; loads no Keras.

    Raises:
        UnknownNameError: there is none of that name.
    """
    return _plugin(name).SPEC


def input_of(choice: BackboneChoice) -> AudioInput | TextInput | None:
    """Return what the backbone takes where that is fixed: sounds and sentences; None for images.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if choice.name.startswith(OWN):
        return None
    found: AudioInput | TextInput | None = getattr(_plugin(choice.name), "INPUT", None)
    return found


def channels_of(choice: BackboneChoice) -> int:
    """Return how many channels the images have that the backbone takes; loads no Keras.

    Raises:
        BackboneError: a user's model whose file cannot be read.
    """
    if not choice.name.startswith(OWN):
        return 3
    from edgetransfer.models.backbones._keras_file import input_channels

    return input_channels(_own_path(choice))


def assets(choice: BackboneChoice) -> Mapping[str, bytes]:
    """Return the files that a bundle of this backbone carries beside the model, by name: a tokenizer, or none.

    Raises:
        UnknownNameError: there is none of that name.
        WeightsError: the weights that hold them cannot be had.
    """
    plugin: Any = None if choice.name.startswith(OWN) else _plugin(choice.name)
    if not hasattr(plugin, "assets"):
        return {}
    file = plugin.weight_file(1.0, plugin.SPEC.input_px)
    path = choice.weights or weights.fetch(choice.name, file)
    found: Mapping[str, bytes] = plugin.assets(path)
    return found


def resolve(choice: BackboneChoice) -> Resolved:
    """Return `choice` with its defaults filled in; loads Keras only for "keras:PATH".

    Raises:
        UnknownNameError: no such backbone.
        BackboneError: no such width, a size that is too small or too large, or a model that cannot be cut.
    """
    if choice.name.startswith(OWN):
        return _resolved_own(*_open_own(choice))
    spec = _plugin(choice.name).SPEC
    if choice.normalisation is not None:
        raise BackboneError(f"backbone {spec.name!r}: it knows its normalisation; --normalise is for {OWN}PATH only")
    default = 1.0 if not spec.alphas or 1.0 in spec.alphas else spec.alphas[0]
    alpha = default if choice.alpha is None else choice.alpha
    if alpha not in (spec.alphas or (default,)):
        known = ", ".join(f"{a:g}" for a in spec.alphas) or "1"
        raise BackboneError(f"backbone {spec.name!r}: expected an alpha of {known}, got {alpha:g}")
    side = spec.input_px if choice.input_px is None else choice.input_px
    if not spec.minimum_px <= side <= MOST_PX:
        raise BackboneError(
            f"backbone {spec.name!r}: expected an input size of {spec.minimum_px} to {MOST_PX} px, got {side}"
        )
    return Resolved(spec, alpha, side, side)


def identity(choice: BackboneChoice) -> dict[str, Any]:
    """Return JSON values that differ wherever `load` would give different models; loads no Keras.

    Raises:
        UnknownNameError, BackboneError: as `resolve`.
        WeightsError: the file of weights or the model cannot be read.
    """
    if choice.name.startswith(OWN):
        normalisation = None if choice.normalisation is None else choice.normalisation.to_json()
        content = _content_hash(_own_path(choice))
        own = {"name": OWN, "file": content, "input_px": choice.input_px, "normalisation": normalisation}
        return own | {"rules": _RULES, "called": _own_name(choice)}
    resolved = resolve(choice)
    file = _plugin(choice.name).weight_file(resolved.alpha, resolved.height_px)
    content = file.sha256 or file.source if choice.weights is None else _content_hash(choice.weights)
    # A published file and the same bytes given as --weights differ in nothing but what is said of the licence.
    return {
        "name": resolved.spec.name,
        "alpha": resolved.alpha,
        "size_px": [resolved.height_px, resolved.width_px],
        "weights": content,
        "published": choice.weights is None,
        "rules": _RULES,
    }


def load(choice: BackboneChoice, *, progress: weights.Progress | None = None) -> Backbone:
    """Return the backbone, with its weights; downloads them if they have an address and are not here.

    Args:
        choice: Which one.
        progress: Is told of the download's bytes done and in all.

    Raises:
        UnknownNameError, BackboneError: as `resolve`.
        WeightsError: the weights are not to be had, damaged, or those of another network.
    """
    if choice.name.startswith(OWN):
        own, facts = _open_own(choice)
        return _backbone(_resolved_own(own, facts), own.model, stated=True)
    resolved = resolve(choice)
    plugin = _plugin(choice.name)
    if choice.weights is not None:
        path = choice.weights
        if not path.is_file():
            raise WeightsError(f"weights {path}: no such file")
    else:
        file = plugin.weight_file(resolved.alpha, resolved.height_px)
        path = weights.locate(choice.name, file, progress=progress)
    model = plugin.load(path, resolved.alpha, resolved.height_px, resolved.width_px)
    return _backbone(resolved, model, stated=choice.weights is None)


def weights_fingerprint(model: Any) -> str:
    """Return the sha256 of the model's weights: of each, sorted by path: path, shape, float32 bytes.

    Raises:
        WeightsError: a weight is not a finite number.
    """
    digest = hashlib.sha256()
    for variable in sorted(model.weights, key=lambda v: str(v.path)):
        values = np.ascontiguousarray(variable, "<f4")
        if not np.isfinite(values).all():
            raise WeightsError(f"weights of {model.name!r}: {variable.path} has values that are not finite numbers")
        digest.update(f"{variable.path} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _backbone(resolved: Resolved, model: Any, *, stated: bool) -> Backbone:
    """Return the loaded backbone; where the weights are not `stated` ones, nothing is said of their licence."""
    spec = resolved.spec
    if not stated:
        spec = replace(spec, licence=NOT_STATED, licence_url="", pretrained_on=NOT_STATED)
    return Backbone(
        name=spec.name,
        alpha=resolved.alpha,
        height_px=resolved.height_px,
        width_px=resolved.width_px,
        feature_size=int(model.output.shape[-1]),
        normalisation=spec.normalisation,
        licence=spec.licence,
        licence_url=spec.licence_url,
        pretrained_on=spec.pretrained_on,
        weights_sha256=weights_fingerprint(model),
        model=model,
        channels=spec.channels,
    )


def _plugin(name: str) -> Plugin:
    if name not in names():
        raise UnknownNameError("backbone", name, names(), hint=f"Your own Keras model: {OWN}PATH.")
    return cast(Plugin, registry.load(__name__, name, kind="backbone"))


def _own_path(choice: BackboneChoice) -> Path:
    path = Path(choice.name.removeprefix(OWN))
    if not path.is_file():
        raise BackboneError(f"backbone {choice.name!r}: expected a .keras or .h5 file after {OWN!r}, found none there")
    return path


def _own_name(choice: BackboneChoice) -> str:
    return OWN + _own_path(choice).name


def _open_own(choice: BackboneChoice) -> tuple[UserModel, BackboneFacts | None]:
    """Return the user's model, and what its file knows of the weights."""
    path = _own_path(choice)
    if choice.alpha is not None or choice.weights is not None:
        raise BackboneError(f"backbone {choice.name!r}: --alpha and --weights are for registered backbones only")
    from edgetransfer.models.backbones._keras_file import open_model

    facts = read_facts(path)
    if facts is not None and choice.normalisation not in (None, facts.normalisation):
        raise BackboneError(f"backbone {choice.name!r}: it knows its normalisation; leave --normalise out")
    normalisation = choice.normalisation if facts is None else facts.normalisation
    return open_model(path, choice.input_px, normalisation), facts


def _resolved_own(own: UserModel, facts: BackboneFacts | None) -> Resolved:
    from edgetransfer.models.backbones._graph import multiply_adds

    height, width = (int(size) for size in own.model.input.shape[1:3])
    spec = BackboneSpec(
        name=OWN + own.path.name,
        summary="a user's model" if facts is None else f"made from {facts.name}",
        input_px=height,
        minimum_px=min(height, width),
        sizes_px=(height,),
        alphas=(1.0,),
        normalisation=own.normalisation,
        feature_size=int(own.model.output.shape[-1]),
        parameters=int(own.model.count_params()),
        macs=multiply_adds(own.model),
        licence=NOT_STATED if facts is None else facts.licence,
        licence_url="" if facts is None else facts.licence_url,
        pretrained_on=NOT_STATED if facts is None else facts.pretrained_on,
        source=OWN + own.path.name,
        channels=int(own.model.input.shape[-1]),
    )
    return Resolved(spec, 1.0, height, width)


def _content_hash(path: Path) -> str:
    try:
        return weights.file_hash(path)
    except OSError as trouble:
        raise WeightsError(f"weights {path}: cannot be read ({trouble.strerror})") from trouble
