"""The ICON-EU of the sample. In: variables, times and a grid. Out: their values, and bz2 files as DWD names and packs them."""

import bz2
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Names, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField, Statistic
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.gfs import STATISTICAL_PROCESS, Keys, SampleField, Shape
from reformatters_dagster.sample_upstream.weather import Field, Globe, Window, globe_over

COPY = "us-west-2.opendata.source.coop/dynamical/dwd-icon-grib/icon-eu/regular-lat-lon"
SERVER = "opendata.dwd.de/weather/nwp/icon-eu/grib"

OFFENBACH, NO_SUBCENTRE, ICON_EU_PROCESS = 78, 255, 2
"""Originating centre (code table 0), and DWD's number of its model."""
MINUTES, NO_UNIT = 0, 255

type Surface = tuple[int, float | None]


def _row(
    element: str,
    parameter: tuple[int, int, int],
    surface: Surface,
    binary_scale: int,
    shape: Shape,
    statistic: Statistic = "instant",
) -> SampleField:
    field = GribField(element=element, level="", parameter=parameter, surface=surface, statistic=statistic)
    return SampleField(field=field, decimal_scale=0, binary_scale=binary_scale, shape=shape)


def _dew_point(globe: Globe, window: Window) -> Field:
    return weather.temperature_2m(globe, window) - (100 - weather.relative_humidity(globe, window)) / 5


def _breeze(mean: float, turn: float) -> Shape:
    """Wind that swings with the time of day."""

    def wind(globe: Globe, window: Window) -> Field:
        angle = np.radians(15 * (window.end % 24) + globe.longitude + turn)
        blowing: Field = mean + 2 * globe.texture + 4 * np.cos(np.radians(globe.latitude))[:, None] * np.sin(angle)
        return blowing

    return wind


def _share_of_cloud(share: float) -> Shape:
    return lambda globe, window: share * weather.total_cloud_cover(globe, window)


def _of_ground(per_metre: float) -> Shape:
    return lambda globe, _: per_metre * globe.height


def _cape(globe: Globe, _: Window) -> Field:
    return 1500 * globe.moisture


def _sunlight(share: float) -> Shape:
    """Mean over a window of any length, made from the means of its days."""

    def mean(globe: Globe, window: Window) -> Field:
        first, last = window.start // 24 + 1, -(-window.end // 24)
        ends = [window.start, *(24 * day for day in np.arange(first, last)), window.end]
        days = [Window(start, end) for start, end in pairwise(ends)]
        total = np.add.reduce([weather.downward_short_wave(globe, day) * day.length for day in days])
        found: Field = share * total / window.length
        return found

    return mean


GROUND, SEA_LEVEL = (1, None), (101, None)
AT_2M, AT_10M = (103, 2), (103, 10)

ICON_EU_FIELDS: Mapping[str, SampleField] = {
    "temperature_2m": _row("T_2M", (0, 0, 0), AT_2M, -10, weather.temperature_2m),
    "dew_point_temperature_2m": _row("TD_2M", (0, 0, 6), AT_2M, -10, _dew_point),
    "relative_humidity_2m": _row("RELHUM_2M", (0, 1, 1), AT_2M, -9, weather.relative_humidity),
    "wind_u_10m": _row("U_10M", (0, 2, 2), AT_10M, -10, _breeze(5.0, 0.0)),
    "wind_v_10m": _row("V_10M", (0, 2, 3), AT_10M, -10, _breeze(0.0, 90.0)),
    "wind_gust_10m": _row("VMAX_10M", (0, 2, 22), AT_10M, -10, _breeze(15.0, 45.0), "max"),
    "pressure_surface": _row("PS", (0, 3, 0), GROUND, 0, weather.pressure_surface),
    "pressure_reduced_to_mean_sea_level": _row("PMSL", (0, 3, 1), SEA_LEVEL, -3, weather.sea_level_pressure),
    "precipitation_surface": _row("TOT_PREC", (0, 1, 52), GROUND, -10, weather.rain_total, "acc"),
    "precipitable_water_atmosphere": _row("TQV", (0, 1, 64), GROUND, -10, weather.precipitable_water),
    "total_cloud_cover_atmosphere": _row("CLCT", (0, 6, 1), GROUND, -9, weather.total_cloud_cover),
    "cloud_cover_low": _row("CLCL", (0, 6, 22), (100, 800e2), -9, _share_of_cloud(0.5)),
    "cloud_cover_medium": _row("CLCM", (0, 6, 22), (100, 400e2), -9, _share_of_cloud(0.7)),
    "cloud_cover_high": _row("CLCH", (0, 6, 22), (100, 0.0), -9, _share_of_cloud(0.9)),
    "convective_available_potential_energy_atmosphere": _row("CAPE_CON", (0, 7, 6), GROUND, -5, _cape),
    "downward_direct_short_wave_radiation_flux_surface": _row(
        "ASWDIR_S", (0, 4, 198), GROUND, -7, _sunlight(0.7), "avg"
    ),
    "downward_diffuse_short_wave_radiation_flux_surface": _row(
        "ASWDIFD_S", (0, 4, 199), GROUND, -7, _sunlight(0.3), "avg"
    ),
    "snow_thickness_surface": _row("H_SNOW", (0, 1, 11), GROUND, -14, _of_ground(1e-3)),
    "snow_water_equivalent_surface": _row("W_SNOW", (0, 1, 60), GROUND, -6, _of_ground(0.2)),
}
"""Every variable of `dwd-icon-eu-forecast-5-day`, by its name there."""


def icon_eu_globe(grid: LatLonGrid) -> Globe:
    """The grid's part of the globe in the order of the files, from south to north."""
    return globe_over(np.sort(np.array(grid.latitude.labels())), np.array(grid.longitude.labels()))


def icon_eu_values(
    variable: str, init_time: Timestamp, lead_hours: int, globe: Globe, *, since: int | None = None
) -> Field:
    """What the message of a variable holds, before packing.

    Parameters
    ----------
    variable : str
        A name of `ICON_EU_FIELDS`.
    globe : Globe
        See `icon_eu_globe`.
    since : int, optional
        Lead hour at which the time window starts. Default: as in the files, 0 for means and totals, the previous lead time for
        gusts.

    Returns
    -------
    (latitude, longitude) float64
        From south to north, in the source's units (K, Pa, kg m-2, …).

    Raises
    ------
    UnknownVariable
        The sample has no variable of that name.
    """
    field = _sample_field(variable)
    end = (init_time - weather.EPOCH) / Timedelta("1h") + lead_hours
    start = _window_start(field.field.statistic, lead_hours) if since is None else since
    if field.field.statistic in ("avg", "acc") and lead_hours == start:
        return np.zeros((globe.latitude.size, globe.longitude.size))
    return field.shape(globe, Window(end - lead_hours + start, end))


def _sample_field(variable: str) -> SampleField:
    try:
        return ICON_EU_FIELDS[variable]
    except KeyError as error:
        raise UnknownVariable(
            f"variable {variable!r} is not in the sample of ICON-EU; it has {', '.join(ICON_EU_FIELDS)}"
        ) from error


def _window_start(statistic: Statistic, lead_hours: int) -> int:
    if statistic == "instant":
        return lead_hours
    if statistic in ("avg", "acc") or lead_hours == 0:
        return 0
    return lead_hours - (1 if lead_hours <= 78 else 3)


def icon_eu_message(
    field: SampleField, init_time: Timestamp, lead_hours: int, values: Field, grid: LatLonGrid
) -> SampleMessage:
    """A message with the given values, and the header that DWD writes, except its local section 2.

    Parameters
    ----------
    values : (latitude, longitude) float64
        From south to north, in the source's units.
    grid : LatLonGrid
        Where the values lie.
    """
    identity, (kind, height) = field.field, field.field.surface
    start = _window_start(identity.statistic, lead_hours)
    instant = identity.statistic == "instant"
    in_hectopascal = kind == 100
    keys: Keys = {
        "discipline": identity.parameter[0],
        "centre": OFFENBACH,
        "subCentre": NO_SUBCENTRE,
        "tablesVersion": 19,
        "localTablesVersion": 1,
        "significanceOfReferenceTime": 1,
        "dataDate": int(f"{init_time:%Y%m%d}"),
        "dataTime": int(f"{init_time:%H%M}"),
        "productionStatusOfProcessedData": 0,
        "typeOfProcessedData": 1,
        **_grid_keys(grid),
        "productDefinitionTemplateNumber": 0 if instant else 8,
        "parameterCategory": identity.parameter[1],
        "parameterNumber": identity.parameter[2],
        "typeOfGeneratingProcess": 2,
        "backgroundProcess": 0,
        "generatingProcessIdentifier": ICON_EU_PROCESS,
        "indicatorOfUnitForForecastTime": MINUTES,
        "forecastTime": 60 * start,
        "typeOfFirstFixedSurface": kind,
        "scaleFactorOfFirstFixedSurface": -2 if in_hectopascal else 0,
        "scaledValueOfFirstFixedSurface": int((height or 0) / (100 if in_hectopascal else 1)),
        "typeOfSecondFixedSurface": 255,
    }
    if not instant:
        keys |= _window_keys(identity.statistic, init_time + Timedelta(hours=lead_hours), lead_hours - start)
    return SampleMessage(keys, values, field.decimal_scale, field.binary_scale, "grid_simple")


def _grid_keys(grid: LatLonGrid) -> Keys:
    latitudes, longitudes = sorted(grid.latitude.labels()), grid.longitude.labels()
    return {
        "shapeOfTheEarth": 6,
        "Ni": len(longitudes),
        "Nj": len(latitudes),
        "latitudeOfFirstGridPoint": round(latitudes[0] * 1e6),
        "longitudeOfFirstGridPoint": round(longitudes[0] % 360 * 1e6),
        "resolutionAndComponentFlags": 48,
        "latitudeOfLastGridPoint": round(latitudes[-1] * 1e6),
        "longitudeOfLastGridPoint": round(longitudes[-1] % 360 * 1e6),
        "iDirectionIncrement": round(abs(grid.longitude.step) * 1e6),
        "jDirectionIncrement": round(abs(grid.latitude.step) * 1e6),
        "scanningMode": 64,
    }


def _window_keys(statistic: Statistic, end: Timestamp, hours: int) -> Keys:
    parts = ("year", "month", "day", "hour", "minute", "second")
    return {
        **{f"{part}OfEndOfOverallTimeInterval": getattr(end, part) for part in parts},
        "numberOfTimeRanges": 1,
        "numberOfMissingInStatisticalProcess": 0,
        "typeOfStatisticalProcessing": STATISTICAL_PROCESS[statistic],
        "typeOfTimeIncrement": 2,
        "indicatorOfUnitForTimeRange": MINUTES,
        "lengthOfTimeRange": 60 * hours,
        "indicatorOfUnitForTimeIncrement": NO_UNIT,
        "timeIncrement": 0,
    }


def icon_eu_path(variable: str, init_time: Timestamp, lead_hours: int, archive: str = COPY) -> Path:
    """Where a file lies in a folder that can be the mirror of all upstreams; `archive` is `COPY` or `SERVER`."""
    element = _sample_field(variable).field.element
    run = f"{init_time:%H}" if archive == SERVER else f"{init_time:%Y-%m-%dT%H}"
    name = f"icon-eu_europe_regular-lat-lon_single-level_{init_time:%Y%m%d%H}_{lead_hours:03d}_{element}.grib2.bz2"
    return Path(archive, run, element.lower(), name)


def write_icon_eu_sample(
    folder: Path,
    init_times: Sequence[Timestamp],
    lead_hours: Sequence[int],
    *,
    grid: LatLonGrid,
    variables: Names = tuple(ICON_EU_FIELDS),
    archive: str = COPY,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the ICON-EU files of some init and lead times under a folder that can be the mirror of all upstreams.

    Parameters
    ----------
    grid : LatLonGrid
        The dataset's own, or a coarser one. File names are the same.
    variables : Names
        Names of `ICON_EU_FIELDS`.
    archive : str
        `COPY` or `SERVER`, which lay files out differently.
    progress : callable, optional
        Called after each file with the number of files written and of all.

    Returns
    -------
    list of Path
        By init time, lead time, variable.
    """
    globe = icon_eu_globe(grid)
    wanted = [(init, lead, variable) for init in init_times for lead in lead_hours for variable in variables]
    paths = []
    with Encoder() as encoder:
        for done, (init, lead, variable) in enumerate(wanted, 1):
            values = icon_eu_values(variable, init, lead, globe)
            message = encoder.encode(icon_eu_message(_sample_field(variable), init, lead, values, grid))
            path = folder / icon_eu_path(variable, init, lead, archive)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bz2.compress(message))
            paths.append(path)
            if progress is not None:
                progress(done, len(wanted))
    return paths
