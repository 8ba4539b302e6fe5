"""ECMWF IFS ensemble forecast: 51 members, global 0.25 degree, every day at 00 UTC, lead times 0-360 h."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import xarray as xr

from dataset_defs.ecmwf.ifs_ens.archives import ECMWF_ARCHIVES
from dataset_defs.ecmwf.ifs_ens.files import IfsEnsFileCoord, IfsEnsRegionJob
from dataset_defs.ecmwf.ifs_ens.variables import IFS_ENS_DATA_VARS
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.run.dataset import DynamicalDataset, Resources
from reformatters_dagster.core.spec.axes import AppendAxis, ensemble_member, lead_time
from reformatters_dagster.core.spec.grids import GLOBAL_0P25
from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
from reformatters_dagster.core.spec.variables import DataVar

TEMPLATE = TemplateConfig(
    dataset_id="ecmwf-ifs-ens-forecast-15-day-0-25-degree",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="ECMWF IFS ENS forecast, 15 day, 0.25 degree",
        description="Ensemble weather forecasts of the Integrated Forecasting System (IFS) of ECMWF.",
        attribution="ECMWF open data, www.ecmwf.int, reformatted; ECMWF accepts no liability for errors or omissions in it.",
        license="CC BY 4.0 (ECMWF open data)",
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


class IfsEnsForecastRegionJob(IfsEnsRegionJob):
    """One init time, one variable at a time."""

    source_file_coord = IfsEnsFileCoord

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        return [(data_var,) for data_var in data_vars]

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[IfsEnsFileCoord]:
        (data_var,) = data_vars
        init_times, lead_times = region_ds.indexes["init_time"], region_ds.indexes["lead_time"]
        if not data_var.has_hour_0:
            lead_times = lead_times[lead_times > pd.Timedelta(0)]
        return [
            IfsEnsFileCoord(init_time=init, lead_time=lead, ensemble_member=member)
            for init, lead, member in product(init_times, lead_times, region_ds.indexes["ensemble_member"])
        ]


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=IfsEnsForecastRegionJob,
    archives=ECMWF_ARCHIVES,
    validators=(CheckCurrentData(max_delay="12h"), CheckRecentNans(), *STANDARD_CHECKS),
    soft_deadline=pd.Timedelta("12h"),
    resources=Resources(cpu="4", memory="36Gi", ephemeral_storage="120Gi"),
    pods="group",
)
