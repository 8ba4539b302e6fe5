"""The ensemble of `reformat demo`: five members at 1 degree, a few variables and lead times, so that a sample is whole.

No archive has its files: those of the sample lie where the archive has its own of 0.25 degrees. So it is not registered.
"""

import pandas as pd

from dataset_defs.ecmwf.archives import GOOGLE
from dataset_defs.ecmwf.attributes import ecmwf_attributes
from dataset_defs.ecmwf.ifs_ens.forecast import IfsEnsForecastRegionJob
from dataset_defs.ecmwf.ifs_ens.variables import IFS_ENS_DATA_VARS
from reformatters_dagster import (
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DynamicalDataset,
    LatLonGrid,
    RegularAxis,
    Resources,
    TemplateConfig,
    ensemble_member,
    lead_time,
)

MEMBERS = range(5)
VARIABLES = {
    "temperature_2m",
    "wind_u_10m",
    "wind_v_10m",
    "pressure_reduced_to_mean_sea_level",
    "precipitation_surface",
}
AGE = pd.Timedelta("18h")
"""How old the newest forecast may become: the demo makes the one of the day on which its first cycle of the GFS began."""

TEMPLATE = TemplateConfig(
    dataset_id="ecmwf-ifs-ens-demo",
    dataset_version="0.1.0",
    attributes=ecmwf_attributes(
        name="SAMPLE DATA: ECMWF IFS ENS forecast",
        description="Invented fields in the formats of ECMWF's ensemble forecast (IFS ENS), made by `reformat demo`.",
        spatial_domain="Global",
        spatial_resolution="1 degree (~100km)",
        time_resolution="Forecasts initialized every 24 hours",
        forecast_domain="Forecast lead time 0-12 hours ahead",
        forecast_resolution="Forecast step 3 hourly",
    ).model_copy(update={"attribution": "Invented by `reformat demo`; no data of ECMWF."}),
    append_dim=AppendAxis(name="init_time", start="2026-01-01T00", frequency="24h"),
    dims=(lead_time(three_hourly_to="12h"), ensemble_member(len(MEMBERS))),
    grid=LatLonGrid(
        latitude=RegularAxis(first=90.0, step=-1.0, size=181), longitude=RegularAxis(first=-180.0, step=1.0, size=360)
    ),
    chunks={"init_time": 1, "lead_time": 5, "ensemble_member": 5, "latitude": 91, "longitude": 90},
    shards={"init_time": 1, "lead_time": 5, "ensemble_member": 5, "latitude": 182, "longitude": 360},
    data_vars=tuple(data_var for data_var in IFS_ENS_DATA_VARS if data_var.name in VARIABLES),
)

DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=IfsEnsForecastRegionJob,
    archives=(GOOGLE,),
    documentation="https://www.ecmwf.int/en/forecasts/datasets/open-data",
    validators=(CheckCurrentData(max_delay=AGE), CheckRecentNans(), *STANDARD_CHECKS),
    soft_deadline=AGE,
    resources=Resources(cpu="1", memory="2Gi", ephemeral_storage="4Gi"),
)
