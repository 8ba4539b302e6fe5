"""Example idx forecast: global 10 degrees, every 12 h, lead times 0-18 h.

A GRIB2 file holds all variables at one lead time. An `.idx` lies beside it, as NOAA has it.
"""

from reformatters_dagster import (
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DatasetAttributes,
    DataVar,
    Deaccumulation,
    DynamicalDataset,
    ForecastFileCoord,
    ForecastRegionJob,
    GribField,
    IdxGribRegionJob,
    LatLonGrid,
    RegularAxis,
    Resources,
    SourceArchive,
    TemplateConfig,
    lead_time,
    whole_hours,
)

ARCHIVES = (SourceArchive(url="https://example.org/weather", folder="example.org/weather"),)

DATA_VARS = (
    DataVar.standard(
        "temperature_2m",
        GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0)),
    ),
    DataVar.standard(
        "precipitation_surface",
        GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc"),
        comment="Mean over the time since the previous lead time. NaN at lead time 0, where nothing has fallen yet.",
        deaccumulation=Deaccumulation(),
    ),
)

TEMPLATE = TemplateConfig(
    dataset_id="example-idx-forecast",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="Example idx forecast",
        description="What a new dataset starts from.",
        attribution="Say who made the data, and where it was taken from.",
        license="Say what its licence is.",
        spatial_domain="Global",
        spatial_resolution="10 degrees (~1000km)",
        time_resolution="Forecasts initialized every 12 hours",
        forecast_domain="Forecast lead time 0-18 hours ahead",
        forecast_resolution="6 hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2026-01-01T00", frequency="12h"),
    dims=(lead_time(six_hourly_to="18h"),),
    grid=LatLonGrid(
        latitude=RegularAxis(first=90.0, step=-10.0, size=19), longitude=RegularAxis(first=-180.0, step=10.0, size=36)
    ),
    chunks={"init_time": 1, "lead_time": 4, "latitude": 10, "longitude": 18},
    shards={"init_time": 1, "lead_time": 4, "latitude": 20, "longitude": 36},
    data_vars=DATA_VARS,
)


class FileCoord(ForecastFileCoord):
    """One lead time of one init."""

    def key(self) -> str:
        """Path of the file below each archive's URL."""
        return f"{self.init_time:%Y%m%d/%H}/f{whole_hours(self.lead_time):03d}.grib2"

    def get_url(self) -> str:
        return f"{ARCHIVES[0].url}/{self.key()}"


class IdxForecastRegionJob(
    ForecastRegionJob[FileCoord],
    IdxGribRegionJob[FileCoord],
):
    """One init time."""

    source_file_coord = FileCoord


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=IdxForecastRegionJob,
    archives=ARCHIVES,
    documentation="https://example.org/weather",
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    resources=Resources(cpu="1", memory="1Gi", ephemeral_storage="1Gi"),
)
