"""Weather-model GRIB2 into analysis-ready Zarr, as a Dagster asset graph.

`from reformatters_dagster import …` gives an author of datasets every name that a dataset needs; `docs/api.md` lists them.
A name loads its module when it is first asked for, so that importing the package itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reformatters_dagster.core.check.current_data import CheckCurrentData
    from reformatters_dagster.core.check.nans import CheckRecentNans
    from reformatters_dagster.core.check.standard import STANDARD_CHECKS
    from reformatters_dagster.core.grib.identity import ANY_WINDOW
    from reformatters_dagster.core.grib.index import IndexEntry
    from reformatters_dagster.core.grib.regrid import coarsened, refine
    from reformatters_dagster.core.job.forecast_job import ForecastRegionJob
    from reformatters_dagster.core.job.grib_job import MessageTimes
    from reformatters_dagster.core.job.idx_grib_job import IdxGribRegionJob
    from reformatters_dagster.core.job.indexed_grib_job import IndexedGribRegionJob
    from reformatters_dagster.core.job.mars_index_grib_job import MarsIndexGribRegionJob
    from reformatters_dagster.core.job.whole_file_grib_job import WholeFileGribRegionJob
    from reformatters_dagster.core.run.dataset import DynamicalDataset
    from reformatters_dagster.core.run.declaration import Resources
    from reformatters_dagster.core.source.archives import Archive
    from reformatters_dagster.core.source.files import (
        Downloaded,
        EnsembleFileCoord,
        ForecastFileCoord,
        Results,
        SourceFileCoord,
        whole_hours,
    )
    from reformatters_dagster.core.spec.axes import AppendAxis, Dimension, RegularAxis, ensemble_member, lead_time
    from reformatters_dagster.core.spec.errors import IndexMismatch
    from reformatters_dagster.core.spec.grids import (
        GDAL_GRIB_WORDS,
        GLOBAL_0P25,
        PROJ_WORDS,
        LambertGrid,
        LatLonGrid,
    )
    from reformatters_dagster.core.spec.sources import STATUS_ANSWERS, SourceArchive
    from reformatters_dagster.core.spec.standard_variables import STANDARD_VARIABLES
    from reformatters_dagster.core.spec.template import DatasetAttributes, TemplateConfig
    from reformatters_dagster.core.spec.values import Array2D, Duration, OutLoc, Time
    from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField, Statistic, StepType

__all__ = [
    "ANY_WINDOW",
    "GDAL_GRIB_WORDS",
    "GLOBAL_0P25",
    "PROJ_WORDS",
    "STANDARD_CHECKS",
    "STANDARD_VARIABLES",
    "STATUS_ANSWERS",
    "AppendAxis",
    "Archive",
    "Array2D",
    "CheckCurrentData",
    "CheckRecentNans",
    "DataVar",
    "DatasetAttributes",
    "Deaccumulation",
    "Dimension",
    "Downloaded",
    "Duration",
    "DynamicalDataset",
    "EnsembleFileCoord",
    "ForecastFileCoord",
    "ForecastRegionJob",
    "GribField",
    "IdxGribRegionJob",
    "IndexEntry",
    "IndexMismatch",
    "IndexedGribRegionJob",
    "LambertGrid",
    "LatLonGrid",
    "MarsIndexGribRegionJob",
    "MessageTimes",
    "OutLoc",
    "RegularAxis",
    "Resources",
    "Results",
    "SourceArchive",
    "SourceFileCoord",
    "Statistic",
    "StepType",
    "TemplateConfig",
    "Time",
    "WholeFileGribRegionJob",
    "coarsened",
    "ensemble_member",
    "lead_time",
    "refine",
    "whole_hours",
]

_NAMES_IN = {
    "core.check.current_data": ("CheckCurrentData",),
    "core.check.nans": ("CheckRecentNans",),
    "core.check.standard": ("STANDARD_CHECKS",),
    "core.grib.identity": ("ANY_WINDOW",),
    "core.grib.index": ("IndexEntry",),
    "core.grib.regrid": ("coarsened", "refine"),
    "core.job.forecast_job": ("ForecastRegionJob",),
    "core.job.grib_job": ("MessageTimes",),
    "core.job.idx_grib_job": ("IdxGribRegionJob",),
    "core.job.indexed_grib_job": ("IndexedGribRegionJob",),
    "core.job.mars_index_grib_job": ("MarsIndexGribRegionJob",),
    "core.job.whole_file_grib_job": ("WholeFileGribRegionJob",),
    "core.run.dataset": ("DynamicalDataset",),
    "core.run.declaration": ("Resources",),
    "core.source.archives": ("Archive",),
    "core.source.files": (
        "Downloaded",
        "EnsembleFileCoord",
        "ForecastFileCoord",
        "Results",
        "SourceFileCoord",
        "whole_hours",
    ),
    "core.spec.axes": ("AppendAxis", "Dimension", "RegularAxis", "ensemble_member", "lead_time"),
    "core.spec.errors": ("IndexMismatch",),
    "core.spec.grids": ("GDAL_GRIB_WORDS", "GLOBAL_0P25", "LambertGrid", "LatLonGrid", "PROJ_WORDS"),
    "core.spec.sources": ("STATUS_ANSWERS", "SourceArchive"),
    "core.spec.standard_variables": ("STANDARD_VARIABLES",),
    "core.spec.template": ("DatasetAttributes", "TemplateConfig"),
    "core.spec.values": ("Array2D", "Duration", "OutLoc", "Time"),
    "core.spec.variables": ("DataVar", "Deaccumulation", "GribField", "Statistic", "StepType"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _NAMES_IN.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return found
