"""Where a run's backbone lies on this machine: kept beside the run, part of no hash."""

from __future__ import annotations

import json
from pathlib import Path

from edgetransfer.errors import BundleError
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

LOCAL_FILE = "local.json"


def local_choice(run: Path) -> BackboneChoice:
    """Return which backbone the run in the folder `run` was trained on, with the paths of this machine.

    Raises:
        BundleError: the run does not say, or says it in a way that cannot be read.
    """
    try:
        kept = json.loads((run / LOCAL_FILE).read_text(encoding="utf-8"))
        weights, normalisation = kept["weights"], kept["normalisation"]
        return BackboneChoice(
            name=kept["name"],
            alpha=kept["alpha"],
            input_px=kept["input_px"],
            weights=None if weights is None else Path(weights),
            normalisation=None if normalisation is None else Normalisation(**normalisation),
        )
    except (OSError, ValueError, KeyError, TypeError) as trouble:
        raise BundleError(f"{run / LOCAL_FILE}: expected the run's backbone ({trouble}); train again") from trouble


def write_local_choice(run: Path, choice: BackboneChoice) -> None:
    """Keep `choice` beside the run in the folder `run`."""
    normalisation = None if choice.normalisation is None else choice.normalisation.to_json()
    kept = {
        "name": choice.name,
        "alpha": choice.alpha,
        "input_px": choice.input_px,
        "weights": None if choice.weights is None else str(choice.weights.resolve()),
        "normalisation": normalisation,
    }
    write_atomically(run / LOCAL_FILE, (json.dumps(kept, indent=2) + "\n").encode())
