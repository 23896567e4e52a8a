"""What a parity comparison found: values that become JSON, and text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.report import Check

LISTED = 20  # samples that the text names; JSON has all


@dataclass(frozen=True, slots=True)
class Answer:
    """What one artifact said of one sample; `label` is None where its outputs were no finite numbers."""

    label: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A sample with all that was said of it.

    Attributes:
        path: The photo.
        label: What it shows, by the data.
        answers: One for each artifact, in their order.
        distance: How far the outputs of the farthest artifact are from the reference's, at most, in real numbers;
            None where they were not finite.
        channels: With how many the photo is looked at.
    """

    path: str
    label: str
    answers: Mapping[str, Answer]
    distance: float | None
    channels: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the sample as JSON values."""
        answers = {name: {"label": one.label, "score": one.score} for name, one in self.answers.items()}
        return {"path": self.path, "label": self.label, "answers": answers, "distance": self.distance}


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the artifacts: `what` it is, its input, and how many of the samples it gets right."""

    name: str
    what: str
    preprocess: ImageInput
    right: int
    accuracy: float
    accuracy_95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return the artifact as JSON values."""
        return {
            "name": self.name,
            "what": self.what,
            "preprocess": self.preprocess.to_json(),
            "right": self.right,
            "accuracy": self.accuracy,
            "accuracy_95": list(self.accuracy_95),
        }


@dataclass(frozen=True, slots=True)
class PixelParity:
    """The prepared pixels of one artifact beside the reference's.

    Attributes:
        artifact: Its name.
        other_fields: The fields of the preprocessing that are not the reference's; none where they must agree.
        images: How many images differ.
        pixels: How many pixels of them; None where the inputs differ in size.
        bits: How many bits of those; None likewise.
    """

    artifact: str
    other_fields: tuple[str, ...]
    images: int
    pixels: int | None
    bits: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return _plain(self) | {"other_fields": list(self.other_fields)}


@dataclass(frozen=True, slots=True)
class OutputParity:
    """The outputs of one artifact beside the reference's.

    Attributes:
        artifact: Its name.
        of: "logits", or "scores" where one of the two has the softmax in its graph.
        steps_max: Largest distance of an output in steps of this artifact; `steps_p99` and `steps_mean` are over all
            outputs. A step is one stored integer; of floats, a 256th of the reference's largest. None where an
            output was not finite.
        cosine_mean: Mean over the samples of the cosine between the outputs; `cosine_min` the least.
        agreement: Part of the samples with the reference's answer, 0 to 1.
        disagreements: The paths of the others.
        only_reference_right: Samples that only the reference gets right; `only_artifact_right` the reverse.
        mcnemar_p: Exact two-sided p-value of McNemar's test on those two.
    """

    artifact: str
    of: str
    steps_max: float | None
    steps_p99: float | None
    steps_mean: float | None
    cosine_mean: float | None
    cosine_min: float | None
    agreement: float
    disagreements: tuple[str, ...]
    only_reference_right: int
    only_artifact_right: int
    mcnemar_p: float

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return _plain(self) | {"disagreements": list(self.disagreements)}


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Whether the artifacts compute the same.

    Attributes:
        split: The split's name.
        samples: How many images went through all artifacts.
        artifacts: The reference first.
        pixels: Preprocessing alone, of all but the reference.
        outputs: Likewise what came out.
        worst: The samples whose answers differ, then those whose outputs do, the farthest apart first.
        checks: All of them must pass.
    """

    split: str
    samples: int
    artifacts: tuple[Compared, ...]
    pixels: tuple[PixelParity, ...]
    outputs: tuple[OutputParity, ...]
    worst: tuple[Examined, ...]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "report": "parity",
            "passed": self.passed,
            "split": self.split,
            "samples": self.samples,
            "reference": self.artifacts[0].name,
            "artifacts": [one.to_json() for one in self.artifacts],
            "pixels": [one.to_json() for one in self.pixels],
            "outputs": [one.to_json() for one in self.outputs],
            "worst": [one.to_json() for one in self.worst],
            "checks": [_plain(check) for check in self.checks],
        }

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        parts = [
            [f"{self.samples} images of the {self.split} split; the reference is {self.artifacts[0].name}"],
            _table(self._artifact_rows(), left=2),
            ["prepared pixels beside the reference's", *_table(self._pixel_rows(), left=2)],
            ["outputs beside the reference's, in output steps", *_table(self._output_rows(), left=2)],
            *self._disagreements(),
            _table([["ok" if one.passed else "FAILED", one.name, one.detail] for one in self.checks], left=3),
        ]
        return "\n\n".join("\n".join(lines) for lines in parts)

    def _artifact_rows(self) -> list[list[str]]:
        rows = [["artifact", "what it is", "right", "accuracy", "95 % interval"]]
        for one in self.artifacts:
            low, high = one.accuracy_95
            rows.append([one.name, one.what, str(one.right), f"{one.accuracy:.2%}", f"{low:.2%} to {high:.2%}"])
        return rows

    def _pixel_rows(self) -> list[list[str]]:
        rows = [["artifact", "preprocessing", "images", "pixels", "bits"]]
        for one in self.pixels:
            spec = f"other {', '.join(one.other_fields)}" if one.other_fields else "the same"
            rows.append(
                [one.artifact, spec, *("-" if n is None else str(n) for n in (one.images, one.pixels, one.bits))]
            )
        return rows

    def _output_rows(self) -> list[list[str]]:
        rows = [["artifact", "of", "max", "p99", "mean", "cosine", "least", "same answer", "differ", "McNemar p"]]
        for one in self.outputs:
            steps = (_number(value, ".4g") for value in (one.steps_max, one.steps_p99, one.steps_mean))
            cosines = (_number(value, ".6f") for value in (one.cosine_mean, one.cosine_min))
            answers = (f"{one.agreement:.2%}", str(len(one.disagreements)), f"{one.mcnemar_p:.3g}")
            rows.append([one.artifact, one.of, *steps, *cosines, *answers])
        return rows

    def _disagreements(self) -> list[list[str]]:
        paths = {path for one in self.outputs for path in one.disagreements}
        if not paths:
            return []
        shown = [one for one in self.worst if one.path in paths][:LISTED]
        lines = [f"answers differ on {len(paths)} of {self.samples} images"]
        lines += [f"  {one.path}: {one.label}; {', '.join(answer_texts(one))}" for one in shown]
        if len(shown) < len(paths):
            lines.append(f"  ... and {len(paths) - len(shown)} more; --json names all")
        return [lines]


def answer_texts(sample: Examined) -> list[str]:
    """Return one line of text for each artifact's answer."""
    return [
        f"{name} {'no finite output' if one.label is None else f'{one.label} {one.score:.3f}'}"
        for name, one in sample.answers.items()
    ]


def _number(value: float | None, form: str) -> str:
    return "not finite" if value is None else format(value, form)


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _table(rows: Iterable[list[str]], *, left: int) -> list[str]:
    """Return `rows` as lines, columns aligned; the first `left` columns to the left, the others to the right."""
    kept = list(rows)
    widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
    aligned = (
        [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in kept
    )
    return ["  ".join(cells).rstrip() for cells in aligned]
