"""A replica is given the metadata of its primary: nothing that stands there shrinks, and what is damaged is replaced."""

from dataclasses import replace
from pathlib import Path

import pytest
import zarr

from reformatters_dagster.core.spec.errors import CorruptRoot
from reformatters_dagster.core.store.metadata import copy_metadata, put_metadata
from reformatters_dagster.core.store.stores import StoreSet
from tests.core.store.small_stores import (
    GRID,
    consolidate,
    contents,
    data_variable,
    in_write_order,
    objects_at,
    published_inits,
    root_etag,
    with_chunks,
    write_tmp,
)
from tests.stores import FaultStore, Journal

pytest_plugins = ["tests.stores"]


@pytest.fixture
def pair(tmp_stores: dict[int, Path]) -> StoreSet:
    """A primary of four forecasts; its replica has their data, and no metadata."""
    stores = with_chunks(tmp_stores[4])
    put_metadata(objects_at(tmp_stores[4]), without_replicas(stores), expected_root="absent")
    return stores


def without_replicas(stores: StoreSet) -> StoreSet:
    return StoreSet(primary=stores.primary, replicas=(), internal=stores.internal)


def copy(stores: StoreSet) -> None:
    copy_metadata(stores.primary, stores.replicas[0], stores.primary.get("zarr.json")[0])


def test_every_object_is_copied_the_root_last(pair: StoreSet) -> None:
    """One of them lies at the prefix itself: that of a coordinate without dimensions."""
    journal = Journal()
    copy_metadata(pair.primary, FaultStore(pair.replicas[0], journal), pair.primary.get("zarr.json")[0])
    assert contents(pair.replicas[0]) == contents(pair.primary)
    kinds = [(key.endswith("zarr.json"), key == "zarr.json") for _, key in journal.puts]
    assert kinds == sorted(kinds)
    journal.puts.clear()
    copy_metadata(pair.primary, FaultStore(pair.replicas[0], journal), pair.primary.get("zarr.json")[0])
    assert journal.puts == []


def test_a_root_of_before_takes_no_labels_back(pair: StoreSet, tmp_stores: dict[int, Path]) -> None:
    before = pair.primary.get("zarr.json")[0]
    copy(pair)
    put_metadata(objects_at(tmp_stores[6]), pair, expected_root=root_etag(pair.primary))
    there = contents(pair.replicas[0])
    copy_metadata(pair.primary, pair.replicas[0], before)
    assert contents(pair.replicas[0]) == there


def test_a_replica_that_is_ahead_of_its_primary_stays_so(pair: StoreSet, tmp_stores: dict[int, Path]) -> None:
    ahead = with_chunks(tmp_stores[6])
    put_metadata(objects_at(tmp_stores[6]), without_replicas(ahead), expected_root="absent")
    copy_metadata(pair.primary, ahead.primary, pair.primary.get("zarr.json")[0])
    assert published_inits(ahead.primary) == 6


def test_a_root_of_before_takes_no_variable_back(pair: StoreSet, tmp_path: Path) -> None:
    before = pair.primary.get("zarr.json")[0]
    copy(pair)
    wider = write_tmp(tmp_path / "wider-tmp.zarr", 4)
    data_variable(zarr.open_group(wider, mode="r+"), "wind", (4,), (2,), (1,), ("init_time",))
    consolidate(wider)
    put_metadata(objects_at(wider), pair, expected_root=root_etag(pair.primary))
    copy_metadata(pair.primary, pair.replicas[0], before)
    assert contents(pair.replicas[0]) == contents(pair.primary)


def test_labels_that_the_primary_got_meanwhile_are_not_shown(pair: StoreSet, tmp_stores: dict[int, Path]) -> None:
    """The replica has no data of it yet."""
    before = pair.primary.get("zarr.json")[0]
    put_metadata(objects_at(tmp_stores[6]), without_replicas(pair), expected_root=root_etag(pair.primary))
    copy_metadata(pair.primary, pair.replicas[0], before)
    assert published_inits(pair.replicas[0]) == 4
    assert pair.replicas[0].get(f"{GRID}/zarr.json")[0] == pair.primary.get(f"{GRID}/zarr.json")[0]


NONSENSE = [b"", b"{", b"[]", b'{"shape": 1, "dimension_names": ["init_time"]}', b"\xff"]


@pytest.mark.parametrize("damaged", NONSENSE)
@pytest.mark.parametrize("name", [GRID, "init_time"])
def test_a_damaged_document_is_replaced(pair: StoreSet, tmp_stores: dict[int, Path], name: str, damaged: bytes) -> None:
    copy(pair)
    for store in in_write_order(pair):
        store.put(f"{name}/zarr.json", damaged)
    put_metadata(objects_at(tmp_stores[4]), pair, expected_root=root_etag(pair.primary))
    pair.replicas[0].put(f"{name}/zarr.json", damaged)
    copy(pair)
    for store in in_write_order(pair):
        assert store.get(f"{name}/zarr.json")[0] == (tmp_stores[4] / name / "zarr.json").read_bytes()


@pytest.mark.parametrize("damaged", [b"", b"damaged"])
def test_a_damaged_chunk_of_a_replica_becomes_the_primary_s(tmp_path: Path, damaged: bytes, pair: StoreSet) -> None:
    """With the values that the tmp store does not have."""
    lengths = write_tmp(tmp_path / "lengths-tmp.zarr", 4, ingested=(7200, 3600))
    put_metadata(objects_at(lengths), without_replicas(pair), expected_root=root_etag(pair.primary))
    copy(pair)
    nulls = write_tmp(tmp_path / "nulls-tmp.zarr", 4)
    for keep in ((), ("ingested_forecast_length",)):
        for name in ("ingested_forecast_length", "init_time"):
            pair.replicas[0].put(f"{name}/c/0", damaged)
        put_metadata(objects_at(nulls), pair, expected_root=root_etag(pair.primary), keep=keep)
        assert contents(pair.replicas[0]) == contents(pair.primary)


def test_a_damaged_chunk_of_the_primary_is_not_copied(pair: StoreSet, tmp_stores: dict[int, Path]) -> None:
    copy(pair)
    there = contents(pair.replicas[0])
    for key in ("init_time/c/0", f"{GRID}/zarr.json"):
        pair.primary.put(key, b"damaged")
    copy(pair)
    assert contents(pair.replicas[0]) == there
    put_metadata(objects_at(tmp_stores[4]), pair, expected_root=root_etag(pair.primary))
    assert contents(pair.primary) == there


@pytest.mark.parametrize("damaged", NONSENSE)
def test_a_replica_with_a_damaged_root_is_named_or_left_out(
    pair: StoreSet, tmp_stores: dict[int, Path], damaged: bytes
) -> None:
    copy(pair)
    pair.replicas[0].put("zarr.json", damaged)
    expected = root_etag(pair.primary)
    with pytest.raises(CorruptRoot, match=r"zarr.json was to be read as the root of a store; it is none"):
        put_metadata(objects_at(tmp_stores[4]), pair, expected_root=expected)
    told: list[str] = []
    tolerant = replace(pair, tolerate=lambda store, error: told.append(f"{store.url}: {type(error).__name__}"))
    put_metadata(objects_at(tmp_stores[4]), tolerant, expected_root=expected)
    assert told == [f"{pair.replicas[0].url}: CorruptRoot"]
    assert tolerant.live_replicas == ()
    copy(pair)
    assert contents(pair.replicas[0]) == contents(pair.primary)
