"""What an app embeds: a bundle, its engine, and raw frames in, results out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError, EngineError, InputError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.engines import Engine, Kernels, open_engine
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.threads import threads_for
from edgetransfer.spec.bundle import Bundle

if TYPE_CHECKING:
    import PIL.Image

ENGINE_OF_FORMAT = {"litert": "litert", "onnx": "onnx", "tflm": "tflm"}
"""Which engine runs a format unless the caller names one."""


class Predictor:
    """A bundle, ready to answer.

    One predictor may be used from several threads: preprocessing and decoding run side by side, the engine
    runs one frame at a time behind a lock. For more throughput open one predictor per thread; they share nothing.
    Use it as a context manager, or `close` it, to free the engine's memory early.

    Example::

        with Predictor.load("waste.bundle") as predictor:
            print(predictor.predict(frame).label)
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        _check_engine(bundle, engine)
        self._bundle = bundle
        self._engine: Engine | None = engine
        self._lock = threading.Lock()
        self._decoder = get_decoder(bundle.manifest.task.kind)
        self._shape = bundle.manifest.model.input.shape

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Bundle,
        *,
        engine: str | None = None,
        threads: int | None = None,
        kernels: Kernels = "default",
        providers: Sequence[str] | None = None,
    ) -> Predictor:
        """Return a predictor for the bundle in the folder `path`; the model file's hash is checked.

        Args:
            path: the bundle's folder, or the opened bundle.
            engine: an engine's name; None takes that of the bundle's format.
            threads: how many threads one inference may use. None takes what `edgetransfer profile --choose` measured
                and kept here for this model, engine and processor, else 1, for more can be slower.
            kernels: "reference" computes with the engine's plain kernels, slowly.
            providers: what computes, for ONNX Runtime, in order: "tensorrt", "cuda", "cpu" and the like. None takes
                those that the bundle was built for; one that is not here is an error, never replaced.

        Raises:
            BundleError: not a bundle, or changed since it was written.
            EngineError: no engine is installed (says the pip command), or it refuses the model.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.load(path)
        bundle.check_model()
        model = bundle.manifest.model
        name = engine or ENGINE_OF_FORMAT[bundle.manifest.format]
        chosen = model.providers if providers is None else tuple(providers)
        if threads is None:
            known = bundle.manifest.files[model.file].sha256
            threads = 1 if kernels == "reference" else threads_for(known, name, chosen)[0]
        return cls(
            bundle,
            open_engine(
                name,
                f"{bundle.folder}/{model.file}",
                threads=threads,
                kernels=kernels,
                providers=chosen,
            ),
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers."""
        return self._bundle

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the outputs."""
        return self._bundle.manifest.task.labels

    @property
    def engine(self) -> Engine:
        """The engine, to ask for its name, version and kernels; its `run` is not safe from several threads."""
        return self._open_engine()

    def run(self, x: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the stored output (1, C) of one prepared input, a new array; what it means says the manifest.

        Args:
            x: (H, W, 3) or (1, H, W, 3) uint8 RGB of exactly the model's size.

        Raises:
            InputError: another type, dtype or shape.
        """
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape not in (self._shape, self._shape[1:]):
            got = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise InputError(
                f"input: expected uint8 {self._shape} or {self._shape[1:]}, got {got}; frames of another size and "
                "files go through Predictor.predict"
            )
        with self._lock:
            return self._open_engine().run(x.reshape(self._shape))

    def predict(self, image: NDArray[np.uint8] | str | os.PathLike[str] | PIL.Image.Image | bytes) -> Any:
        """Return the result for one image; for a single-label task `.label`, `.score` and `.scores`.

        Args:
            image: (H, W, 3) uint8 RGB of any size; with the image extra also a path, a PIL image, or a file's bytes.

        Raises:
            InputError: not an image that can be read, or an array of another dtype or shape.
        """
        manifest = self._bundle.manifest
        output = self.run(prepare(_pixels(image), manifest.preprocess))
        real = manifest.model.output.to_real(output[0])
        decode = self._decoder.decode_scores if manifest.model.scores_in_graph else self._decoder.decode
        return decode(real, manifest.task)

    def predict_batch(self, images: Iterable[Any]) -> list[Any]:
        """Return one result per image, in order; the images may differ in size and kind."""
        return [self.predict(image) for image in images]

    def close(self) -> None:
        """Free the engine's memory; a second call does nothing."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise EngineError(f"predictor of bundle {self._bundle.folder!r}: is closed; load it again")
        return self._engine


def _pixels(image: Any) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        pixels: NDArray[np.uint8] = image
        return pixels
    from pathlib import Path

    from edgetransfer.runtime.files import read_image

    return read_image(Path(image) if isinstance(image, os.PathLike) else image)


def _check_engine(bundle: Bundle, engine: Engine) -> None:
    model = bundle.manifest.model
    expected = ((model.input.shape, model.input.dtype), (model.output.shape, model.output.dtype))
    got = ((engine.input.shape, engine.input.dtype), (engine.output.shape, engine.output.dtype))
    if expected != got:
        engine.close()
        raise BundleError(
            f"bundle {bundle.folder!r}: manifest says the model has {expected}, it has {got}; build it again"
        )
    stated, found = model.output.quantization, engine.output.quantization
    if stated != found:
        engine.close()
        raise BundleError(
            f"bundle {bundle.folder!r}: manifest says the output means {stated}, the model {found}; build it again"
        )
