"""NOAA MRMS around Guam: hourly precipitation seen by radar, gauges and models, one gzipped message per hour."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.job.whole_file_grib_job import WholeFileGribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import Downloaded, SourceFileCoord
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis
from reformatters_dagster.core.spec.grids import PROJ_WORDS, LatLonGrid
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
from reformatters_dagster.core.spec.values import Array2D, OutLoc, Time, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField

ARCHIVES = (SourceArchive(url="s3://noaa-mrms-pds", folder="noaa-mrms-pds", region="us-east-1"),)
PRODUCT = "MultiSensor_QPE_01H_Pass1_00.00"

TEMPLATE = TemplateConfig(
    dataset_id="contrib-mrms-guam-precipitation-hourly",
    dataset_version="0.1.0",
    attributes=DatasetAttributes(
        name="MRMS precipitation around Guam, hourly",
        description="Hourly precipitation of NOAA's Multi-Radar Multi-Sensor system (MRMS) around Guam, first pass.",
        attribution="NOAA NSSL and NCEP MRMS data, taken from NOAA Open Data Dissemination archives and reformatted.",
        license="Public domain in the United States (NOAA data)",
        spatial_domain="Guam and the southern Mariana Islands",
        spatial_resolution="0.005 degrees (~0.5km)",
        time_resolution="1 hour",
    ),
    append_dim=AppendAxis(name="time", start="2022-06-01T00", frequency="1h"),
    grid=LatLonGrid(
        latitude=RegularAxis(first=17.998, step=-0.005, size=1800),
        longitude=RegularAxis(first=140.003, step=0.005, size=2000),
        earth_radius=6378160.0,
        semi_minor_axis=6356775.0,
        words=PROJ_WORDS.model_copy(update={"ellipsoid": "IAU 1965"}),
    ),
    chunks={"time": 24, "latitude": 225, "longitude": 200},
    shards={"time": 24, "latitude": 1800, "longitude": 2000},
    data_vars=(
        DataVar(
            name="precipitation_surface",
            long_name="Precipitation rate",
            short_name="prate",
            standard_name="precipitation_flux",
            units="kg m-2 s-1",
            step_type="avg",
            comment="Mean over the hour that ends at the time. NaN where no radar sees, or the source has no value.",
            field=GribField(element="MultiSensor_QPE_01H_Pass1", level="", parameter=(209, 6, 30), surface=(102, 0.0)),
            scale_factor=1 / 3600,
            valid_range=(0.0, 0.1),
        ),
    ),
)


class MrmsGuamFileCoord(SourceFileCoord):
    """One hour."""

    time: Time

    def key(self) -> str:
        return f"GUAM/{PRODUCT}/{self.time:%Y%m%d}/MRMS_{PRODUCT}_{self.time:%Y%m%d-%H%M%S}.grib2.gz"

    def get_url(self) -> str:
        return f"{ARCHIVES[0].url}/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {"time": self.time}


class MrmsGuamRegionJob(WholeFileGribRegionJob[MrmsGuamFileCoord]):
    """One day."""

    source_file_coord = MrmsGuamFileCoord
    compression = "gzip"

    def generate_source_file_coords(
        self,
        region_ds: xr.Dataset,
        data_vars: Sequence[DataVar],  # noqa: ARG002 there is one
    ) -> list[MrmsGuamFileCoord]:
        return [MrmsGuamFileCoord(time=time) for time in region_ds.indexes["time"]]

    def times(self, coord: MrmsGuamFileCoord, data_var: DataVar) -> tuple[Timestamp, Timedelta, None]:  # noqa: ARG002
        # The messages call themselves instants of the end of their hour.
        return coord.time, Timedelta(0), None

    def read_data(self, coord: MrmsGuamFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        values = super().read_data(coord, data_var, downloaded)
        # -3 stands where no radar sees, other negative numbers for what is missing.
        values[values < 0] = np.nan
        return values


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=MrmsGuamRegionJob,
    archives=ARCHIVES,
    validators=(CheckCurrentData(max_delay="4h"), *STANDARD_CHECKS),
    soft_deadline=Timedelta("2h"),
    give_up_age=Timedelta("1D"),
    validate_cron="45 * * * *",
)
