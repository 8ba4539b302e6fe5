"""The GFS of the sample. In: a variable, an init and a lead time. Out: its values, and the message that holds them."""

from collections.abc import Callable, Mapping

import numpy as np

from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.values import Frozen, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField, Statistic
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import SampleMessage
from reformatters_dagster.sample_upstream.weather import Field, Globe, Window, globe_of

FULL_STEP = 0.25
WINDOW_RESET = 6

NCEP, ANALYSIS_PROCESS, FORECAST_PROCESS = 7, 81, 96
"""Originating centre (code table 0) and NCEP's generating processes (its table A)."""
STATISTICAL_PROCESS: Mapping[Statistic, int] = {"avg": 0, "acc": 1, "max": 2, "min": 3}

type Keys = dict[str, int | str]
type Shape = Callable[[Globe, Window], Field]


class SampleField(Frozen):
    """One variable of the sample: its message, the resolution of its packing, and the formula of its values."""

    field: GribField
    decimal_scale: int
    binary_scale: int
    shape: Shape

    @property
    def resolution(self) -> float:
        """Smallest difference of two packed values. A packed value is at most half of it from the truth."""
        return float(2.0**self.binary_scale * 10.0**-self.decimal_scale)


def _row(
    words: str,
    parameter: tuple[int, int, int],
    surface: tuple[int, float | None],
    scales: tuple[int, int],
    shape: Shape,
    statistic: Statistic = "instant",
) -> SampleField:
    element, level = words.split(":")
    field = GribField(element=element, level=level, parameter=parameter, surface=surface, statistic=statistic)
    return SampleField(field=field, decimal_scale=scales[0], binary_scale=scales[1], shape=shape)


GROUND = (1, None)
ABOVE_2M, ABOVE_10M, ABOVE_80M, ABOVE_100M = (103, 2), (103, 10), (103, 80), (103, 100)
_snow, _rain = weather.category(0, 272.5), weather.category(274, 999)
_pellets, _glaze = weather.category(272.5, 274, rough=False), weather.category(272.5, 274, rough=True)

GFS_FIELDS: Mapping[str, SampleField] = {
    "pressure_reduced_to_mean_sea_level": _row(
        "PRMSL:mean sea level", (0, 3, 1), (101, None), (2, 4), weather.sea_level_pressure
    ),
    "pressure_surface": _row("PRES:surface", (0, 3, 0), GROUND, (1, 4), weather.pressure_surface),
    "temperature_2m": _row("TMP:2 m above ground", (0, 0, 0), ABOVE_2M, (1, 0), weather.temperature_2m),
    "relative_humidity_2m": _row("RH:2 m above ground", (0, 1, 1), ABOVE_2M, (1, 0), weather.relative_humidity),
    "maximum_temperature_2m": _row(
        "TMAX:2 m above ground", (0, 0, 4), ABOVE_2M, (1, 0), weather.maximum_temperature, "max"
    ),
    "minimum_temperature_2m": _row(
        "TMIN:2 m above ground", (0, 0, 5), ABOVE_2M, (1, 0), weather.minimum_temperature, "min"
    ),
    "wind_u_10m": _row("UGRD:10 m above ground", (0, 2, 2), ABOVE_10M, (2, 0), weather.wind_u),
    "wind_v_10m": _row("VGRD:10 m above ground", (0, 2, 3), ABOVE_10M, (2, 0), weather.wind_v),
    "percent_frozen_precipitation_surface": _row("CPOFP:surface", (0, 1, 39), GROUND, (1, 0), weather.percent_frozen),
    "precipitation_surface": _row("APCP:surface", (0, 1, 8), GROUND, (0, -4), weather.rain_total, "acc"),
    "categorical_snow_surface": _row("CSNOW:surface", (0, 1, 195), GROUND, (0, 0), _snow, "avg"),
    "categorical_ice_pellets_surface": _row("CICEP:surface", (0, 1, 194), GROUND, (0, 0), _pellets, "avg"),
    "categorical_freezing_rain_surface": _row("CFRZR:surface", (0, 1, 193), GROUND, (0, 0), _glaze, "avg"),
    "categorical_rain_surface": _row("CRAIN:surface", (0, 1, 192), GROUND, (0, 0), _rain, "avg"),
    "precipitable_water_atmosphere": _row(
        "PWAT:entire atmosphere (considered as a single layer)",
        (0, 1, 3),
        (200, None),
        (1, 0),
        weather.precipitable_water,
    ),
    "total_cloud_cover_atmosphere": _row(
        "TCDC:entire atmosphere", (0, 6, 1), (10, None), (1, 0), weather.total_cloud_cover, "avg"
    ),
    "geopotential_height_cloud_ceiling": _row(
        "HGT:cloud ceiling", (0, 3, 5), (215, None), (1, 1), weather.cloud_ceiling
    ),
    "downward_short_wave_radiation_flux_surface": _row(
        "DSWRF:surface", (0, 4, 192), GROUND, (2, 1), weather.downward_short_wave, "avg"
    ),
    "downward_long_wave_radiation_flux_surface": _row(
        "DLWRF:surface", (0, 5, 192), GROUND, (1, 0), weather.downward_long_wave, "avg"
    ),
    "temperature_80m": _row("TMP:80 m above ground", (0, 0, 0), ABOVE_80M, (1, 0), weather.temperature_80m),
    "pressure_80m": _row("PRES:80 m above ground", (0, 3, 0), ABOVE_80M, (1, 4), weather.pressure_80m),
    "wind_u_80m": _row("UGRD:80 m above ground", (0, 2, 2), ABOVE_80M, (2, 0), weather.wind_u_aloft),
    "wind_v_80m": _row("VGRD:80 m above ground", (0, 2, 3), ABOVE_80M, (2, 0), weather.wind_v_aloft),
    "wind_u_100m": _row("UGRD:100 m above ground", (0, 2, 2), ABOVE_100M, (2, 0), weather.wind_u_aloft),
    "wind_v_100m": _row("VGRD:100 m above ground", (0, 2, 3), ABOVE_100M, (2, 0), weather.wind_v_aloft),
}
"""Every variable of `noaa-gfs-forecast`, by its name there, in the order of the archive's files."""

DEMO_VARIABLES = (
    "temperature_2m",
    "wind_u_10m",
    "wind_v_10m",
    "pressure_reduced_to_mean_sea_level",
    "precipitation_surface",
    "downward_short_wave_radiation_flux_surface",
)


def expected_values(
    variable: str, init_time: Timestamp, lead_hours: int, *, step: float = FULL_STEP, since: int | None = None
) -> Field:
    """What the archive's message of a variable holds, before packing.

    Parameters
    ----------
    variable : str
        A name of `GFS_FIELDS`.
    step : float
        Grid spacing, in degrees.
    since : int, optional
        Lead hour at which the time window starts. Default: the start of the 6 h bucket. 0 gives the total of the forecast.

    Returns
    -------
    (latitude, longitude) float64
        From 90 N and 0 E on, in the source's units (K, Pa, kg m-2, …). NaN where a windowed variable has no message, at
        lead 0. Packed values differ by at most half of `GFS_FIELDS[variable].resolution`.

    Raises
    ------
    UnknownVariable
        The sample has no variable of that name.
    """
    field, globe = sample_field(variable), globe_of(step)
    end = (init_time - weather.EPOCH) / Timedelta("1h") + lead_hours
    if field.field.statistic == "instant":
        return field.shape(globe, Window(end, end))
    if lead_hours == 0:
        return np.full((globe.latitude.size, globe.longitude.size), np.nan)
    start = bucket_start(lead_hours) if since is None else since
    return field.shape(globe, Window(end - lead_hours + start, end))


def sample_field(variable: str) -> SampleField:
    try:
        return GFS_FIELDS[variable]
    except KeyError as error:
        raise UnknownVariable(f"variable {variable!r} is not in the sample; it has {', '.join(GFS_FIELDS)}") from error


def bucket_start(lead_hours: int) -> int:
    return (lead_hours - 1) // WINDOW_RESET * WINDOW_RESET


def gfs_message(
    field: SampleField, init_time: Timestamp, lead_hours: int, values: Field, since: int = 0
) -> SampleMessage:
    """A global message with the given values, and the header that NCEP writes.

    Parameters
    ----------
    values : (latitude, longitude) float64
        Begins at 90 N and 0 E; in the source's units; no value missing. The shape gives the grid.
    since : int
        Lead hour at which the time window starts. An instant has none.
    """
    identity, (kind, height) = field.field, field.field.surface
    instant = identity.statistic == "instant"
    keys: Keys = {
        "discipline": identity.parameter[0],
        "centre": NCEP,
        "subCentre": 0,
        "tablesVersion": 2,
        "localTablesVersion": 1,
        "significanceOfReferenceTime": 1,
        "dataDate": int(f"{init_time:%Y%m%d}"),
        "dataTime": int(f"{init_time:%H%M}"),
        "productionStatusOfProcessedData": 0,
        "typeOfProcessedData": 1,
        **_grid_keys(*values.shape),
        "productDefinitionTemplateNumber": 0 if instant else 8,
        "parameterCategory": identity.parameter[1],
        "parameterNumber": identity.parameter[2],
        "typeOfGeneratingProcess": 2,
        "backgroundProcess": 0,
        "generatingProcessIdentifier": FORECAST_PROCESS if lead_hours else ANALYSIS_PROCESS,
        "indicatorOfUnitForForecastTime": 1,
        "forecastTime": lead_hours if instant else since,
        "typeOfFirstFixedSurface": kind,
        "scaleFactorOfFirstFixedSurface": 0,
        "scaledValueOfFirstFixedSurface": int(height or 0),
        "typeOfSecondFixedSurface": 255,
        "scaleFactorOfSecondFixedSurface": 0,
        "scaledValueOfSecondFixedSurface": 0,
    }
    if not instant:
        keys |= _window_keys(identity.statistic, init_time + Timedelta(hours=lead_hours), lead_hours - since)
    return SampleMessage(keys, values, field.decimal_scale, field.binary_scale)


def _grid_keys(rows: int, columns: int) -> Keys:
    step = round(360e6 / columns)
    return {
        "shapeOfTheEarth": 6,
        "scaleFactorOfRadiusOfSphericalEarth": 0,
        "scaledValueOfRadiusOfSphericalEarth": 0,
        "scaleFactorOfEarthMajorAxis": 0,
        "scaledValueOfEarthMajorAxis": 0,
        "scaleFactorOfEarthMinorAxis": 0,
        "scaledValueOfEarthMinorAxis": 0,
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPoint": 90_000_000,
        "longitudeOfFirstGridPoint": 0,
        "resolutionAndComponentFlags": 48,
        "latitudeOfLastGridPoint": -90_000_000,
        "longitudeOfLastGridPoint": 360_000_000 - step,
        "iDirectionIncrement": step,
        "jDirectionIncrement": step,
        "scanningMode": 0,
    }


def _window_keys(statistic: Statistic, end: Timestamp, hours: int) -> Keys:
    parts = ("year", "month", "day", "hour", "minute", "second")
    return {
        **{f"{part}OfEndOfOverallTimeInterval": getattr(end, part) for part in parts},
        "numberOfTimeRanges": 1,
        "numberOfMissingInStatisticalProcess": 0,
        "typeOfStatisticalProcessing": STATISTICAL_PROCESS[statistic],
        "typeOfTimeIncrement": 2,
        "indicatorOfUnitForTimeRange": 1,
        "lengthOfTimeRange": hours,
        "indicatorOfUnitForTimeIncrement": 255,
        "timeIncrement": 0,
    }
