"""A read that meets the update of a shard is repeated, and gives what stands there."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reformatters_dagster.core.spec.errors import CorruptShard, StoreAccessDenied, StoreUnavailable
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import READ_PATIENCE, load_published
from tests.stores import S3Bucket
from tests.torn_shards import SHARD, updates_within_reads, values_before_and_after, write_one_shard

pytest_plugins = ["tests.stores"]

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
        r"decompression: -1: a shard is damaged: backfill its partition anew",
    ):
        load_published(array.isel(time=slice(0, 5)), replace(READ_PATIENCE, sleep=pauses.append))
    assert len(pauses) == 4


SHARDS = {"methods": ["GET"], "path": SHARD}


@pytest.fixture
def in_bucket(tmp_path: Path, remote: Store) -> xr.DataArray:
    write_one_shard(tmp_path / "old", BEFORE)
    for path in filter(Path.is_file, (tmp_path / "old").rglob("*")):
        remote.put(path.relative_to(tmp_path / "old").as_posix(), path)
    opened: xr.Dataset = xr.open_zarr(remote.reader(), chunks=None, consolidated=False)
    return opened["temperature_2m"].isel(A_PART)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("answer", [{"status": 403, "code": "AccessDenied"}, {"status": 400, "code": "ExpiredToken"}])
def test_a_read_that_is_denied_is_not_repeated(
    s3: S3Bucket, in_bucket: xr.DataArray, answer: dict[str, object], after: int
) -> None:
    """Neither for the index of the shard, nor for its chunks."""
    s3.server.fail({**SHARDS, **answer, "after": after})
    with pytest.raises(
        StoreAccessDenied,
        match=rf"^'temperature_2m' was to be read; the store denied it: .*{answer['code']}.*set or renew credentials",
    ):
        load_published(
            in_bucket.isel(time=slice(5, 15)), replace(READ_PATIENCE, sleep=lambda _: pytest.fail("repeated"))
        )


def test_a_store_that_fails_holds_no_damaged_shard(s3: S3Bucket, in_bucket: xr.DataArray) -> None:
    s3.server.fail({**SHARDS, "status": 500})
    pauses: list[float] = []
    with pytest.raises(
        StoreUnavailable,
        match=r"^'temperature_2m' was to be read; 2 attempts failed, the last with .*500.*whether its shards are whole is not",
    ):
        load_published(in_bucket, replace(READ_PATIENCE, attempts=2, sleep=pauses.append))
    assert len(pauses) == 1


def test_a_read_ends_at_its_deadline(s3: S3Bucket, in_bucket: xr.DataArray) -> None:
    s3.server.fail({**SHARDS, "status": 500})
    clock = count(1000.0, 40.0)  # what an attempt takes
    with pytest.raises(StoreUnavailable, match="2 attempts failed"):
        load_published(in_bucket, replace(READ_PATIENCE, sleep=lambda _: None, clock=lambda: next(clock)))


def test_an_outage_that_passes_costs_nothing_but_time(s3: S3Bucket, in_bucket: xr.DataArray) -> None:
    s3.server.fail({**SHARDS, "status": 503})
    found = load_published(in_bucket, replace(READ_PATIENCE, sleep=lambda _: s3.server.fail()))
    np.testing.assert_array_equal(found.to_numpy(), BEFORE[45:60])


def test_chunks_past_the_end_of_a_shard_are_read_again(tmp_path: Path, remote: Store, in_bucket: xr.DataArray) -> None:
    """So it looks where the shard that an update has put is shorter."""
    whole = (tmp_path / "old" / SHARD).read_bytes()
    index = whole[-(6 * 16 + 4) :]
    last = in_bucket.isel(time=slice(5, 15))
    remote.put(SHARD, index)
    found = load_published(last, replace(READ_PATIENCE, sleep=lambda _: remote.put(SHARD, whole)))
    np.testing.assert_array_equal(found.to_numpy(), BEFORE[50:60])
    remote.put(SHARD, index)
    with pytest.raises(CorruptShard, match=r"5 attempts failed, the last with GenericError: .*416.*: backfill"):
        load_published(last, replace(READ_PATIENCE, sleep=lambda _: None))


def test_what_a_folder_refuses_is_not_repeated(array: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, *__: object, **___: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreAccessDenied, match=r"the store denied it: .*Permission denied"):
        load_published(array, replace(READ_PATIENCE, sleep=lambda _: pytest.fail("it was repeated")))


def test_what_this_project_refuses_is_not_repeated(array: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: xr.DataArray) -> xr.DataArray:
        raise StoreUnavailable("asked for long enough")

    monkeypatch.setattr(xr.DataArray, "compute", refuse)
    with pytest.raises(StoreUnavailable, match="asked for long enough"):
        load_published(array, replace(READ_PATIENCE, sleep=lambda _: pytest.fail("it was repeated")))
