"""Stores and tmp stores of a few forecasts, in which every value tells whether it is the right one."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.common import JSON
from zarr.errors import ZarrUserWarning

from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import MetadataReceipt, put_metadata
from reformatters_dagster.core.store.stores import StoreSet, open_store_set
from reformatters_dagster.core.store.upload import publish_chunks

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


def objects_at(path: Path) -> dict[str, bytes]:
    """What a store on disk holds, by key."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


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
    return put_metadata(objects_at(tmp_store), stores, expected_root=expected)


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


def with_chunks(tmp_store: Path) -> StoreSet:
    """Stores in memory that hold the chunks of a tmp store, and no metadata."""
    stores = open_store_set(f"memory://{uuid4()}", [f"memory://{uuid4()}"], "noaa-gfs-forecast", "1.0.0")
    for name in (GRID, SERIES):
        for path in (tmp_store / name / "c").rglob("*"):
            if path.is_file():
                for store in in_write_order(stores):
                    store.put(path.relative_to(tmp_store).as_posix(), path)
    return stores


def in_write_order(stores: StoreSet) -> list[Store]:
    """Replicas that have not failed, then the primary."""
    found: list[Store] = []
    stores.each_in_write_order(found.append)
    return found
