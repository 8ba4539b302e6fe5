"""ECMWF IFS ensemble forecast: 51 members, global 0.25 degree, every day at 00 UTC, lead times 0-360 h."""

from collections.abc import Sequence

import pandas as pd

from dataset_defs.ecmwf.archives import ECMWF_ARCHIVES
from dataset_defs.ecmwf.attributes import ecmwf_attributes
from dataset_defs.ecmwf.grib_job import EcmwfGribRegionJob
from dataset_defs.ecmwf.ifs_ens.files import CONTROL, IfsEnsFileCoord
from dataset_defs.ecmwf.ifs_ens.variables import IFS_ENS_DATA_VARS
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DataVar,
    DynamicalDataset,
    ForecastRegionJob,
    Resources,
    TemplateConfig,
    ensemble_member,
    lead_time,
)

IFS_PROCESSES = range(100, 255)
"""Each cycle of the IFS has the next number: 154 in 2024, 158 in 2025. Models of the AIFS have small ones."""

TEMPLATE = TemplateConfig(
    dataset_id="ecmwf-ifs-ens-forecast-15-day-0-25-degree",
    dataset_version="0.1.0",
    attributes=ecmwf_attributes(
        name="ECMWF IFS ENS forecast, 15 day, 0.25 degree",
        description="Ensemble weather forecasts of the Integrated Forecasting System (IFS) of ECMWF.",
        spatial_domain="Global",
        spatial_resolution="0.25 degrees (~20km)",
        time_resolution="Forecasts initialized every 24 hours",
        forecast_domain="Forecast lead time 0-360 hours (0-15 days) ahead",
        forecast_resolution="Forecast step 0-144 hours: 3 hourly, 144-360 hours: 6 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2024-04-01T00", frequency="24h"),
    dims=(lead_time(three_hourly_to="144h", six_hourly_to="360h"), ensemble_member(51)),
    grid=GLOBAL_0P25,
    chunks={"init_time": 1, "lead_time": 85, "ensemble_member": 51, "latitude": 32, "longitude": 32},
    shards={"init_time": 1, "lead_time": 85, "ensemble_member": 51, "latitude": 320, "longitude": 320},
    data_vars=IFS_ENS_DATA_VARS,
)


class IfsEnsForecastRegionJob(ForecastRegionJob[IfsEnsFileCoord], EcmwfGribRegionJob[IfsEnsFileCoord]):
    """One init time, one variable at a time."""

    source_file_coord = IfsEnsFileCoord
    shares_indexes = True

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        return [(data_var,) for data_var in data_vars]

    def index_member(self, coord: IfsEnsFileCoord) -> int:
        return coord.ensemble_member

    def processes(self, coord: IfsEnsFileCoord) -> range:  # noqa: ARG002
        return IFS_PROCESSES

    def member(self, coord: IfsEnsFileCoord) -> int | tuple[int | None, ...] | None:
        return (None, CONTROL) if coord.is_single else coord.ensemble_member


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=IfsEnsForecastRegionJob,
    archives=ECMWF_ARCHIVES,
    documentation="https://www.ecmwf.int/en/forecasts/datasets/open-data",
    validators=(CheckCurrentData(max_delay="12h"), CheckRecentNans(), *STANDARD_CHECKS),
    soft_deadline=pd.Timedelta("12h"),
    resources=Resources(cpu="4", memory="36Gi", ephemeral_storage="120Gi"),
    pods="group",
)
