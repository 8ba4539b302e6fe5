"""An append dimension cut into shard-aligned regions.

In: the labels of the append dimension, a shard length, filters. Out: slices that are whole shards, each covered once.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence

import pandas as pd

from reformatters_dagster.core.spec.errors import TimeNotOnGrid, UnalignedRegion
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.wording import spell_duration


def shard_regions(length: int, shard: int) -> list[slice]:
    """Cut `[0, length)` into whole shards; the last may reach past `length`, as the last shard object does.

    Parameters
    ----------
    length : int
        Number of labels along the append dimension.
    shard : int
        Labels in one shard.

    Raises
    ------
    ValueError
        When a shard holds none.
    """
    if shard < 1:
        raise ValueError(f"a shard of {shard} labels was asked for; it must hold at least one")
    return [slice(start, start + shard) for start in range(0, length, shard)]


def shard_index(region: slice, shard: int) -> int:
    """Number of the shard a region is.

    Raises
    ------
    UnalignedRegion
        When the region is not exactly one whole shard: two jobs could then write one object.
    """
    if region.start % shard or region.stop - region.start != shard:
        raise UnalignedRegion(
            f"region [{region.start}, {region.stop}) was asked for; a shard holds {shard} labels, so a region must start "
            f"at a multiple of {shard} and be {shard} long: use shard_regions()"
        )
    return int(region.start // shard)


def filter_regions(
    regions: Sequence[slice],
    labels: pd.DatetimeIndex,
    *,
    start: Timestamp | None = None,
    end: Timestamp | None = None,
    contains: Collection[Timestamp] | None = None,
) -> list[slice]:
    """Regions that pass all filters; a region is kept or dropped as a whole.

    Parameters
    ----------
    regions : sequence of slice
        As `shard_regions` cuts them.
    labels : DatetimeIndex
        Strictly ascending labels of the append dimension.
    start, end : Timestamp, optional
        Keep regions with a label in `[start, end)`. A start after the last label keeps none.
    contains : collection of Timestamp, optional
        Keep regions that hold one of these labels. Times that are no labels are ignored; an empty collection keeps none.

    Raises
    ------
    ValueError
        When labels do not ascend.
    """
    if not labels.is_monotonic_increasing or not labels.is_unique:
        raise ValueError("labels of the append dimension must ascend strictly")
    first = 0 if start is None else int(labels.searchsorted(start, side="left"))
    last = len(labels) if end is None else int(labels.searchsorted(end, side="left"))
    kept = [region for region in regions if max(region.start, first) < min(region.stop, last)]
    if contains is not None:
        positions = sorted({int(i) for i in labels.get_indexer(pd.DatetimeIndex(list(contains))) if i >= 0})
        kept = [region for region in kept if bisect_left(positions, region.start) < bisect_left(positions, region.stop)]
    return kept


def refuse_off_grid(times: Collection[Timestamp], start: Timestamp, frequency: pd.Timedelta, what: str) -> None:
    """Raise `TimeNotOnGrid` for the first time that is no label of the grid, naming its neighbours."""
    for time in times:
        if time < start:
            raise TimeNotOnGrid(
                f"{what} {time:%Y-%m-%dT%H:%M} was asked for; the archive starts at {start:%Y-%m-%dT%H:%M}"
            )
        if (time - start) % frequency:
            before = start + (time - start) // frequency * frequency
            raise TimeNotOnGrid(
                f"{what} {time:%Y-%m-%dT%H:%M} was asked for; labels are every {spell_duration(frequency)} from "
                f"{start:%Y-%m-%dT%H:%M}; the nearest are {before:%Y-%m-%dT%H:%M} and {before + frequency:%Y-%m-%dT%H:%M}"
            )


def worker_share[Job](jobs: Sequence[Job], worker: int, workers: int) -> list[Job]:
    """The jobs of one of several workers that do not talk to each other.

    Every worker computes the same list and takes every `workers`-th job of it, in bit-reversed order. So the first workers
    already sample the whole archive, and they do not all ask for the same upstream prefix.

    Parameters
    ----------
    jobs : sequence
        The same sequence on every worker.
    worker, workers : int
        Index of this worker in `[0, workers)`, and their number.

    Raises
    ------
    ValueError
        When there is no such worker.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers} was asked for; workers count from 0 to {workers - 1}")
    return [jobs[i] for i in _bit_reversed(len(jobs))[worker::workers]]


def _bit_reversed(length: int) -> list[int]:
    bits = max(length - 1, 0).bit_length()
    reversed_indices = (int(f"{i:0{bits}b}"[::-1], 2) if bits else i for i in range(1 << bits))
    return [i for i in reversed_indices if i < length]
