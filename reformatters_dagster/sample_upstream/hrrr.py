"""The HRRR of the sample. In: init times, lead times and a grid. Out: GRIB2 with `.idx` beside it, in the archive's layout.

The weather is that of the GFS sample, seen at the points of a Lambert grid.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.projection import latitudes_longitudes
from reformatters_dagster.core.spec.values import Names, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField, Statistic
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.gfs import GFS_FIELDS, SampleField, gfs_message
from reformatters_dagster.sample_upstream.weather import Field, Globe, Window, globe_of

ARCHIVE = "noaa-hrrr-bdp-pds"
HRRR_PROCESS = 83
SEEN_AT = 1.0
"""Spacing of the global weather in degrees. A point of the grid takes the value of the nearest point."""
_PLAIN_GRID_KEYS = {
    "Ni",
    "Nj",
    "latitudeOfLastGridPoint",
    "longitudeOfLastGridPoint",
    "iDirectionIncrement",
    "jDirectionIncrement",
}


def _instant(name: str) -> SampleField:
    field = GFS_FIELDS[name]
    return field.model_copy(update={"field": field.field.model_copy(update={"statistic": "instant"})})


def _ceiling(globe: Globe, window: Window) -> Field:
    """The cloud ceiling in whole metres, so that 9999, which means "no ceiling", is packed exactly."""
    height = weather.cloud_ceiling(globe, window)
    return np.where(height >= 19_000, 9999.0, np.rint(np.minimum(height, 9000.0)))


def _snow_cover(globe: Globe, window: Window) -> Field:
    """In percent."""
    return np.clip(10 * (278 - weather.temperature_2m(globe, window)), 0, 100)


def _snowfall(globe: Globe, window: Window) -> Field:
    return weather.rain_total(globe, window) * 0.01


def _row(
    element: str, level: str, parameter: tuple[int, int, int], scales: tuple[int, int], statistic: Statistic = "instant"
) -> dict[str, object]:
    surface = (215, None) if level == "cloud ceiling" else (1, None)
    field = GribField(element=element, level=level, parameter=parameter, surface=surface, statistic=statistic)
    return {"field": field, "decimal_scale": scales[0], "binary_scale": scales[1]}


HRRR_FIELDS: Mapping[str, SampleField] = {
    "temperature_2m": GFS_FIELDS["temperature_2m"],
    "wind_u_10m": GFS_FIELDS["wind_u_10m"],
    "categorical_rain_surface": _instant("categorical_rain_surface"),
    "percent_frozen_precipitation_surface": GFS_FIELDS["percent_frozen_precipitation_surface"],
    "geopotential_height_cloud_ceiling": SampleField.model_validate(
        {**_row("HGT", "cloud ceiling", (0, 3, 5), (0, 0)), "shape": _ceiling}
    ),
    "snow_area_fraction_surface": SampleField.model_validate(
        {**_row("SNOWC", "surface", (0, 1, 201), (0, 0)), "shape": _snow_cover}
    ),
    "precipitation_surface": GFS_FIELDS["precipitation_surface"],
    "snowfall_surface": SampleField.model_validate(
        {**_row("ASNOW", "surface", (0, 1, 29), (5, 0), "acc"), "shape": _snowfall}
    ),
}
"""Some variables of the HRRR datasets, by their names there: one for each rule of the source."""


def hrrr_values(variable: str, init_time: Timestamp, lead_hours: int, grid: LambertGrid, since: int = 0) -> Field:
    """What a message holds, before packing: (y, x) in the grid's order, in the source's units."""
    field, globe = HRRR_FIELDS[variable], globe_of(SEEN_AT)
    end = (init_time - weather.EPOCH) / Timedelta("1h") + lead_hours
    start = end if field.field.statistic == "instant" else end - lead_hours + since
    latitude, longitude = latitudes_longitudes(grid)
    row = np.rint((90 - latitude) / SEEN_AT).astype(int)
    column = np.rint(longitude % 360 / SEEN_AT).astype(int) % globe.longitude.size
    seen: Field = field.shape(globe, Window(start, end))[row, column]
    return seen


def write_hrrr_files(
    folder: Path, init_times: Iterable[Timestamp], lead_hours: Iterable[int], grid: LambertGrid, variables: Names
) -> list[Path]:
    """Write files with some variables, each with its index, under a folder that can be the mirror.

    Precipitation comes as the total since the start of the forecast and, from the second hour on, also as the total of the
    hour. Snowfall comes only as the total since the start.

    Raises
    ------
    EncodingFailed
        ecCodes, in its child process, could not make a message.
    """
    paths = []
    with Encoder() as encoder:
        for init, lead in product(init_times, lead_hours):
            key = f"hrrr.{init:%Y%m%d}/conus/hrrr.t{init:%H}z.wrfsfcf{lead:02d}.grib2"
            path = folder / ARCHIVE / key
            path.parent.mkdir(parents=True, exist_ok=True)
            index, offset = [], 0
            with path.open("wb") as out:
                for number, (words, message) in enumerate(_messages(init, lead, grid, variables), 1):
                    index.append(f"{number}:{offset}:d={init:%Y%m%d%H}:{words}:\n")
                    offset += out.write(encoder.encode(message))
            path.with_name(f"{path.name}.idx").write_text("".join(index))
            paths.append(path)
    return paths


def _messages(init: Timestamp, lead: int, grid: LambertGrid, variables: Names) -> Iterator[tuple[str, SampleMessage]]:
    """Words of the index and message of each variable of a file."""
    for variable, field in HRRR_FIELDS.items():
        if variable not in variables:
            continue
        name = f"{field.field.element}:{field.field.level}"
        if field.field.statistic == "instant":
            yield f"{name}:{f'{lead} hour fcst' if lead else 'anl'}", _message(variable, init, lead, grid)
            continue
        if lead == 0:
            continue
        whole_days = f"0-{lead // 24} day acc fcst" if lead % 24 == 0 else f"0-{lead} hour acc fcst"
        yield f"{name}:{whole_days}", _message(variable, init, lead, grid)
        if variable == "precipitation_surface":
            yield f"{name}:{lead - 1}-{lead} hour acc fcst", _message(variable, init, lead, grid, lead - 1)


def _message(variable: str, init: Timestamp, lead: int, grid: LambertGrid, since: int = 0) -> SampleMessage:
    """A message with the header that NCEP writes for the HRRR: rows run from south to north."""
    values = hrrr_values(variable, init, lead, grid, since)
    latitude, longitude = latitudes_longitudes(grid)
    message = gfs_message(HRRR_FIELDS[variable], init, lead, values[::-1], since)
    keys = {name: value for name, value in message.keys.items() if name not in _PLAIN_GRID_KEYS}
    first, second = grid.standard_parallels
    lambert: dict[str, int | str] = {
        "Nx": grid.x.size,
        "Ny": grid.y.size,
        "latitudeOfFirstGridPoint": round(float(latitude[-1, 0]) * 1e6),
        "longitudeOfFirstGridPoint": round(float(longitude[-1, 0]) % 360 * 1e6),
        "resolutionAndComponentFlags": 8,
        "LaD": round(grid.latitude_of_origin * 1e6),
        "LoV": round(grid.central_meridian % 360 * 1e6),
        "Dx": round(grid.x.step * 1e3),
        "Dy": round(-grid.y.step * 1e3),
        "projectionCentreFlag": 0,
        "scanningMode": 64,
        "Latin1": round(first * 1e6),
        "Latin2": round(second * 1e6),
        "generatingProcessIdentifier": HRRR_PROCESS,
    }
    head = {"gridDefinitionTemplateNumber": 30, "numberOfDataPoints": values.size}
    return message._replace(keys={**_before_grid(keys), **head, **_after_grid(keys), **lambert})


def _before_grid(keys: Mapping[str, int | str]) -> dict[str, int | str]:
    names = list(keys)
    return {name: keys[name] for name in names[: names.index("shapeOfTheEarth")]}


def _after_grid(keys: Mapping[str, int | str]) -> dict[str, int | str]:
    names = list(keys)
    return {name: keys[name] for name in names[names.index("shapeOfTheEarth") :]}
