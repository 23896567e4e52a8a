"""Fits coefficients of latency to public figures: one structure for all devices of a family, three scales for each.

How long kinds of work take beside each other is the runtime's doing and common to all devices; how fast a device
computes, how fast its memory is and what a call costs there are its own. With a dozen networks a device, nothing finer
can be told. Fitted are logarithms, so that relative errors count and no coefficient falls below zero; large residuals
count linearly (Huber 1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from latency.figures import Figure, of_enough_networks

_HUBER = 0.15  # residuals of the logarithm above this count linearly
_PULL = 0.02  # how much a coefficient's or scale's distance from its prior counts beside a figure's residual
_SPREADS = {"structure": 1.0, "memory": 0.5, "overhead": 0.8}  # standard deviations of the priors, in logarithms
_PRIORS = {"compute": 0.1, "memory": 0.5, "overhead": 0.01}  # ms a unit on some device; the scales take the rest
_GROUPS = ("compute", "memory", "overhead")
OUTLYING = float(np.log(2.0))

Floats = NDArray[np.float64]


def tied(term: str) -> str | None:
    """Return the name of the coefficient that a term shares with its like; None for what too few networks tell of."""
    precision, _, work = term.partition(" ")
    if precision in ("call", "activation", "weight"):
        return term
    if work == "depthwise written" or precision == "far":
        return None
    if work.endswith(" written") and work.split(" ")[0] in ("pointwise", "conv", "stem", "grouped", "dense", "matmul"):
        return f"{precision} matrix written"
    for kind in ("activation", "move", "mul", "pool"):
        if f" {kind} " in f" {work}":
            return f"{precision} {kind}"
    return term


def group(term: str) -> str:
    """Return which of a device's scales a coefficient goes with."""
    if term.endswith(" ops") or term == "call":
        return "overhead"
    return "memory" if term.endswith(" bytes") else "compute"


@dataclass(frozen=True, slots=True)
class Fit:
    """Logarithms: `structure` of each tied term, `scales` (platforms, 3) of each platform."""

    terms: tuple[str, ...]
    platforms: tuple[tuple[str, ...], ...]
    structure: Floats
    scales: Floats

    @property
    def precision(self) -> str:
        """What all its figures compute in."""
        return self.platforms[0][2]

    def coefficients(self, platform: tuple[str, ...]) -> dict[str, float]:
        """Return ms a unit of each tied term on that platform."""
        scale = self.scales[self.platforms.index(platform)]
        return {
            term: float(np.exp(value + scale[_GROUPS.index(group(term))]))
            for term, value in zip(self.terms, self.structure, strict=True)
        }

    def predict_ms(self, figure: Figure) -> float:
        """Return the latency expected for `figure`, whose platform the fit knows."""
        known = self.coefficients(figure.platform)
        return sum(amount * known.get(tied(term) or "", 0.0) for term, amount in figure.terms.items())


def fit(figures: Sequence[Figure], floats: Fit | None = None) -> Fit:
    """Return the fit to `figures` of one family and precision.

    Args:
        figures: What was published.
        floats: The family's fit to floats, for integers: their structure is expected to be like it, for fewer networks
            are published in int8.
    """
    work = _Work.of(figures, floats)
    start = np.concatenate([work.prior, work.first_guess(), np.zeros(2 * len(work.platforms))])
    found = minimize(work.loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 800})
    structure, common, own = work.split(found.x)
    scales = common[:, None] + np.concatenate([np.zeros((len(common), 1)), own], axis=1)
    return Fit(work.terms, work.platforms, structure, scales)


def without_outliers(figures: Sequence[Figure], floats: Fit | None = None) -> tuple[Figure, ...]:
    """Return `figures` without those that a fit misses by more than a factor of two, until it misses none of the rest.

    Platforms that are left with too few networks go too. What comes out would come out again.
    """
    while True:
        found = fit(figures, floats)
        near = [one for one in figures if abs(np.log(found.predict_ms(one) / one.ms)) <= OUTLYING]
        kept = of_enough_networks(near)
        if len(kept) == len(figures):
            return kept
        figures = kept


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A figure of a network that the fit did not see, and what was expected."""

    figure: Figure
    expected_ms: float

    @property
    def error(self) -> float:
        """Relative error of the expectation."""
        return self.expected_ms / self.figure.ms - 1


def leave_models_out(figures: Sequence[Figure], floats: Sequence[Figure] = ()) -> list[LeftOut]:
    """Return what is expected of each network by a fit that saw it on no device, in neither precision.

    Args:
        figures: Of one family and precision.
        floats: The family's in floats, if `figures` are of integers.
    """
    found = []
    for model in sorted({one.model for one in figures}):
        seen = [one for one in figures if one.model != model]
        new = [one for one in figures if one.model == model]
        fitted = fit(seen, fit([one for one in floats if one.model != model]) if floats else None)
        found += [LeftOut(one, fitted.predict_ms(one)) for one in new if one.platform in fitted.platforms]
    return found


@dataclass(frozen=True, slots=True)
class _Work:
    """The figures as arrays: `amounts` (figures, terms), `owner` the platform of each, `logs` of their ms."""

    terms: tuple[str, ...]
    platforms: tuple[tuple[str, ...], ...]
    amounts: Floats
    owner: NDArray[np.intp]
    logs: Floats
    groups: NDArray[np.intp]
    prior: Floats

    @classmethod
    def of(cls, figures: Sequence[Figure], floats: Fit | None) -> _Work:
        names = {tied(term) for one in figures for term in one.terms}
        terms = tuple(sorted(name for name in names if name is not None))
        platforms = tuple(sorted({one.platform for one in figures}))
        amounts = np.zeros((len(figures), len(terms)))
        for row, one in enumerate(figures):
            for term, amount in one.terms.items():
                name = tied(term)
                if name is not None:
                    amounts[row, terms.index(name)] += amount
        owner = np.array([platforms.index(one.platform) for one in figures])
        groups = np.array([_GROUPS.index(group(term)) for term in terms])
        prior = np.log([_PRIORS[_GROUPS[number]] for number in groups])
        if floats is not None:
            known = dict(zip(floats.terms, floats.structure, strict=True))
            like = [term.replace("int8 ", f"{floats.precision} ", 1) for term in terms]
            prior = np.array([known.get(term, value) for term, value in zip(like, prior, strict=True)])
        return cls(terms, platforms, amounts, owner, np.log([one.ms for one in figures]), groups, prior)

    def first_guess(self) -> Floats:
        """Return each platform's common scale at the priors."""
        expected = np.log(self.amounts @ np.exp(self.prior))
        count = len(self.platforms)
        sums = np.bincount(self.owner, self.logs - expected, count)
        return np.asarray(sums / np.bincount(self.owner, minlength=count))

    def split(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Return structure (terms,), common scale (platforms,), own scales of memory and overhead (platforms, 2)."""
        ends = (len(self.terms), len(self.terms) + len(self.platforms))
        return values[: ends[0]], values[ends[0] : ends[1]], values[ends[1] :].reshape(-1, 2)

    def loss(self, values: Floats) -> tuple[float, Floats]:
        """Return the loss and its gradient."""
        structure, common, own = self.split(values)
        scales = np.concatenate([np.zeros((len(common), 1)), own], axis=1)
        parts = self.amounts * np.exp(structure + scales[self.owner][:, self.groups])
        totals = parts.sum(axis=1)
        shares = parts / totals[:, None]
        misses = np.log(totals) + common[self.owner] - self.logs
        large = np.abs(misses) > _HUBER
        costs = np.where(large, _HUBER * (np.abs(misses) - _HUBER / 2), misses**2 / 2)
        slopes = np.clip(misses, -_HUBER, _HUBER)
        spreads = np.array([_SPREADS["memory"], _SPREADS["overhead"]])
        far, off = (structure - self.prior) / _SPREADS["structure"], own / spreads
        loss = costs.sum() + _PULL / 2 * ((far**2).sum() + (off**2).sum())
        count = len(common)
        by_group = [
            np.bincount(self.owner, slopes * shares[:, self.groups == number].sum(axis=1), count) for number in (1, 2)
        ]
        gradient = [
            shares.T @ slopes + _PULL * far / _SPREADS["structure"],
            np.bincount(self.owner, slopes, count),
            (np.stack(by_group, axis=1) + _PULL * off / spreads).reshape(-1),
        ]
        return float(loss), np.concatenate(gradient)
