"""Finds which layer of a source model each layer of a network corresponds to: by name, else by order and shape.

By order and shape: both models are sequences of layers, and two layers can correspond if what they do and the sizes of
their parameters are equal. The longest common subsequence is taken (Needleman and Wunsch 1970, with 1 for a match
and 0 for what is left out), and only if it is the only one: where another choice would be as long, or where two layers
of one shape stand in parallel branches, whose order means nothing, the choice is the user's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer import layouts
from edgetransfer.transfer.source import SourceLayer
from edgetransfer.transfer.sources._keras_layers import snake_case

How = Literal["name", "order"]
_KERNEL_ROLES = ("kernel", "depthwise_kernel", "transposed_kernel", "dense_kernel", "embedding")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers that correspond, by name, and how that is known."""

    source: str
    target: str
    how: How


@dataclass(frozen=True, slots=True)
class Rename:
    """A rule that turns names of source layers into names of the target's: as `re.sub(pattern, replacement)`."""

    pattern: re.Pattern[str]
    replacement: str

    @classmethod
    def parse(cls, text: str) -> Rename:
        """Return the rule that "REGEX=REPLACEMENT" writes; the last "=" divides the two.

        Raises:
            WeightsError: there is no "=", or it is no regular expression.
        """
        pattern, sign, replacement = text.rpartition("=")
        if not sign or not pattern:
            raise WeightsError(f"rename {text!r}: expected REGEX=REPLACEMENT, such as 'features\\.(\\d+)=block\\1'")
        try:
            found = cls(re.compile(pattern), replacement)
            found.pattern.sub(replacement, "")  # looks at the replacement's groups too
        except (re.error, IndexError) as trouble:
            raise WeightsError(f"rename {text!r}: expected a regular expression as Python has it: {trouble}") from None
        return found


def signature(layer: SourceLayer) -> tuple[Any, ...] | None:
    """Return what a layer does and the sizes of its parameters, alike in all frameworks; None if it is not known.

    A dense layer is a convolution of 1 x 1 pixel.
    """
    found: list[tuple[Any, ...]] = []
    for tensor in layer.tensors:
        if tensor.role in _KERNEL_ROLES and tensor.layout:
            sizes = layouts.sizes_of(tensor.layout, tensor.shape, tensor.multiplier)
            role = "kernel" if tensor.role == "dense_kernel" else tensor.role
            found.append((role, *((letter, sizes.get(letter, 1)) for letter in _letters(role))))
    if found:
        return tuple(sorted(found))
    vectors = [tensor for tensor in layer.tensors if tensor.mappable]
    if not vectors:
        return None
    moving = any(tensor.role == "moving_mean" for tensor in vectors)
    return (("batch_norm" if moving else "vector", ("C", vectors[0].size)),)


def described(layer: SourceLayer) -> str:
    """Return a layer's name and shape for people."""
    shape = next((tensor.shape for tensor in layer.tensors if tensor.role in _KERNEL_ROLES), None)
    shown = " x ".join(map(str, shape or (layer.tensors[0].shape if layer.tensors else ()))) or "1"
    return f"{layer.name!r} ({shown})"


def compatible(source: SourceLayer, target: SourceLayer) -> bool:
    """Return whether two layers can correspond: what they do, their sizes and, where both say them, their strides."""
    one, other = signature(source), signature(target)
    if one is None or one != other:
        return False
    strides = [_strides(layer) for layer in (source, target)]
    return None in strides or strides[0] == strides[1]


def align(
    source: Sequence[SourceLayer],
    target: Sequence[SourceLayer],
    ancestors: Mapping[str, frozenset[str]],
    renames: Sequence[Rename] = (),
) -> tuple[Pair, ...]:
    """Return the pairs of layers that correspond, in the target's order.

    Args:
        source: Layers of the source in its order.
        target: Those of the target in the order of its graph.
        ancestors: What each layer of the target depends on.
        renames: Rules for the source's names, applied one after the other.

    Raises:
        WeightsError: layers of one name have other shapes, two are renamed alike, or order and shape leave a choice or
            a kernel of the target without a source.
    """
    named = _by_name(source, target, renames)
    fixed = {pair.target: pair.source for pair in named}
    pairs = list(named)
    for left, right in _segments(source, target, fixed):
        pairs += _by_order(left, right)
    order = {layer.name: number for number, layer in enumerate(target)}
    pairs.sort(key=lambda pair: order[pair.target])
    _check_twins(pairs, {layer.name: layer for layer in target}, ancestors)
    return tuple(pairs)


def _letters(role: str) -> str:
    return {"depthwise_kernel": "DHWCM", "embedding": "VE"}.get(role, "DHWIO")


def _strides(layer: SourceLayer) -> tuple[int, ...] | None:
    given = layer.attributes.get("strides")
    if given is None:
        return None
    found = (given,) if isinstance(given, int) else tuple(int(one) for one in given)
    return found[:1] if len(set(found)) == 1 else found  # Keras says 2 and (2, 2) of the same


# === By name ===


def _by_name(source: Sequence[SourceLayer], target: Sequence[SourceLayer], renames: Sequence[Rename]) -> list[Pair]:
    wanted = {layer.name: layer for layer in target if not _automatic(layer)}
    taken: dict[str, SourceLayer] = {}
    for layer in source:
        name = layer.name
        for rule in renames:
            name = rule.pattern.sub(rule.replacement, name)
        known = wanted if name == layer.name else {one.name: one for one in target}
        if name not in known or signature(layer) is None:
            continue
        if name in taken:
            raise WeightsError(f"source layers {taken[name].name!r} and {layer.name!r}: are both renamed {name!r}")
        if not compatible(layer, known[name]):
            raise WeightsError(
                f"source layer {described(layer)}: the target's layer of that name is {described(known[name])}; "
                "give --rename if they do not belong together. To choose channels for a network of another width, the "
                "source must be a Keras model: keras:FILE, or a registered name"
            )
        taken[name] = layer
    return [Pair(layer.name, name, "name") for name, layer in taken.items()]


def _automatic(layer: SourceLayer) -> bool:
    """Say whether Keras made up the name by counting, so that an equal name elsewhere means nothing."""
    return bool(layer.kind) and re.fullmatch(rf"{snake_case(layer.kind)}(_?\d+)?", layer.name) is not None


# === By order ===


def _segments(
    source: Sequence[SourceLayer], target: Sequence[SourceLayer], fixed: Mapping[str, str]
) -> list[tuple[list[SourceLayer], list[SourceLayer]]]:
    """Return the layers between those that correspond by name; all in one where names go against the order."""
    places = {layer.name: number for number, layer in enumerate(source)}
    at = [places[fixed[layer.name]] for layer in target if layer.name in fixed]
    taken = set(fixed.values())
    if at != sorted(at):
        rest = [layer for layer in source if layer.name not in taken]
        return [(rest, [layer for layer in target if layer.name not in fixed])]
    found: list[tuple[list[SourceLayer], list[SourceLayer]]] = []
    begin, right = 0, []
    for layer in target:
        if layer.name not in fixed:
            right.append(layer)
            continue
        end = places[fixed[layer.name]]
        found.append((list(source[begin:end]), right))
        begin, right = end + 1, []
    return [*found, (list(source[begin:]), right)]


def _by_order(source: list[SourceLayer], target: list[SourceLayer]) -> list[Pair]:
    source = [layer for layer in source if signature(layer) is not None]
    target = [layer for layer in target if signature(layer) is not None]
    if not source or not target:
        return []
    fits = np.array([[compatible(one, other) for other in target] for one in source])
    _check_kernels(source, target, fits)
    before = _longest(fits)
    after = _longest(fits[::-1, ::-1])[::-1, ::-1]  # after[i, j]: of what begins at i and j
    best = before[-1, -1]
    on_best = fits & (before[:-1, :-1] + 1 + after[1:, 1:] == best)
    without = (before[:, :-1] + after[:, 1:] == best).any(axis=0)
    pairs = []
    for column, layer in enumerate(target):
        rows = np.flatnonzero(on_best[:, column])
        if len(rows) > 1 or (len(rows) == 1 and without[column]):
            _refuse_choice(layer, [source[row] for row in rows], none=bool(without[column]))
        if len(rows) == 1:
            pairs.append(Pair(source[rows[0]].name, layer.name, "order"))
    return pairs


def _longest(fits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n + 1, m + 1) lengths of the longest common subsequences of what comes before each row and column."""
    found = np.zeros((fits.shape[0] + 1, fits.shape[1] + 1), np.int64)
    for row in range(fits.shape[0]):
        matched = found[row, :-1] + fits[row]
        # The best of the row above or of a match; then the best of all to the left of it.
        found[row + 1, 1:] = np.maximum.accumulate(np.maximum(found[row, 1:], matched))
    return found


def _refuse_choice(layer: SourceLayer, candidates: Sequence[SourceLayer], *, none: bool) -> None:
    names = ", ".join(described(one) for one in candidates[:_LISTED])
    more = f" and {len(candidates) - _LISTED} more" if len(candidates) > _LISTED else ""
    raise WeightsError(
        f"target layer {described(layer)}: AMBIGUOUS, by order and shape it may come from {names}{more}"
        f"{', or from none of them' if none else ''}; say which with --rename 'SOURCE NAME=TARGET NAME'"
    )


# === What could still be wrong ===


def _check_twins(
    pairs: Sequence[Pair], target: Mapping[str, SourceLayer], ancestors: Mapping[str, frozenset[str]]
) -> None:
    """Refuse what order cannot tell: layers of one shape in branches that run side by side."""
    alike: dict[Any, list[Pair]] = {}
    for pair in pairs:
        if pair.how == "order":
            for earlier in alike.setdefault(signature(target[pair.target]), []):
                if earlier.target not in ancestors[pair.target]:
                    raise WeightsError(
                        f"target layers {described(target[earlier.target])} and {described(target[pair.target])}: "
                        "AMBIGUOUS, they have one shape and stand in parallel branches, so that order does not tell "
                        f"which of {earlier.source!r} and {pair.source!r} is whose; say it with "
                        "--rename 'SOURCE NAME=TARGET NAME'"
                    )
            alike[signature(target[pair.target])].append(pair)


def _check_kernels(source: list[SourceLayer], target: list[SourceLayer], fits: NDArray[np.bool_]) -> None:
    """Refuse an alignment by order that leaves kernels of the target without a source: then it is chance."""
    rows = [number for number, layer in enumerate(source) if _has_kernel(layer)]
    columns = [number for number, layer in enumerate(target) if _has_kernel(layer)]
    found = int(_longest(fits[np.ix_(rows, columns)])[-1, -1]) if rows and columns else 0
    if found == len(columns):
        return
    lost = [target[column] for column in columns if not fits[:, column].any()]
    names = ", ".join(described(layer) for layer in lost[:_LISTED]) + (" ..." if len(lost) > _LISTED else "")
    which = f"; the source has none of the shape of {names}" if lost else ""
    raise WeightsError(
        f"target: of its {len(columns)} kernels that no name settles, {found} have a source layer of their shape in "
        f"this order{which}. Is it the same architecture? Weights alone can only be put into their own; from there, as "
        "keras:FILE, into a network of another width or depth"
    )


def _has_kernel(layer: SourceLayer) -> bool:
    found = signature(layer)
    return found is not None and found[0][0] in _KERNEL_ROLES
