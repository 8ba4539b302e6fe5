"""NOAA MRMS around Guam: hourly precipitation seen by radar, gauges and models, one gzipped message per hour."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster import (
    PROJ_WORDS,
    STANDARD_CHECKS,
    AppendAxis,
    Array2D,
    CheckCurrentData,
    DatasetAttributes,
    DataVar,
    Downloaded,
    DynamicalDataset,
    GribField,
    LatLonGrid,
    MessageTimes,
    OutLoc,
    RegularAxis,
    SourceArchive,
    SourceFileCoord,
    TemplateConfig,
    Time,
    WholeFileGribRegionJob,
)

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
        DataVar.standard(
            "precipitation_surface",
            GribField(element="MultiSensor_QPE_01H_Pass1", level="", parameter=(209, 6, 30), surface=(102, 0.0)),
            step_type="avg",  # the messages call the hour's total an instant
            comment="Mean over the hour that ends at the time. NaN where no radar sees, or the source has no value.",
            scale_factor=1 / 3600,
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
    centre = 161  # NOAA's Office of Oceanic and Atmospheric Research

    def generate_source_file_coords(
        self,
        region_ds: xr.Dataset,
        data_vars: Sequence[DataVar],  # noqa: ARG002 there is one
    ) -> list[MrmsGuamFileCoord]:
        return [MrmsGuamFileCoord(time=time) for time in region_ds.indexes["time"]]

    def times(self, coord: MrmsGuamFileCoord, data_var: DataVar) -> MessageTimes:  # noqa: ARG002
        # The messages call themselves instants of the end of their hour.
        return coord.time, pd.Timedelta(0), None

    def read_data(self, coord: MrmsGuamFileCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        values = super().read_data(coord, data_var, downloaded)
        # -3 stands where no radar sees, other negative numbers for what is missing.
        values[values < 0] = np.nan
        return values


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=MrmsGuamRegionJob,
    archives=ARCHIVES,
    documentation="https://www.nssl.noaa.gov/projects/mrms/",
    validators=(CheckCurrentData(max_delay="4h"), *STANDARD_CHECKS),
    soft_deadline=pd.Timedelta("2h"),
    give_up_age=pd.Timedelta("1D"),
    validate_cron="45 * * * *",
    partitions_per_run=30,
)
