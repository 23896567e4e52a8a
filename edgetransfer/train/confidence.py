"""What makes a score honest, fitted after quantization: a temperature, and a detector of what is like nothing known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.estimate.separation import auroc
from edgetransfer.spec.outliers import OutlierDetector, Real, Space, squared_distances, strangeness, to_steps

TEMPERATURES = (0.05, 20.0)
"""No temperature outside of these is given."""
CENTRE_BYTES = 40_000
"""What all centres together may take, one byte a number; of many classes each has two, as much as a linear head."""
CENTRES = (1, 2, 4, 8)
AMBIGUITIES = (0.0, 0.5, 1.0, 2.0)
_ROUNDS = 5  # of k-means; centres hardly move after some
_MOST_GROUPS = 6
_HELD_OUT = 5  # each fifth sample of a class
_HALF_MAX = float(np.finfo(np.float16).max)

SpaceName = Literal["unit", "centred", "standardised"]
Labels = NDArray[np.integer[Any]]
Rows = NDArray[np.floating[Any]]

_SPACES: tuple[SpaceName, ...] = ("unit", "centred", "standardised")


def fit_temperature(logits: NDArray[np.floating[Any]], labels: Labels) -> float:
    """Return the temperature, within TEMPERATURES, that makes the labels likeliest (Guo et al. 2017).

    The mean negative log-likelihood is convex in 1 / temperature, so its slope is halved down to the root. Each label
    lends a share of 1 / (n + 1) to all classes alike (after Platt 1999): samples that are all answered right would
    otherwise ask for a temperature of nothing.

    Args:
        logits: (n, C) real logits of validation samples.
        labels: (n,) their label numbers.

    Raises:
        DataError: no samples, shapes that do not fit, or logits that are not finite.
    """
    values = np.asarray(logits, np.float64)
    if not len(values) or values.ndim != 2 or np.shape(labels) != (len(values),) or not np.isfinite(values).all():
        raise DataError(
            f"temperature: expected finite logits (n, C) and n labels, got {values.shape} and {len(labels)}"
        )
    values = values - values.max(axis=1, keepdims=True)
    lent = 1 / (len(values) + 1)
    wanted = (1 - lent) * values[np.arange(len(values)), labels] + lent * values.mean(axis=1)

    def slope(inverse: float) -> float:
        powers = np.exp(values * inverse)
        return float(((powers * values).sum(axis=1) / powers.sum(axis=1) - wanted).mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) >= 0:
        return TEMPERATURES[1] if slope(low) > 0 else 1.0  # logits without differences: no temperature changes them
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(np.clip(1 / high, *TEMPERATURES))


def fit_outliers(
    train_features: NDArray[np.floating[Any]],
    train_labels: Labels,
    val_features: NDArray[np.floating[Any]],
    *,
    false_reject_rate: float = 0.05,
) -> OutlierDetector:
    """Return a detector of what is unlike the training data.

    How it scores is chosen on the training samples alone: classes are left out in turn, and the way wins that tells
    them best from held-out samples of the others (mean AUROC). The threshold is set on validation samples, which had
    no part in that.

    Args:
        train_features: (n, D) real features of the deployed backbone.
        train_labels: (n,) label numbers, 0 to C - 1, each there.
        val_features: (m, D) of samples that are like those that will come.
        false_reject_rate: Share of such samples that may be rejected, 0 to 1.

    Raises:
        DataError: shapes that do not fit, numbers that are not finite, fewer than two classes, a rate outside of 0 to
            1, or too few validation samples for it.
    """
    train, val = np.asarray(train_features, np.float32), np.asarray(val_features, np.float32)
    labels = np.asarray(train_labels)
    _check(train, labels, val)
    _rank(len(val), false_reject_rate)  # refused before any work is done
    detector = _unlimited(train, labels, choose_way(train, labels), false_reject_rate)
    return replace(detector, threshold=conformal_threshold(detector.score(val), false_reject_rate))


def conformal_threshold(scores: NDArray[np.floating[Any]], false_reject_rate: float) -> float:
    """Return the score that at most this share of samples like those of `scores` (n,) exceeds, in the mean.

    It is the ceil((n + 1) (1 - rate))-th smallest score, so the promise holds for any n, not only for many, and
    whatever the distribution (Vovk, Gammerman and Shafer 2005).

    Raises:
        DataError: a rate outside of 0 to 1, or too few scores for it: only infinity would keep the promise.
    """
    return float(np.sort(scores)[_rank(len(scores), false_reject_rate) - 1])


@dataclass(frozen=True, slots=True)
class Way:
    """How strangeness is measured: in which space, with how many centres a class, and how much ambiguity counts."""

    space: SpaceName = "unit"
    centres: int = 1
    ambiguity: float = 0.0


def choose_way(features: NDArray[np.float32], labels: Labels) -> Way:
    """Return the way that best tells classes it has not seen, of training features (n, D) and labels (n,).

    Classes are left out in turn, in at most 6 groups; the others are fitted on four fifths of their samples, and the
    last fifth must score below the class left out. The first of equals is the simplest. Where that cannot be done,
    with too few samples, it is Way().

    Tried beside these at the same bytes and left out, for they told classes left out less well: low-rank shared
    covariances (Lee et al. 2018) and those relative to all classes' (Ren et al. 2021) on TrashNet (EfficientNet-Lite0)
    and CLINC150 (WordLlama), residuals of a subspace (Wang et al. 2022) on TrashNet, and lengths kept on both.
    """
    classes = int(labels.max()) + 1
    most = max(CENTRE_BYTES // (classes * features.shape[1]), 2)
    numbers = [number for number in CENTRES if number <= most]
    ways = [Way(space, number, ambiguity) for space in _SPACES for number in numbers for ambiguity in AMBIGUITIES]
    found = [_aurocs(features, labels, trial, ways) for trial in _trials(labels)]
    if not found:
        return Way()
    return ways[int(np.mean(found, axis=0).argmax())]


def _unlimited(train: NDArray[np.float32], labels: Labels, way: Way, false_reject_rate: float) -> OutlierDetector:
    """Return the detector that measures in this way, its threshold not set yet."""
    space = _space(train, labels, way.space)
    rows = space.place(train)
    centres, numbers, counts = _centres(rows, labels, way.centres)
    stored, steps = to_steps(centres)
    return OutlierDetector(
        space=space,
        stored=stored,
        steps=steps,
        labels=numbers.astype(np.uint16),
        counts=counts.astype(np.uint32),
        spread=_half(_within(rows, labels)),
        ambiguity=way.ambiguity,
        threshold=0.0,
        false_reject_rate=false_reject_rate,
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """Rows to fit on, held out rows of the same classes, and rows of classes left out."""

    train: NDArray[np.intp]
    known: NDArray[np.intp]
    strange: NDArray[np.intp]


def _trials(labels: Labels) -> Iterator[_Trial]:
    present = np.unique(labels)
    place = np.empty(len(labels), np.intp)
    for label in present:
        own = labels == label
        place[own] = np.arange(own.sum())
    held = place % _HELD_OUT == _HELD_OUT - 1
    groups = min(len(present), _MOST_GROUPS)
    for group in range(groups):
        out = np.isin(labels, present[group::groups])
        trial = _Trial(np.flatnonzero(~out & ~held), np.flatnonzero(~out & held), np.flatnonzero(out))
        if len(trial.train) and len(trial.known):
            yield trial


def _aurocs(features: NDArray[np.float32], labels: Labels, trial: _Trial, ways: Sequence[Way]) -> list[float]:
    """Return each way's AUROC in `trial`."""
    placed: dict[SpaceName, tuple[Rows, Rows]] = {}
    squares: dict[tuple[SpaceName, int], tuple[Rows, Labels]] = {}
    known = labels[trial.train]
    asked = np.concatenate([trial.known, trial.strange])
    found = []
    for way in ways:
        if way.space not in placed:
            space = _space(features[trial.train], known, way.space)
            rows, others = space.place(features[trial.train]), space.place(features[asked])
            placed[way.space] = rows.astype(np.float32), others.astype(np.float32)  # twice as fast, to choose with
        if (way.space, way.centres) not in squares:
            centres, numbers, _ = _centres(placed[way.space][0], known, way.centres)
            squares[way.space, way.centres] = squared_distances(placed[way.space][1], centres), numbers
        scores = strangeness(*squares[way.space, way.centres], way.ambiguity)
        found.append(auroc(scores[: len(trial.known)], scores[len(trial.known) :]))
    return found


def _centres(rows: Rows, labels: Labels, most: int) -> tuple[Rows, Labels, NDArray[np.intp]]:
    """Return centres (K, D) of `rows` (n, D), at most `most` a class, their classes and of how many rows each is."""
    present = np.unique(labels)
    parts = [_cluster(rows[labels == label], most) for label in present]
    numbers = np.repeat(present, [len(centres) for centres, _ in parts])
    return np.concatenate([centres for centres, _ in parts]), numbers, np.concatenate([counts for _, counts in parts])


def _space(features: NDArray[np.float32], labels: Labels, name: SpaceName) -> Space:
    width = features.shape[1]
    shift, scale = np.zeros(width), np.ones(width)
    if name in ("centred", "standardised"):
        shift = features.mean(axis=0, dtype=np.float64)
    if name == "standardised":
        spread = _within(features.astype(np.float64), labels)
        middle = float(np.sqrt((spread**2).mean()))
        # A feature that hardly moves within its class may move out of it: it counts ten times at most.
        scale = middle / np.maximum(spread, 0.1 * middle) if middle else scale
    return Space(_half(shift), _half(scale))


def _within(rows: Real, labels: Labels) -> Real:
    """Return each feature's standard deviation within the classes, (D,)."""
    total = np.zeros(rows.shape[1])
    for label in np.unique(labels):
        own = rows[labels == label]
        total += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
    found: Real = np.sqrt(total / len(rows))
    return found


def _cluster(rows: Rows, most: int) -> tuple[Rows, NDArray[np.intp]]:
    """Return at most `most` centres of `rows` (n, D), by k-means from k-means++, and how many rows each is of."""
    draw = np.random.default_rng(0)
    squares = (rows**2).sum(axis=1)
    nothing = 1e-6 * float(squares.max())  # nearer than rounding tells apart: all rows are centres already
    centres, far = rows[draw.integers(len(rows), size=1)], np.full(len(rows), np.inf)
    while True:
        new = centres[-1]
        far = np.minimum(far, np.maximum(squares - 2 * rows @ new + new @ new, 0))
        if len(centres) == most or float(far.max()) <= nothing:
            break
        centres = np.concatenate([centres, rows[draw.choice(len(rows), size=1, p=far / far.sum())]])
    for _ in range(_ROUNDS if len(centres) > 1 else 1):
        # The row's own square is the same for all centres, so the nearest is told without it.
        nearest = (rows @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
        held, counts = np.unique(nearest, return_counts=True)  # one that has lost all its rows is dropped
        centres = ((nearest[:, None] == held).T.astype(rows.dtype) @ rows) / counts[:, None]
    return centres, counts


def _rank(samples: int, rate: float) -> int:
    """Return ceil((samples + 1) (1 - rate)), which must not be above `samples`."""
    if not 0 < rate < 1:
        raise DataError(f"false reject rate: expected between 0 and 1, got {rate}")
    rank = samples + 1 - int((samples + 1) * rate + 1e-9)  # 0.05 of 20 is 1, whatever binary fractions make of it
    if rank > samples:
        needed = int(np.ceil(1 / rate - 1e-9)) - 1
        raise DataError(
            f"validation: expected at least {needed} samples to reject {rate:g} of what is known, got {samples}; "
            "give more validation samples or allow a larger share"
        )
    return rank


def _half(values: Real) -> NDArray[np.float16]:
    return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)


def _check(train: NDArray[np.float32], labels: Labels, val: NDArray[np.float32]) -> None:
    if train.ndim != 2 or labels.shape != (len(train),) or val.ndim != 2 or val.shape[1:] != train.shape[1:]:
        raise DataError(
            "outliers: expected training features (n, D), n labels and validation features (m, D), got "
            f"{train.shape}, {labels.shape} and {val.shape}"
        )
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        raise DataError("outliers: expected finite features, got NaN or infinity")
    present = np.unique(labels)
    if len(present) < 2 or present[0] != 0 or present[-1] != len(present) - 1:
        raise DataError(f"outliers: expected labels 0 to C - 1 of at least 2 classes, got {present.tolist()[:20]}")
