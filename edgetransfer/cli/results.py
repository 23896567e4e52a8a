"""Results of any kind of task as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def result_line(name: str, outcome: Mapping[str, Any], top: int) -> str:
    """Return an outcome as a line; of several heads one line each.

    Args:
        name: Of the input, or of the head.
        outcome: A result's JSON values, or those of several heads by name.
        top: How many of the likeliest labels to tell.
    """
    if all(isinstance(value, dict) for value in outcome.values()):
        return "\n".join([f"{name}:", *(f"  {result_line(head, found, top)}" for head, found in outcome.items())])
    keys = set(outcome)
    if keys >= {"labels", "scores"}:
        return f"{name}: {_labels(outcome, top)}"
    if keys >= {"value", "unit"}:
        return f"{name}: {_value(outcome)}"
    if keys >= {"label", "scores"}:
        return f"{name}: {_label(outcome, top)}"
    return f"{name}: {', '.join(f'{key} {_brief(value)}' for key, value in outcome.items())}"


def _label(outcome: Mapping[str, Any], top: int) -> str:
    likeliest = _likeliest(outcome["scores"], top)
    if outcome["label"] is None:
        return f"unknown: {outcome.get('reason', '')}  ({_told(likeliest)})"
    others = _told([pair for pair in likeliest if pair[0] != outcome["label"]])
    said = f"{outcome['label']} {outcome['score']:.3f}"
    if "expected" in outcome:
        said += f", expected position {outcome['expected']:.2f} of 0 to {len(outcome['scores']) - 1}"
    return said + (f"  ({others})" if others else "")


def _labels(outcome: Mapping[str, Any], top: int) -> str:
    scores, given = outcome["scores"], outcome["labels"]
    others = _told([pair for pair in _likeliest(scores, top) if pair[0] not in given])
    said = _told([(label, scores[label]) for label in given]) or "none of its labels"
    return said + (f"  ({others})" if others else "")


def _value(outcome: Mapping[str, Any]) -> str:
    unit = f" {outcome['unit']}" if outcome["unit"] else ""
    if outcome["low"] is None:
        return f"{outcome['value']:.4g}{unit}"
    return f"{outcome['value']:.4g}{unit}  ({outcome['low']:.4g} to {outcome['high']:.4g})"


def _likeliest(scores: Mapping[str, float], top: int) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda pair: -pair[1])[:top]


def _told(pairs: list[tuple[str, float]]) -> str:
    return ", ".join(f"{label} {score:.3f}" for label, score in pairs)


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = [_brief(one) for one in value[:8]]
        return f"[{', '.join(shown)}{', ...' if len(value) > len(shown) else ''}]"
    return str(value)
