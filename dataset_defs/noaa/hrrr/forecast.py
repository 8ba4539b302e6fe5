"""NOAA HRRR forecast: 3 km over the continental United States, every 6 h, lead times 0-48 h."""

import pandas as pd

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.grib_files import NCEP
from dataset_defs.noaa.hrrr.archives import CONUS_3KM, HRRR_4, HRRR_ARCHIVES, forecast_length, hrrr_key
from dataset_defs.noaa.hrrr.variables import HRRR_DATA_VARS
from reformatters_dagster import (
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


class HrrrForecastTemplate(TemplateConfig):
    """Forecasts became longer with HRRR 4."""

    def expected_forecast_length(self, init_times: pd.DatetimeIndex) -> pd.TimedeltaIndex:
        return pd.TimedeltaIndex([forecast_length(init) for init in init_times])


TEMPLATE = HrrrForecastTemplate(
    dataset_id="noaa-hrrr-forecast-48-hour",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "HRRR",
        name="NOAA HRRR forecast, 48 hour",
        description="Weather forecasts of the High-Resolution Rapid Refresh (HRRR) of NOAA's National Weather Service.",
        spatial_domain="Continental United States",
        spatial_resolution="3 km",
        time_resolution="Forecasts initialized every 6 hours",
        forecast_domain="Forecast lead time 0-48 hours ahead",
        forecast_resolution="Hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2018-07-13T12", frequency="6h"),
    dims=(lead_time(hourly_to="48h"),),
    grid=CONUS_3KM,
    chunks={"init_time": 1, "lead_time": 49, "y": 265, "x": 300},
    shards={"init_time": 1, "lead_time": 49, "y": 1060, "x": 1800},
    data_vars=HRRR_DATA_VARS,
)


HRRR_PROCESSES = (83,)


def hrrr_processes(init_time: pd.Timestamp) -> tuple[int, ...] | None:
    """Generating processes of an init time; None before version 4, whose numbers no file at hand shows."""
    return HRRR_PROCESSES if init_time >= HRRR_4 else None


class HrrrSourceFileCoord(ForecastFileCoord):
    """One lead time of one init: every variable of it lies in one file."""

    def key(self) -> str:
        return hrrr_key(self.init_time, whole_hours(self.lead_time))

    def get_url(self) -> str:
        return f"{HRRR_ARCHIVES[0].url}/{self.key()}"


class HrrrForecastRegionJob(ForecastRegionJob[HrrrSourceFileCoord], IdxGribRegionJob[HrrrSourceFileCoord]):
    """One init time, as far as its forecast reaches."""

    source_file_coord = HrrrSourceFileCoord
    centre = NCEP

    def processes(self, coord: HrrrSourceFileCoord) -> tuple[int, ...] | None:
        return hrrr_processes(coord.init_time)


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=HrrrForecastRegionJob,
    archives=HRRR_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/hrrr/",
    validators=(CheckCurrentData(max_delay="4h"), CheckRecentNans(), *STANDARD_CHECKS),
    partitions_per_run=8,
)
