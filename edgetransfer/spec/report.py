"""What evaluate, verify and profile found: values that become JSON, and text for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import InputError
from edgetransfer.spec import json_shape
from edgetransfer.spec.text_table import aligned

_CLASS = {"label": str, "precision": float, "recall": float, "f1": float, "support": int}
_EVAL_SHAPE = {
    "report": str,
    "artifact": str,
    "split": str,
    "samples": int,
    "accuracy": float,
    "accuracy_95": [float],
    "macro": {"precision": float, "recall": float, "f1": float},
    "expected_calibration_error": float,
    "log_loss": float,
    "classes": [_CLASS],
    "confusion": [[int]],
}
_CHECK = {"name": str, "passed": bool, "detail": str}
_VERIFY_SHAPE = {
    "report": str,
    "bundle": str,
    "sha256": str,
    "engine": str,
    "passed": bool,
    "checks": [_CHECK],
    "golden_samples": int,
    "steps_max": (None, float),
    "top1_agreement": (None, float),
    "float_steps_max": (None, float),
    "float_top1_agreement": (None, float),
}
_LATENCY = {"threads": int, "runs": int, "p50_ms": float, "p90_ms": float, "p99_ms": float}
_PROFILE_SHAPE = {
    "report": str,
    "bundle": str,
    "sha256": str,
    "load_ms": float,
    "first_ms": float,
    "one_thread": _LATENCY,
    "all_threads": _LATENCY,
    "peak_memory_bytes": int,
    "model_bytes": int,
    "engine": str,
    "engine_version": str,
    "kernels": str,
    "versions": {"*": str},
    "cpu": str,
    "threads": int,
    "threads_because": str,
    "series": [_LATENCY],
}


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one label fared; 0 where nothing was predicted (precision) or nothing there (recall)."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class EvalReport:
    """How right an artifact is on one split.

    Attributes:
        artifact: what was evaluated, as the reader should call it.
        split: the name of the split.
        samples: how many examples it had.
        accuracy: the part that was right, 0 to 1.
        accuracy_95: its 95 % Wilson score interval.
        macro_precision: unweighted mean over the classes; likewise `macro_recall` and `macro_f1`.
        expected_calibration_error: mean distance between confidence and accuracy, 15 bins of equal width.
        log_loss: mean -ln(score of the true label), scores held at 1e-7 or above.
        classes: one entry per label, in label order.
        confusion: confusion[true][predicted] counts, in label order.
    """

    artifact: str
    split: str
    samples: int
    accuracy: float
    accuracy_95: tuple[float, float]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    expected_calibration_error: float
    log_loss: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "report": "evaluate",
            "artifact": self.artifact,
            "split": self.split,
            "samples": self.samples,
            "accuracy": self.accuracy,
            "accuracy_95": list(self.accuracy_95),
            "macro": {"precision": self.macro_precision, "recall": self.macro_recall, "f1": self.macro_f1},
            "expected_calibration_error": self.expected_calibration_error,
            "log_loss": self.log_loss,
            "classes": [_plain(scores) for scores in self.classes],
            "confusion": [list(row) for row in self.confusion],
        }

    @classmethod
    def from_json(cls, data: Any) -> EvalReport:
        """Return the report that `to_json` described; InputError names what is wrong with it."""
        _check(data, _EVAL_SHAPE, "evaluate")
        if len(data["accuracy_95"]) != 2:
            raise InputError(f"evaluate report: accuracy_95: expected two numbers, got {data['accuracy_95']}")
        macro = data["macro"]
        return cls(
            artifact=data["artifact"],
            split=data["split"],
            samples=data["samples"],
            accuracy=data["accuracy"],
            accuracy_95=(data["accuracy_95"][0], data["accuracy_95"][1]),
            macro_precision=macro["precision"],
            macro_recall=macro["recall"],
            macro_f1=macro["f1"],
            expected_calibration_error=data["expected_calibration_error"],
            log_loss=data["log_loss"],
            classes=tuple(ClassScores(**scores) for scores in data["classes"]),
            confusion=tuple(tuple(row) for row in data["confusion"]),
        )

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        low, high = self.accuracy_95
        head = [
            f"{self.artifact}: {self.split} split, {self.samples} samples",
            f"accuracy {self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})",
            f"calibration error {self.expected_calibration_error:.4f}   log loss {self.log_loss:.4f}",
        ]
        rows = [[c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support)] for c in self.classes]
        macro = (self.macro_precision, self.macro_recall, self.macro_f1)
        rows.append(["macro mean", *(f"{value:.3f}" for value in macro), str(self.samples)])
        scores = aligned([["class", "precision", "recall", "F1", "samples"], *rows])
        names = [c.label for c in self.classes]
        counts = [[name, *map(str, row)] for name, row in zip(names, self.confusion, strict=True)]
        confusion = aligned([["true \\ predicted", *names], *counts])
        return "\n".join([*head, "", *scores, "", *confusion])


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether a bundle is whole and computes here what it computed where it was built.

    Attributes:
        bundle: its name.
        sha256: its hash.
        engine: name, version and kernel set that ran here; "" if the bundle could not be run.
        checks: all of them must pass.
        golden_samples: how many were run, 0 if the bundle carries none.
        steps_max: largest distance from the recorded outputs, in output steps; None if nothing was run.
        top1_agreement: part of the samples with the recorded first answer, 0 to 1.
        float_steps_max: the same against the float model: what quantization costs. It cannot fail.
        float_top1_agreement: part of the samples with the float model's first answer. It cannot fail.
    """

    bundle: str
    sha256: str
    engine: str
    checks: tuple[Check, ...]
    golden_samples: int = 0
    steps_max: float | None = None
    top1_agreement: float | None = None
    float_steps_max: float | None = None
    float_top1_agreement: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        checks = [_plain(check) for check in self.checks]
        return {"report": "verify", "passed": self.passed} | _plain(self) | {"checks": checks}

    @classmethod
    def from_json(cls, data: Any) -> VerifyReport:
        """Return the report that `to_json` described; InputError names what is wrong with it."""
        _check(data, _VERIFY_SHAPE, "verify")
        fields = {name: data[name] for name in cls.__slots__}
        return cls(**fields | {"checks": tuple(Check(**check) for check in data["checks"])})

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        rows = [["ok" if check.passed else "FAILED", check.name, check.detail] for check in self.checks]
        lines = [f"{self.bundle}  {self.sha256[:12]}  {self.engine}".rstrip(), *aligned(rows, left=3)]
        if self.float_steps_max is not None and self.float_top1_agreement is not None:
            lines.append(
                f"quantization, for information: at most {self.float_steps_max:.4g} steps from the float model, "
                f"same first answer on {self.float_top1_agreement:.0%} of {self.golden_samples} samples"
            )
        return "\n".join([*lines, "verified" if self.passed else "NOT verified"])


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of `runs` single inferences, preprocessing not included."""

    threads: int
    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """How fast and how large a bundle is on this machine.

    Attributes:
        bundle: its name.
        sha256: its hash.
        load_ms: opening the bundle: manifest, model hash, engine.
        first_ms: the first inference, cold.
        one_thread: latencies on one thread.
        all_threads: latencies on as many threads as this process may use.
        peak_memory_bytes: growth of the resident set from before loading to the largest seen.
        model_bytes: the model file.
        engine: engine name, with `engine_version` and `kernels`.
        versions: Python, numpy and the operating system.
        cpu: what the machine calls its processor.
        threads: how many an app gets here that asks for no number, and in `threads_because` why.
        series: latencies by number of threads, all that were measured.
    """

    bundle: str
    sha256: str
    load_ms: float
    first_ms: float
    one_thread: Latency
    all_threads: Latency
    peak_memory_bytes: int
    model_bytes: int
    engine: str
    engine_version: str
    kernels: str
    versions: Mapping[str, str]
    cpu: str
    threads: int = 1
    threads_because: str = "the default"
    series: tuple[Latency, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        latencies = {"one_thread": _plain(self.one_thread), "all_threads": _plain(self.all_threads)}
        lists = {"versions": dict(self.versions), "series": [_plain(latency) for latency in self.series]}
        return {"report": "profile"} | _plain(self) | latencies | lists

    @classmethod
    def from_json(cls, data: Any) -> ProfileReport:
        """Return the report that `to_json` described; InputError names what is wrong with it.

        What `profile --ssh` puts beside it, the host and what verify said there, is passed over.
        """
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name not in ("host", "verify")}
        _check(data, _PROFILE_SHAPE, "profile")
        latencies: dict[str, Any] = {name: Latency(**data[name]) for name in ("one_thread", "all_threads")}
        latencies["series"] = tuple(Latency(**latency) for latency in data["series"])
        return cls(**{name: data[name] for name in cls.__slots__} | latencies)

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        rows = [["threads", "p50 ms", "p90 ms", "p99 ms", "runs"]]
        for latency in self.series or (self.one_thread, self.all_threads):
            times = (latency.p50_ms, latency.p90_ms, latency.p99_ms)
            rows.append([str(latency.threads), *(f"{time:.3f}" for time in times), str(latency.runs)])
        facts = [
            ["load", f"{self.load_ms:.1f} ms"],
            ["first inference", f"{self.first_ms:.2f} ms"],
            ["peak memory", f"{self.peak_memory_bytes / 1e6:.1f} MB above the start"],
            ["model file", f"{self.model_bytes / 1e6:.2f} MB"],
            ["engine", f"{self.engine} {self.engine_version} ({self.kernels})"],
            ["processor", self.cpu],
            ["threads in use", f"{self.threads}: {self.threads_because}"],
            ["versions", ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))],
        ]
        return "\n".join([f"{self.bundle}  {self.sha256[:12]}", *aligned(facts, left=2), "", *aligned(rows)])


def _check(data: Any, shape: dict[str, Any], kind: str) -> None:
    problems = json_shape.problems(data, shape, "report")
    if not problems and data["report"] != kind:
        problems = [f"report.report: expected {kind!r}, got {data['report']!r}"]
    if problems:
        raise InputError(f"{kind} report: " + "; ".join(problems[:20]))


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
