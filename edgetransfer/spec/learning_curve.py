"""How accuracy grew with the number of examples, and what twice as many would bring: a value for reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import InputError
from edgetransfer.spec import json_shape

_SHAPE = {
    "points": [{"examples": int, "accuracy": float, "low": float, "high": float}],
    "floor": float,
    "factor": float,
    "exponent": float,
    "gain_points": float,
    "gain_95": [float],
}

WORTH_POINTS = 1.0
"""From this gain on more data is called a help: what people notice, and about what a build varies by."""
LITTLE_POINTS = 0.5


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Mean accuracy, 0 to 1, with so many training examples, and the 95 % interval of that mean."""

    examples: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Accuracy at growing numbers of examples, and the power law through it.

    Attributes:
        points: By number of examples.
        floor: The errors, 0 to 1, that no number of examples takes away; error = floor + factor * n ** -exponent.
        factor: See `floor`.
        exponent: See `floor`.
        gain_points: What twice the examples of the last point are expected to add to accuracy, in percentage points.
        gain_95: Its 95 % interval.
    """

    points: tuple[CurvePoint, ...]
    floor: float
    factor: float
    exponent: float
    gain_points: float
    gain_95: tuple[float, float]

    def expected_accuracy(self, examples: int) -> float:
        """Return the accuracy, 0 to 1, that the power law expects of so many examples."""
        return 1 - self.floor - self.factor * math.pow(examples, -self.exponent)

    @property
    def advice(self) -> str:
        """Whether more data would help, in a sentence."""
        n = self.points[-1].examples
        low, high = self.gain_95
        what = f"doubling the data ({n} to {2 * n} examples) is expected to add {self.gain_points:.1f} points"
        if self.gain_points >= WORTH_POINTS and low > 0:
            verdict = "more data would help"
        elif high < WORTH_POINTS or self.gain_points < LITTLE_POINTS:
            verdict = "more data of this kind would hardly help"
        else:
            verdict = "more data may help a little"
        return f"{verdict}: {what} (95 % interval {low:.1f} to {high:.1f})"

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON values."""
        names = ("examples", "accuracy", "low", "high")
        return {
            "points": [{name: getattr(point, name) for name in names} for point in self.points],
            "floor": self.floor,
            "factor": self.factor,
            "exponent": self.exponent,
            "gain_points": self.gain_points,
            "gain_95": list(self.gain_95),
        }

    @classmethod
    def from_json(cls, data: Any) -> LearningCurve:
        """Return the curve that `to_json` described; InputError names what is wrong with it."""
        problems = json_shape.problems(data, _SHAPE, "learning curve")
        if not problems and (len(data["gain_95"]) != 2 or not data["points"]):
            problems = ["learning curve: expected points, and two numbers in gain_95"]
        if problems:
            raise InputError("; ".join(problems[:20]))
        points = tuple(CurvePoint(**point) for point in data["points"])
        gain_95 = (float(data["gain_95"][0]), float(data["gain_95"][1]))
        return cls(points, data["floor"], data["factor"], data["exponent"], data["gain_points"], gain_95)

    def as_text(self) -> str:
        """Return the curve as aligned plain text."""
        lines = ["examples  accuracy  95 % interval"]
        for point in self.points:
            lines.append(f"{point.examples:8}  {point.accuracy:8.2%}  {point.low:.2%} to {point.high:.2%}")
        return "\n".join([*lines, self.advice])
