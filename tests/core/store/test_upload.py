"""Every object of a shard goes up, or none does."""

import math
import shutil
from threading import Event
from uuid import uuid4

import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.spec.errors import (
    RunStopped,
    ShardIncomplete,
    StoreUnavailable,
)
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from reformatters_dagster.core.store.upload import publish_chunks
from tests.core.store.small_stores import (
    AT_ONCE,
    GRID,
    NAN,
    SERIES,
    SHARDS_PER_REGION,
    TmpStore,
    in_write_order,
)
from tests.stores import Journal, S3Bucket, watched

pytest_plugins = ["tests.stores"]


def test_uploads_are_counted_once_and_local_objects_go(folders: StoreSet, tmp_store: TmpStore) -> None:
    tmp = tmp_store(2)
    sizes = [path.stat().st_size for path in (tmp / GRID / "c/0").rglob("*") if path.is_file()]
    published = publish_chunks(tmp, folders, GRID, 0)
    assert (published.objects, published.bytes) == (SHARDS_PER_REGION, sum(sizes))
    assert not (tmp / GRID / "c/0").exists()
    assert (tmp / SERIES / "c/0").is_file()
    assert publish_chunks(tmp, folders, SERIES, 0).objects == 1
    assert not (tmp / SERIES / "c/0").exists()


@pytest.mark.parametrize("stray", [False, True])
def test_an_incomplete_shard_uploads_nothing(folders: StoreSet, tmp_store: TmpStore, stray: bool) -> None:
    tmp = tmp_store(2)
    if stray:
        (tmp / GRID / "c/0/0/0/9").write_bytes(b"")
        found = r"lacks \[\] and holds unexpected \['temperature_2m/c/0/0/0/9'\]"
    else:
        (tmp / GRID / "c/0/0/1/0").unlink()
        found = r"lacks \['temperature_2m/c/0/0/1/0'\]"
    journal = Journal()
    with pytest.raises(ShardIncomplete, match=rf"4 objects; .*{found}.*nothing was uploaded; write the whole shard"):
        publish_chunks(tmp, watched(folders, journal), GRID, 0)
    assert journal.puts == []


@settings(max_examples=12)
@given(sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=5), data=st.data())
def test_every_object_of_a_shard_is_uploaded(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Arrays of one to five dimensions: what zarr-python writes for a region is what arrives, and nothing else."""
    shape, shards = (tuple(column) for column in zip(*sizes, strict=True))
    tmp = tmp_path_factory.mktemp("any") / "any-tmp.zarr"
    array = zarr.create_group(tmp, zarr_format=3).create_array(
        "wind", shape=shape, shards=shards, chunks=(1,) * len(shape), dtype="float32", fill_value=NAN
    )
    array[...] = 1.0
    index = data.draw(st.integers(0, (shape[0] - 1) // shards[0]), label="shard")
    written = {path.relative_to(tmp).as_posix() for path in tmp.rglob("c/**/*") if path.is_file()}
    stores = open_store_set(f"memory://{uuid4()}", [], "noaa-gfs-forecast", "1.0.0")
    published = publish_chunks(tmp, stores, "wind", index)
    assert published.objects == math.prod(math.ceil(size / shard) for size, shard in sizes[1:])
    assert {key for key, _ in stores.primary.list()} == {
        key for key in written if key == f"wind/c/{index}" or key.startswith(f"wind/c/{index}/")
    }


def test_a_shard_beyond_the_array_uploads_nothing(folders: StoreSet, tmp_store: TmpStore) -> None:
    tmp = tmp_store(2)
    shutil.copytree(tmp / GRID / "c/0", tmp / GRID / "c/1")
    with pytest.raises(ShardIncomplete, match="shard 1 of 'temperature_2m'"):
        publish_chunks(tmp, folders, GRID, 1)


def test_a_failed_upload_keeps_the_local_objects(s3: S3Bucket, tmp_store: TmpStore) -> None:
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    tmp = tmp_store(2)
    before = sorted((tmp / GRID / "c").rglob("*"))
    s3.server.fail({"methods": ["PUT"], "path": "/one/.*/c/0/0/1/1$", "status": 503})
    with pytest.raises(StoreUnavailable, match="put failed"):
        publish_chunks(tmp, stores, GRID, 0)
    assert sorted((tmp / GRID / "c").rglob("*")) == before
    assert len(stores.replicas[0].list(GRID)) == SHARDS_PER_REGION


def test_an_object_that_lands_late_replaces_none_of_a_later_upload(s3: S3Bucket, tmp_store: TmpStore) -> None:
    """In a replica as in the primary; the store that stands still answers nothing, and is asked again."""
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    s3.server.fail({"methods": ["PUT"], "path": f"/{SERIES}/c/0$", "put_off": True, "after": 2, "times": 3})
    for upload in (b"before", b"given up", b"later"):
        tmp = tmp_store(2)
        (tmp / SERIES / "c/0").write_bytes(upload)
        publish_chunks(tmp, stores, SERIES, 0)
    assert s3.server.land() == [412, 412, 412]
    assert [store.get(f"{SERIES}/c/0")[0] for store in in_write_order(stores)] == [b"later", b"later"]


def test_a_stopped_run_begins_no_further_upload(folders: StoreSet, tmp_store: TmpStore) -> None:
    stop, tmp = Event(), tmp_store(2)

    def stop_after_first(url: str, key: str) -> None:
        stop.set()

    with pytest.raises(RunStopped, match=r"/c/0/0/0/1 was to be uploaded; the run was stopped before: run it again"):
        publish_chunks(tmp, watched(folders, stop_after_first), GRID, 0, threads=1, stop=stop)
    assert [len(store.list(f"{GRID}/c")) for store in in_write_order(folders)] == [1, 0]
