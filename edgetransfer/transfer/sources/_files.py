"""What the readers share: hashes of files and folders, sums over names, layers out of a list of parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import SourceLayer, SourceTensor


def sha256_of(path: Path) -> str:
    """Return the sha256 of the file at `path`.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as trouble:
        raise WeightsError(f"source {path}: cannot be read ({trouble.strerror})") from trouble


def sha256_of_files(folder: Path, names: Iterable[str]) -> str:
    """Return the sha256 of the lines "SHA256  NAME" of these files in `folder`, sorted by name.

    Raises:
        WeightsError: one cannot be read.
    """
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in sorted(names)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_bytes(path: Path) -> bytes:
    """Return the content of the file at `path`.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as trouble:
        raise WeightsError(f"source {path}: cannot be read ({trouble.strerror})") from trouble


@contextmanager
def broken(path: Path, what: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what a damaged file makes a library raise into an error that says so.

    Raises:
        WeightsError: one of `kinds` was raised.
    """
    try:
        yield
    except kinds as trouble:
        raise WeightsError(f"source {path}: expected a whole {what}: {first_line(trouble)}") from trouble


def first_line(trouble: BaseException) -> str:
    """Return the first line of what an exception says, its name if it says nothing."""
    lines = str(trouble).strip().splitlines()
    return lines[0] if lines else type(trouble).__name__


def constant(values: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    """Return a function that returns `values`, for parameters whose file is in memory anyway."""
    return lambda: values


def unreadable(name: str, why: str) -> Callable[[], NDArray[Any]]:
    """Return a function that refuses to return the numbers of the parameter `name`."""

    def refuse() -> NDArray[Any]:
        raise WeightsError(f"parameter {name!r}: {why}")

    return refuse


def group(
    named: Iterable[tuple[str, SourceTensor]],
    *,
    kinds: Mapping[str, str] | None = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    epsilons: Mapping[str, float] | None = None,
) -> tuple[SourceLayer, ...]:
    """Return the layers of (layer's name, parameter) in order, each where its first parameter stands."""
    found: dict[str, list[SourceTensor]] = {}
    for name, tensor in named:
        found.setdefault(name, []).append(tensor)
    return tuple(
        SourceLayer(
            name,
            (kinds or {}).get(name, ""),
            tuple(tensors),
            (attributes or {}).get(name, {}),
            (epsilons or {}).get(name),
        )
        for name, tensors in found.items()
    )


def dequantized(
    stored: NDArray[Any], scales: NDArray[Any], zero_points: NDArray[Any], axis: int
) -> NDArray[np.float32]:
    """Return real = scale * (stored - zero point), with one of each for all, or for each index of `axis`.

    Raises:
        ValueError: their number is neither 1 nor the size of the axis.
    """

    def spread(numbers: NDArray[Any]) -> Any:
        flat = numbers.astype(np.float64).reshape(-1)  # float64: differences of int32 biases do not fit float32
        if flat.size == 1:
            return flat[0]
        if not 0 <= axis < stored.ndim or flat.size != stored.shape[axis]:
            raise ValueError(f"{flat.size} scales or zero points for axis {axis} of shape {stored.shape}")
        return flat.reshape([-1 if place == axis else 1 for place in range(stored.ndim)])

    return np.asarray((stored.astype(np.float64) - spread(zero_points)) * spread(scales), np.float32)
