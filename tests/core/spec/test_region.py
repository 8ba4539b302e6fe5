"""Regions cover every label once, filters keep whole shards, and workers share jobs out without talking."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.spec.errors import TimeNotOnGrid, UnalignedRegion
from reformatters_dagster.core.spec.region import (
    filter_regions,
    refuse_off_grid,
    shard_index,
    shard_regions,
    worker_share,
)

LABELS = pd.date_range("2026-07-01", periods=10, freq="6h", unit="us")
REGIONS = shard_regions(10, 4)  # [0, 4) [4, 8) [8, 12)


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(f"2026-07-{text}")


@given(length=st.integers(0, 500), shard=st.integers(1, 60))
def test_regions_cover_every_label_once(length: int, shard: int) -> None:
    regions = shard_regions(length, shard)
    assert [i for region in regions for i in range(region.start, region.stop)][:length] == list(range(length))
    assert len(regions) == -(-length // shard)
    assert [shard_index(region, shard) for region in regions] == list(range(len(regions)))


@pytest.mark.parametrize("region", [slice(2, 6), slice(0, 8), slice(4, 7)])
def test_an_unaligned_region_is_refused(region: slice) -> None:
    with pytest.raises(UnalignedRegion, match=r"a shard holds 4 labels.*multiple of 4 and be 4 long"):
        shard_index(region, 4)


@pytest.mark.parametrize(
    ("start", "end", "contains", "kept"),
    [
        (None, None, None, [0, 1, 2]),
        (at("01T00"), None, None, [0, 1, 2]),
        (at("02T00"), None, None, [1, 2]),  # first label of shard 1
        (at("01T19"), None, None, [1, 2]),  # between the last label of shard 0 and the first of shard 1
        (at("01T18"), None, None, [0, 1, 2]),
        (at("03T07"), None, None, []),  # after the last label, although the last shard is not full
        (at("09T00"), None, None, []),
        (None, at("01T00"), None, []),
        (None, at("01T01"), None, [0]),
        (None, at("02T00"), None, [0]),  # exclusive: first label of shard 1
        (None, at("02T01"), None, [0, 1]),
        (None, at("30T00"), None, [0, 1, 2]),
        (at("02T00"), at("02T01"), None, [1]),
        (at("03T00"), at("01T00"), None, []),
        (None, None, [], []),
        (None, None, [at("02T06")], [1]),
        (None, None, [at("02T06"), at("02T12"), at("02T06")], [1]),
        (None, None, [at("02T07")], []),
        (at("03T00"), None, [at("02T06"), at("03T06")], [2]),
    ],
)
def test_filters(
    start: pd.Timestamp | None, end: pd.Timestamp | None, contains: list[pd.Timestamp] | None, kept: list[int]
) -> None:
    regions = filter_regions(REGIONS, LABELS, start=start, end=end, contains=contains)
    assert regions == [REGIONS[i] for i in kept]


@given(
    length=st.integers(1, 60),
    shard=st.integers(1, 13),
    start=st.integers(-5, 400),
    span=st.integers(0, 400),
)
def test_filtered_regions_are_the_fewest_that_cover(length: int, shard: int, start: int, span: int) -> None:
    labels = pd.date_range("2026-01-01", periods=length, freq="6h", unit="us")
    begin, end = labels[0] + pd.Timedelta(hours=start), labels[0] + pd.Timedelta(hours=start + span)
    kept = filter_regions(shard_regions(length, shard), labels, start=begin, end=end)
    wanted = [i for i, label in enumerate(labels) if begin <= label < end]
    assert {region.start // shard for region in kept} == {i // shard for i in wanted}


def test_labels_must_ascend() -> None:
    with pytest.raises(ValueError, match="ascend strictly"):
        filter_regions(REGIONS, LABELS[::-1])


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (
            at("01T07"),
            r"2026-07-01T07:00 was asked for; labels are every 6 h from .*nearest are 2026-07-01T06:00 and 2026-07-01T12:00",
        ),
        (pd.Timestamp("2020-01-01"), r"the archive starts at 2026-07-01T00:00"),
    ],
)
def test_a_time_off_the_grid_is_refused(time: pd.Timestamp, message: str) -> None:
    refuse_off_grid([at("01T06")], LABELS[0], pd.Timedelta("6h"), "contains")
    with pytest.raises(TimeNotOnGrid, match=message):
        refuse_off_grid([at("01T06"), time], LABELS[0], pd.Timedelta("6h"), "contains")


@given(jobs=st.integers(0, 300), workers=st.integers(1, 40))
def test_workers_share_every_job_once(jobs: int, workers: int) -> None:
    shares = [worker_share(range(jobs), worker, workers) for worker in range(workers)]
    assert sorted(job for share in shares for job in share) == list(range(jobs))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_first_worker_of_many_samples_the_whole_archive() -> None:
    assert worker_share(range(16), 0, 4) == [0, 2, 1, 3]
    assert worker_share(range(8), 0, 1) == [0, 4, 2, 6, 1, 5, 3, 7]


def test_a_worker_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="worker 4 of 4 was asked for; workers count from 0 to 3"):
        worker_share(range(8), 4, 4)
