"""NOAA GFS forecast: global 0.25 degree, every 6 h, lead times 0-384 h."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import pandas as pd
import xarray as xr

from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from dataset_defs.noaa.grib_job import NoaaGribRegionJob
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import ForecastFileCoord, whole_hours
from reformatters_dagster.core.spec.axes import AppendAxis, lead_time
from reformatters_dagster.core.spec.grids import GLOBAL_0P25
from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gfs-forecast",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="NOAA GFS forecast",
        description="Weather forecasts of the Global Forecast System (GFS) of NOAA's National Weather Service.",
        attribution="NOAA NWS NCEP GFS data, taken from NOAA Open Data Dissemination archives and reformatted.",
        license="Public domain in the United States (NOAA data)",
        spatial_domain="Global",
        spatial_resolution="0.25 degrees (~20km)",
        time_resolution="Forecasts initialized every 6 hours",
        forecast_domain="Forecast lead time 0-384 hours (0-16 days) ahead",
        forecast_resolution="Forecast step 0-120 hours: hourly, 123-384 hours: 3 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2021-05-01T00", frequency="6h"),
    dims=(lead_time(hourly_to="120h", three_hourly_to="384h"),),
    grid=GLOBAL_0P25,
    chunks={"init_time": 1, "lead_time": 105, "latitude": 121, "longitude": 121},
    shards={"init_time": 1, "lead_time": 210, "latitude": 726, "longitude": 726},
    data_vars=GFS_DATA_VARS,
)


@lru_cache(maxsize=4096)
def _key(init_time: Timestamp, lead_time: Timedelta) -> str:
    hours = whole_hours(lead_time)
    return f"gfs.{init_time:%Y%m%d/%H}/atmos/gfs.t{init_time:%H}z.pgrb2.0p25.f{hours:03d}"


class GfsSourceFileCoord(ForecastFileCoord):
    """One lead time of one init: every variable of it lies in one file."""

    def key(self) -> str:
        return _key(self.init_time, self.lead_time)

    def get_url(self) -> str:
        return f"{GFS_ARCHIVES[0].url}/{self.key()}"


class GfsForecastRegionJob(NoaaGribRegionJob[GfsSourceFileCoord]):
    """One init time."""

    source_file_coord = GfsSourceFileCoord

    def generate_source_file_coords(
        self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
    ) -> list[GfsSourceFileCoord]:
        init_times, lead_times = region_ds.indexes["init_time"], region_ds.indexes["lead_time"]
        if not all(data_var.has_hour_0 for data_var in data_vars):
            lead_times = lead_times[lead_times > pd.Timedelta(0)]
        return [GfsSourceFileCoord(init_time=init, lead_time=lead) for init, lead in product(init_times, lead_times)]


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GfsForecastRegionJob,
    archives=GFS_ARCHIVES,
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
)
