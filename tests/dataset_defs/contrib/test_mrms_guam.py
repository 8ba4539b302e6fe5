"""Radar around Guam from upstream files to readers: sample hours, a real file, and numbers that are no precipitation."""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from dataset_defs.contrib.mrms_guam import DATASET, TEMPLATE
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.sample_upstream.mrms import (
    MISSING,
    RESOLUTION,
    UNSEEN,
    mrms_path,
    mrms_values,
    write_mrms_sample,
)
from tests.datasets import Sample, Site
from tests.orchestration.deployments import Deployment
from tests.tiny import TinyTemplate

NOON = Timestamp("2022-06-01T12")
HOURS = pd.date_range(NOON - Timedelta("3h"), periods=6, freq="1h", unit="us")
RAIN = "precipitation_surface"
GRID = LatLonGrid(
    latitude=RegularAxis(first=18.0, step=-0.5, size=19), longitude=RegularAxis(first=140.0, step=0.5, size=21)
)
REAL = "mrms/stactools-packages__noaa-mrms-qpe--MRMS_MultiSensor_QPE_01H_Pass1_00.00_20220601-120000.grib2.gz"


def mrms_site(folder: Path, grid: LatLonGrid, start: Timestamp, hours: int) -> Site:
    """The dataset, beginning at a time, with so many hours in a shard."""
    fields: dict[str, Any] = {name: getattr(TEMPLATE, name) for name in TemplateConfig.model_fields}
    sizes = {"time": hours, "latitude": grid.shape[0], "longitude": grid.shape[1]}
    fields |= {"dataset_id": "test-mrms-guam", "grid": grid, "chunks": sizes, "shards": sizes}
    fields |= {"append_dim": AppendAxis(name="time", start=start, frequency="1h")}
    template = TinyTemplate(folder=folder / "templates", **fields)
    template.update_template()
    dataset = DynamicalDataset(template_config=template, region_job=DATASET.region_job, archives=DATASET.archives)
    return Site(folder, dataset, Sample(folder, folder))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def assert_hour_true(found: Any, time: Timestamp) -> None:
    """Within half a packing step and the rounding of the mantissa, and NaN where the source has no precipitation to tell."""
    wanted = mrms_values(time, GRID)
    assert {UNSEEN, MISSING} < set(np.unique(wanted))
    wanted[wanted < 0] = np.nan
    wanted /= 3600
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    excess = np.abs(found - wanted) - RESOLUTION / 2 * 1.001 / 3600 - np.abs(wanted) * 2.0**-8
    assert np.nanmax(excess) <= 1e-9


def test_a_late_hour_completes_a_day_that_is_published(tmp_path: Path) -> None:
    site = mrms_site(tmp_path, GRID, HOURS[0], hours=4)
    write_mrms_sample(site.upstream, [*HOURS[:2], *HOURS[3:]], grid=GRID)
    site.update(HOURS[-1] + Timedelta("1h"))
    ds = site.read()
    assert list(ds.indexes["time"]) == list(HOURS)
    assert ds[RAIN].sel(time=HOURS[2]).isnull().all()
    write_mrms_sample(site.upstream, [HOURS[2]], grid=GRID)
    site.backfill(HOURS[-1] + Timedelta("1h"), contains=[HOURS[0]], overwrite_chunks=True)
    ds = site.read()
    for hour in HOURS:
        assert_hour_true(ds[RAIN].sel(time=hour), hour)


def test_a_real_file_reaches_readers_through_dagster(
    shared_data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    assert isinstance(TEMPLATE.grid, LatLonGrid)
    site = mrms_site(tmp_path, TEMPLATE.grid, NOON, hours=1)
    path = site.upstream / mrms_path(NOON)
    path.parent.mkdir(parents=True)
    assert REAL.endswith(path.name)
    shutil.copyfile(shared_data / REAL, path)
    Deployment(site, instance).run("initialise", end=str(NOON + Timedelta("1h")))
    assert Deployment(site, instance).run("backfill", NOON).success
    field = site.read()[RAIN].sel(time=NOON)
    (expected,) = json.loads((shared_data / f"{REAL}.expected.json").read_text())["messages"]
    assert field.shape == (expected["Ny"], expected["Nx"])
    for point in expected["points"]:
        found = float(field.sel(latitude=point["lat"], longitude=point["lon"], method="nearest"))
        wanted = np.nan if point["value"] < 0 else point["value"] / 3600
        np.testing.assert_allclose(found, wanted, rtol=2.0**-8)
    assert float(field.max()) == pytest.approx(expected["max"] / 3600, rel=2.0**-8)
    assert float(field.min()) == 0
    unseen = int(field.isnull().sum())
    # The mean of all points, of which those unseen count as -3, tells how many there are.
    total = float(field.astype(float).sum()) * 3600
    assert (total - 3 * unseen) / expected["n_points"] == pytest.approx(expected["mean"], abs=2e-3)


def test_readers_are_told_the_ellipsoid_of_the_real_file(shared_data: Path) -> None:
    import pygrib
    import pyproj

    message = pygrib.fromstring(gzip.decompress((shared_data / REAL).read_bytes()))
    assert message["shapeOfTheEarth"] == 2
    axes = float(message["earthMajorAxisInMetres"]), float(message["earthMinorAxisInMetres"])
    attrs = TEMPLATE.get_template(NOON)["spatial_ref"].attrs
    assert (attrs["semi_major_axis"], attrs["semi_minor_axis"]) == axes == (6378160.0, 6356775.0)
    for crs in (pyproj.CRS.from_wkt(attrs["crs_wkt"]), pyproj.CRS.from_cf(attrs)):
        assert crs.ellipsoid is not None
        found = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
        np.testing.assert_allclose(found, axes, atol=1e-4, rtol=0)
        assert crs.ellipsoid.inverse_flattening == pytest.approx(attrs["inverse_flattening"])
    assert "model" not in attrs["comment"]
    assert attrs["reference_ellipsoid_name"] == "IAU 1965"
