"""What more data would bring to a head of one label of several, where working that out is cheap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.spec.learning_curve import LearningCurve
from edgetransfer.train.learning_curve import learning_curve

CHEAP_WORK = 3e6
"""Examples times features times labels up to which a curve is worked out unasked: 700 examples of 1,280 features and 6
labels (made-up features) took 3.5 s on one core. Counted, not timed, for the curve is kept in the head: two builds of
the same data must give the same bytes, however busy the machine is."""


def curve_of(
    features: NDArray[np.float32], labels: NDArray[Any], classes: int, options: BuildOptions, watcher: Watcher
) -> tuple[LearningCurve | None, str]:
    """Return the learning curve of heads on these examples; or None, and why there is none.

    Args:
        features: (n, D) of training and validation samples together.
        labels: (n,) their label numbers.
        classes: How many labels there are.
        options: Whether a curve is asked for, and the seed.
        watcher: Is told the stage.
    """
    if options.learning_curve is False:
        return None, ""
    examples, size = features.shape
    if options.learning_curve is None and examples * min(examples, size) * classes > CHEAP_WORK:
        return None, f"not worked out for {examples} examples: it takes long, --learning-curve does it"
    watcher.stage("working out what more data would bring")
    try:
        return learning_curve(features, labels, classes, repeats=1, seed=options.seed, progress=watcher.step), ""
    except DataError as error:
        return None, str(error)
