"""NOAA HRRR analysis: 3 km over the continental United States, hourly, each hour from the newest forecast that has it."""

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.grib_files import NCEP
from dataset_defs.noaa.hrrr.archives import CONUS_3KM, HRRR_ARCHIVES
from dataset_defs.noaa.hrrr.forecast import HrrrSourceFileCoord, hrrr_processes
from dataset_defs.noaa.hrrr.variables import HOUR, HRRR_ANALYSIS_DATA_VARS
from reformatters_dagster import (
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
    dataset_id="noaa-hrrr-analysis",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "HRRR",
        name="NOAA HRRR analysis",
        description="Past weather by the High-Resolution Rapid Refresh (HRRR) of NOAA's National Weather Service: the first "
        "hours of each forecast, one after the other.",
        spatial_domain="Continental United States",
        spatial_resolution="3 km",
        time_resolution="1 hour",
    ),
    append_dim=AppendAxis(name="time", start="2014-10-01T00", frequency="1h"),
    grid=CONUS_3KM,
    chunks={"time": 2160, "y": 45, "x": 45},
    shards={"time": 2160, "y": 540, "x": 450},
    data_vars=HRRR_ANALYSIS_DATA_VARS,
)


class HrrrAnalysisFileCoord(HrrrSourceFileCoord):
    """The first file of a forecast that has a variable, as what the weather was then."""

    def out_loc(self) -> OutLoc:
        return {"time": self.init_time + self.lead_time}


class HrrrAnalysisRegionJob(IdxGribRegionJob[HrrrAnalysisFileCoord]):
    """90 days, and the hour before them: the first of a row of rates is left out."""

    source_file_coord = HrrrAnalysisFileCoord
    centre = NCEP

    def processes(self, coord: HrrrAnalysisFileCoord) -> tuple[int, ...] | None:
        return hrrr_processes(coord.init_time)

    def get_processing_region(self) -> slice:
        return slice(max(self.region.start - 1, 0), self.region.stop)

    def generate_source_file_coords(
        self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
    ) -> list[HrrrAnalysisFileCoord]:
        lead = pd.Timedelta(0) if all(data_var.has_hour_0 for data_var in data_vars) else HOUR
        times = pd.DatetimeIndex(region_ds.indexes["time"])
        return [HrrrAnalysisFileCoord(init_time=time - lead, lead_time=lead) for time in times]


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=HrrrAnalysisRegionJob,
    archives=HRRR_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/hrrr/",
    validators=(CheckCurrentData(max_delay="4h"), CheckRecentNans(), *STANDARD_CHECKS),
    publish_policy="all",
    resources=Resources(memory="12Gi", ephemeral_storage="300Gi"),
)
