"""`.h5` files of Keras 1 and 2, and of Keras 3 in their manner: whole models and weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.transfer.source import VECTOR, SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._by_name import SPATIAL, Guess, guess_all, other
from edgetransfer.transfer.sources._files import group, sha256_of
from edgetransfer.transfer.sources._keras_layers import (
    PARAMETERS,
    KerasLayer,
    Parameter,
    as_tensor,
    layers_of,
    name_of,
)

if TYPE_CHECKING:
    from edgetransfer.models.legacy_h5 import Stored

SUMMARY = "models and weights of Keras 1 and 2 (.h5)"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def recognises(looks: Looks) -> bool:
    """Whether it is an HDF5 file with a list of layers."""
    if not looks.start.startswith(_HDF5):
        return False
    from edgetransfer.models import legacy_h5

    return legacy_h5.is_legacy(looks.path)


def read(path: Path) -> SourceModel:
    """Return the parameters of the file at `path`.

    With a configuration in it, roles are stated by the layers' classes; without, inferred from names and shapes.

    Raises:
        WeightsError: it is damaged, or its parts lie in other files.
    """
    from edgetransfer.models import legacy_h5

    stored = legacy_h5.list_weights(path)
    if not stored:
        raise WeightsError(f"source {path}: expected parameters of layers as Keras saves them, got none")
    try:
        config = legacy_h5.read_config(path)
        known = {layer.name: layer for layer in layers_of(config)}
    except BackboneError:  # weights alone
        config, known = {}, {}
    except RecursionError as trouble:
        raise WeightsError(f"source {path}: its configuration is nested too deep to be one of Keras") from trouble
    owners = _owners(stored, known)
    layers = {layer.name: layer for layer in owners}
    return SourceModel(
        name_of(config) or path.stem,
        "Keras",
        "legacy_h5",
        path,
        sha256_of(path),
        group(
            zip((layer.name for layer in owners), _tensors(path, stored, owners), strict=True),
            kinds={name: layer.kind for name, layer in layers.items()},
            attributes={name: layer.attributes for name, layer in layers.items()},
            epsilons={name: layer.epsilon for name, layer in layers.items() if layer.epsilon is not None},
        ),
    )


def _owners(stored: Sequence[Stored], known: Mapping[str, KerasLayer]) -> list[KerasLayer]:
    """Return the layer of each parameter; those of inner models stand in the file under the inner model's name."""
    scopes: dict[str, set[str]] = {}
    for one in stored:
        scopes.setdefault(one.layer, set()).add(_scope(one))
    found = []
    for one in stored:
        inner = f"{one.layer}/{_scope(one)}"
        if inner in known:
            found.append(known[inner])
        elif one.layer in known or len(scopes[one.layer]) == 1:
            found.append(known.get(one.layer, KerasLayer(one.layer, "")))
        else:
            found.append(KerasLayer(inner, ""))
    return found


def _scope(one: Stored) -> str:
    """Return what stands between the layer's and the parameter's own name; "" if nothing does."""
    return one.name.removeprefix(one.layer).lstrip("/").rpartition("/")[0]


def _tensors(path: Path, stored: Sequence[Stored], owners: Sequence[KerasLayer]) -> Iterator[SourceTensor]:
    guesses = _guesses(stored, owners)
    for one, owner, guess in zip(stored, owners, guesses, strict=True):
        read_it = partial(_read, path, one.place)
        if owner.kind:
            yield as_tensor(owner, one.name, _parameter(owner, one.name), one.shape, one.dtype, read_it)
        else:
            yield SourceTensor(
                one.name, one.shape, one.dtype, guess.role, guess.layout, False, guess.reason, read_it, guess.multiplier
            )


def _read(path: Path, place: str) -> NDArray[Any]:
    from edgetransfer.models import legacy_h5

    return legacy_h5.read_weight(path, place)


def _parameter(owner: KerasLayer, name: str) -> Parameter | None:
    word = name.rpartition("/")[2].partition(":")[0]
    if owner.kind.startswith("DepthwiseConv") and word == "depthwise_kernel":
        word = "kernel"  # Keras 1 and 2
    return next((one for one in PARAMETERS.get(owner.kind, ()) if one.word == word), None)


def _guesses(stored: Sequence[Stored], owners: Sequence[KerasLayer]) -> list[Guess]:
    """Return what names and shapes tell; of the oldest files, whose names say nothing, what a layer's shapes tell."""
    names = [f"{owner.name}/{one.name.rpartition('/')[2]}" for one, owner in zip(stored, owners, strict=True)]
    found = guess_all({name: one.shape for name, one in zip(names, stored, strict=True)}, "tensorflow")
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for one, owner in zip(stored, owners, strict=True):
        shapes.setdefault(owner.name, []).append(one.shape)
    return [
        found[name] if found[name].role != "other" else _by_shape(one.shape, shapes[owner.name])
        for name, one, owner in zip(names, stored, owners, strict=True)
    ]


def _by_shape(shape: tuple[int, ...], of_layer: Sequence[tuple[int, ...]]) -> Guess:
    """Return what a parameter is in a layer that has a kernel and perhaps a bias, by their shapes alone."""
    kernel = of_layer[0]
    if len(of_layer) > 2 or len(kernel) < 2 or (len(of_layer) == 2 and of_layer[1] != (kernel[-1],)):
        return other("neither its name nor its shape nor what stands beside it tells what it is for")
    if shape != kernel:
        return Guess("bias", VECTOR, "as long as its layer's kernel has channels out")
    space = SPATIAL.get(len(shape) - 2)
    if len(shape) == 2:
        return Guess("dense_kernel", "IO", "the only array of two axes in its layer")
    return Guess("kernel", f"{space}IO", f"of {len(shape)} axes") if space else other(f"it has {len(shape)} axes")
