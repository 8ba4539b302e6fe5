"""Example weather forecast: global 10 degrees, every 12 h, lead times 0-6 h.

A GRIB2 file holds one variable at one lead time.
"""

from collections.abc import Sequence
from itertools import product

import xarray as xr

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.job.whole_file_grib_job import WholeFileGribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset, Resources
from reformatters_dagster.core.source.files import ForecastFileCoord, whole_hours
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField

# Asked in this order. A mirror (REFORMATTERS_UPSTREAM) holds each archive in its `folder`. Buckets (s3://, gs://) can be listed,
# which is how the sensor sees what has arrived.
ARCHIVES = (SourceArchive(url="https://example.org/weather", folder="example.org/weather"),)

# One row per variable: what readers see, then the message it is made of. A name that another dataset has means the same
# there: copy its long_name, short_name, standard_name and units. Stored value = source value * scale_factor + add_offset.
DATA_VARS = (
    DataVar(
        name="temperature_2m",
        long_name="2 metre temperature",
        short_name="2t",
        standard_name="air_temperature",
        units="degree_Celsius",
        step_type="instant",
        field=GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0)),
        add_offset=-273.15,
        valid_range=(-110.0, 75.0),
    ),
    # The source publishes totals since the start of the run; readers want rates.
    DataVar(
        name="precipitation_surface",
        long_name="Precipitation rate",
        short_name="prate",
        standard_name="precipitation_flux",
        units="kg m-2 s-1",
        step_type="avg",
        comment="Mean over the time since the previous lead time. NaN at lead time 0, where nothing has fallen yet.",
        field=GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc"),
        deaccumulation=Deaccumulation(reset=None),
        valid_range=(0.0, 0.1),
    ),
)

# One shard along the append dimension is one partition. Chunks of 2 to 6 MB and shards of a few hundred MB serve maps and
# time series; these here are as small as the grid. The grid is that of the store; the source may scan it another way.
TEMPLATE = TemplateConfig(
    dataset_id="example-weather-forecast",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="Example weather forecast",
        description="What a new dataset starts from.",
        attribution="Say who made the data, and where it was taken from.",
        license="Say what its licence is.",
        spatial_domain="Global",
        spatial_resolution="10 degrees (~1000km)",
        time_resolution="Forecasts initialized every 12 hours",
        forecast_domain="Forecast lead time 0-6 hours ahead",
        forecast_resolution="Forecast step hourly",
    ),
    append_dim=AppendAxis(name="init_time", start="2026-01-01T00", frequency="12h"),
    dims=(lead_time(hourly_to="6h"),),
    grid=LatLonGrid(
        latitude=RegularAxis(first=90.0, step=-10.0, size=19), longitude=RegularAxis(first=-180.0, step=10.0, size=36)
    ),
    chunks={"init_time": 1, "lead_time": 7, "latitude": 10, "longitude": 18},
    shards={"init_time": 1, "lead_time": 7, "latitude": 20, "longitude": 36},
    data_vars=DATA_VARS,
)


class FileCoord(ForecastFileCoord):
    """One variable at one lead time of one init."""

    variable: str

    def key(self) -> str:
        """Path of the file below each archive's URL."""
        return f"{self.init_time:%Y%m%d/%H}/{self.variable}_f{whole_hours(self.lead_time):03d}.grib2"

    def get_url(self) -> str:
        return f"{ARCHIVES[0].url}/{self.key()}"


# A source with an index beside its files takes IndexedGribRegionJob: see dataset_defs/noaa/grib_job.py.
class WeatherForecastRegionJob(WholeFileGribRegionJob[FileCoord]):
    """One init time."""

    source_file_coord = FileCoord

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[FileCoord]:
        """Every file that is to be there; what is known not to exist is left out, or it would count as missing."""
        (data_var,) = data_vars
        init_times, lead_times = region_ds.indexes["init_time"], region_ds.indexes["lead_time"]
        if not data_var.has_hour_0:
            lead_times = lead_times[lead_times > Timedelta(0)]
        return [
            FileCoord(init_time=init, lead_time=lead, variable=data_var.name)
            for init, lead in product(init_times, lead_times)
        ]

    def times(self, coord: FileCoord, data_var: DataVar) -> tuple[Timestamp, Timedelta, Timedelta | None]:
        """What the message must say of itself, so that another one is never taken for it."""
        window = None if data_var.field.statistic == "instant" else coord.lead_time
        return coord.init_time, coord.lead_time, window


# A pod's resources cover a region: the contract computes from the template whether they do.
DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=WeatherForecastRegionJob,
    archives=ARCHIVES,
    validators=(CheckCurrentData(max_delay="8h"), CheckRecentNans(), *STANDARD_CHECKS),
    resources=Resources(cpu="1", memory="1Gi", ephemeral_storage="1Gi"),
)
