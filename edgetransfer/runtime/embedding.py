"""What a bundle gives that has no head: the features themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The embedding of one input: (D,) float32 features."""

    embedding: NDArray[np.float32]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"embedding": self.embedding.tolist()}
