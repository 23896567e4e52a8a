"""What came of transferring weights: the mapping, and whether source and target see alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.pipeline.transfer_measure import Measured
from edgetransfer.pipeline.transfer_repair import Repair, Repaired
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.agreement import Agreement
from edgetransfer.transfer.mapping import WeightMapping


@dataclass(frozen=True, slots=True)
class WeightTransferReport:
    """Where the target's weights come from, and what was measured.

    Attributes:
        output: The backbone file; None: nothing was written.
        mapping: Of the parameters.
        measured: What was seen on photos.
    """

    output: Path | None
    mapping: WeightMapping
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        seen = self.measured
        return {
            "backbone": None if self.output is None else str(self.output),
            "mapping": self.mapping.to_json(),
            "agreement": None if seen.agreed is None else seen.agreed.to_json(),
            "untrained": None if seen.untrained is None else seen.untrained.to_json(),
            "read_out_accuracy": dict(seen.right),
            "repair": seen.repaired.taken,
            "agreement_by_repair": dict(seen.repaired.tried),
            "layers_fitted_on_images": seen.repaired.images,
        }

    def as_text(self) -> str:
        """Return the report for people: what was mapped, how alike the two see, and what to type next."""
        lines = [self.mapping.as_text(), "", *self._measured()]
        if self.measured.repaired.tried:
            lines.append(_repairs(self.measured.repaired))
        if self.output is None:
            return "\n".join([*lines, "", "nothing was written"])
        return "\n".join(
            [*lines, "", f"next:  edgetransfer build DATA --backbone keras:{self.output} --output NAME.bundle"]
        )

    def _measured(self) -> list[str]:
        seen = self.measured
        if not seen.right:
            return ["agreement not measured: that takes images, give --data"]
        rows = [["", "as the source says", "linear CKA", "cosine", "read-out right"]]
        for name, found in (("source", None), ("target", seen.agreed), ("untrained", seen.untrained)):
            if name in seen.right:
                said = ["", "", ""] if found is None else _figures(found)
                rows.append([name, *said, f"{seen.right[name]:.1%}"])
        note = [] if seen.agreed else ["agreement not measured: the source has weights alone and cannot be run"]
        return [*note, *aligned(rows)]


_REPAIRS: Mapping[Repair, str] = {
    "none": "as cut",
    "statistics": "batch norms estimated again",
    "reconstruction": "layers fitted to the source's",
}


def _repairs(repaired: Repaired) -> str:
    """Return how often the target says what the source says after each repair, and which was taken."""
    each = [
        f"{_REPAIRS[name]} {share:.1%}{' (taken)' if name == repaired.taken else ''}"
        for name, share in repaired.tried.items()
    ]
    on = f", fitted on {repaired.images} training images" if repaired.images else ""
    return f"repair after the cut, by how often the target then says what the source says: {', '.join(each)}{on}"


def _figures(found: Agreement) -> list[str]:
    cosine = "-" if found.cosine is None else f"{found.cosine:.3f}"
    return [f"{found.read_out:.1%} of {found.images}", f"{found.cka:.3f}", cosine]
