"""Variables of the NOAA GFS 0.25 degree files, one row each: where the source keeps them, and what differs."""

import pandas as pd

from dataset_defs.noaa.grib_files import noaa_field
from dataset_defs.noaa.window_comments import of_analysis, of_forecast
from reformatters_dagster import DataVar, Deaccumulation

WINDOW = pd.Timedelta("6h")
"""How often the source restarts every window."""

_row = DataVar.standard


def _category(kind: str, element: str) -> DataVar:
    return _row(
        f"categorical_{kind}_surface",
        noaa_field(element, "surface", "avg"),
        comment="Share of the window in which precipitation of this kind was diagnosed, 0 to 1; compare with 0.5 for yes or no.",
    )


def _with_window[Row: DataVar](row: Row) -> Row:
    return row if row.field.statistic == "instant" else row.model_copy(update={"window_reset": WINDOW})


_ROWS = (
    _row("temperature_2m", noaa_field("TMP", "2 m above ground")),
    _row("temperature_80m", noaa_field("TMP", "80 m above ground")),
    _row("maximum_temperature_2m", noaa_field("TMAX", "2 m above ground", "max")),
    _row("minimum_temperature_2m", noaa_field("TMIN", "2 m above ground", "min")),
    _row("relative_humidity_2m", noaa_field("RH", "2 m above ground")),
    _row("wind_u_10m", noaa_field("UGRD", "10 m above ground")),
    _row("wind_v_10m", noaa_field("VGRD", "10 m above ground")),
    _row("wind_u_80m", noaa_field("UGRD", "80 m above ground")),
    _row("wind_v_80m", noaa_field("VGRD", "80 m above ground")),
    _row("wind_u_100m", noaa_field("UGRD", "100 m above ground")),
    _row("wind_v_100m", noaa_field("VGRD", "100 m above ground")),
    _row("pressure_surface", noaa_field("PRES", "surface")),
    _row("pressure_80m", noaa_field("PRES", "80 m above ground")),
    _row("pressure_reduced_to_mean_sea_level", noaa_field("PRMSL", "mean sea level")),
    _row(
        "precipitation_surface",
        noaa_field("APCP", "surface", "acc", first_of_duplicates=True),
        deaccumulation=Deaccumulation(reset=WINDOW),
    ),
    _row(
        "percent_frozen_precipitation_surface",
        noaa_field("CPOFP", "surface"),
        comment="Share of precipitation that is frozen; the source writes -50 where there is no precipitation to judge.",
        valid_range=(-50.0, 100.0),  # the source's -50 is kept
    ),
    _category("snow", "CSNOW"),
    _category("ice_pellets", "CICEP"),
    _category("freezing_rain", "CFRZR"),
    _category("rain", "CRAIN"),
    _row("precipitable_water_atmosphere", noaa_field("PWAT", "entire atmosphere (considered as a single layer)")),
    _row("total_cloud_cover_atmosphere", noaa_field("TCDC", "entire atmosphere", "avg")),
    _row(
        "geopotential_height_cloud_ceiling",
        noaa_field("HGT", "cloud ceiling"),
        comment="Height of the lowest broken or overcast layer; the source writes about 20000 m where the sky has none.",
    ),
    _row("downward_short_wave_radiation_flux_surface", noaa_field("DSWRF", "surface", "avg")),
    _row("downward_long_wave_radiation_flux_surface", noaa_field("DLWRF", "surface", "avg")),
)

GFS_ROWS = tuple(map(_with_window, _ROWS))
"""Without the words on windows, which a forecast and an analysis put differently."""

GFS_DATA_VARS = of_forecast(GFS_ROWS)
GFS_ANALYSIS_DATA_VARS = of_analysis(GFS_ROWS)
