"""Variables of the NOAA HRRR surface files, one row each: where the source keeps them, and what differs."""

from collections.abc import Mapping

import pandas as pd

from dataset_defs.noaa.gfs.variables import GFS_ROWS
from dataset_defs.noaa.grib_files import noaa_field
from dataset_defs.noaa.window_comments import of_analysis, of_forecast
from reformatters_dagster import DataVar, Deaccumulation

HOUR = pd.Timedelta("1h")
HRRR_2, HRRR_3 = pd.Timestamp("2016-08-23"), pd.Timestamp("2018-07-12")
"""The days from which files are of the second and third version, which brought new fields."""
_GRID_WINDS = "Along the columns and rows of the grid, not towards true east and north."

_row = DataVar.standard


def _category(kind: str, element: str) -> DataVar:
    return _row(
        f"categorical_{kind}_surface",
        noaa_field(element, "surface"),
        comment="Whether precipitation of this kind falls at the valid time. The source does not diagnose it at lead time 0.",
        hour_0=False,
    )


def _snowfall(reset: pd.Timedelta | None) -> DataVar:
    """Depth of new snow; the source's total runs on to the end of the forecast."""
    comment = "Rate at which the depth of new snow grows, not its water."
    window = " Mean over the time since the previous lead time. NaN at lead time 0, where no window has begun."
    return _row(
        "snowfall_surface",
        noaa_field("ASNOW", "surface", "acc"),
        comment=comment + window if reset is None else comment,
        window_reset=reset,
        deaccumulation=Deaccumulation(reset=reset),
    )


_GFS = {row.name: row for row in GFS_ROWS}
_WINDS = tuple(f"wind_{component}_{height}m" for height in (10, 80) for component in ("u", "v"))
_AS_IN_GFS: Mapping[str, pd.Timestamp | None] = {
    "temperature_2m": None,
    "relative_humidity_2m": HRRR_2,
    "pressure_surface": None,
    "precipitable_water_atmosphere": None,
}
"""With the day from which they are there; None for all."""

HRRR_ROWS = (
    *(_GFS[name].model_copy(update={"available_from": since}) for name, since in _AS_IN_GFS.items()),
    *(_GFS[name].model_copy(update={"comment": _GRID_WINDS}) for name in _WINDS),
    _row("dew_point_temperature_2m", noaa_field("DPT", "2 m above ground")),
    _row("wind_gust_surface", noaa_field("GUST", "surface")),
    _row(
        "pressure_reduced_to_mean_sea_level",
        noaa_field("MSLMA", "mean sea level", alternatives=("PRMSL",)),
        keep_mantissa_bits=13,  # as many as the public dataset of this name
    ),
    _row(
        "precipitation_surface",
        noaa_field("APCP", "surface", "acc", first_of_duplicates=True),
        window_reset=HOUR,
        deaccumulation=Deaccumulation(reset=HOUR),
    ),
    _row(
        "percent_frozen_precipitation_surface",
        noaa_field("CPOFP", "surface"),
        comment="Share of precipitation that is frozen; NaN where there is none to judge, and at lead time 0.",
        hour_0=False,
        source_fill_value=-50.0,
    ),
    _category("snow", "CSNOW"),
    _category("ice_pellets", "CICEP"),
    _category("freezing_rain", "CFRZR"),
    _category("rain", "CRAIN"),
    _row("total_cloud_cover_atmosphere", noaa_field("TCDC", "entire atmosphere")),
    _row(
        "geopotential_height_cloud_ceiling",
        noaa_field("HGT", "cloud ceiling"),
        comment="Height of the lowest broken or overcast layer; NaN where the sky has none.",
        source_fill_value=9999.0,
    ),
    _row("composite_reflectivity", noaa_field("REFC", "entire atmosphere")),
    _row("downward_short_wave_radiation_flux_surface", noaa_field("DSWRF", "surface")),
    _row("downward_long_wave_radiation_flux_surface", noaa_field("DLWRF", "surface"), available_from=HRRR_3),
    _row(
        "visible_beam_downward_solar_flux_surface",
        noaa_field("VBDSF", "surface"),
        comment=(
            "Direct sunlight of all wavelengths through a surface that faces the sun, at the valid time; through a horizontal "
            "one it is this times the cosine of the sun's zenith angle. Diffuse light is not part of it. Single points of the "
            "source's lead time 0 are far too high where the sun is low."
        ),
        available_from=HRRR_2,
    ),
    _row("snow_thickness_surface", noaa_field("SNOD", "surface")),
    _row("snow_water_equivalent_surface", noaa_field("WEASD", "surface"), scale_factor=0.001),  # kg m-2 to m
    _row("snow_area_fraction_surface", noaa_field("SNOWC", "surface"), scale_factor=0.01),  # percent to 1
)
"""Without snowfall, and without the words on windows: a forecast and an analysis differ in both."""

_AN_HOUR_AHEAD = {"dew_point_temperature_2m", "relative_humidity_2m"}


def _of_analysis(row: DataVar) -> DataVar:
    """Hour 0 has points whose moisture collapsed, down to dew points of -81 degree_Celsius; hour 1 has none."""
    if row.name not in _AN_HOUR_AHEAD:
        return row
    comment = (
        "Of the forecast that began an hour before: the one that begins at this time has points that are far too dry."
    )
    return row.model_copy(update={"hour_0": False, "comment": comment})


HRRR_DATA_VARS = (*of_forecast(HRRR_ROWS), _snowfall(None))
HRRR_ANALYSIS_DATA_VARS = of_analysis((*map(_of_analysis, HRRR_ROWS), _snowfall(HOUR)))
