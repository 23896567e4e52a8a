"""What a page is to be made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PageOptions:
    """What a page is to be made of.

    Attributes:
        bundle: The bundle's folder.
        data: What to evaluate it on, as for `build`: a folder of photos or sounds, a CSV, a table of sentences. Where
            heads are outside of the graph it is the first head's. None: the page has what the bundle holds.
        split: Which split of the data.
        seed: Of splits that are made here; must be the build's.
        float_run: The run whose float Keras model is put beside the bundle; None: none.
        devices: Slugs or files of devices to tell of; empty: the one that the bundle was built for.
        profiles: Files that `edgetransfer profile --json` wrote on devices.
        measure: Whether to measure on this machine as well.
        worst: How many mistakes to show, of each head.
        providers: What ONNX Runtime computes with; None: what the bundle was built for.
        workers: Threads; None: one a core.
        head_data: Names of heads outside of the graph, and what to evaluate each on.
        strangers: Inputs that are of none of the labels, to measure what is turned away on: a folder of photos or
            sounds, a text file with a sentence in each line, or a folder of such. None: none.
        learning_curve: Whether to work out what more data would bring, for heads outside of the graph.
    """

    bundle: Path
    data: Path | None = None
    split: str = "test"
    seed: int = 0
    float_run: Path | None = None
    devices: tuple[str, ...] = ()
    profiles: tuple[Path, ...] = ()
    measure: bool = True
    worst: int = 12
    providers: tuple[str, ...] | None = None
    workers: int | None = None
    head_data: tuple[tuple[str, Path], ...] = ()
    strangers: Path | None = None
    learning_curve: bool = True
