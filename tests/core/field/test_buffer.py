"""Fields in any order, in memory or on disk, come out as the array they make."""

from functools import partial
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.field.buffer import Arena, FieldBuffer, spare_arena, spatial_windows
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Array2D

GRIDS = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(grid=GRIDS, shard=GRIDS, budget=st.integers(0, 2000))
def test_windows_cover_every_point_once_in_whole_shards(
    grid: tuple[int, int], shard: tuple[int, int], budget: int
) -> None:
    covered = np.zeros(grid, int)
    for window in spatial_windows(grid, shard, budget):
        covered[window] += 1
        sizes = [part.stop - part.start for part in window]
        assert all(part.start % length == 0 for part, length in zip(window, shard, strict=True))
        assert all(
            part.stop % length == 0 or part.stop == size for part, length, size in zip(window, shard, grid, strict=True)
        )
        assert prod(sizes) <= max(budget, prod(shard))
    assert (covered == 1).all()


def test_a_grid_within_the_budget_is_one_window() -> None:
    assert spatial_windows((19, 36), (20, 18), 19 * 36) == [(slice(0, 19), slice(0, 36))]
    assert spatial_windows((19, 36), (20, 18), 19 * 36 - 1) == [
        (slice(0, 19), slice(0, 18)),
        (slice(0, 19), slice(18, 36)),
    ]


@pytest.mark.parametrize("budget", [10**6, 24, 1])
def test_pieces_make_up_the_whole(tmp_path: Path, budget: int) -> None:
    """A position without a field is NaN, also where the buffer held one before."""
    shape = (3, 2, 7, 9)
    windows = spatial_windows((7, 9), (4, 3), budget)
    (memory,) = Arena().cut([FieldBuffer.size(shape, windows)])
    buffer = FieldBuffer(shape, windows, memory, tmp_path)
    rng = np.random.default_rng(1)
    for missing in ((2, 1), (0, 0)):
        wanted = rng.normal(size=shape).astype(np.float32)
        wanted[missing] = np.nan
        buffer.clear()
        for position in reversed(list(product(range(3), range(2)))):
            if position != missing:
                buffer.fill(position, partial(np.copyto, src=wanted[position]))
        found = np.zeros(shape, np.float32)
        for window, piece in buffer.pieces():
            found[(..., *window)] = piece
        np.testing.assert_array_equal(found, wanted)
        assert not buffer.placed[missing]
        assert buffer.placed.sum() == 5
    assert memory.size * 4 <= max(budget, 12) * 6 * 4
    assert bool(list(tmp_path.iterdir())) == (len(windows) > 1)


@pytest.mark.parametrize("budget", [10**6, 1])
def test_fields_are_read_into_their_places(tmp_path: Path, budget: int) -> None:
    """One that fails on the way leaves nothing of itself, nor of what was there."""
    shape = (2, 7, 9)
    windows = spatial_windows((7, 9), (4, 3), budget)
    (memory,) = Arena().cut([FieldBuffer.size(shape, windows)])
    buffer = FieldBuffer(shape, windows, memory, tmp_path)

    def fail(out: Array2D) -> None:
        out[:3] = 5
        raise CorruptMessage("cut short")

    for position in ((0,), (1,)):
        buffer.fill(position, lambda out: out.fill(7))
    with pytest.raises(CorruptMessage):
        buffer.fill((1,), fail)
    found = np.zeros(shape, np.float32)
    for window, piece in buffer.pieces():
        found[(..., *window)] = piece
    assert (found[0] == 7).all()
    assert np.isnan(found[1]).all()


def test_an_empty_buffer_is_nan(tmp_path: Path) -> None:
    windows = spatial_windows((4, 4), (2, 2), 1)
    (memory,) = Arena().cut([FieldBuffer.size((2, 4, 4), windows)])
    pieces = [piece.copy() for _, piece in FieldBuffer((2, 4, 4), windows, memory, tmp_path).pieces()]
    assert [piece.shape for piece in pieces] == [(2, 2, 2)] * 4
    assert np.isnan(pieces).all()


def test_an_arena_is_cut_anew_from_the_same_memory() -> None:
    arena = Arena()
    first, second = arena.cut([5, 7])
    again = arena.cut([12])[0]
    assert (first.size, second.size) == (5, 7)
    assert not np.shares_memory(first, second)
    assert np.shares_memory(first, again)
    assert np.shares_memory(second, again)


def test_jobs_that_follow_each_other_share_an_arena_and_those_at_once_do_not() -> None:
    with spare_arena() as first, spare_arena() as second:
        assert first is not second
    with spare_arena() as third:
        assert third is first


def test_the_arena_of_a_job_that_failed_is_used_by_no_other() -> None:
    """A thread that was not waited for may still write to it."""
    with pytest.raises(ZeroDivisionError), spare_arena() as failed:
        1 / 0  # noqa: B018
    with spare_arena() as first, spare_arena() as second:
        assert failed not in (first, second)
