"""Deployments that the tests of runs share: what is in them, and what readers of them see."""

from pathlib import Path
from threading import Lock

import pandas as pd
import pytest
import xarray as xr

from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.spec.errors import (
    StoreUnavailable,
)
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import (
    RAIN,
    TEMPERATURE,
    Site,
    objects_of,
    open_as_reader,
)

VARIABLES = (TEMPERATURE, RAIN)


def init_times(site: Site) -> list[Timestamp]:
    return list(site.read().indexes["init_time"])


def ingested(site: Site) -> list[Timedelta]:
    return list(pd.TimedeltaIndex(site.read()["ingested_forecast_length"].to_numpy()))


def metadata(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if "/c/" not in key and "_internal" not in key}


def chunks(site: Site) -> dict[str, bytes]:
    return {key: data for key, data in site.objects().items() if any(f"/{name}/c/" in key for name in VARIABLES)}


class Line:
    """The way to a replica, which may be cut after some puts."""

    def __init__(self) -> None:
        self.puts_left = 10**9
        self.lock = Lock()

    def __call__(self, url: str, key: str) -> None:
        if "/copy/" in url:
            with self.lock:
                self.puts_left -= 1
                is_cut = self.puts_left < 0
            if is_cut:
                raise StoreUnavailable(f"{url}/{key} could not be written")


STORE = "test-gfs-forecast/v0.1.0.zarr"


def copies(site: Site) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Objects of the primary and of the replica."""
    return objects_of(site.folder / "primary" / STORE), objects_of(site.folder / "copy" / STORE)


PARTITIONS = ["2026-07-29T18:00", "2026-07-30T00:00", "2026-07-30T06:00"]


def lacking(site: Site) -> list[str]:
    return [one.partition for one in degraded(site.stores)]


def assert_readable_or_absent(site: Site) -> xr.Dataset | None:
    """What readers of the replica see: no store, or one that is the primary's so far as it reaches."""
    url = site.stores.replicas[0].url
    if not (Path(url) / "zarr.json").exists():
        return None
    seen = open_as_reader(url)
    whole = site.read().isel(init_time=slice(0, seen.sizes["init_time"]))
    xr.testing.assert_identical(seen.drop_attrs(), whole.drop_attrs())
    assert not seen[TEMPERATURE].isnull().any()
    return seen


def no_put(url: str, key: str) -> None:
    raise AssertionError(f"{url}/{key} was put")


DAMAGED_ROOTS = pytest.mark.parametrize(
    "root",
    [b"{}", b'{"attributes"', b"[]", b'{"consolidated_metadata": {}}', b'{"consolidated_metadata": {"metadata": 1}}'],
)
