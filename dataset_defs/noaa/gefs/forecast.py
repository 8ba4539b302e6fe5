"""NOAA GEFS forecast: 31 members, global 0.25 degree, every day at 00 UTC, lead times 0-840 h."""

from collections.abc import Sequence
from itertools import batched, product

import pandas as pd
import xarray as xr

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.gefs.archives import GEFS_FORECAST_ARCHIVES
from dataset_defs.noaa.gefs.files import GefsFileCoord, product_of
from dataset_defs.noaa.gefs.jobs import GefsRegionJob, file_type_of
from dataset_defs.noaa.gefs.variables import GEFS_FORECAST_DATA_VARS, GefsDataVar
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DataVar,
    DynamicalDataset,
    Resources,
    TemplateConfig,
    ensemble_member,
    lead_time,
)

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gefs-forecast-35-day",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "GEFS",
        name="NOAA GEFS forecast, 35 day",
        description="Weather forecasts of the Global Ensemble Forecast System (GEFS) of NOAA's National Weather Service.",
        spatial_domain="Global",
        spatial_resolution="0-240 hours: 0.25 degrees (~20km), 246-840 hours: 0.5 degrees (~40km)",
        time_resolution="Forecasts initialized every 24 hours",
        forecast_domain="Forecast lead time 0-840 hours (0-35 days) ahead",
        forecast_resolution="Forecast step 0-240 hours: 3 hourly, 246-840 hours: 6 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2020-10-01T00", frequency="24h", years=10),
    dims=(ensemble_member(31), lead_time(three_hourly_to="240h", six_hourly_to="840h")),
    grid=GLOBAL_0P25,
    chunks={"init_time": 1, "ensemble_member": 31, "lead_time": 64, "latitude": 17, "longitude": 16},
    shards={"init_time": 1, "ensemble_member": 31, "lead_time": 192, "latitude": 374, "longitude": 368},
    data_vars=GEFS_FORECAST_DATA_VARS,
    ingested_by_member=True,
)

NEXT_DAY = pd.Timedelta("384h")
"""Files of later lead times arrive a day after the others: they are not asked for, nor missed, before `NEXT_DAY_AGE`."""
NEXT_DAY_AGE = pd.Timedelta("28h")
VARIABLES_AT_ONCE = 3


class GefsForecastRegionJob(GefsRegionJob[GefsFileCoord]):
    """One init time, once without the lead times that arrive next day, then with them."""

    source_file_coord = GefsFileCoord

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        groups: dict[tuple[bool, str], list[DataVar]] = {}
        for data_var in data_vars:
            assert isinstance(data_var, GefsDataVar)
            groups.setdefault((data_var.has_hour_0, data_var.gefs_file_type), []).append(data_var)
        return [batch for group in groups.values() for batch in batched(group, VARIABLES_AT_ONCE, strict=False)]

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[GefsFileCoord]:
        file_type = file_type_of(data_vars)
        members, lead_times = region_ds.indexes["ensemble_member"], region_ds.indexes["lead_time"]
        if not all(data_var.has_hour_0 for data_var in data_vars):
            lead_times = lead_times[lead_times > pd.Timedelta(0)]
        return [
            GefsFileCoord(
                init_time=init,
                ensemble_member=member,
                lead_time=lead,
                product=product_of(data_vars[0], file_type, init, lead),
            )
            for init, member, lead in product(region_ds.indexes["init_time"], members, lead_times)
            if lead <= NEXT_DAY or self.context.now - init >= NEXT_DAY_AGE
        ]


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GefsForecastRegionJob,
    archives=GEFS_FORECAST_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/gens/",
    # Of the newest init time the lead times of the next day, 76 of 181, are yet to come.
    validators=(
        CheckCurrentData(max_delay="12h"),
        CheckRecentNans(max_nan_fraction=(0.45, 0.0)),
        *STANDARD_CHECKS,
    ),
    soft_deadline=pd.Timedelta("8h"),
    heal_cool_down=pd.Timedelta("3h"),
    resources=Resources(cpu="4", memory="36Gi", ephemeral_storage="200Gi"),
    pods="group",
)
