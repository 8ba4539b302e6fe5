"""Variables of the NOAA GFS 0.25 degree files, one row each: names and units readers see, message they are made of."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dataset_defs.noaa.grib_files import noaa_field
from dataset_defs.noaa.window_comments import of_analysis, of_forecast
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, Statistic, StepType

WINDOW = pd.Timedelta("6h")
KELVIN_TO_CELSIUS = -273.15

_STATISTIC: Mapping[StepType, Statistic] = {
    "instant": "instant",
    "avg": "avg",
    "accum": "acc",
    "max": "max",
    "min": "min",
}


def gfs_var(name: str, element: str, level: str, *, step_type: StepType = "instant", **row: Any) -> DataVar:
    """A row: windows of 6 h wherever the source has a window."""
    return DataVar(
        name=name,
        step_type=step_type,
        field=row.pop("field", None) or noaa_field(element, level, _STATISTIC[step_type]),
        window_reset=None if step_type == "instant" else WINDOW,
        **row,
    )


def _temperature(name: str, element: str, level: str, **row: Any) -> DataVar:
    celsius: dict[str, Any] = {
        "standard_name": "air_temperature",
        "units": "degree_Celsius",
        "add_offset": KELVIN_TO_CELSIUS,
    }
    return gfs_var(name, element, level, **celsius, valid_range=(-110.0, 75.0), **row)


def _wind(component: str, height: int) -> DataVar:
    standard_name = {"u": "eastward_wind", "v": "northward_wind"}[component]
    return gfs_var(
        f"wind_{component}_{height}m",
        f"{component.upper()}GRD",
        f"{height} m above ground",
        long_name=f"{height} metre {component.upper()} wind component",
        short_name=f"{height}{component}",
        standard_name=standard_name,
        units="m s-1",
        keep_mantissa_bits=6,
        valid_range=(-150.0, 150.0),
    )


def _category(kind: str, long_name: str, element: str) -> DataVar:
    return gfs_var(
        f"categorical_{kind}_surface",
        element,
        "surface",
        step_type="avg",
        comment="Share of the window in which precipitation of this kind was diagnosed, 0 to 1; compare with 0.5 for yes or no.",
        long_name=long_name,
        short_name=element.lower(),
        units="1",
        flag_values=(0, 1),
        flag_meanings="no yes",
        keep_mantissa_bits=None,
        valid_range=(0.0, 1.0),
    )


def _radiation(name: str, element: str, wave: str) -> DataVar:
    return gfs_var(
        name,
        element,
        "surface",
        step_type="avg",
        long_name=f"Surface downward {wave}-wave radiation flux",
        short_name=f"s{element.lower()}",
        standard_name=f"surface_downwelling_{wave}wave_flux_in_air",
        units="W m-2",
        valid_range=(-1.0, 1500.0),
    )


GFS_ROWS: tuple[DataVar, ...] = (
    _temperature("temperature_2m", "TMP", "2 m above ground", long_name="2 metre temperature", short_name="2t"),
    _temperature("temperature_80m", "TMP", "80 m above ground", long_name="80 metre temperature", short_name="80t"),
    _temperature(
        "maximum_temperature_2m",
        "TMAX",
        "2 m above ground",
        step_type="max",
        long_name="Maximum temperature",
        short_name="tmax",
    ),
    _temperature(
        "minimum_temperature_2m",
        "TMIN",
        "2 m above ground",
        step_type="min",
        long_name="Minimum temperature",
        short_name="tmin",
    ),
    gfs_var(
        "relative_humidity_2m",
        "RH",
        "2 m above ground",
        long_name="2 metre relative humidity",
        short_name="2r",
        standard_name="relative_humidity",
        units="percent",
        valid_range=(0.0, 101.0),
    ),
    *(_wind(component, height) for height in (10, 80, 100) for component in ("u", "v")),
    gfs_var(
        "pressure_surface",
        "PRES",
        "surface",
        long_name="Surface pressure",
        short_name="sp",
        standard_name="surface_air_pressure",
        units="Pa",
        keep_mantissa_bits=10,
        valid_range=(40_000.0, 115_000.0),
    ),
    gfs_var(
        "pressure_80m",
        "PRES",
        "80 m above ground",
        long_name="80 metre pressure",
        short_name="80sp",
        standard_name="air_pressure",
        units="Pa",
        keep_mantissa_bits=10,
        valid_range=(40_000.0, 115_000.0),
    ),
    gfs_var(
        "pressure_reduced_to_mean_sea_level",
        "PRMSL",
        "mean sea level",
        long_name="Pressure reduced to MSL",
        short_name="prmsl",
        standard_name="air_pressure_at_mean_sea_level",
        units="Pa",
        keep_mantissa_bits=10,
        valid_range=(80_000.0, 115_000.0),
    ),
    gfs_var(
        "precipitation_surface",
        "APCP",
        "surface",
        step_type="avg",
        field=noaa_field("APCP", "surface", "acc", first_of_duplicates=True),
        long_name="Precipitation rate",
        short_name="prate",
        standard_name="precipitation_flux",
        units="kg m-2 s-1",
        deaccumulation=Deaccumulation(kind="accumulation", reset=WINDOW),
        valid_range=(0.0, 0.1),
    ),
    gfs_var(
        "percent_frozen_precipitation_surface",
        "CPOFP",
        "surface",
        comment="Share of precipitation that is frozen; the source writes -50 where there is no precipitation to judge.",
        long_name="Percent frozen precipitation",
        short_name="cpofp",
        units="percent",
        valid_range=(-50.0, 100.0),
    ),
    _category("snow", "Categorical snow", "CSNOW"),
    _category("ice_pellets", "Categorical ice pellets", "CICEP"),
    _category("freezing_rain", "Categorical freezing rain", "CFRZR"),
    _category("rain", "Categorical rain", "CRAIN"),
    gfs_var(
        "precipitable_water_atmosphere",
        "PWAT",
        "entire atmosphere (considered as a single layer)",
        long_name="Precipitable water",
        short_name="pwat",
        standard_name="atmosphere_mass_content_of_water_vapor",
        units="kg m-2",
        valid_range=(0.0, 150.0),
    ),
    gfs_var(
        "total_cloud_cover_atmosphere",
        "TCDC",
        "entire atmosphere",
        step_type="avg",
        long_name="Total cloud cover",
        short_name="tcc",
        standard_name="cloud_area_fraction",
        units="percent",
        valid_range=(0.0, 101.0),
    ),
    gfs_var(
        "geopotential_height_cloud_ceiling",
        "HGT",
        "cloud ceiling",
        comment="Height of the lowest broken or overcast layer; the source writes about 20000 m where the sky has none.",
        long_name="Geopotential height",
        short_name="gh",
        standard_name="geopotential_height",
        units="m",
        keep_mantissa_bits=8,
        valid_range=(-500.0, 20_500.0),
    ),
    _radiation("downward_short_wave_radiation_flux_surface", "DSWRF", "short"),
    _radiation("downward_long_wave_radiation_flux_surface", "DLWRF", "long"),
)
"""Without the words on windows, which a forecast and an analysis put differently."""

GFS_DATA_VARS = of_forecast(GFS_ROWS)
GFS_ANALYSIS_DATA_VARS = of_analysis(GFS_ROWS)
