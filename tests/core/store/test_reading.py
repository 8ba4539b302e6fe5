"""A read that meets the update of a shard is repeated, and gives what stands there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reformatters_dagster.core.spec.errors import CorruptShard, StoreUnavailable
from reformatters_dagster.core.store.reading import READ_PATIENCE, load_published
from tests.torn_shards import SHARD, updates_within_reads, values_before_and_after, write_one_shard

BEFORE, AFTER = values_before_and_after()
A_PART = {"time": slice(45, 60)}


@pytest.fixture
def array(tmp_path: Path) -> xr.DataArray:
    for name, values in {"old": BEFORE, "new": AFTER}.items():
        write_one_shard(tmp_path / name, values)
    opened: xr.Dataset = xr.open_zarr(tmp_path / "old", chunks=None, consolidated=False)
    return opened["temperature_2m"].isel(A_PART)


def test_a_plain_read_fails_where_a_shard_is_rewritten(tmp_path: Path, array: xr.DataArray) -> None:
    """The reason for all below: plain Zarr has no transaction."""
    with updates_within_reads(tmp_path / "old", (tmp_path / "new" / SHARD).read_bytes()):
        with pytest.raises(RuntimeError, match="blosc"):
            array.compute()
        np.testing.assert_array_equal(array.to_numpy(), AFTER[45:60])


def test_a_read_that_meets_an_update_is_repeated(tmp_path: Path, array: xr.DataArray) -> None:
    old, new = ((tmp_path / name / SHARD).read_bytes() for name in ("old", "new"))
    pauses: list[float] = []
    with updates_within_reads(tmp_path / "old", new, old, new) as requests:
        found = load_published(array, replace(READ_PATIENCE, sleep=pauses.append))
    np.testing.assert_array_equal(found.to_numpy(), AFTER[45:60])
    assert len(requests) == 4
    assert len(pauses) == 3
    assert sum(pauses) < 8


def test_a_shard_that_stays_unreadable_is_told_of(tmp_path: Path, array: xr.DataArray) -> None:
    path = tmp_path / "old" / SHARD
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * (len(whole) - 200) + whole[-200:])
    pauses: list[float] = []
    with pytest.raises(
        CorruptShard,
        match=r"'temperature_2m' was to be read; 5 attempts failed, the last with RuntimeError: error during blosc "
        r"decompression: -1: if the store answers, a shard is damaged: backfill its partition anew",
    ):
        load_published(array.isel(time=slice(0, 5)), replace(READ_PATIENCE, sleep=pauses.append))
    assert len(pauses) == 4


def test_what_this_project_refuses_is_not_repeated(array: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: xr.DataArray) -> xr.DataArray:
        raise StoreUnavailable("asked for long enough")

    monkeypatch.setattr(xr.DataArray, "compute", refuse)
    with pytest.raises(StoreUnavailable, match="asked for long enough"):
        load_published(array, replace(READ_PATIENCE, sleep=lambda _: pytest.fail("it was repeated")))
