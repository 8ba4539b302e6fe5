"""Example weather forecast: from files to what a reader sees."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.example.weather.forecast import ARCHIVES, DATASET, FileCoord
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.sample_upstream import GFS_FIELDS, Encoder, gfs_message
from reformatters_dagster.sample_upstream.weather import Field

INIT, SECOND = pd.date_range("2026-07-29T12", periods=2, freq="12h", unit="us")
HOURS = range(7)
LATITUDE = np.linspace(90, -90, 19)[:, np.newaxis]
LONGITUDE = np.arange(0, 360, 10)


def in_file(variable: str, init_time: Timestamp, hour: int) -> Field:
    """What a file of the source holds: kelvin, or millimetres since the start of the run; from 0 E on."""
    day = init_time.day
    if variable == "temperature_2m":
        return 250 + np.cos(np.radians(LATITUDE)) * 40 + LONGITUDE / 60 + hour / 2 + day / 10
    return np.broadcast_to(hour * (day + LONGITUDE / 40), (19, 36)).astype(np.float64)


def in_store(variable: str, init_time: Timestamp, hour: int) -> Field:
    """The same as readers are to see it: degrees Celsius, or a rate; from 180 W on."""
    values = in_file(variable, init_time, hour) - 273.15
    if variable == "precipitation_surface":
        values = (in_file(variable, init_time, hour) - in_file(variable, init_time, max(hour - 1, 0))) / 3600
        values = values if hour else np.full_like(values, np.nan)
    return np.roll(values, 18, axis=1)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror with all files of two init times, encoded by another library than decodes them."""
    folder = tmp_path_factory.mktemp("upstream")
    with Encoder() as encoder:
        for init_time in (INIT, SECOND):
            for variable in DATASET.template_config.variables:
                for hour in HOURS if variable == "temperature_2m" else HOURS[1:]:
                    path = file_of(folder, variable, init_time, hour)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    values = in_file(variable, init_time, hour)
                    path.write_bytes(encoder.encode(gfs_message(GFS_FIELDS[variable], init_time, hour, values)))
    return folder


def file_of(upstream: Path, variable: str, init_time: Timestamp, hour: int) -> Path:
    coord = FileCoord(init_time=init_time, lead_time=Timedelta(hours=hour), variable=variable)
    return upstream / ARCHIVES[0].folder / coord.key()


def workspace_of(folder: Path, upstream: Path) -> Workspace:
    settings = Settings(store=str(folder / "stores"), upstream=str(upstream), tmp=str(folder / "tmp"))
    return DATASET.workspace(settings)


def fill(workspace: Workspace) -> RunReport:
    """The first init time by a backfill of a new store."""
    request = BackfillRequest(start=INIT, end=SECOND)
    return backfill(DATASET, workspace, request, run_id="backfill", now=INIT + Timedelta("6h"))


def assert_complete(report: RunReport) -> None:
    """Every file could be read; else say why the first could not: a wrong row shows here."""
    assert report.failures == {}
    for commit in report.commits:
        for variable, coverage in commit.entry.variables.items():
            assert not coverage.missing, f"{variable} lacks {coverage.missing[0].file}: {coverage.missing[0].reason}"


def assert_as_in_files(ds: xr.Dataset, init_time: Timestamp) -> None:
    for variable, row in DATASET.template_config.variables.items():
        for hour in HOURS:
            found = ds[variable].sel(init_time=init_time, lead_time=Timedelta(hours=hour))
            wanted = in_store(variable, init_time, hour)
            # Half a packing step, of two totals where a rate is made of them, and the rounding of the mantissa.
            packing = GFS_FIELDS[variable].resolution / (1 if row.deaccumulation is None else 3600)
            np.testing.assert_allclose(found, wanted, rtol=2**-8, atol=packing, err_msg=f"{variable} {hour}")


def read(workspace: Workspace) -> xr.Dataset:
    published: xr.Dataset = xr.open_zarr(workspace.stores.primary.url, chunks=None, decode_timedelta=True)
    return published


def test_a_reader_sees_what_the_files_hold(upstream: Path, tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, upstream)
    report = fill(workspace)
    assert report.partitions == [INIT]
    assert_complete(report)
    assert_as_in_files(read(workspace), INIT)
    assert_complete(DATASET.reformat_operational_update(workspace, run_id="update", now=SECOND + Timedelta("6h")))
    assert read(workspace).indexes["init_time"][-1] == SECOND
    assert_as_in_files(read(workspace), SECOND)


def test_what_is_not_there_is_nan_and_known_to_be_missing(upstream: Path, tmp_path: Path) -> None:
    holed = Path(shutil.copytree(upstream, tmp_path / "upstream"))
    file_of(holed, "temperature_2m", INIT, 3).unlink()
    workspace = workspace_of(tmp_path, holed)
    (commit,) = fill(workspace).commits
    coverage = commit.entry.variables["temperature_2m"]
    assert (coverage.expected, coverage.succeeded) == (7, 6)
    assert coverage.missing[0].file == "20260729/12/temperature_2m_f003.grib2"
    lacking = read(workspace)["temperature_2m"].sel(init_time=INIT).isnull().all(["latitude", "longitude"])
    assert list(lacking.to_numpy()) == [hour == 3 for hour in HOURS]
