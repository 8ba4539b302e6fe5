"""Variables of ECMWF's IFS ensemble, one row each: names and units readers see, message they are made of."""

from typing import Any

from reformatters_dagster.core.spec.values import Duration, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField, Statistic

type Parameter = tuple[int, int, int]
type Surface = tuple[int, float | None]

KELVIN_TO_CELSIUS = -273.15
M_TO_KG_PER_M2 = 1000.0
SHARE_TO_PERCENT = 100.0
GROUND: Surface = (1, None)
ABOVE_2M, ABOVE_10M, ABOVE_100M, SEA_LEVEL = (103, 2.0), (103, 10.0), (103, 100.0), (101, None)
NOISE = {"expected_clamp_fraction": 0.08, "expected_invalid_fraction": 0.01}
"""Shares of rates that packing alone turns negative: totals of the whole run are packed as finely as their maximum allows."""

_MEAN = (
    "Mean over the time since the previous lead time, 3 h before up to lead time 144 h and 6 h before from then on, made from "
    "the totals since the start of the forecast that the source has. NaN at lead time 0, which has no previous one."
)


class IfsVar(DataVar):
    """A variable, with what of its source depends on the lead time. Its `field` speaks the words of MARS."""

    param_by_lead_time: tuple[tuple[Duration, Duration, str], ...] = ()
    """First and last lead time, both inclusive, at which the source calls it something else."""

    def param_at(self, lead_time: Timedelta) -> str:
        """The parameter's name in the index of a lead time."""
        names = (param for first, last, param in self.param_by_lead_time if first <= lead_time <= last)
        return next(names, self.field.element)


def _var(
    name: str,
    param: str,
    parameter: Parameter,
    surface: Surface,
    *,
    level: str = "sfc",
    statistic: Statistic = "instant",
    other_parameters: tuple[Parameter, ...] = (),
    **row: Any,
) -> IfsVar:
    field = GribField(
        element=param,
        level=level,
        parameter=parameter,
        alternative_parameters=other_parameters,
        surface=surface,
        statistic=statistic,
    )
    return IfsVar(name=name, field=field, step_type=row.pop("step_type", "instant"), **row)


def _temperature(name: str, param: str, number: int, surface: Surface, **row: Any) -> IfsVar:
    return _var(
        name,
        param,
        (0, 0, number),
        surface,
        units="degree_Celsius",
        add_offset=KELVIN_TO_CELSIUS,
        valid_range=(-110.0, 75.0),
        **row,
    )


def _wind(component: str, metres: int, surface: Surface) -> IfsVar:
    return _var(
        f"wind_{component}_{metres}m",
        f"{metres}{component}",
        (0, 2, 2 if component == "u" else 3),
        surface,
        long_name=f"{metres} metre {component.upper()} wind component",
        short_name=f"{metres}{component}",
        standard_name="eastward_wind" if component == "u" else "northward_wind",
        units="m s-1",
        keep_mantissa_bits=6,
        valid_range=(-150.0, 150.0),
    )


def _pressure(name: str, param: str, surface: Surface, **row: Any) -> IfsVar:
    return _var(
        name,
        param,
        (0, 3, 0),
        surface,
        units="Pa",
        keep_mantissa_bits=11,
        valid_range=(40_000.0, 115_000.0),
        **row,
    )


def _height_of(hectopascal: int, lowest: float, highest: float) -> IfsVar:
    return _var(
        f"geopotential_height_{hectopascal}hpa",
        "gh",
        (0, 3, 5),
        (100, hectopascal * 100.0),
        level=f"pl {hectopascal}",
        long_name="Geopotential height",
        short_name="gh",
        standard_name="geopotential_height",
        units="m",
        keep_mantissa_bits=11,
        valid_range=(lowest, highest),
    )


def _temperature_at(hectopascal: int) -> IfsVar:
    return _temperature(
        f"temperature_{hectopascal}hpa",
        "t",
        0,
        (100, hectopascal * 100.0),
        level=f"pl {hectopascal}",
        long_name="Temperature",
        short_name="t",
        standard_name="air_temperature",
    )


def _radiation(waves: str, param: str, parameter: Parameter, short_name: str, highest: float) -> IfsVar:
    return _var(
        f"downward_{waves}_wave_radiation_flux_surface",
        param,
        parameter,
        GROUND,
        statistic="acc",
        step_type="avg",
        long_name=f"Surface downward {waves}-wave radiation flux",
        short_name=short_name,
        standard_name=f"surface_downwelling_{waves}wave_flux_in_air",
        units="W m-2",
        comment=_MEAN,
        deaccumulation=Deaccumulation(invalid_below=-50.0, **NOISE),
        valid_range=(0.0, highest),
    )


IFS_ENS_DATA_VARS: tuple[IfsVar, ...] = (
    _var(
        "categorical_precipitation_type_surface",
        "ptype",
        (0, 1, 19),
        GROUND,
        long_name="Precipitation type",
        short_name="ptype",
        units="1",
        comment="The kind of precipitation at the valid time, by the codes of GRIB2 code table 4.201.",
        flag_values=(*range(15), 255),
        flag_meanings=(
            "no_precipitation rain thunderstorm freezing_rain mixed_ice snow wet_snow mixture_of_rain_and_snow ice_pellets "
            "graupel hail drizzle freezing_drizzle hail_less_than_5mm hail_greater_than_or_equal_to_5mm missing"
        ),
        keep_mantissa_bits=None,
        valid_range=(0.0, 255.0),
        available_from=Timestamp("2024-11-13"),
    ),
    _temperature(
        "dew_point_temperature_2m",
        "2d",
        6,
        ABOVE_2M,
        long_name="2 metre dewpoint temperature",
        short_name="2d",
        standard_name="dew_point_temperature",
    ),
    _radiation("long", "strd", (0, 5, 3), "sdlwrf", 800.0),
    _radiation("short", "ssrd", (0, 4, 7), "sdswrf", 1500.0),
    _height_of(500, 4000.0, 6500.0),
    _height_of(850, 500.0, 2200.0),
    _height_of(925, -200.0, 1500.0),
    _var(
        "precipitation_surface",
        "tp",
        (0, 1, 193),
        GROUND,
        statistic="acc",
        step_type="avg",
        long_name="Precipitation rate",
        short_name="prate",
        standard_name="precipitation_flux",
        units="kg m-2 s-1",
        comment=_MEAN,
        scale_factor=M_TO_KG_PER_M2,
        deaccumulation=Deaccumulation(**NOISE),
        valid_range=(0.0, 0.1),
    ),
    _pressure(
        "pressure_reduced_to_mean_sea_level",
        "msl",
        SEA_LEVEL,
        other_parameters=((0, 3, 1),),
        long_name="Pressure reduced to MSL",
        short_name="prmsl",
        standard_name="air_pressure_at_mean_sea_level",
    ),
    _pressure(
        "pressure_surface",
        "sp",
        GROUND,
        long_name="Surface pressure",
        short_name="sp",
        standard_name="surface_air_pressure",
    ),
    _temperature(
        "temperature_2m",
        "2t",
        0,
        ABOVE_2M,
        long_name="2 metre temperature",
        short_name="2t",
        standard_name="air_temperature",
    ),
    _temperature_at(850),
    _temperature_at(925),
    _var(
        "total_cloud_cover_atmosphere",
        "tcc",
        (0, 6, 192),
        GROUND,
        long_name="Total cloud cover",
        short_name="tcc",
        standard_name="cloud_area_fraction",
        units="percent",
        scale_factor=SHARE_TO_PERCENT,
        valid_range=(0.0, 101.0),
        available_from=Timestamp("2025-11-21"),
    ),
    _var(
        "wind_gust_10m",
        "10fg",
        (0, 2, 22),
        ABOVE_10M,
        statistic="max",
        step_type="max",
        long_name="Maximum 10 metre wind gust since previous post-processing",
        short_name="10fg",
        standard_name="wind_speed_of_gust",
        units="m s-1",
        comment="Highest gust in a window that ends at the valid time; NaN at lead time 0, where no window has begun.",
        keep_mantissa_bits=6,
        valid_range=(0.0, 150.0),
        available_from=Timestamp("2024-11-13"),
        param_by_lead_time=((Timedelta("93h"), Timedelta("144h"), "10fg3"),),
    ),
    _wind("u", 100, ABOVE_100M),
    _wind("u", 10, ABOVE_10M),
    _wind("v", 100, ABOVE_100M),
    _wind("v", 10, ABOVE_10M),
)
