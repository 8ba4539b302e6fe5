"""Metadata grows, its root comes last, and of two writers one is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    Retraction,
    StoreExists,
    StoreMissing,
    TemplateDrift,
)
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import put_metadata
from reformatters_dagster.core.store.reading import open_published, published_indexes
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from tests.core.store.small_stores import (
    COORDINATES,
    FIRST,
    GRID,
    LATITUDES,
    NAN,
    SERIES,
    TmpStore,
    consolidate,
    contents,
    data_variable,
    in_write_order,
    objects_at,
    published_inits,
    root_etag,
    update,
    with_chunks,
    write_tmp,
)
from tests.stores import Journal, Stopped, Turns, watched

pytest_plugins = ["tests.stores"]


def test_deeper_documents_come_first(folders: StoreSet, tmp_path: Path) -> None:
    path = write_tmp(tmp_path / "nested-tmp.zarr", 1)
    inner = zarr.open_group(path, mode="r+").create_group("pressure_level")
    data_variable(inner, "wind", (1,), (2,), (1,), ("init_time",))
    consolidate(path)
    journal = Journal()
    put_metadata(objects_at(path), watched(folders, journal), expected_root="absent")
    documents = [key for url, key in journal.puts if key.endswith("zarr.json") and url == folders.primary.url]
    assert documents[0] == "pressure_level/wind/zarr.json"
    assert {"pressure_level/zarr.json", f"{GRID}/zarr.json"} < set(documents[1:-1])
    assert documents[-1] == "zarr.json"


def test_every_prefix_of_a_creation_is_no_store_or_a_whole_one(tmp_stores: dict[int, Path]) -> None:
    tmp, journal = tmp_stores[3], Journal()
    put_metadata(objects_at(tmp), watched(with_chunks(tmp), journal), expected_root="absent")
    for puts in range(len(journal.puts)):
        stores = with_chunks(tmp)
        with pytest.raises(Stopped):
            put_metadata(objects_at(tmp), watched(stores, Journal(stop_after=puts)), expected_root="absent")
        assert root_etag(stores.primary) == "absent"
        assert root_etag(stores.replicas[0]) == "absent" or published_inits(stores.replicas[0]) == 3
        put_metadata(objects_at(tmp), stores, expected_root="absent")
        assert [published_inits(store) for store in in_write_order(stores)] == [3, 3]


def test_a_store_that_stands_is_not_created(stores: StoreSet, tmp_store: TmpStore) -> None:
    update(tmp_store(2), stores, range(1), "absent")
    before = contents(stores.primary)
    with pytest.raises(StoreExists, match=r"was to be created; found one of ETag .*ask to overwrite it"):
        put_metadata(objects_at(tmp_store(4)), stores, expected_root="absent")
    assert contents(stores.primary) == before


def test_a_root_that_moved_is_not_replaced(stores: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), stores, range(1), "absent")
    update(tmp_store(3), stores, range(1, 2), created.root_etag)
    before = [contents(store) for store in in_write_order(stores)]
    with pytest.raises(
        CommitConflict, match=r"was to replace the one of ETag .*another writer published meanwhile.*run this"
    ):
        put_metadata(objects_at(tmp_store(4)), stores, expected_root=created.root_etag)
    assert [contents(store) for store in in_write_order(stores)] == before


def test_a_store_that_vanished_is_a_conflict(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    folders.primary.delete("zarr.json")
    with pytest.raises(CommitConflict, match="found none"):
        put_metadata(objects_at(tmp_store(2)), folders, expected_root=created.root_etag)


def test_labels_are_read_of_the_dimensions_that_are_asked_for(folders: StoreSet, tmp_store: TmpStore) -> None:
    update(tmp_store(2), folders, range(1), "absent")
    whole = open_published(folders.primary)
    folders.primary.put("longitude/c/0", b"damaged")
    found = published_indexes(folders.primary, ["lead_time", "latitude"])
    assert list(found) == ["lead_time", "latitude"]
    for dim, labels in found.items():
        pd.testing.assert_index_equal(labels, whole.indexes[dim])
    with pytest.raises(RuntimeError, match="Zstd"):
        published_indexes(folders.primary, ["longitude"])


def test_published_labels_are_never_withdrawn(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(4), folders, range(2), "absent")
    with pytest.raises(Retraction, match=r"with 3 labels of init_time; the store publishes 4: .*never withdrawn"):
        put_metadata(objects_at(tmp_store(3)), folders, expected_root=created.root_etag)
    assert published_inits(folders.primary) == 4


def test_a_replica_ahead_of_its_primary_is_not_cut_back(folders: StoreSet, tmp_store: TmpStore) -> None:
    """A commit that was killed between the two, followed by one of the old extent."""
    update(tmp_store(2), folders, range(1), "absent")
    replica_only = StoreSet(primary=folders.replicas[0], replicas=(), internal=folders.internal)
    update(tmp_store(6), replica_only, range(2, 3), root_etag(folders.replicas[0]))
    update(tmp_store(4), folders, range(1, 2), root_etag(folders.primary))
    assert [published_inits(store) for store in in_write_order(folders)] == [6, 4]
    update(tmp_store(6), folders, range(2, 3), root_etag(folders.primary))
    assert [published_inits(store) for store in in_write_order(folders)] == [6, 6]


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
        put_metadata(objects_at(other), replica_only, expected_root="absent")
        other = tmp_store(3)
    journal = Journal()
    with pytest.raises(TemplateDrift, match=r"latitude: dtype 'float(32|64)' in the store"):
        put_metadata(objects_at(other), watched(stores, journal), expected_root=created.root_etag)
    assert journal.puts == []


def test_an_empty_replica_is_refused(folders: StoreSet, tmp_store: TmpStore) -> None:
    primary_only = StoreSet(primary=folders.primary, replicas=(), internal=folders.internal)
    created = update(tmp_store(2), primary_only, range(1), "absent")
    with pytest.raises(
        StoreMissing, match=r"replica .*two.* was to be extended; no store stands there.*copy the primary"
    ):
        put_metadata(objects_at(tmp_store(3)), folders, expected_root=created.root_etag)
    assert published_inits(folders.primary) == 2


def test_unchanged_objects_are_left_alone(folders: StoreSet, tmp_store: TmpStore) -> None:
    created = update(tmp_store(2), folders, range(1), "absent")
    journal = Journal()
    again = put_metadata(objects_at(tmp_store(2)), watched(folders, journal), expected_root=created.root_etag)
    assert journal.puts == []
    assert (again.written, again.unchanged) == (0, 2 * (2 * len(COORDINATES) + 2 + 1))
    assert again.root_etag == created.root_etag


def ingested_hours(store: Store) -> list[float]:
    ds = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=False)
    return [float(seconds) / 3600 for seconds in ds["ingested_forecast_length"]]


def test_values_written_at_run_time_stay(folders: StoreSet, tmp_path: Path) -> None:
    """Nulls of a template never replace them, numbers do, and `keep` protects them even from numbers."""
    first = write_tmp(tmp_path / "first-tmp.zarr", 2, ingested=(7200, 3600))
    etag = put_metadata(objects_at(first), folders, expected_root="absent").root_etag
    nulls = write_tmp(tmp_path / "nulls-tmp.zarr", 3)
    etag = put_metadata(objects_at(nulls), folders, expected_root=etag).root_etag
    np.testing.assert_equal(ingested_hours(folders.primary), [2, 1, NAN])
    later = write_tmp(tmp_path / "later-tmp.zarr", 3, ingested=(NAN, 7200, 3600))
    etag = put_metadata(objects_at(later), folders, expected_root=etag).root_etag
    np.testing.assert_equal(ingested_hours(folders.primary), [2, 2, 1])
    other = write_tmp(tmp_path / "other-tmp.zarr", 3, ingested=(0, 0, 0))
    put_metadata(objects_at(other), folders, expected_root=etag, keep={"ingested_forecast_length"})
    for store in in_write_order(folders):
        np.testing.assert_equal(ingested_hours(store), [2, 2, 1])


def test_chunks_of_data_are_never_looked_at(folders: StoreSet, tmp_store: TmpStore) -> None:
    tmp = tmp_store(2)
    put_metadata(objects_at(tmp), folders, expected_root="absent")
    assert [key for key, _ in folders.primary.list() if key.startswith((f"{GRID}/c", f"{SERIES}/c"))] == []


def test_of_racing_creators_one_wins(stores: StoreSet, tmp_store: TmpStore) -> None:
    """Parallel partitions of a backfill, each of which finds no store; some started a little later than others."""
    attempts = [tmp_store(4 + number % 3) for number in range(12)]

    def create(tmp: Path) -> str:
        try:
            put_metadata(objects_at(tmp), stores, expected_root="absent")
        except StoreExists:
            return "exists"
        return "created"

    with ThreadPoolExecutor(len(attempts)) as pool:
        outcomes = list(pool.map(create, attempts))
    assert sorted(outcomes) == ["created"] + ["exists"] * 11
    for store in in_write_order(stores):
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
        expected = put_metadata(objects_at(tmp_stores[2]), stores, expected_root="absent").root_etag

    def write(number: int) -> str:
        def before_put(url: str, key: str) -> None:
            turns.writer(number)(url, key)
            for store in in_write_order(stores):
                assert_root_is_backed(store, inits_of_chunk)

        try:
            put_metadata(objects_at(tmp_stores[extents[number]]), watched(stores, before_put), expected_root=expected)
        except (CommitConflict, StoreExists):
            return "refused"
        finally:
            turns.leave(number)
        return "published"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(write, range(2)))
    assert sorted(outcomes) == ["published", "refused"]
    for store in in_write_order(stores):
        assert_root_is_backed(store, inits_of_chunk)
    assert published_inits(stores.primary) == extents[outcomes.index("published")]
    assert published_inits(stores.replicas[0]) in extents
