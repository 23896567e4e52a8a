from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import InputError
from edgetransfer.estimate.memory import (
    LITERT,
    TFLM,
    XNNPACK,
    Buffer,
    Demand,
    Planner,
    aligned,
    arena_bytes,
    largest_moment_bytes,
    place,
    predict,
)

PLANNERS = (LITERT, XNNPACK, TFLM)
FIRST_FIT = Planner(1, rounds_up=False, best_fit=False)
BEST_FIT = Planner(1, rounds_up=False, best_fit=True)
LIVES = st.tuples(st.integers(0, 3000), st.integers(0, 12), st.integers(0, 6))
BUFFERS = st.lists(LIVES.map(lambda life: Buffer(life[0], life[1], life[1] + life[2])), max_size=14)


@given(st.sampled_from(PLANNERS), BUFFERS)
def test_no_two_living_buffers_overlap_and_each_begins_where_the_engine_wants_it(
    planner: Planner, buffers: list[Buffer]
) -> None:
    spans = [
        (offset, offset + one.size_bytes, one) for offset, one in zip(place(buffers, planner), buffers, strict=True)
    ]
    for number, (start, end, one) in enumerate(spans):
        assert start % planner.alignment == 0
        for other_start, other_end, other in spans[:number]:
            together = one.first_op <= other.last_op and other.first_op <= one.last_op
            assert not together or end <= other_start or other_end <= start or 0 in (one.size_bytes, other.size_bytes)


@given(st.sampled_from(PLANNERS), BUFFERS)
def test_an_arena_holds_the_largest_moment_and_is_no_larger_than_all_side_by_side(
    planner: Planner, buffers: list[Buffer]
) -> None:
    side_by_side = sum(aligned(one.size_bytes, planner.alignment) for one in buffers)
    assert largest_moment_bytes(buffers) <= arena_bytes(buffers, planner) <= side_by_side


@given(st.sampled_from(PLANNERS), st.lists(st.integers(1, 3000), min_size=1, max_size=10))
def test_a_chain_of_ops_needs_its_largest_pair(planner: Planner, sizes: list[int]) -> None:
    chain = [Buffer(size * 64, number, number + 1) for number, size in enumerate(sizes)]
    pairs = [one + other for one, other in zip(sizes, [*sizes[1:], 0], strict=True)]
    assert arena_bytes(chain, planner) >= 64 * max(pairs)
    assert largest_moment_bytes(chain) == 64 * max(pairs)


def test_nothing_takes_nothing() -> None:
    assert [arena_bytes([], planner) for planner in PLANNERS] == [0, 0, 0]
    assert largest_moment_bytes([]) == 0
    assert place([Buffer(0, 0, 3), Buffer(5, 0, 3)], LITERT) == (0, 0)


def test_two_tensors_take_turns() -> None:
    chain = [Buffer(100, 0, 1), Buffer(80, 1, 2), Buffer(60, 2, 3)]
    assert place(chain, BEST_FIT) == (0, 100, 0)
    assert place(chain, LITERT) == (0, 128, 0)
    assert arena_bytes(chain, LITERT) == 208
    assert arena_bytes(chain, XNNPACK) == 256
    assert arena_bytes(chain, TFLM) == 112 + 80


def test_the_smallest_gap_is_taken_or_the_first() -> None:
    """Placed first: 30 at 0, 20 at 30, 10 at 50, 9 at 60; the 30 and the 10 are gone when the last 8 bytes come."""
    buffers = [Buffer(30, 0, 0), Buffer(20, 0, 1), Buffer(10, 0, 0), Buffer(9, 0, 1), Buffer(8, 1, 1)]
    assert place(buffers, BEST_FIT) == (0, 30, 50, 60, 50)
    assert place(buffers, FIRST_FIT) == (0, 30, 50, 60, 0)


def test_equal_sizes_come_in_the_engine_s_own_order() -> None:
    equal = [Buffer(64, 0, 1), Buffer(64, 0, 1)]
    assert place(equal, XNNPACK) == (0, 64)
    assert place(equal, TFLM) == (64, 0)


def test_litert_places_first_what_lives_throughout() -> None:
    buffers = [Buffer(64, 0, 4), Buffer(640, 1, 2), Buffer(64, 3, 4)]
    assert place(buffers, LITERT) == (0, 64, 64)
    assert place(buffers, XNNPACK) == (640, 0, 0)


@pytest.mark.parametrize("life", [(-1, 0, 0), (1, 2, 1)])
def test_a_buffer_that_cannot_be_is_refused(life: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="buffer: expected no less than 0 bytes, and an end after its beginning"):
        Buffer(*life)


def demand(**changes: object) -> Demand:
    fields: dict[str, object] = {
        "kernels": "default",
        "arena": (Buffer(1000, 0, 5),),
        "workspaces": ((Buffer(640, 0, 1), Buffer(640, 1, 2)), (Buffer(64, 0, 1),)),
        "packed_bytes": 5_000_000,
        "table_bytes": 100_000,
        "file_bytes": 4_000_000,
        "ops": 10,
    }
    return Demand(**(fields | changes))  # type: ignore[arg-type]


def test_parts_share_one_workspace_and_all_that_stays_is_added_up() -> None:
    told = predict(demand())
    assert told.arena_bytes == 1000 + 1280 + 32
    assert told.heap_bytes == 1088 + 1312 + 5_100_000 + 150_000 + 38_000
    assert told.peak_bytes == 12_350_000 + 4_000_000 + told.heap_bytes
    assert told.low_bytes < told.peak_bytes < told.high_bytes
    assert told.to_json()["peak_bytes"] == told.peak_bytes


def test_without_a_delegate_there_is_no_workspace() -> None:
    told = predict(demand(kernels="reference", workspaces=(), packed_bytes=0, table_bytes=0))
    assert told.arena_bytes == 1000
    assert told.heap_bytes == 1088 + 150_000 + 30_000


def test_what_was_not_checked_says_so_and_has_a_wider_range() -> None:
    usual, other = predict(demand()), predict(demand(usual=False))
    assert other.peak_bytes == usual.peak_bytes
    assert other.low_bytes < usual.low_bytes < usual.high_bytes < other.high_bytes
    assert "validated on x86-64 with float32 and int8" in usual.as_text()
    assert "unvalidated" in other.as_text()
    assert usual.as_text().startswith("21.6 MB (")
