"""DWD ICON-EU forecast: Europe at 0.0625 degree, every 6 h, lead times 0-120 h, one file per variable and step."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dataset_defs.dwd.grib_files import OFFENBACH, file_name
from dataset_defs.dwd.icon_eu.archives import DWD_SERVER, ICON_EU_ARCHIVES, ICON_EU_COPY
from dataset_defs.dwd.icon_eu.variables import ICON_EU_DATA_VARS
from reformatters_dagster import (
    GDAL_GRIB_WORDS,
    STANDARD_CHECKS,
    AppendAxis,
    Archive,
    CheckCurrentData,
    CheckRecentNans,
    DatasetAttributes,
    DataVar,
    DynamicalDataset,
    ForecastFileCoord,
    ForecastRegionJob,
    LatLonGrid,
    RegularAxis,
    TemplateConfig,
    WholeFileGribRegionJob,
    lead_time,
)

TEMPLATE = TemplateConfig(
    dataset_id="dwd-icon-eu-forecast-5-day",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="DWD ICON-EU forecast, 5 day",
        description="Weather forecasts for Europe of the ICON-EU model of the Deutscher Wetterdienst (DWD).",
        attribution="Source: Deutscher Wetterdienst, ICON-EU; copied by dynamical.org to Source Cooperative and reformatted.",
        license="CC BY 4.0 (DWD open data)",
        spatial_domain="Europe",
        spatial_resolution="0.0625 degrees (~7km)",
        time_resolution="Forecasts initialized every 6 hours",
        forecast_domain="Forecast lead time 0-120 hours (0-5 days) ahead",
        forecast_resolution="Forecast step 0-78 hours: hourly, 81-120 hours: 3 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2026-02-10T00", frequency="6h"),
    dims=(lead_time(hourly_to="78h", three_hourly_to="120h"),),
    grid=LatLonGrid(
        latitude=RegularAxis(first=70.5, step=-0.0625, size=657),
        longitude=RegularAxis(first=-23.5, step=0.0625, size=1377),
        words=GDAL_GRIB_WORDS,
    ),
    chunks={"init_time": 1, "lead_time": 93, "latitude": 219, "longitude": 153},
    shards={"init_time": 1, "lead_time": 93, "latitude": 657, "longitude": 1377},
    data_vars=ICON_EU_DATA_VARS,
)


ICON_EU_PROCESSES = (2,)
"""By DWD's own table: the nest over Europe. The global ICON has 1."""


class IconEuSourceFileCoord(ForecastFileCoord):
    """One variable at one lead time of one init."""

    element: str
    """The variable as folders call it: `t_2m`."""

    def key(self) -> str:
        return f"{self.init_time:%Y-%m-%dT%H}/{self.element}/{file_name(self.init_time, self.lead_time, self.element)}"

    def key_on_server(self) -> str:
        """Path on DWD's own server, which keeps one run of each hour of the day."""
        return f"{self.init_time:%H}/{self.element}/{file_name(self.init_time, self.lead_time, self.element)}"

    def get_url(self) -> str:
        return f"{ICON_EU_COPY.url}/{self.key()}"


class IconEuForecastRegionJob(ForecastRegionJob[IconEuSourceFileCoord], WholeFileGribRegionJob[IconEuSourceFileCoord]):
    """One init time. Every variable has a file at every lead time, 0 included."""

    source_file_coord = IconEuSourceFileCoord
    compression = "bz2"
    centre = OFFENBACH
    every_variable_has_hour_0 = True

    def processes(self, coord: IconEuSourceFileCoord) -> tuple[int, ...]:  # noqa: ARG002
        return ICON_EU_PROCESSES

    def coord_fields(self, data_vars: Sequence[DataVar]) -> Mapping[str, object]:
        (data_var,) = data_vars
        return {"element": data_var.field.element.lower()}

    def key_in(self, archive: Archive, coord: IconEuSourceFileCoord) -> str:
        return coord.key_on_server() if archive.name == DWD_SERVER.folder else coord.key()


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=IconEuForecastRegionJob,
    archives=ICON_EU_ARCHIVES,
    documentation="https://www.dwd.de/EN/ourservices/nwp_forecast_data/nwp_forecast_data.html",
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    soft_deadline=pd.Timedelta("5h"),
    partitions_per_run=8,
)
