"""Brings features of a source domain nearer to those of a target domain that has no labels.

Two ways that ask for no label of the target: CORAL moves the source's features (Sun, Feng and Saenko 2016, "Return of
Frustratingly Easy Domain Adaptation", AAAI, arXiv 1511.05547), importance weighting counts those source examples more
that look like the target (Shimodaira 2000, "Improving predictive inference under covariate shift", JSPI 90; by a
domain classifier: Bickel, Brueckner and Scheffer 2009, "Discriminative learning under covariate shift", JMLR 10).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.few import divide, fit_few, fit_plain

REGULARISATION = 1.0
"""What CORAL adds to each direction's variance, in mean variances of the features: section 3.1 of the paper adds 1 to
features that were brought to variance 1, and finds no gain in tuning it."""
MOST_WEIGHT = 10.0
"""No source example counts more than so many average ones: a few examples must not be all that is learned from."""
FOLDS = 5
PENALTY_EXAMPLES = 600  # how many the domain classifier's penalty is chosen on; on all it would take minutes
_FEWEST = 5  # examples of each domain, one a fold


@dataclass(frozen=True, slots=True)
class Coral:
    """The linear map that gives source features the target's mean and, but for regularisation, covariance.

    Attributes:
        matrix: (D, D); features about the source's mean are multiplied by it from the right.
        source_mean: (D,).
        target_mean: (D,).
    """

    matrix: NDArray[np.float64] = field(repr=False)
    source_mean: NDArray[np.float64] = field(repr=False)
    target_mean: NDArray[np.float64] = field(repr=False)

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return source features (n, D) as they would lie in the target domain."""
        moved: NDArray[np.float32] = ((features - self.source_mean) @ self.matrix + self.target_mean).astype(np.float32)
        return moved


@dataclass(frozen=True, slots=True)
class Importance:
    """How much each source example counts.

    Attributes:
        weights: (n,) float32, of mean 1 and at most MOST_WEIGHT.
        effective: The size of an unweighted sample that says as much: (sum w)^2 / sum w^2 (Kish 1965). Where it is a
            small part of n, the domains hardly overlap and the weighted head learns from few examples.
        told_apart: Share of examples, each domain counting alike, that the domain classifier puts into the right
            domain without having seen them: 0.5 where the domains look alike, 1 where weights cannot help.
    """

    weights: NDArray[np.float32] = field(repr=False)
    effective: float
    told_apart: float


def coral(source: NDArray[np.float32], target: NDArray[np.float32], *, regularisation: float = REGULARISATION) -> Coral:
    """Return the map that whitens `source` and colours it as `target`.

    Args:
        source: (n, D) features.
        target: (m, D) features.
        regularisation: Added to both covariances' diagonals, in each domain's mean variance; above 0. Large values
            move means and overall spread only.

    Raises:
        DataError: shapes that do not fit, or fewer than two examples of a domain.
    """
    _check(source, target, fewest=2)
    whiten, colour = (_power(one, regularisation, exponent) for one, exponent in ((source, -0.5), (target, 0.5)))
    return Coral(whiten @ colour, source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64))


def importance_weights(
    source: NDArray[np.float32], target: NDArray[np.float32], *, most: float = MOST_WEIGHT, seed: int = 0
) -> Importance:
    """Return how much likelier each source example is in the target domain than in its own.

    A logistic regression tells the domains apart; each example is judged by one that did not see it (FOLDS folds), else
    weights would tell what it learned by heart. Its penalty is chosen by cross-validation (`train.few`).

    Args:
        source: (n, D) features.
        target: (m, D) features.
        most: The largest weight, in average ones, above 1.
        seed: Of the folds.

    Raises:
        DataError: shapes that do not fit, or fewer than five examples of a domain.
    """
    _check(source, target, fewest=_FEWEST)
    table = np.concatenate([source, target]).astype(np.float32)
    domain = np.repeat(np.array([0, 1]), [len(source), len(target)])
    odds = _log_odds(table, domain, seed)
    odds -= np.log(len(target) / len(source))  # how many of each were taken says nothing about an example
    right = (odds > 0) == (domain == 1)
    apart = float(np.mean([right[domain == number].mean() for number in (0, 1)]))
    weights = _capped(odds[: len(source)], most)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return Importance(weights.astype(np.float32), effective, apart)


def _capped(logarithms: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Return exp of (n,) logarithms, of mean 1 and at most `most`; what the largest lose goes to the others in share.

    Clipping alone would not do: it lowers the mean, and bringing that back to 1 raises what was clipped.
    """
    order = np.argsort(-logarithms, kind="stable")
    weights = np.full(len(order), most)
    for capped in range(len(order)):
        rest = order[capped:]
        shares = np.exp(logarithms[rest] - logarithms[rest[0]])
        scale = (len(order) - most * capped) / shares.sum()
        if scale <= most:
            weights[rest] = shares * scale
            break
    return weights


def _power(features: NDArray[np.float32], regularisation: float, exponent: float) -> NDArray[np.float64]:
    """Return the regularised covariance of (n, D) features to a power, (D, D)."""
    covariance = np.cov(features, rowvar=False, dtype=np.float64).reshape(features.shape[1], -1)
    mean_variance = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance)
    raised = (np.maximum(values, 0) + regularisation * mean_variance) ** exponent
    found: NDArray[np.float64] = (vectors * raised) @ vectors.T
    return found


def _log_odds(table: NDArray[np.float32], domain: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return (n,) the logarithm of target to source, by classifiers that did not see the example."""
    rng = np.random.default_rng(seed)
    some = divide(domain, -(-len(domain) // PENALTY_EXAMPLES), rng) == 0
    penalty = fit_few(table[some], domain[some], 2, seed=seed).penalty
    fold = divide(domain, FOLDS, rng)
    odds = np.empty(len(domain))
    for number in range(FOLDS):
        out = fold == number
        logits = apply_head((fit_plain(table[~out], domain[~out], 2, penalty),), table[out])
        odds[out] = logits[:, 1] - logits[:, 0]
    return odds


def _check(source: NDArray[Any], target: NDArray[Any], *, fewest: int) -> None:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise DataError(f"domains: expected features (n, D) and (m, D), got {source.shape} and {target.shape}")
    for name, one in (("source", source), ("target", target)):
        if len(one) < fewest:
            raise DataError(f"{name} domain: expected at least {fewest} examples, got {len(one)}")
