"""The GFS analysis: which file an hour comes from, rates across shards, and real values, from upstream to the reader."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.analysis import DATASET, GfsAnalysisRegionJob
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import MOMENT, Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Settings
from tests.datasets import (
    EARLIER,
    INIT,
    INSTANT,
    PRIMARY,
    RAIN,
    SECOND,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    Sample,
    Site,
    assert_true,
    gfs_analysis,
)
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]

HOUR = Timedelta("1h")
HOURS = pd.date_range(INIT, periods=13, freq="1h", unit="us")
"""Two shards of 6 hours and the first hour of a third."""


def source_of(variable: str, hour: Timestamp) -> Timestamp:
    """Init time of the newest forecast that has a variable at an hour; one with a window begins before the hour."""
    return max(init for init in (EARLIER, INIT, SECOND, THIRD) if init <= hour and (variable in INSTANT or init < hour))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def long(tmp_path: Path, analysis: Site) -> Site:
    """The same upstream, with all hours in one shard."""
    sizes = {"time": 18, "latitude": 20, "longitude": 18}
    dataset = gfs_analysis(tmp_path / "long", chunks={"time": 9, "latitude": 10, "longitude": 9}, shards=sizes)
    return replace(analysis, dataset=dataset, settings={"store": str(tmp_path / "long-store")})


def test_shards_made_apart_are_as_one_long_run_and_hold_what_the_files_do(
    analysis: Site, long: Site, instance: dg.DagsterInstance
) -> None:
    deployment = Deployment(analysis, instance)
    deployment.run("initialise", end=str(HOURS[-1] + MOMENT))
    for label in (THIRD, INIT, SECOND):
        assert deployment.run("backfill", label).success
    long.backfill(HOURS[-1])
    apart, together = analysis.read(), long.read()
    for variable in VARIABLES:
        np.testing.assert_array_equal(apart[variable], together[variable], err_msg=variable)
    assert apart[RAIN].sel(time=INIT).isnull().all()
    for variable, hour in product(VARIABLES, HOURS):
        if (variable, hour) != (RAIN, INIT):
            init = source_of(variable, hour)
            assert_true(apart[variable].sel(time=hour), variable, init, (hour - init) // HOUR)


def test_without_the_hour_before_a_shard_the_next_rate_would_be_lost(analysis: Site) -> None:
    class WithoutBuffer(GfsAnalysisRegionJob):
        def get_processing_region(self) -> slice:
            return self.region

    analysis.having(region_job=WithoutBuffer).backfill(HOURS[-1])
    assert analysis.read()[RAIN].sel(time=SECOND).isnull().all()
    analysis.backfill(HOURS[-1], overwrite_chunks=True, force=True)
    assert analysis.read()[RAIN].sel(time=SECOND).notnull().all()


def test_an_hour_is_published_once_all_variables_have_it(tmp_path: Path, gfs_sample: Sample) -> None:
    """Of the forecast that begins at an hour rates need nothing, instants do."""
    dataset = replace(gfs_analysis(tmp_path / "templates"), publish_policy=DATASET.publish_policy)
    site = Site(tmp_path, dataset, gfs_sample)
    site.arrive(EARLIER, leads=[6])
    site.arrive(INIT, leads=range(7))
    site.update(SECOND + HOUR)
    assert site.read().indexes["time"][-1] == SECOND - HOUR
    assert site.read().isel(time=-1).notnull().all().to_array().all()
    site.arrive(SECOND, leads=[0, 1])
    site.update(SECOND + HOUR)
    assert site.read().indexes["time"][-1] == SECOND + HOUR


# A real message

KEY = f"{PRIMARY}/gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
REAL = "gfs/FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2"


def beginning_at(start: Timestamp) -> DynamicalDataset:
    """The dataset itself with another first hour."""
    axis = AppendAxis(name="time", start=start, frequency="1h")
    return replace(DATASET, template_config=DATASET.template_config.model_copy(update={"append_dim": axis}))


@pytest.mark.slow
def test_the_store_holds_the_values_another_decoder_found(shared_data: Path, tmp_path: Path) -> None:
    upstream = tmp_path / "upstream" / KEY
    upstream.parent.mkdir(parents=True)
    shutil.copyfile(shared_data / REAL, upstream)
    Path(f"{upstream}.idx").write_text("1:0:d=2026072918:TMP:2 m above ground:anl:\n")
    dataset = beginning_at(INIT)
    settings = Settings(store=str(tmp_path / "stores"), upstream=str(tmp_path / "upstream"), tmp=str(tmp_path / "tmp"))
    workspace = dataset.workspace(settings)
    backfill(dataset, workspace, BackfillRequest(variables=(TEMPERATURE,)), run_id="real", now=INIT)
    ds = xr.open_zarr(workspace.stores.primary.url, chunks=None)
    assert list(ds.indexes["time"]) == [INIT]
    (expected,) = json.loads((shared_data / f"{REAL}.expected.json").read_text())["messages"]
    for point in expected["points"]:
        found = float(ds[TEMPERATURE].sel(latitude=point["lat"], longitude=(point["lon"] + 180) % 360 - 180).item())
        celsius = point["value"] - 273.15
        assert found == pytest.approx(celsius, abs=abs(celsius) * 2.0**-8 + 3e-5)
