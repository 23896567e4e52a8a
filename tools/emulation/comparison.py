"""How far two machines' outputs of one bundle are apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.manifest import Manifest
from edgetransfer.verify import distance_steps

LEAST_AGREEMENT = 0.99


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outputs of the same images by two engines.

    Attributes:
        bundle: The bundle's name.
        images: How many were compared.
        here: Engine, version and kernels of this machine.
        there: Those of the other.
        steps_max: The greatest distance of an output, in output steps.
        steps_p99: 99 of 100 outputs are no further apart.
        top1_agreement: Share of images whose first answer is the same.
        clear_disagreements: How many images have another first answer though that here led by more than twice what the
            bundle grants, for both sides may move by that.
        other_pixels: Of how many photos the other machine made other pixels; the outputs compared are of the same.
        tolerance_steps: What the bundle grants other kernels; None without golden samples.
        images_beyond: How many images have an output further apart than that.
    """

    bundle: str
    images: int
    here: str
    there: str
    steps_max: float
    steps_p99: float
    top1_agreement: float
    clear_disagreements: int
    other_pixels: int
    tolerance_steps: int | None
    images_beyond: int

    @property
    def agrees(self) -> bool:
        """Whether at most 1 % of the images have another first answer that was clear here."""
        return self.clear_disagreements <= (1 - LEAST_AGREEMENT) * self.images + 1e-9

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values; infinite distances, of outputs that are not numbers, as None."""
        figures = asdict(self)
        for name in ("steps_max", "steps_p99"):
            figures[name] = figures[name] if np.isfinite(figures[name]) else None
        return figures

    def as_text(self) -> str:
        """Return the figures as one line."""
        granted = ""
        if self.tolerance_steps is not None:
            granted = f"; {self.images_beyond} images beyond the {self.tolerance_steps} steps granted"
        return (
            f"{self.bundle}, {self.images} images: {self.there} beside {self.here}: steps apart at most "
            f"{self.steps_max:.4g}, p99 {self.steps_p99:.4g}; same first answer {self.top1_agreement:.1%} "
            f"({self.clear_disagreements} others were clear){granted}; "
            f"photos with other pixels {self.other_pixels}"
        )


def compare(
    manifest: Manifest,
    outputs: tuple[NDArray[Any], NDArray[Any]],
    engines: tuple[str, str],
    other_pixels: int = 0,
) -> Comparison:
    """Return how far `outputs`, stored (n, C) of this machine and of another, are apart."""
    here, there = outputs
    steps = distance_steps(there, here, manifest)
    tolerance = None if manifest.golden is None else manifest.golden.tolerance_steps
    beyond = 0 if tolerance is None else int((steps.max(axis=1) > tolerance).sum())
    different = here.argmax(axis=1) != there.argmax(axis=1)
    exact = here.astype(np.float64)
    ordered = np.sort(exact, axis=1)
    lead = distance_steps(exact - (ordered[:, -1:] - ordered[:, -2:-1]), exact, manifest)[:, 0]
    return Comparison(
        bundle=manifest.name,
        images=len(here),
        here=engines[0],
        there=engines[1],
        steps_max=float(steps.max()),
        steps_p99=float(np.percentile(steps, 99, method="higher")),
        top1_agreement=float(1 - different.mean()),
        clear_disagreements=int((different & (lead > 2 * (tolerance or 0))).sum()),
        other_pixels=other_pixels,
        tolerance_steps=tolerance,
        images_beyond=beyond,
    )
