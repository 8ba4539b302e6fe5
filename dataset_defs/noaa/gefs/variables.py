"""Variables of the NOAA GEFS: those of the GFS, with the kind of file that holds each, and two of its own."""

from typing import Any

from dataset_defs.noaa.gefs.files import GefsFileType
from dataset_defs.noaa.gfs.variables import GFS_ROWS
from dataset_defs.noaa.grib_files import noaa_field
from dataset_defs.noaa.window_comments import of_analysis, of_forecast
from reformatters_dagster import DataVar


class GefsDataVar(DataVar):
    """A variable, and which files hold it."""

    gefs_file_type: GefsFileType


_IN_B_FILES = {"wind_u_80m", "wind_v_80m", "wind_u_100m", "wind_v_100m", "temperature_80m", "pressure_80m"}
_COARSER = "Where the source's file is coarser than this grid (before 2022-10-18T12 UTC, and beyond lead time 240 h)"
_IN_S_FILES_LATER = {
    "percent_frozen_precipitation_surface": (
        "Share of precipitation that is frozen; the source writes -50 where there is no precipitation to judge, so mask "
        f"everything below 0. {_COARSER} values beside dry points are mixtures with -50, also those that are not below 0."
    ),
    "geopotential_height_cloud_ceiling": (
        "Height of the lowest broken or overcast layer; the source writes about 20000 m where the sky has none. "
        f"{_COARSER} values beside such points are mixtures with 20000 m."
    ),
}
"""With their comments: a value that stands for none is interpolated like any other."""


def _of_gfs(row: DataVar) -> GefsDataVar:
    own: dict[str, Any] = {"gefs_file_type": "s+a"}
    if row.name in _IN_B_FILES:
        own["gefs_file_type"] = "b"
    elif row.name in _IN_S_FILES_LATER:
        own |= {"gefs_file_type": "s+b-b22", "comment": _IN_S_FILES_LATER[row.name]}
    if row.name.endswith("_80m"):
        own["available_from"] = "2020-01-01"
    if row.name == "precipitation_surface":
        own["field"] = noaa_field("APCP", "surface", "acc")
    return GefsDataVar(**(dict(row) | own))


_ROWS = (
    *map(_of_gfs, GFS_ROWS),
    GefsDataVar.standard("geopotential_height_500hpa", noaa_field("HGT", "500 mb"), gefs_file_type="a"),
    GefsDataVar.standard("wind_gust_surface", noaa_field("GUST", "surface"), gefs_file_type="s+b"),
)


def _as_filed_before(row: GefsDataVar) -> GefsDataVar:
    """The reforecast files sea level pressure as plain pressure at mean sea level."""
    if row.field.element != "PRMSL":
        return row
    return row.model_copy(update={"field": noaa_field("PRMSL", row.field.level, alternatives=("PRES",))})


GEFS_FORECAST_DATA_VARS = of_forecast(_ROWS)
GEFS_ANALYSIS_DATA_VARS = of_analysis(map(_as_filed_before, _ROWS))
