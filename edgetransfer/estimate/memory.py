"""How much memory a graph will take: where its tensors are put, and what an engine keeps beside them.

All three engines that this speaks of put the largest tensor first, then each next one into a gap between those that
live at the same time (greedy by size: Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
inference"). They differ in small things, which are here because they decide about the last bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgetransfer.errors import InputError

WORKSPACE_EXTRA_BYTES = 32
"""XNNPACK asks for twice its XNN_EXTRA_BYTES beyond the last tensor (its runtime.c), unless there is no tensor."""
ARENA_EXTRA_BYTES = 64
"""LiteRT asks for that much more, to begin at a multiple of it (simple_memory_arena.cc)."""
_HEAP_BYTES = 150_000
_OP_BYTES = {"default": 3_800, "reference": 3_000}
"""What the engine notes about a graph, on the heap: fitted to what `tools/bench memory` measures."""
_ENGINE_BYTES = {"default": 12_350_000, "reference": 11_500_000}
"""Resident pages of LiteRT's library and Python modules beside any model: ai-edge-litert 2.3.0 on x86-64, 12.0 to 12.7
million for the 30 models of `tools/bench memory`. Most of what small models take, and other builds differ."""
_ENGINE_SLACK_BYTES = 2_000_000  # how much they may differ: a guess
_LOW, _HIGH = 0.9, 1.1  # of all but the engine; measured were 0.96 to 1.04, but with one processor's kernels


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that is needed from one op to another, both included."""

    size_bytes: int
    first_op: int
    last_op: int

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.first_op > self.last_op:
            raise InputError(f"buffer: expected no less than 0 bytes, and an end after its beginning, got {self}")


@dataclass(frozen=True, slots=True)
class Planner:
    """How an engine places buffers.

    Attributes:
        alignment: Where a buffer may begin: at multiples of that many bytes.
        rounds_up: Whether its size is rounded up to a multiple, too.
        best_fit: Whether the smallest gap is taken in which it has room, else the first.
        ties_last_first: Whether of equal sizes the one that was named last comes first.
        whole_life_first: Whether buffers that live from the first op to the last come before larger ones.
    """

    alignment: int
    rounds_up: bool
    best_fit: bool
    ties_last_first: bool = False
    whole_life_first: bool = False


LITERT = Planner(64, rounds_up=False, best_fit=True, whole_life_first=True)
"""arena_planner.cc and simple_memory_arena.cc in google-ai-edge/LiteRT; `kDefaultTensorAlignment` is 64."""
XNNPACK = Planner(64, rounds_up=True, best_fit=True)
"""memory-planner.c in google/XNNPACK; XNN_ALLOCATION_ALIGNMENT is 64, but for Hexagon."""
TFLM = Planner(16, rounds_up=True, best_fit=False, ties_last_first=True)
"""greedy_memory_planner.cc in tensorflow/tflite-micro, `MicroArenaBufferAlignment()` 16."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a graph asks of LiteRT with one set of kernels.

    Attributes:
        kernels: "default" (XNNPACK computes what it can) or "reference".
        arena: Tensors in LiteRT's own arena.
        workspaces: Tensors inside of each part that XNNPACK computes; the parts share one workspace.
        packed_bytes: The weights once more, as XNNPACK's kernels want them.
        table_bytes: XNNPACK's pointers to the pixels under each position of a window.
        file_bytes: Of the model, which is mapped into memory, and read wholly.
        ops: How many ops it has.
        usual: Whether it has nothing but kinds of work that the rules were checked with.
    """

    kernels: str
    arena: tuple[Buffer, ...]
    workspaces: tuple[tuple[Buffer, ...], ...]
    packed_bytes: int
    table_bytes: int
    file_bytes: int
    ops: int
    usual: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a model is expected to take.

    Attributes:
        arena_bytes: For tensors between ops.
        heap_bytes: The arena, packed weights, and what the engine notes about the graph.
        peak_bytes: Growth of the process's resident set by engine and model, as `profile` measures it.
        low_bytes: The peak is expected to be at least this.
        high_bytes: The peak is expected to be at most this.
        words: What it rests on, as a sentence without full stop.
    """

    arena_bytes: int
    heap_bytes: int
    peak_bytes: int
    low_bytes: int
    high_bytes: int
    words: str

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the prediction as one line."""
        low, peak, high = (f"{value / 1e6:.1f}" for value in (self.low_bytes, self.peak_bytes, self.high_bytes))
        return f"{peak} MB ({low} to {high} MB), of it {self.arena_bytes / 1e6:.2f} MB between ops: {self.words}"


def predict(demand: Demand) -> Memory:
    """Return the memory that a graph of this `demand` will take in LiteRT."""
    arena = arena_bytes(demand.arena, LITERT)
    inside = max((arena_bytes(buffers, XNNPACK) for buffers in demand.workspaces), default=0)
    workspace = inside + WORKSPACE_EXTRA_BYTES if inside else 0
    notes = _HEAP_BYTES + demand.ops * _OP_BYTES[demand.kernels]
    heap = (
        aligned(arena + ARENA_EXTRA_BYTES, ARENA_EXTRA_BYTES)
        + workspace
        + demand.packed_bytes
        + demand.table_bytes
        + notes
    )
    engine = _ENGINE_BYTES[demand.kernels]
    own = heap + demand.file_bytes
    slack = 1 if demand.usual else 2
    return Memory(
        arena_bytes=arena + workspace,
        heap_bytes=heap,
        peak_bytes=engine + own,
        low_bytes=round(engine - _ENGINE_SLACK_BYTES + own * _LOW**slack),
        high_bytes=round(engine + _ENGINE_SLACK_BYTES + own * _HIGH**slack),
        words="by the planners of LiteRT and XNNPACK; validated on x86-64 with float32 and int8 networks"
        if demand.usual
        else "unvalidated: it has ops or types that the rules were not checked with",
    )


def arena_bytes(buffers: Sequence[Buffer], planner: Planner) -> int:
    """Return the bytes of the arena in which `planner` places `buffers`."""
    ends = [offset + _size(one, planner) for offset, one in zip(place(buffers, planner), buffers, strict=True)]
    return max(ends, default=0)


def place(buffers: Sequence[Buffer], planner: Planner) -> tuple[int, ...]:
    """Return the offset in bytes that `planner` gives each of `buffers`; empty ones are at 0."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for number in _order(buffers, planner):
        one = buffers[number]
        if one.size_bytes == 0:
            continue
        living = [
            (offsets[other], offsets[other] + _size(buffers[other], planner))
            for other in placed
            if buffers[other].first_op <= one.last_op and one.first_op <= buffers[other].last_op
        ]
        offsets[number] = _gap(sorted(living), _size(one, planner), planner)
        placed.append(number)
    return tuple(offsets)


def largest_moment_bytes(buffers: Iterable[Buffer]) -> int:
    """Return the most bytes that live at one op: no plan can do with less."""
    changes: dict[int, int] = {}
    for one in buffers:
        changes[one.first_op] = changes.get(one.first_op, 0) + one.size_bytes
        changes[one.last_op + 1] = changes.get(one.last_op + 1, 0) - one.size_bytes
    most = now = 0
    for _, change in sorted(changes.items()):
        now += change
        most = max(most, now)
    return most


def aligned(size: int, alignment: int) -> int:
    """Return `size` rounded up to a multiple of `alignment`."""
    return -(-size // alignment) * alignment


def _size(buffer: Buffer, planner: Planner) -> int:
    return aligned(buffer.size_bytes, planner.alignment) if planner.rounds_up else buffer.size_bytes


def _order(buffers: Sequence[Buffer], planner: Planner) -> list[int]:
    numbers = list(range(len(buffers)))
    if planner.ties_last_first:
        return sorted(numbers, key=lambda number: (-_size(buffers[number], planner), -number))
    if not planner.whole_life_first:
        return sorted(numbers, key=lambda number: -_size(buffers[number], planner))
    end = max((one.last_op for one in buffers), default=0)
    return sorted(
        numbers,
        key=lambda number: (
            (0, 0, number)
            if buffers[number].first_op == 0 and buffers[number].last_op == end
            else (1, -buffers[number].size_bytes, buffers[number].first_op)
        ),
    )


def _gap(living: Sequence[tuple[int, int]], size: int, planner: Planner) -> int:
    """Return the offset for `size` bytes beside `living` spans in the order of their beginnings."""
    best: int | None = None
    smallest = end = 0
    for first, last in living:
        start = aligned(end, planner.alignment)
        if start + size <= first and (best is None or first - start < smallest):
            best, smallest = start, first - end
            if not planner.best_fit:
                break
        end = max(end, last)
    return aligned(end, planner.alignment) if best is None else best
