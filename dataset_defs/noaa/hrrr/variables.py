"""Variables of the NOAA HRRR surface files, one row each: names and units readers see, message they are made of."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dataset_defs.noaa.gfs.variables import GFS_ROWS, KELVIN_TO_CELSIUS
from dataset_defs.noaa.grib_files import noaa_field
from dataset_defs.noaa.window_comments import of_analysis, of_forecast
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation

HOUR = pd.Timedelta("1h")
HRRR_2, HRRR_3 = "2016-08-23", "2018-07-12"
"""The days from which files are of the second and third version, which brought new fields."""
_GRID_WINDS = "Along the columns and rows of the grid, not towards true east and north."


def hrrr_var(name: str, element: str, level: str, **row: Any) -> DataVar:
    """A row of an instantaneous field, unless told otherwise."""
    field = row.pop("field", None) or noaa_field(element, level)
    return DataVar(name=name, step_type=row.pop("step_type", "instant"), field=field, **row)


def _category(kind: str, long_name: str, element: str) -> DataVar:
    return hrrr_var(
        f"categorical_{kind}_surface",
        element,
        "surface",
        comment="Whether precipitation of this kind falls at the valid time. The source does not diagnose it at lead time 0.",
        hour_0=False,
        long_name=long_name,
        short_name=element.lower(),
        units="1",
        flag_values=(0, 1),
        flag_meanings="no yes",
        keep_mantissa_bits=None,
        valid_range=(0.0, 1.0),
    )


def _radiation(name: str, element: str, wave: str, **row: Any) -> DataVar:
    return hrrr_var(
        name,
        element,
        "surface",
        **row,
        long_name=f"Surface downward {wave}-wave radiation flux",
        short_name=f"s{element.lower()}",
        standard_name=f"surface_downwelling_{wave}wave_flux_in_air",
        units="W m-2",
        valid_range=(-1.0, 1500.0),
    )


def _snowfall(reset: pd.Timedelta | None) -> DataVar:
    """Depth of new snow; the source's total runs on to the end of the forecast."""
    comment = "Rate at which the depth of new snow grows, not its water." + (
        " Mean over the time since the previous lead time. NaN at lead time 0, where no window has begun."
        if reset is None
        else ""
    )
    return hrrr_var(
        "snowfall_surface",
        "ASNOW",
        "surface",
        field=noaa_field("ASNOW", "surface", "acc"),
        step_type="avg",
        comment=comment,
        long_name="Total snowfall rate",
        short_name="tsrate",
        units="m s-1",
        window_reset=reset,
        deaccumulation=Deaccumulation(kind="accumulation", reset=reset),
        valid_range=(0.0, 0.001),
    )


_GFS = {row.name: row for row in GFS_ROWS}
_WINDS = tuple(f"wind_{component}_{height}m" for height in (10, 80) for component in ("u", "v"))
_AS_IN_GFS: Mapping[str, str | None] = {
    "temperature_2m": None,
    "relative_humidity_2m": HRRR_2,
    "pressure_surface": None,
    "precipitable_water_atmosphere": None,
}
"""With the day from which they are there; None for all."""

HRRR_ROWS: tuple[DataVar, ...] = (
    *(DataVar(**(dict(_GFS[name]) | {"available_from": since})) for name, since in _AS_IN_GFS.items()),
    *(_GFS[name].model_copy(update={"comment": _GRID_WINDS}) for name in _WINDS),
    hrrr_var(
        "dew_point_temperature_2m",
        "DPT",
        "2 m above ground",
        long_name="2 metre dewpoint temperature",
        short_name="2d",
        standard_name="dew_point_temperature",
        units="degree_Celsius",
        add_offset=KELVIN_TO_CELSIUS,
        valid_range=(-110.0, 60.0),
    ),
    hrrr_var(
        "wind_gust_surface",
        "GUST",
        "surface",
        long_name="Wind speed (gust)",
        short_name="gust",
        standard_name="wind_speed_of_gust",
        units="m s-1",
        keep_mantissa_bits=6,
        valid_range=(0.0, 150.0),
    ),
    hrrr_var(
        "pressure_reduced_to_mean_sea_level",
        "MSLMA",
        "mean sea level",
        field=noaa_field("MSLMA", "mean sea level", alternatives=("PRMSL",)),
        long_name="Pressure reduced to MSL",
        short_name="prmsl",
        standard_name="air_pressure_at_mean_sea_level",
        units="Pa",
        keep_mantissa_bits=13,
        valid_range=(80_000.0, 115_000.0),
    ),
    hrrr_var(
        "precipitation_surface",
        "APCP",
        "surface",
        field=noaa_field("APCP", "surface", "acc", first_of_duplicates=True),
        step_type="avg",
        long_name="Precipitation rate",
        short_name="prate",
        standard_name="precipitation_flux",
        units="kg m-2 s-1",
        window_reset=HOUR,
        deaccumulation=Deaccumulation(kind="accumulation", reset=HOUR),
        valid_range=(0.0, 0.1),
    ),
    hrrr_var(
        "percent_frozen_precipitation_surface",
        "CPOFP",
        "surface",
        comment="Share of precipitation that is frozen; NaN where there is none to judge, and at lead time 0.",
        hour_0=False,
        source_fill_value=-50.0,
        long_name="Percent frozen precipitation",
        short_name="cpofp",
        units="percent",
        valid_range=(0.0, 100.0),
    ),
    _category("snow", "Categorical snow", "CSNOW"),
    _category("ice_pellets", "Categorical ice pellets", "CICEP"),
    _category("freezing_rain", "Categorical freezing rain", "CFRZR"),
    _category("rain", "Categorical rain", "CRAIN"),
    hrrr_var(
        "total_cloud_cover_atmosphere",
        "TCDC",
        "entire atmosphere",
        long_name="Total cloud cover",
        short_name="tcc",
        standard_name="cloud_area_fraction",
        units="percent",
        valid_range=(0.0, 101.0),
    ),
    hrrr_var(
        "geopotential_height_cloud_ceiling",
        "HGT",
        "cloud ceiling",
        comment="Height of the lowest broken or overcast layer; NaN where the sky has none.",
        source_fill_value=9999.0,
        long_name="Geopotential height",
        short_name="gh",
        standard_name="geopotential_height",
        units="m",
        keep_mantissa_bits=8,
        valid_range=(-500.0, 20_500.0),
    ),
    hrrr_var(
        "composite_reflectivity",
        "REFC",
        "entire atmosphere",
        long_name="Maximum/Composite radar reflectivity",
        short_name="refc",
        standard_name="equivalent_reflectivity_factor",
        units="dBZ",
        valid_range=(-20.0, 90.0),
    ),
    _radiation("downward_short_wave_radiation_flux_surface", "DSWRF", "short"),
    _radiation("downward_long_wave_radiation_flux_surface", "DLWRF", "long", available_from=HRRR_3),
    hrrr_var(
        "visible_beam_downward_solar_flux_surface",
        "VBDSF",
        "surface",
        comment=(
            "Direct sunlight of all wavelengths through a surface that faces the sun, at the valid time; through a horizontal "
            "one it is this times the cosine of the sun's zenith angle. Diffuse light is not part of it. Single points of the "
            "source's lead time 0 are far too high where the sun is low."
        ),
        available_from=HRRR_2,
        long_name="Visible Beam Downward Solar Flux",
        short_name="vbdsf",
        units="W m-2",
        valid_range=(-1.0, 1500.0),
    ),
    hrrr_var(
        "snow_thickness_surface",
        "SNOD",
        "surface",
        long_name="Snow depth",
        short_name="sde",
        standard_name="surface_snow_thickness",
        units="m",
        valid_range=(0.0, 50.0),
    ),
    hrrr_var(
        "snow_water_equivalent_surface",
        "WEASD",
        "surface",
        scale_factor=0.001,
        long_name="Snow depth water equivalent",
        short_name="sd",
        standard_name="lwe_thickness_of_surface_snow_amount",
        units="m",
        valid_range=(0.0, 20.0),
    ),
    hrrr_var(
        "snow_area_fraction_surface",
        "SNOWC",
        "surface",
        scale_factor=0.01,
        long_name="Snow cover",
        short_name="snowc",
        standard_name="surface_snow_area_fraction",
        units="1",
        valid_range=(0.0, 1.0),
    ),
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
