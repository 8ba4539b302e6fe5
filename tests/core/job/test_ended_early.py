"""A job that is interrupted, or that a store fails, leaves nothing on the tmp disk."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.core.spec.values import Array2D, Float32Array
from reformatters_dagster.core.spec.variables import DataVar
from tests.datasets import (
    INIT,
    RAIN,
    SUN,
    WIND,
    Sample,
    Site,
    assert_forecast_true,
    assert_true,
    gfs_forecast,
    open_as_reader,
)
from tests.processed import BAD, HOUR
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]
ROOT = Path(__file__).parents[3]


class Interrupting(GfsForecastRegionJob):
    """Stops wherever a test tells it to, in whatever thread that is."""

    at = ""

    def download_file(self, coord: GfsSourceFileCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        if self.at == "download" and coord.lead_time == BAD * HOUR:
            raise Stopped("download")
        return super().download_file(coord, data_vars, folder)

    def read_data(self, coord: GfsSourceFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        if self.at == "read" and coord.lead_time == BAD * HOUR:
            raise Stopped("read")
        return super().read_data(coord, data_var, downloaded)

    def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
        if self.at == "transform" and data_var.name == WIND:
            raise KeyboardInterrupt("transform")
        super().apply_data_transformations(values, data_var, region_ds)


@pytest.mark.parametrize("at", ["download", "read", "transform"])
def test_an_interrupt_leaves_no_tmp_files(site: Site, at: str) -> None:
    site.arrive(INIT)
    stopping = type("StoppingJob", (Interrupting,), {"at": at})
    with pytest.raises((Stopped, KeyboardInterrupt), match=at):
        site.having(region_job=stopping).job().process()
    assert list(site.tmp.iterdir()) == []


@pytest.mark.parametrize("successes", [0, 3, 7])
def test_a_store_that_fails_ends_the_job_and_leaves_no_tmp_files(site: Site, successes: int) -> None:
    puts: list[str] = []

    def fail(url: str, key: str) -> None:
        if len(puts) == successes:
            raise StoreUnavailable(f"{url}/{key}: put failed")
        puts.append(key)

    site.arrive(INIT)
    with pytest.raises(StoreUnavailable, match="put failed"):
        replace(site, before_put=fail).job().process()
    assert list(site.tmp.iterdir()) == []


def backfill_slowly(folder: str) -> None:
    """What the process does that is killed: it says each key it puts, and takes its time."""

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    def slow_put(url: str, key: str) -> None:
        print(key, flush=True)  # noqa: T201 the parent reads it
        time.sleep(0.3 if "/c/0/0" in key else 0)

    signal.signal(signal.SIGTERM, terminate)
    site = Site(Path(folder), gfs_forecast(Path(folder) / "templates"), Sample(Path(), Path()), before_put=slow_put)
    site.backfill()


@pytest.fixture
def slow_backfill(site: Site) -> Iterator[subprocess.Popen[str]]:
    site.arrive(INIT)
    code = f"from tests.core.job.test_ended_early import backfill_slowly; backfill_slowly({str(site.folder)!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process
        process.kill()


def test_a_terminated_process_leaves_no_tmp_files_and_a_store_that_opens(
    site: Site, slow_backfill: subprocess.Popen[str]
) -> None:
    assert slow_backfill.stdout is not None
    seen = next(key for key in slow_backfill.stdout if key.startswith(f"{RAIN}/c/"))
    assert list(site.tmp.iterdir()), seen
    slow_backfill.send_signal(signal.SIGTERM)
    assert slow_backfill.wait(30) == 143
    assert list(site.tmp.iterdir()) == []
    ds = open_as_reader(site.stores.primary.url)
    assert_true(ds[SUN].isel(init_time=0, lead_time=1), SUN, INIT, 1)
    assert ds[WIND].isnull().all()
    assert site.ledger() is None
    site.backfill(overwrite_chunks=True)
    assert_forecast_true(site.read(), INIT)
