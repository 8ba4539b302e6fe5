"""NOAA GFS analysis: global 0.25 degree, hourly, each hour from the newest forecast that has it."""

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.gfs.archives import GFS_ARCHIVES
from dataset_defs.noaa.gfs.forecast import GFS_PROCESSES, GfsSourceFileCoord
from dataset_defs.noaa.gfs.variables import GFS_ANALYSIS_DATA_VARS, WINDOW
from dataset_defs.noaa.grib_files import NCEP
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DataVar,
    DynamicalDataset,
    IdxGribRegionJob,
    OutLoc,
    Resources,
    TemplateConfig,
)

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gfs-analysis",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "GFS",
        name="NOAA GFS analysis",
        description="Past weather by the Global Forecast System (GFS) of NOAA's National Weather Service: the first hours of "
        "each forecast, one after the other.",
        spatial_domain="Global",
        spatial_resolution="0.25 degrees (~20km)",
        time_resolution="1 hour",
    ),
    append_dim=AppendAxis(name="time", start="2021-05-01T00", frequency="1h"),
    grid=GLOBAL_0P25,
    chunks={"time": 1440, "latitude": 50, "longitude": 50},
    shards={"time": 1440, "latitude": 400, "longitude": 400},
    data_vars=GFS_ANALYSIS_DATA_VARS,
)


class GfsAnalysisFileCoord(GfsSourceFileCoord):
    """One of the first hours of a forecast, as what the weather was then."""

    def out_loc(self) -> OutLoc:
        return {"time": self.init_time + self.lead_time}


class GfsAnalysisRegionJob(IdxGribRegionJob[GfsAnalysisFileCoord]):
    """60 days, and the hour before them: an hourly rate is the difference of two totals."""

    source_file_coord = GfsAnalysisFileCoord
    centre = NCEP

    def processes(self, coord: GfsAnalysisFileCoord) -> tuple[int, ...]:  # noqa: ARG002
        return GFS_PROCESSES

    def get_processing_region(self) -> slice:
        return slice(max(self.region.start - 1, 0), self.region.stop)

    def generate_source_file_coords(
        self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
    ) -> list[GfsAnalysisFileCoord]:
        times = pd.DatetimeIndex(region_ds.indexes["time"])
        # A window has no length at lead time 0: the hour a forecast starts at is the last one of the forecast before.
        instant = all(data_var.has_hour_0 for data_var in data_vars)
        inits = times.floor(WINDOW) if instant else times.ceil(WINDOW) - WINDOW
        return [
            GfsAnalysisFileCoord(init_time=init, lead_time=time - init) for time, init in zip(times, inits, strict=True)
        ]


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GfsAnalysisRegionJob,
    archives=GFS_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/gfs/",
    validators=(CheckCurrentData(max_delay="7h"), CheckRecentNans(), *STANDARD_CHECKS),
    publish_policy="all",
    resources=Resources(memory="8Gi", ephemeral_storage="100Gi"),
)
