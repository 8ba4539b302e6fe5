"""NOAA GFS forecast: global 0.25 degree, every 6 h, lead times 0-384 h."""

from functools import lru_cache

import pandas as pd

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from dataset_defs.noaa.grib_files import NCEP
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DynamicalDataset,
    ForecastFileCoord,
    ForecastRegionJob,
    IdxGribRegionJob,
    TemplateConfig,
    lead_time,
    whole_hours,
)

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gfs-forecast",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "GFS",
        name="NOAA GFS forecast",
        description="Weather forecasts of the Global Forecast System (GFS) of NOAA's National Weather Service.",
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
def _key(init_time: pd.Timestamp, lead_time: pd.Timedelta) -> str:
    hours = whole_hours(lead_time)
    return f"gfs.{init_time:%Y%m%d/%H}/atmos/gfs.t{init_time:%H}z.pgrb2.0p25.f{hours:03d}"


GFS_PROCESSES = (81, 96)
"""Hour 0 has that of the analysis, other hours that of the forecast."""


class GfsSourceFileCoord(ForecastFileCoord):
    """One lead time of one init: every variable of it lies in one file."""

    def key(self) -> str:
        return _key(self.init_time, self.lead_time)

    def get_url(self) -> str:
        return f"{GFS_ARCHIVES[0].url}/{self.key()}"


class GfsForecastRegionJob(ForecastRegionJob[GfsSourceFileCoord], IdxGribRegionJob[GfsSourceFileCoord]):
    """One init time."""

    source_file_coord = GfsSourceFileCoord
    centre = NCEP

    def processes(self, coord: GfsSourceFileCoord) -> tuple[int, ...]:  # noqa: ARG002
        return GFS_PROCESSES


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GfsForecastRegionJob,
    archives=GFS_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/gfs/",
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
)
