"""NOAA GEFS analysis: the control member's shortest lead times since 2000, global 0.25 degree, every 3 h."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from dataset_defs.noaa.attributes import ncep_attributes
from dataset_defs.noaa.gefs.archives import GEFS_ANALYSIS_ARCHIVES
from dataset_defs.noaa.gefs.files import REFORECAST_END, V12_START, GefsFileCoord, product_of
from dataset_defs.noaa.gefs.jobs import GefsRegionJob
from dataset_defs.noaa.gefs.variables import GEFS_ANALYSIS_DATA_VARS, GefsDataVar
from reformatters_dagster import (
    GLOBAL_0P25,
    STANDARD_CHECKS,
    AppendAxis,
    CheckCurrentData,
    CheckRecentNans,
    DataVar,
    DynamicalDataset,
    OutLoc,
    Resources,
    Results,
    TemplateConfig,
)

MOMENT = pd.Timedelta("1us")

TEMPLATE = TemplateConfig(
    dataset_id="noaa-gefs-analysis",
    dataset_version="0.1.0",
    attributes=ncep_attributes(
        "GEFS",
        name="NOAA GEFS analysis",
        description=(
            "Weather analysis made of the shortest lead times of the control member of the Global Ensemble Forecast System "
            "(GEFS) of NOAA's National Weather Service. Until 2019 it is the GEFS version 12 reforecast. From 2020-01-01 "
            "to 2020-09-23 it is the earlier version, 1 degree and every 6 hours; the 3 hourly steps between are interpolated."
        ),
        spatial_domain="Global",
        spatial_resolution="0.25 degrees (~20km)",
        time_resolution="3.0 hours",
    ),
    append_dim=AppendAxis(name="time", start="2000-01-01T00", frequency="3h", years=25),
    grid=GLOBAL_0P25,
    chunks={"time": 1440, "latitude": 32, "longitude": 32},
    shards={"time": 2880, "latitude": 384, "longitude": 384},
    data_vars=GEFS_ANALYSIS_DATA_VARS,
)


class GefsAnalysisFileCoord(GefsFileCoord):
    """One of the first hours of the control forecast, as what the weather was then."""

    def out_loc(self) -> OutLoc:
        return {"time": self.init_time + self.lead_time}


def newest_inits(times: pd.DatetimeIndex, *, has_hour_0: bool) -> pd.DatetimeIndex:
    """Init time of the newest forecast that has each valid time. The reforecast is made daily, and has no hour 0."""
    latest = times if has_hour_0 else times - MOMENT
    return latest.floor("6h").where(latest >= REFORECAST_END, (times - MOMENT).floor("D"))


def has_no_file(times: pd.DatetimeIndex) -> npt.NDArray[np.bool_]:
    """Whether a valid time lies between two that the source has: before version 12 every second one does."""
    return np.asarray((times >= REFORECAST_END) & (times < V12_START) & (times.hour % 6 != 0))


class GefsAnalysisRegionJob(GefsRegionJob[GefsAnalysisFileCoord]):
    """360 days, and the steps beside them that their values are made with."""

    source_file_coord = GefsAnalysisFileCoord

    def get_processing_region(self) -> slice:
        """From where a window begins on, to the next file where the last step lies between two."""
        times = pd.DatetimeIndex(self.template_ds.indexes["time"][self.region])
        return slice(max(self.region.start - 2, 0), self.region.stop + int(has_no_file(times)[-1]))

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        """Each variable alone, since the reforecast has a file for each."""
        return [(data_var,) for data_var in data_vars]

    def generate_source_file_coords(
        self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]
    ) -> list[GefsAnalysisFileCoord]:
        (data_var,) = data_vars
        assert isinstance(data_var, GefsDataVar)
        times = pd.DatetimeIndex(region_ds.indexes["time"])
        times = times[~has_no_file(times)]
        if data_var.available_from is not None:  # the reforecast has no name for what it does not have
            times = times[times >= data_var.available_from]
        inits = newest_inits(times, has_hour_0=data_var.has_hour_0)
        return [
            GefsAnalysisFileCoord(
                init_time=init,
                ensemble_member=0,
                lead_time=time - init,
                product=product_of(data_var, data_var.gefs_file_type, init, time - init),
            )
            for time, init in zip(times, inits, strict=True)
            if init >= TEMPLATE.append_dim.start
        ]

    def steps_without_files(self, region_ds: xr.Dataset) -> npt.NDArray[np.bool_]:
        return has_no_file(pd.DatetimeIndex(region_ds.indexes["time"]))

    def reach(self, data_var: DataVar) -> int:  # noqa: ARG002
        return 4

    def update_template_with_results(self, results: Results) -> xr.Dataset:
        """Up to the newest step of any variable that hour 0 holds: windows end one forecast further on."""
        variables = self.context.template_config.variables
        instant = {name: files for name, files in results.items() if variables[name].has_hour_0}
        return super().update_template_with_results(instant or results)


DATASET = DynamicalDataset(
    template_config=TEMPLATE,
    region_job=GefsAnalysisRegionJob,
    archives=GEFS_ANALYSIS_ARCHIVES,
    documentation="https://www.nco.ncep.noaa.gov/pmb/products/gens/",
    validators=(CheckCurrentData(max_delay="18h"), CheckRecentNans(), *STANDARD_CHECKS),
    resources=Resources(cpu="4", memory="20Gi", ephemeral_storage="80Gi"),
)
