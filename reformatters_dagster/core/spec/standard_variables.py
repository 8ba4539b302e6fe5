"""Standard variables: what a name means, the same in every dataset.

In: the name of a variable. Out: its CF name, units, possible values and kept bits, for `DataVar.standard`.
"""

from collections.abc import Iterable, Mapping

from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.spec.wording import did_you_mean

KELVIN_TO_CELSIUS = -273.15

CELSIUS, PERCENT, METRES, PASCAL, SPEED = "degree_Celsius", "percent", "m", "Pa", "m s-1"

NO_YES = {0: "no", 1: "yes"}
PRECIPITATION_TYPES = {
    0: "no_precipitation",
    1: "rain",
    2: "thunderstorm",
    3: "freezing_rain",
    4: "mixed_ice",
    5: "snow",
    6: "wet_snow",
    7: "mixture_of_rain_and_snow",
    8: "ice_pellets",
    9: "graupel",
    10: "hail",
    11: "drizzle",
    12: "freezing_drizzle",
    13: "hail_less_than_5mm",
    14: "hail_greater_than_or_equal_to_5mm",
    255: "missing",
}
"""GRIB2 code table 4.201."""

type Range = tuple[float, float]

GUSTS: Range = (0.0, 150.0)
PRESSURES: Range = (40_000.0, 115_000.0)
SHARES: Range = (0.0, 101.0)
"""In percent; packing may round up."""


class StandardVariable(Frozen):
    """What every dataset says of a variable of this name."""

    name: str
    long_name: str
    short_name: str
    standard_name: str | None
    units: str
    valid_range: Range
    keep_mantissa_bits: int | None
    add_offset: float = 0.0
    """GRIB2 has temperatures in kelvin, stores have them in degree_Celsius."""
    flag_values: tuple[int, ...] = ()
    flag_meanings: str | None = None


def _row(
    name: str,
    long_name: str,
    short_name: str,
    standard_name: str | None,
    units: str,
    valid_range: Range,
    bits: int = 7,
) -> StandardVariable:
    return StandardVariable(
        name=name,
        long_name=long_name,
        short_name=short_name,
        standard_name=standard_name,
        units=units,
        valid_range=valid_range,
        keep_mantissa_bits=bits,
        add_offset=KELVIN_TO_CELSIUS if units == CELSIUS else 0.0,
    )


def _kinds(name: str, long_name: str, short_name: str, meanings: Mapping[int, str]) -> StandardVariable:
    """A variable of numbered kinds, which rounding would turn into other kinds."""
    return StandardVariable(
        name=name,
        long_name=long_name,
        short_name=short_name,
        standard_name=None,
        units="1",
        valid_range=(min(meanings), max(meanings)),
        keep_mantissa_bits=None,
        flag_values=tuple(meanings),
        flag_meanings=" ".join(meanings.values()),
    )


def _temperature(
    name: str, long_name: str, short_name: str, standard_name: str = "air_temperature"
) -> StandardVariable:
    return _row(name, long_name, short_name, standard_name, CELSIUS, (-110.0, 75.0))


def _winds(metres: int) -> Iterable[StandardVariable]:
    for component, towards in (("u", "eastward"), ("v", "northward")):
        long_name = f"{metres} metre {component.upper()} wind component"
        yield _row(
            f"wind_{component}_{metres}m",
            long_name,
            f"{metres}{component}",
            f"{towards}_wind",
            SPEED,
            (-150.0, 150.0),
            bits=6,
        )


def _clouds(level: str) -> StandardVariable:
    standard_name = "cloud_area_fraction_in_atmosphere_layer"
    return _row(
        f"cloud_cover_{level}", f"{level.capitalize()} cloud cover", f"{level[0]}cc", standard_name, PERCENT, SHARES
    )


def _radiation(name: str, long_name: str, short_name: str, standard_name: str | None) -> StandardVariable:
    """Packing may turn darkness slightly negative."""
    return _row(name, long_name, short_name, standard_name, "W m-2", (-1.0, 1500.0))


def _heights(hectopascal: int, lowest: float, highest: float) -> StandardVariable:
    name, heights = f"geopotential_height_{hectopascal}hpa", (lowest, highest)
    return _row(name, "Geopotential height", "gh", "geopotential_height", METRES, heights, bits=11)


_ROWS = (
    _temperature("temperature_2m", "2 metre temperature", "2t"),
    _temperature("temperature_80m", "80 metre temperature", "80t"),
    _temperature("temperature_850hpa", "Temperature", "t"),
    _temperature("temperature_925hpa", "Temperature", "t"),
    _temperature("maximum_temperature_2m", "Maximum temperature", "tmax"),
    _temperature("minimum_temperature_2m", "Minimum temperature", "tmin"),
    _temperature("dew_point_temperature_2m", "2 metre dewpoint temperature", "2d", "dew_point_temperature"),
    _row("relative_humidity_2m", "2 metre relative humidity", "2r", "relative_humidity", PERCENT, (0.0, 110.0)),
    *_winds(10),
    *_winds(80),
    *_winds(100),
    _row(
        "wind_gust_10m",
        "Maximum 10 metre wind gust since previous post-processing",
        "10fg",
        "wind_speed_of_gust",
        SPEED,
        GUSTS,
        bits=6,
    ),
    _row("wind_gust_surface", "Wind speed (gust)", "gust", "wind_speed_of_gust", SPEED, GUSTS, bits=6),
    _row("pressure_surface", "Surface pressure", "sp", "surface_air_pressure", PASCAL, PRESSURES, bits=10),
    _row("pressure_80m", "80 metre pressure", "80sp", "air_pressure", PASCAL, PRESSURES, bits=10),
    _row(
        "pressure_reduced_to_mean_sea_level",
        "Pressure reduced to MSL",
        "prmsl",
        "air_pressure_at_mean_sea_level",
        PASCAL,
        (80_000.0, 115_000.0),
        bits=10,
    ),
    _heights(500, 4000.0, 6500.0),
    _heights(850, 500.0, 2200.0),
    _heights(925, -200.0, 1500.0),
    _row("precipitation_surface", "Precipitation rate", "prate", "precipitation_flux", "kg m-2 s-1", (0.0, 0.1)),
    _row("percent_frozen_precipitation_surface", "Percent frozen precipitation", "cpofp", None, PERCENT, (0.0, 100.0)),
    _kinds("categorical_snow_surface", "Categorical snow", "csnow", NO_YES),
    _kinds("categorical_ice_pellets_surface", "Categorical ice pellets", "cicep", NO_YES),
    _kinds("categorical_freezing_rain_surface", "Categorical freezing rain", "cfrzr", NO_YES),
    _kinds("categorical_rain_surface", "Categorical rain", "crain", NO_YES),
    _kinds("categorical_precipitation_type_surface", "Precipitation type", "ptype", PRECIPITATION_TYPES),
    _row(
        "precipitable_water_atmosphere",
        "Precipitable water",
        "pwat",
        "atmosphere_mass_content_of_water_vapor",
        "kg m-2",
        (0.0, 150.0),
    ),
    _row(
        "composite_reflectivity",
        "Maximum/Composite radar reflectivity",
        "refc",
        "equivalent_reflectivity_factor",
        "dBZ",
        (-20.0, 90.0),
    ),
    _row(
        "convective_available_potential_energy_atmosphere",
        "Convective available potential energy",
        "cape",
        "atmosphere_convective_available_potential_energy",
        "J kg-1",
        (0.0, 12_000.0),
    ),
    _row("snowfall_surface", "Total snowfall rate", "tsrate", None, SPEED, (0.0, 0.001)),
    _row("snow_thickness_surface", "Snow depth", "sde", "surface_snow_thickness", METRES, (0.0, 50.0)),
    _row(
        "snow_water_equivalent_surface",
        "Snow depth water equivalent",
        "sd",
        "lwe_thickness_of_surface_snow_amount",
        METRES,
        (0.0, 20.0),
    ),
    _row("snow_area_fraction_surface", "Snow cover", "snowc", "surface_snow_area_fraction", "1", (0.0, 1.0)),
    _row("total_cloud_cover_atmosphere", "Total cloud cover", "tcc", "cloud_area_fraction", PERCENT, SHARES),
    _clouds("low"),
    _clouds("medium"),
    _clouds("high"),
    _row(
        "geopotential_height_cloud_ceiling",
        "Geopotential height",
        "gh",
        "geopotential_height",
        METRES,
        (-500.0, 20_500.0),
        bits=8,
    ),
    _radiation(
        "downward_short_wave_radiation_flux_surface",
        "Surface downward short-wave radiation flux",
        "sdswrf",
        "surface_downwelling_shortwave_flux_in_air",
    ),
    _radiation(
        "downward_long_wave_radiation_flux_surface",
        "Surface downward long-wave radiation flux",
        "sdlwrf",
        "surface_downwelling_longwave_flux_in_air",
    ),
    _radiation(
        "downward_direct_short_wave_radiation_flux_surface",
        "Surface direct short-wave radiation flux",
        "aswdir_s",
        "surface_direct_downwelling_shortwave_flux_in_air",
    ),
    _radiation(
        "downward_diffuse_short_wave_radiation_flux_surface",
        "Surface diffuse short-wave radiation flux",
        "aswdifd_s",
        "surface_diffuse_downwelling_shortwave_flux_in_air",
    ),
    _radiation("visible_beam_downward_solar_flux_surface", "Visible Beam Downward Solar Flux", "vbdsf", None),
)

STANDARD_VARIABLES: Mapping[str, StandardVariable] = {row.name: row for row in _ROWS}
"""What a name means in every dataset: CF name, units, possible values, kept bits.

>>> STANDARD_VARIABLES["temperature_2m"].units
'degree_Celsius'
"""


def standard_variable(name: str) -> StandardVariable:
    """The standard variable of a name.

    Raises
    ------
    UnknownVariable
        When the table has no such name.
    """
    if name not in STANDARD_VARIABLES:
        raise UnknownVariable(
            f"standard variable {name!r} was asked for; there is none: add a row to {__name__}, or state the variable in "
            f"full with DataVar(...){did_you_mean([name], STANDARD_VARIABLES)}"
        )
    return STANDARD_VARIABLES[name]
