"""What an app embeds: a bundle, its engine, and raw inputs in, results out."""

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
from edgetransfer.runtime.inputs import InputReader, open_reader
from edgetransfer.runtime.threads import threads_for
from edgetransfer.spec.attention import mean_of_windows
from edgetransfer.spec.bundle import Bundle

if TYPE_CHECKING:
    import PIL.Image

    from edgetransfer.spec.head import Head

    Source = NDArray[Any] | str | os.PathLike[str] | PIL.Image.Image | bytes

ENGINE_OF_FORMAT = {"litert": "litert", "onnx": "onnx", "tflm": "tflm"}
"""Which engine runs a format unless the caller names one."""


class Predictor:
    """A bundle, ready to answer.

    The graph of some bundles ends in features, and heads outside of it make answers of them: the backbone computes
    once, however many heads there are. `predict` then gives the one head's result, or `Answers` of several by name.

    One predictor may be used from several threads: preprocessing and decoding run side by side, the engine
    runs one frame at a time behind a lock. For more throughput open one predictor per thread; they share nothing.
    Use it as a context manager, or `close` it, to free the engine's memory early.

    Example::

        with Predictor.load("waste.bundle") as predictor:
            print(predictor.predict(frame).label)
    """

    def __init__(self, bundle: Bundle, engine: Engine, heads: Sequence[Head] = ()) -> None:
        _check_engine(bundle, engine)
        self._bundle = bundle
        self._engine: Engine | None = engine
        self._lock = threading.Lock()
        self._decoder = None if bundle.manifest.is_split else get_decoder(bundle.manifest.task.kind)
        self._input = bundle.manifest.model.input
        self._reader = open_reader(bundle.manifest.preprocess, bundle.content)
        self._heads = tuple(heads)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Bundle,
        *,
        engine: str | None = None,
        threads: int | None = None,
        kernels: Kernels = "default",
        providers: Sequence[str] | None = None,
        heads: Sequence[str | os.PathLike[str] | Head] | None = None,
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
            heads: files of heads, or heads, for a bundle that ends in features. None takes those that it carries and
                those that were added beside it.

        Raises:
            BundleError: not a bundle, changed since it was written, or a head of another backbone.
            EngineError: no engine is installed (says the pip command), or it refuses the model.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.load(path)
        bundle.check_model()
        model = bundle.manifest.model
        name = engine or ENGINE_OF_FORMAT[bundle.manifest.format]
        chosen = model.providers if providers is None else tuple(providers)
        answering = _heads(bundle, heads)
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
            answering,
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers."""
        return self._bundle

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the outputs; those of the first head where heads are outside of the graph."""
        return self._heads[0].task.labels if self._heads else self._bundle.manifest.task.labels

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads outside of the graph, by name; none where the head is inside."""
        return self._heads

    def use_head(self, head: Head) -> None:
        """Let `head` answer from now on, instead of the one of its name if there is one.

        Raises:
            BundleError: the graph ends in answers, or the head was trained on another backbone.
        """
        others = [one for one in self._heads if one.name != head.name]
        self._heads = tuple(sorted(_heads(self._bundle, [*others, head]), key=lambda one: one.name))

    @property
    def reader(self) -> InputReader:
        """What turns sources into raw inputs, and those into what the model takes."""
        return self._reader

    @property
    def engine(self) -> Engine:
        """The engine, to ask for its name, version and kernels; its `run` is not safe from several threads."""
        return self._open_engine()

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the stored output (1, C) of one prepared input, a new array; what it means says the manifest.

        Args:
            x: what `reader.prepare` gives for one window, such as (H, W, 3) or (1, H, W, 3) uint8 RGB of exactly the
                model's size and channels.

        Raises:
            InputError: another type, dtype or shape.
        """
        shape, dtype = self._input.shape, self._input.dtype
        if not isinstance(x, np.ndarray) or x.dtype != dtype or x.shape not in (shape, shape[1:]):
            got = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise InputError(
                f"input: expected {dtype} {shape} or {shape[1:]}, got {got}; frames of another size and "
                "files go through Predictor.predict"
            )
        with self._lock:
            return self._open_engine().run(x.reshape(shape))

    def outputs(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real outputs (C,) for one raw input, the mean over its windows: logits, scores or features.

        Args:
            raw: what `reader.read` gives: (H, W, channels) uint8 of any size, (n,) float32 sound, (n,) uint8 UTF-8.

        Raises:
            InputError: another dtype or shape.
        """
        return mean_of_windows(self.window_outputs(raw))

    def window_outputs(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real outputs (W, C) for the W windows of one raw input; of an image or a sentence W is 1.

        Raises:
            InputError: another dtype or shape.
        """
        to_real = self._bundle.manifest.model.output.to_real
        return np.stack([to_real(self.run(one)[0]) for one in self._reader.prepare(raw)])

    def embed(self, source: Source) -> NDArray[np.float32]:
        """Return the embedding of one input: (D,) float32 features, of a bundle whose graph ends in them.

        Raises:
            BundleError: the graph ends in answers instead.
            InputError: as `predict`.
        """
        return mean_of_windows(self.embed_windows(source))

    def embed_windows(self, source: Source) -> NDArray[np.float32]:
        """Return the features (W, D) float32 of the windows of one input; raises as `embed`."""
        if not self._bundle.manifest.is_split:
            raise BundleError(
                f"bundle {self._bundle.folder!r}: its graph ends in answers, not in features; build it with --split"
            )
        return self.window_outputs(self._reader.read(source))

    def predict(self, source: Source) -> Any:
        """Return the result for one input; for a single-label task `.label`, `.score` and `.scores`.

        What it is for other tasks say the files of `edgetransfer.runtime.decoders`: `.labels` and `.scores` of several
        labels, `.label` and `.expected` of labels with an order, `.value` with `.low` and `.high` of a quantity.

        Args:
            source: an image as (H, W, 3) uint8 RGB of any size, of a grey bundle as (H, W), and with the image extra
                also a path, a PIL image, or a file's bytes; a sound as a path, a file's bytes, or samples; a sentence
                as text: what the bundle looks at.

        Raises:
            InputError: not an input that can be read, or an array of another dtype or shape.
        """
        return self.decode(self.window_outputs(self._reader.read(source)))

    def decode(self, windows: NDArray[np.float32]) -> Any:
        """Return the result for one input, of whose windows these are the real outputs (W, C): a clip's, a stream's."""
        if self._decoder is None:
            return self.answers(windows)
        manifest = self._bundle.manifest
        real: NDArray[np.float32] = mean_of_windows(windows)
        decode = self._decoder.decode_scores if manifest.model.scores_in_graph else self._decoder.decode
        return decode(real, manifest.task)

    def answers(self, features: NDArray[np.float32]) -> Any:
        """Return what the heads make of the real features of one input: (W, D) of its windows, or (D,) of one.

        It is the one head's result, `Answers` of several, and of none the features themselves as an `EmbeddingResult`.
        """
        from edgetransfer.runtime.heads import Answers, answer  # here: most bundles have their head inside

        windows = np.atleast_2d(features)
        if not self._heads:
            from edgetransfer.runtime.embedding import EmbeddingResult

            return EmbeddingResult(mean_of_windows(windows))
        results = {head.name: answer(head, windows) for head in self._heads}
        return results[self._heads[0].name] if len(results) == 1 else Answers(results)

    def predict_batch(self, sources: Iterable[Any]) -> list[Any]:
        """Return one result per input, in order; images may differ in size and kind."""
        return [self.predict(source) for source in sources]

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


def _heads(bundle: Bundle, given: Sequence[str | os.PathLike[str] | Head] | None) -> tuple[Head, ...]:
    if not bundle.manifest.is_split:
        if given:
            raise BundleError(f"bundle {bundle.folder!r}: its head is inside the graph; it takes no others")
        return ()
    from edgetransfer.runtime.heads import load_heads

    return load_heads(bundle, given)


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
