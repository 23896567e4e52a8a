"""Raw inputs to model inputs: one file per kind, the same code in training and on the device."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput


class InputReader(Protocol):
    """Turns what an app has into what a model takes. Safe from several threads."""

    def read(self, source: Any) -> NDArray[Any]:
        """Return `source` raw: (H, W, channels) uint8, (n,) float32 sound from -1 to 1, or (n,) uint8 UTF-8 text.

        Args:
            source: What the kind of input takes: a path, a file's content, an array, a sentence.

        Raises:
            InputError: it cannot be read; says which, what was expected and what came.
        """

    def prepare(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return what the model is given for `raw`: (windows, *shape) in the input's dtype, at least one window.

        Raises:
            InputError: another dtype or shape than `read` gives.
        """


def open_reader(spec: ModelInput, files: Callable[[str], bytes]) -> InputReader:
    """Return the reader for inputs like `spec`.

    Args:
        spec: What the model takes.
        files: Gives the content of a file of the bundle by its name; text asks for its tokenizer.

    Raises:
        InputError: a package that this kind of input needs is not installed; says what to install.
    """
    module: Any = importlib.import_module(f"{__name__}.{spec.kind}")
    return cast(InputReader, module.open_reader(spec, files))
