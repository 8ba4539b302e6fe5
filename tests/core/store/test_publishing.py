"""Chunks, then metadata: readers see the old extent or the new one, whatever stops or fails."""

import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from reformatters_dagster.core.spec.errors import (
    StoreAccessDenied,
    StoreUnavailable,
)
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from tests.core.store.small_stores import (
    AT_ONCE,
    COORDINATES,
    GRID,
    SERIES,
    TmpStore,
    contents,
    in_write_order,
    published_inits,
    root_etag,
    update,
)
from tests.stores import Journal, S3Bucket, Stopped, watched

pytest_plugins = ["tests.stores"]


def test_an_update_is_read_back(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), stores, range(1), "absent")
    assert [published_inits(store) for store in in_write_order(stores)] == [2, 2]
    grown = update(tmp_store(3), stores, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in in_write_order(stores)] == [3, 3]
    assert grown.root_etag == root_etag(stores.primary)
    assert contents(stores.primary) == contents(stores.replicas[0])


def test_order_of_puts(stores: StoreSet, tmp_store: TmpStore) -> None:
    journal = Journal()
    seen = watched(stores, journal)
    update(tmp_store(4), seen, range(2), "absent")
    replica, primary = stores.replicas[0].url, stores.primary.url
    by_store = {url: [key for at, key in journal.puts if at == url] for url in (replica, primary)}
    chunks = [(url, key) for url, key in journal.puts if key.startswith((GRID, SERIES)) and "/c/" in key]
    assert journal.puts[: len(chunks)] == chunks, "every chunk comes before any metadata"
    for name, shard, objects in ((GRID, 0, 4), (SERIES, 0, 1), (GRID, 1, 4), (SERIES, 1, 1)):
        urls = [url for url, key in chunks if key.startswith(f"{name}/c/{shard}")]
        assert urls == [replica] * objects + [primary] * objects
    metadata = journal.puts[len(chunks) :]
    assert [url for url, _ in metadata] == [replica] * (len(metadata) // 2) + [primary] * (len(metadata) // 2)
    for keys in by_store.values():
        kinds = ["coordinate" if "/c" in key else key.count("/") for key in keys[len(chunks) // 2 :]]
        assert kinds == ["coordinate"] * len(COORDINATES) + [1] * (len(COORDINATES) + 2) + [0]
        assert keys[-1] == "zarr.json"


def test_every_prefix_of_an_update_is_consistent(folders: StoreSet, tmp_store: TmpStore, tmp_path: Path) -> None:
    """Stopped before any put of a growing update: each store opens, whole, at the old or the new extent; then it resumes."""
    created = update(tmp_store(2), folders, range(1), "absent")
    shutil.copytree(tmp_path / "one", tmp_path / "before/one", copy_function=shutil.copy2)
    shutil.copytree(tmp_path / "two", tmp_path / "before/two", copy_function=shutil.copy2)
    journal = Journal()
    update(tmp_store(4), watched(folders, journal), range(1, 2), created.root_etag)
    undisturbed = [contents(store) for store in in_write_order(folders)]
    seen = set()
    for puts in range(len(journal.puts)):
        stores = open_store_set(
            str(tmp_path / f"{puts}/one"), [str(tmp_path / f"{puts}/two")], "noaa-gfs-forecast", "1.0.0"
        )
        shutil.copytree(tmp_path / "before", tmp_path / str(puts))
        expected = root_etag(stores.primary)
        with pytest.raises(Stopped):
            update(tmp_store(4), watched(stores, Journal(stop_after=puts)), range(1, 2), expected)
        assert root_etag(stores.primary) == expected, "the primary's root is the last put of all"
        seen.add(tuple(published_inits(store) for store in in_write_order(stores)))
        update(tmp_store(4), stores, range(1, 2), expected)
        assert [contents(store) for store in in_write_order(stores)] == undisturbed
        shutil.rmtree(tmp_path / str(puts))
    assert seen == {(2, 2), (4, 2)}


def kill_at(put: int, tmp: Path, base: Path, expected: str) -> None:
    def die(_url: str, _key: str) -> None:
        nonlocal put
        if put == 0:
            signal.raise_signal(signal.SIGKILL)
        put -= 1

    stores = open_store_set(str(base / "one"), [str(base / "two")], "noaa-gfs-forecast", "1.0.0")
    update(tmp, watched(stores, die), range(1, 2), expected)


@pytest.mark.slow
def test_a_killed_process_leaves_what_can_be_resumed(folders: StoreSet, tmp_store: TmpStore, tmp_path: Path) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    arguments = (12, tmp_store(4), tmp_path, created.root_etag)
    process = multiprocessing.get_context("spawn").Process(target=kill_at, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert published_inits(folders.primary) == 2
    assert published_inits(folders.replicas[0]) == 2
    update(tmp_store(4), folders, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in in_write_order(folders)] == [4, 4]


def test_a_partial_last_shard_grows_in_place(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(3), stores, range(2), "absent")
    update(tmp_store(4), stores, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in in_write_order(stores)] == [4, 4]


def test_a_replica_that_fails_stops_before_the_primary(s3: S3Bucket, tmp_store: TmpStore) -> None:
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    created = update(tmp_store(2), stores, range(1), "absent")
    s3.server.fail({"methods": ["PUT"], "path": "/two/", "status": 500})
    with pytest.raises(StoreUnavailable, match="two/noaa-gfs-forecast"):
        update(tmp_store(4), stores, range(1, 2), created.root_etag)
    assert stores.primary.list(f"{GRID}/c/1") == []
    assert published_inits(stores.primary) == 2


@pytest.mark.parametrize("after", [0, 12, 25])
def test_credentials_that_expire_at_some_put(s3: S3Bucket, tmp_store: TmpStore, after: int) -> None:
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    created = update(tmp_store(2), stores, range(1), "absent")
    s3.server.fail({"methods": ["PUT"], "after": after, "status": 400, "code": "ExpiredToken"})
    with pytest.raises(StoreAccessDenied, match=r"put was denied: .*ExpiredToken.*AWS_SESSION_TOKEN.*renew"):
        update(tmp_store(4), stores, range(1, 2), created.root_etag)
    s3.server.fail()
    assert published_inits(stores.primary) == 2
    update(tmp_store(4), stores, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in in_write_order(stores)] == [4, 4]


def test_a_busy_store_is_published_to_all_the_same(s3: S3Bucket, tmp_store: TmpStore) -> None:
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    s3.server.fail(
        {"methods": ["PUT"], "path": "/c/", "status": 503, "times": 5},
        {"methods": ["PUT"], "path": "zarr.json", "drop_answer": True, "times": 3},
        {"methods": ["GET"], "status": 500, "after": 10, "times": 4},
    )
    update(tmp_store(4), stores, range(2), "absent")
    assert [published_inits(store) for store in in_write_order(stores)] == [4, 4]
