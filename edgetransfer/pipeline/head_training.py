"""What a head's file keeps of its training, for report pages: small JSON values in `Head.training`.

    chosen          what the validation split, or cross-validation, chose, by name
    few             only where there were too few examples to choose by a split: "penalty", "folds", "because", and of
                    examples left out in turn "accuracy" and "accuracy_95", null where none could be left out
    pooling         only where it was tried: "mean" and "attention" with their validation figures, "gain" of attention
                    over the mean in what the task counts, "gain_error", its standard error, and which was "taken"
    temperature_1   of one label of several: split to "expected_calibration_error" and "log_loss" without calibration
    rejects         only where it rejects: "threshold" of the outlier score, "false_reject_rate" that was asked for, and
                    "test", the share of the test split that is rejected, null where there is none
    learning_curve  `LearningCurve.to_json`; only where it was worked out

They belong to the head and go where it goes; a file beside it would get lost. Figures of the head itself are `metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.spec.report import EvalReport

if TYPE_CHECKING:
    from edgetransfer.pipeline.split_head import TrainedHead
    from edgetransfer.train.few import FewFit
    from edgetransfer.train.pooling import PoolFit


def training_json(trained: TrainedHead) -> dict[str, Any]:
    """Return what the file of a head keeps of its training."""
    head = trained.head
    found: dict[str, Any] = {"chosen": dict(trained.chosen)}
    if trained.few is not None:
        found["few"] = _few(trained.few)
    if trained.pooling is not None:
        found["pooling"] = _pooling(trained.pooling)
    if trained.uncalibrated:
        found["temperature_1"] = {
            split: {"expected_calibration_error": one.expected_calibration_error, "log_loss": one.log_loss}
            for split, one in trained.uncalibrated.items()
            if isinstance(one, EvalReport)
        }
    if head.outliers is not None:
        found["rejects"] = {
            "threshold": head.outliers.threshold,
            "false_reject_rate": head.outliers.false_reject_rate,
            "test": trained.rejected,
        }
    if trained.curve is not None:
        found["learning_curve"] = trained.curve.to_json()
    return found


def _few(few: FewFit) -> dict[str, Any]:
    interval = None if few.accuracy_95 is None else list(few.accuracy_95)
    return {
        "penalty": few.penalty,
        "folds": few.folds,
        "because": few.because,
        "accuracy": few.accuracy,
        "accuracy_95": interval,
    }


def _pooling(found: PoolFit) -> dict[str, Any]:
    rows = {name: dict(row) for name, row in found.rows.items()}
    taken = "mean" if found.pool is None else "attention"
    return rows | {"gain": found.gain, "gain_error": found.gain_error, "taken": taken}
