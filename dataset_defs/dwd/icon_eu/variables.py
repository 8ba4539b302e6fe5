"""Variables of DWD's ICON-EU files, one row each: names and units readers see, message they are made of."""

from typing import Any

from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField, Statistic

type Parameter = tuple[int, int, int]
type Surface = tuple[int, float | None]

KELVIN_TO_CELSIUS = -273.15
KG_PER_M2_TO_M = 0.001
CLAMPED_RADIATION = 0.4
"""Share of rates that may be slightly negative: at night a running mean only fades, and packing noise is multiplied."""

GROUND: Surface = (1, None)
ABOVE_2M, ABOVE_10M, SEA_LEVEL = (103, 2.0), (103, 10.0), (101, None)
COLUMN_TOPS: tuple[Surface, ...] = ((8, None), (10, None), (200, None))
"""Other ways to say "of the whole column" than a layer that begins at the ground."""

_SINCE_BEFORE = (
    "Mean over the time since the previous lead time, 1 h before up to lead time 78 h and 3 h before from then on"
)
_NO_STEP_BEFORE = "NaN at lead time 0, which has no previous one."


def _var(
    name: str,
    element: str,
    level: str,
    parameter: Parameter,
    surface: Surface,
    *,
    statistic: Statistic = "instant",
    other_surfaces: tuple[Surface, ...] = (),
    **row: Any,
) -> DataVar:
    field = GribField(
        element=element,
        level=level,
        parameter=parameter,
        surface=surface,
        alternative_surfaces=other_surfaces,
        statistic=statistic,
    )
    return DataVar(name=name, field=field, step_type=row.pop("step_type", "instant"), **row)


def _temperature(name: str, element: str, number: int, **row: Any) -> DataVar:
    return _var(
        name,
        element,
        "2 m above ground",
        (0, 0, number),
        ABOVE_2M,
        units="degree_Celsius",
        add_offset=KELVIN_TO_CELSIUS,
        valid_range=(-110.0, 75.0),
        **row,
    )


def _wind(component: str, number: int, standard_name: str) -> DataVar:
    return _var(
        f"wind_{component}_10m",
        f"{component.upper()}_10M",
        "10 m above ground",
        (0, 2, number),
        ABOVE_10M,
        long_name=f"10 metre {component.upper()} wind component",
        short_name=f"10{component}",
        standard_name=standard_name,
        units="m s-1",
        valid_range=(-150.0, 150.0),
    )


def _pressure(name: str, element: str, number: int, surface: Surface, **row: Any) -> DataVar:
    return _var(
        name,
        element,
        "surface" if surface == GROUND else "mean sea level",
        (0, 3, number),
        surface,
        units="Pa",
        keep_mantissa_bits=10,
        valid_range=(40_000.0, 115_000.0),
        **row,
    )


def _cloud(kind: str, word: str, element: str, top_pascal: float, between: str) -> DataVar:
    return _var(
        f"cloud_cover_{kind}",
        element,
        between,
        (0, 6, 22),
        (100, top_pascal),
        long_name=f"{word} cloud cover",
        short_name=f"{kind[0]}cc",
        standard_name="cloud_area_fraction_in_atmosphere_layer",
        units="percent",
        comment=f"Share of the sky covered by clouds in the layer {between}.",
        valid_range=(0.0, 101.0),
    )


def _radiation(kind: str, element: str, number: int, invalid_below: float) -> DataVar:
    return _var(
        f"downward_{kind}_short_wave_radiation_flux_surface",
        element,
        "surface",
        (0, 4, number),
        GROUND,
        statistic="avg",
        step_type="avg",
        long_name=f"Surface {kind} short-wave radiation flux",
        short_name=element.lower(),
        standard_name=f"surface_{kind}_downwelling_shortwave_flux_in_air",
        units="W m-2",
        comment=f"{_SINCE_BEFORE}, made from the means since the start of the forecast that the source has. {_NO_STEP_BEFORE}",
        deaccumulation=Deaccumulation(
            kind="average", invalid_below=invalid_below, expected_clamp_fraction=CLAMPED_RADIATION
        ),
        valid_range=(0.0, 1500.0),
    )


ICON_EU_DATA_VARS: tuple[DataVar, ...] = (
    _temperature(
        "temperature_2m",
        "T_2M",
        0,
        long_name="2 metre temperature",
        short_name="2t",
        standard_name="air_temperature",
    ),
    _temperature(
        "dew_point_temperature_2m",
        "TD_2M",
        6,
        long_name="2 metre dewpoint temperature",
        short_name="2d",
        standard_name="dew_point_temperature",
    ),
    _var(
        "relative_humidity_2m",
        "RELHUM_2M",
        "2 m above ground",
        (0, 1, 1),
        ABOVE_2M,
        long_name="2 metre relative humidity",
        short_name="2r",
        standard_name="relative_humidity",
        units="percent",
        valid_range=(0.0, 110.0),
    ),
    _wind("u", 2, "eastward_wind"),
    _wind("v", 3, "northward_wind"),
    _var(
        "wind_gust_10m",
        "VMAX_10M",
        "10 m above ground",
        (0, 2, 22),
        ABOVE_10M,
        statistic="max",
        step_type="max",
        long_name="Maximum 10 metre wind gust since previous post-processing",
        short_name="10fg",
        standard_name="wind_speed_of_gust",
        units="m s-1",
        comment="Highest gust in a window that ends at the valid time; at lead time 0 no window has begun.",
        valid_range=(0.0, 150.0),
    ),
    _pressure(
        "pressure_surface",
        "PS",
        0,
        GROUND,
        long_name="Surface pressure",
        short_name="sp",
        standard_name="surface_air_pressure",
    ),
    _pressure(
        "pressure_reduced_to_mean_sea_level",
        "PMSL",
        1,
        SEA_LEVEL,
        long_name="Pressure reduced to MSL",
        short_name="prmsl",
        standard_name="air_pressure_at_mean_sea_level",
    ),
    _var(
        "precipitation_surface",
        "TOT_PREC",
        "surface",
        (0, 1, 52),
        GROUND,
        statistic="acc",
        step_type="avg",
        long_name="Precipitation rate",
        short_name="prate",
        standard_name="precipitation_flux",
        units="kg m-2 s-1",
        comment=f"{_SINCE_BEFORE}, made from the totals since the start of the forecast that the source has. {_NO_STEP_BEFORE}",
        deaccumulation=Deaccumulation(kind="accumulation"),
        keep_mantissa_bits=8,
        valid_range=(0.0, 0.1),
    ),
    _var(
        "precipitable_water_atmosphere",
        "TQV",
        "entire atmosphere",
        (0, 1, 64),
        GROUND,
        other_surfaces=COLUMN_TOPS,
        long_name="Precipitable water",
        short_name="pwat",
        standard_name="atmosphere_mass_content_of_water_vapor",
        units="kg m-2",
        valid_range=(0.0, 150.0),
    ),
    _var(
        "total_cloud_cover_atmosphere",
        "CLCT",
        "entire atmosphere",
        (0, 6, 1),
        GROUND,
        other_surfaces=COLUMN_TOPS,
        long_name="Total cloud cover",
        short_name="tcc",
        standard_name="cloud_area_fraction",
        units="percent",
        valid_range=(0.0, 101.0),
    ),
    _cloud("low", "Low", "CLCL", 80_000.0, "from the ground up to 800 hPa"),
    _cloud("medium", "Medium", "CLCM", 40_000.0, "from 800 to 400 hPa"),
    _cloud("high", "High", "CLCH", 0.0, "above 400 hPa"),
    _var(
        "convective_available_potential_energy_atmosphere",
        "CAPE_CON",
        "entire atmosphere",
        (0, 7, 6),
        GROUND,
        other_surfaces=COLUMN_TOPS,
        long_name="Convective available potential energy",
        short_name="cape",
        standard_name="atmosphere_convective_available_potential_energy",
        units="J kg-1",
        valid_range=(0.0, 12_000.0),
    ),
    _radiation("direct", "ASWDIR_S", 198, -1000.0),
    _radiation("diffuse", "ASWDIFD_S", 199, -50.0),
    _var(
        "snow_thickness_surface",
        "H_SNOW",
        "surface",
        (0, 1, 11),
        GROUND,
        long_name="Snow depth",
        short_name="sde",
        standard_name="surface_snow_thickness",
        units="m",
        valid_range=(0.0, 50.0),
    ),
    _var(
        "snow_water_equivalent_surface",
        "W_SNOW",
        "surface",
        (0, 1, 60),
        GROUND,
        long_name="Snow depth water equivalent",
        short_name="sd",
        standard_name="lwe_thickness_of_surface_snow_amount",
        units="m",
        comment="Depth of the water that the snow on the ground would melt to.",
        scale_factor=KG_PER_M2_TO_M,
        valid_range=(0.0, 20.0),
    ),
)
