"""The GFS of `reformat demo`: a few variables at 0.5 degrees and 13 lead times, so that a sample of it is whole.

No archive has its files: those of the sample lie where the archive has its own of 0.25 degrees. So it is not registered.
"""

import pandas as pd

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
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
    lead_time,
)

VARIABLES = {
    "temperature_2m",
    "wind_u_10m",
    "wind_v_10m",
    "pressure_reduced_to_mean_sea_level",
    "precipitation_surface",
    "downward_short_wave_radiation_flux_surface",
}

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gfs-demo",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "GFS",
        name="SAMPLE DATA: GFS forecast",
        description="Invented fields in the formats of NOAA's Global Forecast System (GFS), made by `reformat demo`.",
        spatial_domain="Global",
        spatial_resolution="0.5 degrees (~50km)",
        time_resolution="Forecasts initialized every 6 hours",
        forecast_domain="Forecast lead time 0-12 hours ahead",
        forecast_resolution="Forecast step hourly",
    ).model_copy(update={"attribution": "Invented by `reformat demo`; no data of NOAA."}),
    append_dim=AppendAxis(name="init_time", start="2026-01-01T00", frequency="6h"),
    dims=(lead_time(hourly_to="12h"),),
    grid=LatLonGrid(
        latitude=RegularAxis(first=90.0, step=-0.5, size=361), longitude=RegularAxis(first=-180.0, step=0.5, size=720)
    ),
    chunks={"init_time": 1, "lead_time": 13, "latitude": 121, "longitude": 120},
    shards={"init_time": 1, "lead_time": 13, "latitude": 363, "longitude": 720},
    data_vars=tuple(data_var for data_var in GFS_DATA_VARS if data_var.name in VARIABLES),
)

DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GfsForecastRegionJob,
    archives=GFS_ARCHIVES[:1],
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/gfs/",
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    heal_cool_down=pd.Timedelta(0),
    resources=Resources(cpu="1", memory="2Gi", ephemeral_storage="4Gi"),
)
