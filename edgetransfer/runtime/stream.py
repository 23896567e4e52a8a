"""Answers about a sound or a camera that does not end: window by window, smoothed, and as events.

An app pushes what its microphone or camera gives and gets answers with their times; `EventDetector` makes of them
what is to be acted upon, once each. `edgetransfer run --stream` is the same on the command line.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError

if TYPE_CHECKING:
    from edgetransfer.runtime.predictor import Predictor


class StreamAnswer(NamedTuple):
    """An answer and what of the stream it is about, in seconds from the stream's start.

    Attributes:
        start_s: Start of the newest window; of a frame its time.
        end_s: Its end; of the last window of a sound that of the sound.
        result: What the bundle's task gives, as `Predictor.predict`.
    """

    start_s: float
    end_s: float
    result: Any


class Smoother:
    """Answers for the last windows together, as for a clip of just these windows.

    Their outputs are pooled (features, or logits where the head is in the graph) as a clip's are in training and in
    `Predictor.predict`, by their mean or as the head has learned to. So every kind of task can be smoothed, and a head
    and its rejection of strangers are asked what they know. Not for several threads.
    """

    def __init__(self, predictor: Predictor, windows: int = 1) -> None:
        """Smooth over `windows` windows; at a stream's start over those that there are.

        Raises:
            InputError: fewer than one window.
        """
        if windows < 1:
            raise InputError(f"smoothing: expected at least one window, got {windows}")
        self._predictor = predictor
        self._to_real = predictor.bundle.manifest.model.output.to_real
        self._outputs: deque[NDArray[np.float32]] = deque(maxlen=windows)

    def push(self, window: NDArray[Any]) -> Any:
        """Return the result for the last windows, of which `window` (what `Predictor.run` takes) is the newest."""
        self._outputs.append(self._to_real(self._predictor.run(window)[0]))
        return self._predictor.decode(np.stack(self._outputs))

    def restart(self) -> None:
        """Forget all windows; what is pushed next is another stream."""
        self._outputs.clear()


class SoundStream:
    """Answers samples as they come, the same windows as of the whole clip. Not for several threads.

    Example::

        stream = SoundStream(predictor, smooth=4)
        for chunk in microphone:
            for answer in stream.push(chunk):
                print(answer.end_s, answer.result.label)
    """

    def __init__(self, predictor: Predictor, *, smooth: int = 1) -> None:
        """Begin a stream; each answer is about the last `smooth` windows.

        Raises:
            InputError: the bundle does not take sounds, or `smooth` is below 1.
        """
        from edgetransfer.runtime.inputs.audio import AudioStream
        from edgetransfer.spec.audio import AudioInput

        spec = predictor.bundle.manifest.preprocess
        if not isinstance(spec, AudioInput):
            raise InputError(f"bundle {predictor.bundle.folder!r}: takes {spec.kind} inputs, not sounds")
        self._rate_hz = spec.sample_rate_hz
        self._windows = AudioStream(spec)
        self._smoother = Smoother(predictor, smooth)
        self._samples = self._answered = 0

    @property
    def sample_rate_hz(self) -> int:
        """Of the samples that are pushed."""
        return self._rate_hz

    def push(self, samples: NDArray[Any]) -> list[StreamAnswer]:
        """Return the answers that `samples` make possible, often none.

        Args:
            samples: (n,) mono at the model's rate, float32 from -1 to 1 or int16; any number of them.

        Raises:
            InputError: another dtype or shape, or not finite; the stream stays as it was.
        """
        if isinstance(samples, np.ndarray) and samples.dtype == np.int16:
            samples = samples.astype(np.float32) / np.float32(32768)
        windows = self._windows.push(samples)
        self._samples += len(samples)
        return self._answers(windows)

    def finish(self) -> list[StreamAnswer]:
        """Return the last answer, if any: its window is filled up with silence. What is pushed next is a new stream."""
        found = self._answers(self._windows.finish())
        self._smoother.restart()
        self._samples = self._answered = 0
        return found

    def _answers(self, windows: NDArray[np.uint8]) -> list[StreamAnswer]:
        found = []
        for window in windows:
            start = self._answered * self._windows.hop_samples
            end = min(start + self._windows.window_samples, self._samples)
            found.append(StreamAnswer(start / self._rate_hz, end / self._rate_hz, self._smoother.push(window)))
            self._answered += 1
        return found


class FrameStream:
    """Answers a camera's frames, one after the other. Not for several threads."""

    def __init__(self, predictor: Predictor, *, smooth: int = 1) -> None:
        """Begin a stream; each answer is about the last `smooth` frames.

        Raises:
            InputError: the bundle does not take images, or `smooth` is below 1.
        """
        spec = predictor.bundle.manifest.preprocess
        if spec.kind != "image":
            raise InputError(f"bundle {predictor.bundle.folder!r}: takes {spec.kind} inputs, not images")
        self._reader = predictor.reader
        self._smoother = Smoother(predictor, smooth)

    def push(self, frame: NDArray[np.uint8], time_s: float) -> StreamAnswer:
        """Return the answer for a frame (H, W, channels) uint8 that was taken at `time_s`.

        Raises:
            InputError: another dtype or shape.
        """
        return StreamAnswer(time_s, time_s, self._smoother.push(self._reader.prepare(frame)[0]))


class Event(NamedTuple):
    """Something that was seen or heard: which label, since when in seconds, and with what score."""

    time_s: float
    label: str
    score: float


class EventDetector:
    """Tells of a label once, however many windows have it. Not for several threads.

    Example::

        events = EventDetector(least_score=0.7, quiet=("background", "other"), refractory_s=1.0)
        for answer in stream.push(chunk):
            if event := events.push(answer.end_s, answer.result.label, answer.result.score):
                act(event.label)
    """

    def __init__(self, *, least_score: float = 0.0, quiet: Collection[str] = (), refractory_s: float = 0.0) -> None:
        """Begin to listen or look.

        Args:
            least_score: An answer below it is none.
            quiet: Labels that are no events, such as "background".
            refractory_s: A label that comes back sooner than this after it was last there is still the same event, as
                a word is whose middle was not recognised.

        Raises:
            InputError: a time below 0, or a number that is none.
        """
        if not refractory_s >= 0 or math.isnan(least_score):
            raise InputError(
                "events: expected a refractory time from 0 s and a score, got "
                f"refractory_s={refractory_s} and least_score={least_score}"
            )
        self._least_score, self._quiet, self._refractory_s = least_score, frozenset(quiet), refractory_s
        self._running: str | None = None
        self._last_s: dict[str, float] = {}

    def push(self, time_s: float, label: str | None, score: float) -> Event | None:
        """Return the event that begins with this answer, None if none does.

        Args:
            time_s: Of the answer, not before that of the last one.
            label: None for what is unknown.
            score: Of the label; one that is not a number is never enough.
        """
        there = label is not None and label not in self._quiet and score >= self._least_score
        before, self._running = self._running, label if there else None
        if label is None or not there:
            return None
        last_s = self._last_s.get(label)
        self._last_s[label] = time_s
        if label == before or (last_s is not None and time_s - last_s < self._refractory_s):
            return None
        return Event(time_s, label, score)


def said(result: Any) -> Any:
    """Return what of a result changes when the answer does: its label or labels; of several heads those of each.

    Of a result without labels, a quantity for one, all of it.
    """
    for name in ("label", "labels"):
        if hasattr(result, name):
            return getattr(result, name)
    if hasattr(result, "results"):
        return {name: said(one) for name, one in result.results.items()}
    return result.to_json()
