"""Datasets small enough for quick tests, over real-format GFS files of 10 degrees: a forecast, and an analysis.

A test module that asks for the fixtures says `pytest_plugins = ["tests.datasets"]`; it has imported this one by then,
hence PYTEST_DONT_REWRITE.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob, GfsSourceFileCoord
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry, read_ledger
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.template import DatasetAttributes
from reformatters_dagster.core.spec.values import Array2D, Dim, Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.core.store.stores import StoreSet
from reformatters_dagster.sample_upstream import GFS_FIELDS, expected_values, write_sample_upstream
from tests.stores import watched
from tests.tiny import TinyTemplate

STEP = 10.0
OTHER_STEP = 20.0
LEADS = range(10)
INIT, SECOND, THIRD = pd.date_range("2026-07-29T18", periods=3, freq="6h", unit="us")
EARLIER = INIT - Timedelta("6h")
"""Of it only lead 6 is there, which an analysis that begins at `INIT` wants."""
SOON = Timedelta("5h")
"""After an init time, all its files can be there."""

TEMPERATURE, WIND = "temperature_2m", "wind_u_10m"
RAIN, SUN = "precipitation_surface", "downward_short_wave_radiation_flux_surface"
VARIABLES = (TEMPERATURE, WIND, RAIN, SUN)
IN_ORDER = tuple(sorted(VARIABLES))
INSTANT, WINDOWED = (TEMPERATURE, WIND), (SUN, RAIN)
ROWS = {row.name: row for row in GFS_DATA_VARS}

PRIMARY, NOMADS = (archive.folder for archive in GFS_ARCHIVES)

_ATTRIBUTES = DatasetAttributes(
    name="Sample GFS",
    description="Made in a test.",
    attribution="Nobody",
    license="None",
    spatial_domain="Global",
    spatial_resolution="10 degrees",
    time_resolution="6 hourly",
)
_GRID = LatLonGrid(
    latitude=RegularAxis(first=90.0, step=-STEP, size=19), longitude=RegularAxis(first=-180.0, step=STEP, size=36)
)


def gfs_forecast(folder: Path, *, variables: Sequence[str] = VARIABLES, **changes: Any) -> DynamicalDataset:
    """10 lead times of one init time make a shard of two objects. The template is committed to `folder`."""
    fields: dict[str, Any] = {
        "dataset_id": "test-gfs-forecast",
        "append_dim": AppendAxis(name="init_time", start=INIT, frequency="6h"),
        "dims": (lead_time(hourly_to="9h"),),
        "chunks": {"init_time": 1, "lead_time": 5, "latitude": 10, "longitude": 9},
        "shards": {"init_time": 1, "lead_time": 10, "latitude": 20, "longitude": 18},
    }
    return _dataset(folder, GfsForecastRegionJob, variables, fields | changes)


def gfs_analysis(folder: Path, *, variables: Sequence[str] = VARIABLES, **changes: Any) -> DynamicalDataset:
    """Hourly from the first hours of each forecast, 6 hours in a shard of two objects."""
    fields: dict[str, Any] = {
        "dataset_id": "test-gfs-analysis",
        "append_dim": AppendAxis(name="time", start=INIT, frequency="1h"),
        "dims": (),
        "chunks": {"time": 3, "latitude": 10, "longitude": 9},
        "shards": {"time": 6, "latitude": 20, "longitude": 18},
    }
    return _dataset(folder, GfsAnalysisRegionJob, variables, fields | changes)


def _dataset(
    folder: Path, region_job: type[RegionJob[Any]], variables: Sequence[str], fields: dict[str, Any]
) -> DynamicalDataset:
    rows = tuple(ROWS[name] for name in variables)
    fields = {"dataset_version": "0.1.0", "attributes": _ATTRIBUTES, "grid": _GRID, "data_vars": rows} | fields
    template = TinyTemplate(folder=folder, **fields)
    template.update_template()
    return DynamicalDataset(
        template_config=template, region_job=region_job, archives=GFS_ARCHIVES, start_is_chosen=True
    )


@dataclass(frozen=True)
class Sample:
    """Files of every init time, made once; tests take copies."""

    folder: Path
    odd: Path
    """One file that is not on the datasets' grid: lead 3 of `INIT`."""


def gfs_key(init_time: Timestamp, lead: int) -> str:
    return GfsSourceFileCoord(init_time=init_time, lead_time=Timedelta(hours=lead)).key()


def lay_out(sample: Path, upstream: Path, keys: Iterable[str], archive: str = PRIMARY) -> None:
    """Copy files of the sample, with their indexes, to an archive of a mirror."""
    for key in keys:
        target = upstream / archive / key
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", ".idx"):
            shutil.copyfile(f"{sample / PRIMARY / key}{suffix}", f"{target}{suffix}")


@dataclass(frozen=True)
class Site:
    """A deployment of one dataset in a folder of its own: mirror, stores and tmp."""

    folder: Path
    dataset: DynamicalDataset
    sample: Sample
    settings: dict[str, Any] = field(default_factory=dict)
    before_put: Callable[[str, str], None] | None = None
    """Asked by every store before each put, with the store's URL and the key."""

    @property
    def upstream(self) -> Path:
        return self.folder / "upstream"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def deployment(self) -> Settings:
        """All settings, as the environment would give them."""
        places: dict[str, Any] = {
            "store": str(self.folder / "primary"),
            "upstream": str(self.upstream),
            "tmp": str(self.tmp),
        }
        return Settings(**(places | self.settings))

    @cached_property
    def workspace(self) -> Workspace:
        (self.upstream / PRIMARY).mkdir(parents=True, exist_ok=True)
        workspace = self.dataset.workspace(self.deployment)
        if self.before_put is None:
            return workspace
        return replace(workspace, stores=watched(workspace.stores, self.before_put))

    @property
    def stores(self) -> StoreSet:
        return self.workspace.stores

    def having(self, **changes: Any) -> "Site":
        """The same place with another dataset; see `DynamicalDataset`."""
        return replace(self, dataset=replace(self.dataset, **changes))

    def arrive(self, *init_times: Timestamp, leads: Iterable[int] = LEADS, archive: str = PRIMARY) -> None:
        """Let files appear upstream."""
        keys = [gfs_key(init_time, lead) for init_time, lead in product(init_times, leads)]
        lay_out(self.sample.folder, self.upstream, keys, archive)

    def file(self, lead: int, init_time: Timestamp = INIT, archive: str = PRIMARY) -> Path:
        return self.upstream / archive / gfs_key(init_time, lead)

    def remove(self, *leads: int, init_time: Timestamp = INIT) -> None:
        for lead in leads:
            self.file(lead, init_time).unlink()

    def backfill(self, now: Timestamp = INIT + SOON, **request: Any) -> RunReport:
        return backfill(self.dataset, self.workspace, BackfillRequest(**request), run_id="backfill", now=now)

    def update(self, now: Timestamp = INIT + SOON) -> RunReport:
        return self.dataset.reformat_operational_update(self.workspace, run_id="update", now=now)

    def job(
        self, init_time: Timestamp = INIT, *, variables: Sequence[str] | None = None, **context: Any
    ) -> RegionJob[Any]:
        """The job of a label's shard, all variables in one, over a template that ends with the label or later."""
        shared = replace(self.dataset.context(self.workspace, init_time + SOON), **context)
        template = self.dataset.template_config
        end = max(init_time, template.append_dim.start + template.shard_duration) + Timedelta("1us")
        (job,) = self.dataset.region_job.get_jobs(
            shared, template.get_template(end), contains=[init_time], variables=variables
        )
        return job

    def ledger(self, label: Timestamp = INIT) -> LedgerEntry | None:
        return read_ledger(self.stores.internal, partition_key(label))

    def read(self, store: str | None = None) -> xr.Dataset:
        """Everything a reader sees."""
        return open_as_reader(store or self.stores.primary.url)

    def objects(self) -> dict[str, bytes]:
        """Every object of the primary store, and of what the platform keeps about it."""
        return objects_of(self.folder / "primary")

    def tmp_files(self) -> list[Path]:
        return [path for path in self.tmp.rglob("*") if path.is_file()] if self.tmp.exists() else []


def open_as_reader(url: str) -> xr.Dataset:
    published: xr.Dataset = xr.open_zarr(url, chunks=None, decode_timedelta=True).load()
    return published


def objects_of(folder: Path) -> dict[str, bytes]:
    """Files below a folder but for locks, by their path."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def truth(variable: str, init_time: Timestamp, lead: int) -> Array2D:
    """What the store is to hold, before packing and rounding, by the formulas the sample was made from."""
    row = ROWS[variable]
    if row.deaccumulation is None:
        values = expected_values(variable, init_time, lead, step=STEP) * row.scale_factor + row.add_offset
    elif lead == 0:
        values = np.full(_GRID.shape, np.nan)
    else:
        values = expected_values(variable, init_time, lead, step=STEP, since=lead - 1) / 3600
    rolled: Array2D = np.roll(values, _GRID.longitude.size // 2, axis=1).astype(np.float32)
    return rolled


def assert_true(found: Any, variable: str, init_time: Timestamp, lead: int) -> None:
    """Compare one field of a store with the truth, within half a packing step and the rounding of the mantissa."""
    row, wanted = ROWS[variable], truth(variable, init_time, lead)
    packing = GFS_FIELDS[variable].resolution / 2 * 1.001
    if row.deaccumulation is not None:
        packing *= 2 / 3600
    assert row.keep_mantissa_bits is not None
    tolerance = packing + (np.abs(wanted) + packing) * 2.0 ** -(row.keep_mantissa_bits + 1)
    values = np.asarray(found)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(wanted), err_msg=f"{variable} {init_time} {lead}")
    excess = np.nan_to_num(np.abs(values - wanted) - tolerance).max()
    assert excess <= 0, (
        f"{variable} of {init_time} lead {lead} is {excess} further off than packing and rounding explain"
    )


def assert_forecast_true(ds: xr.Dataset, init_time: Timestamp, *, variables: Sequence[str] = ()) -> None:
    """Compare every lead time of one init time, of all variables unless some are named."""
    for variable, lead in product(variables or map(str, ds.data_vars), LEADS):
        field = ds[variable].sel(init_time=init_time, lead_time=Timedelta(hours=lead))
        assert_true(field, variable, init_time, lead)


def shard_objects(ds: xr.Dataset, variable: str, shard: int) -> set[str]:
    """Keys of the two objects that a shard of a variable is."""
    others: list[Dim] = [dim for dim in ds[variable].dims if dim != ds[variable].dims[0]]  # type: ignore[misc]
    middle = "/0" * (len(others) - 2)
    return {f"{variable}/c/{shard}{middle}/0/{column}" for column in (0, 1)}


@pytest.fixture(scope="session")
def gfs_sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Files of three init times, one of `EARLIER`, and one on another grid."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample_upstream(folder, [INIT, SECOND, THIRD], LEADS, variables=VARIABLES, step=STEP)
    write_sample_upstream(folder, [EARLIER], [6], variables=VARIABLES, step=STEP)
    other = tmp_path_factory.mktemp("other-grid")
    (odd,) = write_sample_upstream(other, [INIT], [3], variables=VARIABLES, step=OTHER_STEP)
    return Sample(folder, odd)


@pytest.fixture(scope="session")
def forecast_dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_forecast(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="session")
def analysis_dataset(tmp_path_factory: pytest.TempPathFactory) -> DynamicalDataset:
    return gfs_analysis(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def site(tmp_path: Path, forecast_dataset: DynamicalDataset, gfs_sample: Sample) -> Site:
    """A forecast that begins at `INIT`, with nothing upstream yet."""
    return Site(tmp_path, forecast_dataset, gfs_sample)


@pytest.fixture
def analysis(tmp_path: Path, analysis_dataset: DynamicalDataset, gfs_sample: Sample) -> Site:
    """An analysis that begins at `INIT`, with all of its files upstream."""
    made = Site(tmp_path, analysis_dataset, gfs_sample)
    made.arrive(EARLIER, leads=[6])
    made.arrive(INIT, SECOND, THIRD, leads=range(7))
    return made
