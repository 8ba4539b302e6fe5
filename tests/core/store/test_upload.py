"""Readers see the old extent or the new one, whatever stops, races or fails."""

import json
import math
import multiprocessing
import shutil
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import ZstdCodec
from zarr.core.common import JSON
from zarr.errors import ZarrUserWarning

from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    Retraction,
    RunStopped,
    ShardIncomplete,
    StoreAccessDenied,
    StoreExists,
    StoreMissing,
    StoreUnavailable,
    TemplateDrift,
)
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import MetadataReceipt, put_metadata
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from reformatters_dagster.core.store.upload import publish_chunks
from tests.stores import Journal, S3Bucket, Stopped, Turns, watched

pytest_plugins = ["tests.stores"]

FIRST = pd.Timestamp("2026-07-01")
LEADS, LATITUDES, LONGITUDES = 3, 5, 7
INITS_PER_SHARD, SHARDS_PER_REGION = 2, 4
GRID, SERIES = "temperature_2m", "station_count"
COORDINATES = (
    "ingested_forecast_length",
    "init_time",
    "latitude",
    "lead_time",
    "longitude",
    "spatial_ref",
    "valid_time",
)
NAN = float("nan")
AT_ONCE = replace(STORE_PATIENCE, sleep=lambda _: None)
SEEN: dict[int, int] = {}

type TmpStore = Callable[[int], Path]


def write_tmp(path: Path, inits: int, *, ingested: tuple[float, ...] = (), title: str = "made for a test") -> Path:
    """Metadata and coordinates of `inits` forecasts; two of them make a shard."""
    described: dict[str, JSON] = {"title": title, "coordinates": "ingested_forecast_length spatial_ref valid_time"}
    group = zarr.create_group(path, zarr_format=3, attributes=described)
    seconds = (FIRST.value // 10**9 + 21600 * np.arange(inits)).astype("int64")
    leads = 3600 * np.arange(LEADS)
    known = np.array([*ingested, *[NAN] * (inits - len(ingested))], dtype="float64")
    since = {"units": "seconds since 1970-01-01"}
    length = {"units": "seconds", "dtype": "timedelta64[us]"}

    def coordinate(name: str, dims: tuple[str, ...], values: object, chunks: tuple[int, ...], **attrs: JSON) -> None:
        data = np.asarray(values)
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=chunks or "auto",
            fill_value=NAN if data.dtype.kind == "f" else 0,
            dimension_names=dims,
            attributes=attrs,
            compressors=ZstdCodec(level=1),
            config={"write_empty_chunks": True},
        )
        array[...] = data

    coordinate("init_time", ("init_time",), seconds, (64,), **since)
    coordinate("lead_time", ("lead_time",), leads.astype("float64"), (LEADS,), **length)
    coordinate("valid_time", ("init_time", "lead_time"), seconds[:, None] + leads, (64, LEADS), **since)
    coordinate("ingested_forecast_length", ("init_time",), known, (64,), **length)
    coordinate("latitude", ("latitude",), np.linspace(50.0, 49.0, LATITUDES), (LATITUDES,))
    coordinate("longitude", ("longitude",), np.linspace(5.0, 6.5, LONGITUDES), (LONGITUDES,))
    coordinate("spatial_ref", (), np.int64(0), ())
    dims = ("init_time", "lead_time", "latitude", "longitude")
    data_variable(
        group, GRID, (inits, LEADS, LATITUDES, LONGITUDES), (INITS_PER_SHARD, LEADS, 4, 4), (1, LEADS, 2, 2), dims
    )
    data_variable(group, SERIES, (inits,), (INITS_PER_SHARD,), (1,), dims[:1])
    consolidate(path)
    return path


def data_variable(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    shards: tuple[int, ...],
    chunks: tuple[int, ...],
    dims: tuple[str, ...],
) -> None:
    group.create_array(
        name, shape=shape, dtype="float32", shards=shards, chunks=chunks, fill_value=NAN, dimension_names=dims
    )


def consolidate(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(path)


def write_values(tmp_store: Path) -> None:
    """Every value of forecast `k` is `k + 1`."""
    for name in (GRID, SERIES):
        array = zarr.open_array(tmp_store / name, mode="r+", config={"write_empty_chunks": True})
        values = np.arange(array.shape[0], dtype="float32") + 1
        array[...] = np.broadcast_to(values.reshape(-1, *[1] * (array.ndim - 1)), array.shape)


def root_etag(store: Store) -> str:
    found = store.get_or_none("zarr.json")
    return "absent" if found is None else found[1]


def update(tmp_store: Path, stores: StoreSet, shards: range, expected: str) -> MetadataReceipt:
    """An operational update of some shards: all chunks, then the metadata."""
    for shard in shards:
        for name in (GRID, SERIES):
            publish_chunks(tmp_store, stores, name, shard)
    return put_metadata(tmp_store, stores, expected_root=expected)


def published_inits(store: Store) -> int:
    """How many forecasts a reader sees, having looked at every value and label; equal stores are looked at once."""
    content = hash(frozenset(contents(store).items()))
    if content not in SEEN:
        SEEN[content] = look_at(
            xr.open_zarr(store.reader(), chunks=None, decode_timedelta=True, consolidated=True).load()
        )
    return SEEN[content]


def look_at(ds: xr.Dataset) -> int:
    inits = int(ds.sizes["init_time"])
    assert list(ds.indexes["init_time"]) == list(pd.date_range(FIRST, periods=inits, freq="6h"))
    assert (ds["valid_time"] == ds["init_time"] + ds["lead_time"]).all()
    assert set(ds.coords) == set(COORDINATES)
    for name in (GRID, SERIES):
        per_init = ds[name].to_numpy().reshape(inits, -1)
        assert (per_init == np.arange(1, inits + 1)[:, None]).all(), f"{name} is half-written: {per_init}"
    return inits


def contents(store: Store) -> dict[str, bytes]:
    return {key: store.get(key)[0] for key, _ in store.list()}


@pytest.fixture(params=["folder", "memory", "s3"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSet:
    """A primary and one replica, on each kind of store."""
    if request.param == "s3":
        bucket: S3Bucket = request.getfixturevalue("s3")
        base = bucket.url
    else:
        base = str(tmp_path / "stores") if request.param == "folder" else f"memory://{uuid4()}"
    return open_store_set(f"{base}/one", [f"{base}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)


@pytest.fixture
def folders(tmp_path: Path) -> StoreSet:
    return open_store_set(str(tmp_path / "one"), [str(tmp_path / "two")], "noaa-gfs-forecast", "1.0.0")


@pytest.fixture(scope="module")
def tmp_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Tmp stores of 1 to 6 forecasts, with every shard's values: copied, never published from."""
    folder = tmp_path_factory.mktemp("tmp_stores")
    made = {inits: write_tmp(folder / f"{inits}-tmp.zarr", inits) for inits in range(1, 7)}
    for path in made.values():
        write_values(path)
    return made


@pytest.fixture
def tmp_store(tmp_stores: dict[int, Path], tmp_path: Path) -> Callable[[int], Path]:
    """A tmp store of so many forecasts, to be used up."""

    def copy(inits: int) -> Path:
        return shutil.copytree(tmp_stores[inits], tmp_path / f"{uuid4()}-tmp.zarr")

    return copy


def test_where_stores_are() -> None:
    stores = open_store_set("memory://x/", ["memory://y", "memory://z"], "noaa-gfs-forecast", "1.2.0")
    assert stores.primary.url == "memory://x/noaa-gfs-forecast/v1.2.0.zarr"
    assert stores.internal.url == "memory://x/noaa-gfs-forecast/_internal/v1.2.0"
    assert [store.url.split("/")[2] for store in stores.in_write_order] == ["y", "z", "x"]


def test_an_update_is_read_back(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), stores, range(1), "absent")
    assert [published_inits(store) for store in stores.in_write_order] == [2, 2]
    grown = update(tmp_store(3), stores, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in stores.in_write_order] == [3, 3]
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


def test_deeper_documents_come_first(folders: StoreSet, tmp_path: Path) -> None:
    path = write_tmp(tmp_path / "nested-tmp.zarr", 1)
    inner = zarr.open_group(path, mode="r+").create_group("pressure_level")
    data_variable(inner, "wind", (1,), (2,), (1,), ("init_time",))
    consolidate(path)
    journal = Journal()
    put_metadata(path, watched(folders, journal), expected_root="absent")
    documents = [key for url, key in journal.puts if key.endswith("zarr.json") and url == folders.primary.url]
    assert documents[0] == "pressure_level/wind/zarr.json"
    assert {"pressure_level/zarr.json", f"{GRID}/zarr.json"} < set(documents[1:-1])
    assert documents[-1] == "zarr.json"


def test_every_prefix_of_an_update_is_consistent(folders: StoreSet, tmp_store: TmpStore, tmp_path: Path) -> None:
    """Stopped before any put of a growing update: each store opens, whole, at the old or the new extent; then it resumes."""
    created = update(tmp_store(2), folders, range(1), "absent")
    shutil.copytree(tmp_path / "one", tmp_path / "before/one", copy_function=shutil.copy2)
    shutil.copytree(tmp_path / "two", tmp_path / "before/two", copy_function=shutil.copy2)
    journal = Journal()
    update(tmp_store(4), watched(folders, journal), range(1, 2), created.root_etag)
    undisturbed = [contents(store) for store in folders.in_write_order]
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
        seen.add(tuple(published_inits(store) for store in stores.in_write_order))
        update(tmp_store(4), stores, range(1, 2), expected)
        assert [contents(store) for store in stores.in_write_order] == undisturbed
        shutil.rmtree(tmp_path / str(puts))
    assert seen == {(2, 2), (4, 2)}


def with_chunks(tmp_store: Path) -> StoreSet:
    """Stores in memory that hold the chunks of a tmp store, and no metadata."""
    stores = open_store_set(f"memory://{uuid4()}", [f"memory://{uuid4()}"], "noaa-gfs-forecast", "1.0.0")
    for name in (GRID, SERIES):
        for path in (tmp_store / name / "c").rglob("*"):
            if path.is_file():
                for store in stores.in_write_order:
                    store.put(path.relative_to(tmp_store).as_posix(), path)
    return stores


def test_every_prefix_of_a_creation_is_no_store_or_a_whole_one(tmp_stores: dict[int, Path]) -> None:
    tmp, journal = tmp_stores[3], Journal()
    put_metadata(tmp, watched(with_chunks(tmp), journal), expected_root="absent")
    for puts in range(len(journal.puts)):
        stores = with_chunks(tmp)
        with pytest.raises(Stopped):
            put_metadata(tmp, watched(stores, Journal(stop_after=puts)), expected_root="absent")
        assert root_etag(stores.primary) == "absent"
        assert root_etag(stores.replicas[0]) == "absent" or published_inits(stores.replicas[0]) == 3
        put_metadata(tmp, stores, expected_root="absent")
        assert [published_inits(store) for store in stores.in_write_order] == [3, 3]


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
    assert [published_inits(store) for store in folders.in_write_order] == [4, 4]


def test_a_partial_last_shard_grows_in_place(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(3), stores, range(2), "absent")
    update(tmp_store(4), stores, range(1, 2), created.root_etag)
    assert [published_inits(store) for store in stores.in_write_order] == [4, 4]


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


def test_a_stopped_run_begins_no_further_upload(folders: StoreSet, tmp_store: TmpStore) -> None:
    stop, tmp = Event(), tmp_store(2)

    def stop_after_first(url: str, key: str) -> None:
        stop.set()

    with pytest.raises(RunStopped, match=r"/c/0/0/0/1 was to be uploaded; the run was stopped before: run it again"):
        publish_chunks(tmp, watched(folders, stop_after_first), GRID, 0, threads=1, stop=stop)
    assert [len(store.list(f"{GRID}/c")) for store in folders.in_write_order] == [1, 0]


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
    assert [published_inits(store) for store in stores.in_write_order] == [4, 4]


def test_a_busy_store_is_published_to_all_the_same(s3: S3Bucket, tmp_store: TmpStore) -> None:
    stores = open_store_set(f"{s3.url}/one", [f"{s3.url}/two"], "noaa-gfs-forecast", "1.0.0", patience=AT_ONCE)
    s3.server.fail(
        {"methods": ["PUT"], "path": "/c/", "status": 503, "times": 5},
        {"methods": ["PUT"], "path": "zarr.json", "drop_answer": True, "times": 3},
        {"methods": ["GET"], "status": 500, "after": 10, "times": 4},
    )
    update(tmp_store(4), stores, range(2), "absent")
    assert [published_inits(store) for store in stores.in_write_order] == [4, 4]


def test_a_store_that_stands_is_not_created(stores: StoreSet, tmp_store: TmpStore) -> None:
    update(tmp_store(2), stores, range(1), "absent")
    before = contents(stores.primary)
    with pytest.raises(StoreExists, match=r"was to be created; found one of ETag .*ask to overwrite it"):
        put_metadata(tmp_store(4), stores, expected_root="absent")
    assert contents(stores.primary) == before


def test_a_root_that_moved_is_not_replaced(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), stores, range(1), "absent")
    update(tmp_store(3), stores, range(1, 2), created.root_etag)
    before = [contents(store) for store in stores.in_write_order]
    with pytest.raises(
        CommitConflict, match=r"was to replace the one of ETag .*another writer published meanwhile.*run this"
    ):
        put_metadata(tmp_store(4), stores, expected_root=created.root_etag)
    assert [contents(store) for store in stores.in_write_order] == before


def test_a_store_that_vanished_is_a_conflict(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    folders.primary.delete("zarr.json")
    with pytest.raises(CommitConflict, match="found none"):
        put_metadata(tmp_store(2), folders, expected_root=created.root_etag)


def test_published_labels_are_never_withdrawn(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(4), folders, range(2), "absent")
    with pytest.raises(Retraction, match=r"with 3 labels of init_time; the store publishes 4: .*never withdrawn"):
        put_metadata(tmp_store(3), folders, expected_root=created.root_etag)
    assert published_inits(folders.primary) == 4


def test_a_replica_ahead_of_its_primary_is_not_cut_back(folders: StoreSet, tmp_store: TmpStore) -> None:
    """A commit that was killed between the two, followed by one of the old extent."""
    update(tmp_store(2), folders, range(1), "absent")
    replica_only = StoreSet(primary=folders.replicas[0], replicas=(), internal=folders.internal)
    update(tmp_store(6), replica_only, range(2, 3), root_etag(folders.replicas[0]))
    update(tmp_store(4), folders, range(1, 2), root_etag(folders.primary))
    assert [published_inits(store) for store in folders.in_write_order] == [6, 4]
    update(tmp_store(6), folders, range(2, 3), root_etag(folders.primary))
    assert [published_inits(store) for store in folders.in_write_order] == [6, 6]


@pytest.mark.parametrize("which", ["primary", "replica"])
def test_a_store_of_another_structure_is_left_alone(
    folders: StoreSet, tmp_store: TmpStore, tmp_path: Path, which: str
) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    other = write_tmp(tmp_path / "other-tmp.zarr", 3)
    zarr.open_group(other, mode="r+").create_array(
        "latitude", shape=(LATITUDES,), dtype="float32", fill_value=NAN, dimension_names=("latitude",), overwrite=True
    )
    consolidate(other)
    stores = folders
    if which == "replica":
        stores = open_store_set(str(tmp_path / "one"), [str(tmp_path / "three")], "noaa-gfs-forecast", "1.0.0")
        replica_only = StoreSet(primary=stores.replicas[0], replicas=(), internal=stores.internal)
        put_metadata(other, replica_only, expected_root="absent")
        other = tmp_store(3)
    journal = Journal()
    with pytest.raises(TemplateDrift, match=r"latitude: dtype 'float(32|64)' in the store"):
        put_metadata(other, watched(stores, journal), expected_root=created.root_etag)
    assert journal.puts == []


def test_an_empty_replica_is_refused(folders: StoreSet, tmp_store: TmpStore) -> None:
    primary_only = StoreSet(primary=folders.primary, replicas=(), internal=folders.internal)
    created = update(tmp_store(2), primary_only, range(1), "absent")
    with pytest.raises(
        StoreMissing, match=r"replica .*two.* was to be extended; no store stands there.*copy the primary"
    ):
        put_metadata(tmp_store(3), folders, expected_root=created.root_etag)
    assert published_inits(folders.primary) == 2


def test_unchanged_objects_are_left_alone(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    journal = Journal()
    again = put_metadata(tmp_store(2), watched(folders, journal), expected_root=created.root_etag)
    assert journal.puts == []
    assert (again.written, again.unchanged) == (0, 2 * (2 * len(COORDINATES) + 2 + 1))
    assert again.root_etag == created.root_etag


def ingested_hours(store: Store) -> list[float]:
    ds = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=False)
    return [float(seconds) / 3600 for seconds in ds["ingested_forecast_length"]]


def test_values_written_at_run_time_stay(folders: StoreSet, tmp_path: Path) -> None:
    """Nulls of a template never replace them, numbers do, and `keep` protects them even from numbers."""
    first = write_tmp(tmp_path / "first-tmp.zarr", 2, ingested=(7200, 3600))
    etag = put_metadata(first, folders, expected_root="absent").root_etag
    nulls = write_tmp(tmp_path / "nulls-tmp.zarr", 3)
    etag = put_metadata(nulls, folders, expected_root=etag).root_etag
    np.testing.assert_equal(ingested_hours(folders.primary), [2, 1, NAN])
    later = write_tmp(tmp_path / "later-tmp.zarr", 3, ingested=(NAN, 7200, 3600))
    etag = put_metadata(later, folders, expected_root=etag).root_etag
    np.testing.assert_equal(ingested_hours(folders.primary), [2, 2, 1])
    other = write_tmp(tmp_path / "other-tmp.zarr", 3, ingested=(0, 0, 0))
    put_metadata(other, folders, expected_root=etag, keep={"ingested_forecast_length"})
    for store in folders.in_write_order:
        np.testing.assert_equal(ingested_hours(store), [2, 2, 1])


def test_chunks_of_data_are_never_looked_at(folders: StoreSet, tmp_store: TmpStore) -> None:
    tmp = tmp_store(2)
    put_metadata(tmp, folders, expected_root="absent")
    assert [key for key, _ in folders.primary.list() if key.startswith((f"{GRID}/c", f"{SERIES}/c"))] == []


def test_of_racing_creators_one_wins(stores: StoreSet, tmp_store: TmpStore) -> None:
    """Parallel partitions of a backfill, each of which finds no store; some started a little later than others."""
    attempts = [tmp_store(4 + number % 3) for number in range(12)]

    def create(tmp: Path) -> str:
        try:
            put_metadata(tmp, stores, expected_root="absent")
        except StoreExists:
            return "exists"
        return "created"

    with ThreadPoolExecutor(len(attempts)) as pool:
        outcomes = list(pool.map(create, attempts))
    assert sorted(outcomes) == ["created"] + ["exists"] * 11
    for store in stores.in_write_order:
        ds = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=True)
        assert list(ds.indexes["init_time"]) == list(pd.date_range(FIRST, periods=ds.sizes["init_time"], freq="6h"))


@pytest.fixture(scope="module")
def inits_of_chunk(tmp_stores: dict[int, Path]) -> dict[bytes, int]:
    """How many labels each chunk of `init_time` holds."""
    return {(path / "init_time/c/0").read_bytes(): inits for inits, path in tmp_stores.items()}


def assert_root_is_backed(store: Store, inits_of_chunk: dict[bytes, int]) -> None:
    """Labels and array documents, which some readers look at alone, reach at least as far as the root says."""
    found = store.get_or_none("zarr.json")
    if found is not None:
        (inits,) = json.loads(found[0])["consolidated_metadata"]["metadata"]["init_time"]["shape"]
        assert inits_of_chunk[store.get("init_time/c/0")[0]] >= inits
        assert all(json.loads(store.get(f"{name}/zarr.json")[0])["shape"][0] >= inits for name in ("init_time", GRID))


@settings(max_examples=25)
@given(
    order=st.lists(st.integers(0, 1), min_size=60, max_size=60),
    extents=st.sampled_from([(3, 4), (4, 3), (4, 4), (4, 6), (6, 4)]),
    create=st.booleans(),
)
def test_two_writers_in_any_order_of_their_puts(
    tmp_stores: dict[int, Path],
    inits_of_chunk: dict[bytes, int],
    order: list[int],
    extents: tuple[int, int],
    create: bool,
) -> None:
    """One publishes, the other is refused, and at no time is there a root that is not backed."""
    stores, turns, expected = with_chunks(tmp_stores[6]), Turns(order), "absent"
    if not create:
        expected = put_metadata(tmp_stores[2], stores, expected_root="absent").root_etag

    def write(number: int) -> str:
        def before_put(url: str, key: str) -> None:
            turns.writer(number)(url, key)
            for store in stores.in_write_order:
                assert_root_is_backed(store, inits_of_chunk)

        try:
            put_metadata(tmp_stores[extents[number]], watched(stores, before_put), expected_root=expected)
        except (CommitConflict, StoreExists):
            return "refused"
        finally:
            turns.leave(number)
        return "published"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(write, range(2)))
    assert sorted(outcomes) == ["published", "refused"]
    for store in stores.in_write_order:
        assert_root_is_backed(store, inits_of_chunk)
    assert published_inits(stores.primary) == extents[outcomes.index("published")]
    assert published_inits(stores.replicas[0]) in extents
