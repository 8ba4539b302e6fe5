"""The IFS ensemble of the sample. In: init times, lead times, members. Out: GRIB2 with `.index` beside it, as ECMWF lays it out.

The weather is that of the GFS sample. Each member has the weather of other longitudes.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reformatters_dagster.core.spec.values import Names, Timedelta, Timestamp
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.gfs import FULL_STEP, Shape
from reformatters_dagster.sample_upstream.weather import Field, Globe, Window, globe_of

ARCHIVE = "ecmwf-open-data"
ECMWF, IFS_PROCESS, PERTURBED, MEMBERS_APART = 98, 158, 4, 2
"""Originating centre, its generating process, type of processed data, degrees of grid between members in steps."""
TOTAL, HIGHEST = 1, 2
"""Statistical processes of GRIB2 code table 4.10."""
GUST_NAMED_APART = range(93, 145)

type Parameter = tuple[int, int, int]


class IfsField(NamedTuple):
    """One variable of the sample: its names in index and message, the resolution of its packing, its values."""

    param: str
    parameter: Parameter
    surface: tuple[int, int | None]
    scales: tuple[int, int]
    """Decimal and binary scale."""
    shape: Shape
    process: int | None = None
    """Statistical process over the time since the start of the forecast, or over the gust's window; None for an instant."""

    @property
    def resolution(self) -> float:
        """Smallest difference of two packed values."""
        return float(2.0 ** self.scales[1] * 10.0 ** -self.scales[0])


def _rain_in_metres(globe: Globe, window: Window) -> Field:
    return weather.rain_total(globe, window) / 1000


def _sunshine(globe: Globe, window: Window) -> Field:
    return weather.downward_short_wave(globe, window) * (window.end - window.start) * 3600


def _glow(globe: Globe, window: Window) -> Field:
    return weather.downward_long_wave(globe, window) * (window.end - window.start) * 3600


def _cloud_share(globe: Globe, window: Window) -> Field:
    return weather.total_cloud_cover(globe, window) / 100


def _gust(globe: Globe, window: Window) -> Field:
    return 1.4 * np.hypot(weather.wind_u(globe, window), weather.wind_v(globe, window))


def _kind(globe: Globe, window: Window) -> Field:
    """Precipitation type, also where it is dry: code 1 for rain, 5 for snow."""
    return np.where(weather.temperature_2m(globe, window) > 273.15, 1.0, 5.0)


def _height(metres: float) -> Shape:
    return lambda globe, window: metres + 12 * (weather.temperature_2m(globe, window) - 275)


def _cooler_by(kelvin: float) -> Shape:
    return lambda globe, window: weather.temperature_2m(globe, window) - kelvin


GROUND, SEA_LEVEL = (1, None), (101, None)
IFS_FIELDS: Mapping[str, IfsField] = {
    "categorical_precipitation_type_surface": IfsField("ptype", (0, 1, 19), GROUND, (0, 0), _kind),
    "dew_point_temperature_2m": IfsField("2d", (0, 0, 6), (103, 2), (0, -9), _cooler_by(3)),
    "downward_long_wave_radiation_flux_surface": IfsField("strd", (0, 5, 3), GROUND, (0, 4), _glow, TOTAL),
    "downward_short_wave_radiation_flux_surface": IfsField("ssrd", (0, 4, 7), GROUND, (0, 4), _sunshine, TOTAL),
    "geopotential_height_500hpa": IfsField("gh", (0, 3, 5), (100, 50_000), (0, -2), _height(5500)),
    "geopotential_height_850hpa": IfsField("gh", (0, 3, 5), (100, 85_000), (0, -2), _height(1450)),
    "geopotential_height_925hpa": IfsField("gh", (0, 3, 5), (100, 92_500), (0, -2), _height(760)),
    "precipitation_surface": IfsField("tp", (0, 1, 193), GROUND, (0, -20), _rain_in_metres, TOTAL),
    "pressure_reduced_to_mean_sea_level": IfsField("msl", (0, 3, 0), SEA_LEVEL, (0, 0), weather.sea_level_pressure),
    "pressure_surface": IfsField("sp", (0, 3, 0), GROUND, (0, 0), weather.pressure_surface),
    "temperature_2m": IfsField("2t", (0, 0, 0), (103, 2), (0, -9), weather.temperature_2m),
    "temperature_850hpa": IfsField("t", (0, 0, 0), (100, 85_000), (0, -6), _cooler_by(9)),
    "temperature_925hpa": IfsField("t", (0, 0, 0), (100, 92_500), (0, -6), _cooler_by(5)),
    "total_cloud_cover_atmosphere": IfsField("tcc", (0, 6, 192), GROUND, (0, -7), _cloud_share),
    "wind_gust_10m": IfsField("10fg", (0, 2, 22), (103, 10), (0, -7), _gust, HIGHEST),
    "wind_u_100m": IfsField("100u", (0, 2, 2), (103, 100), (0, -9), weather.wind_u_aloft),
    "wind_u_10m": IfsField("10u", (0, 2, 2), (103, 10), (0, -9), weather.wind_u),
    "wind_v_100m": IfsField("100v", (0, 2, 3), (103, 100), (0, -9), weather.wind_v_aloft),
    "wind_v_10m": IfsField("10v", (0, 2, 3), (103, 10), (0, -9), weather.wind_v),
}
"""Every variable of `ecmwf-ifs-ens-forecast-15-day-0-25-degree`, by its name there."""


def ifs_values(variable: str, init_time: Timestamp, lead_hours: int, member: int, step: float) -> Field:
    """What a message holds, before packing: (latitude, longitude), from 90 N and 180 E on, in the source's units."""
    field, globe = IFS_FIELDS[variable], globe_of(step)
    end = (init_time - weather.EPOCH) / Timedelta("1h") + lead_hours
    since = end - lead_hours if field.process == TOTAL else end
    from_greenwich = field.shape(globe, Window(since, end))
    return np.roll(from_greenwich, from_greenwich.shape[1] // 2 + MEMBERS_APART * member, axis=1)


def ifs_message(
    field: IfsField, init_time: Timestamp, lead_hours: int, values: Field, member: int | None
) -> SampleMessage:
    """A global message with the given values, and the header that ECMWF writes for a member; None: for the single forecast."""
    kind, height = field.surface
    since = {None: lead_hours, TOTAL: 0, HIGHEST: max(lead_hours - 3, 0)}[field.process]
    ensemble = member is not None
    template = (11 if ensemble else 8) if field.process else int(ensemble)
    rows, columns = values.shape
    step = round(360e6 / columns)
    keys: dict[str, int | str] = {
        "discipline": field.parameter[0],
        "centre": ECMWF,
        "subCentre": 0,
        "tablesVersion": 27,
        "localTablesVersion": 0,
        "significanceOfReferenceTime": 1,
        "dataDate": int(f"{init_time:%Y%m%d}"),
        "dataTime": int(f"{init_time:%H%M}"),
        "productionStatusOfProcessedData": 0,
        "typeOfProcessedData": 1 if member is None else PERTURBED if member else 3,
        "shapeOfTheEarth": 6,
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPoint": 90_000_000,
        "longitudeOfFirstGridPoint": 180_000_000,
        "latitudeOfLastGridPoint": -90_000_000,
        "longitudeOfLastGridPoint": 180_000_000 - step,
        "iDirectionIncrement": step,
        "jDirectionIncrement": step,
        "scanningMode": 0,
        "productDefinitionTemplateNumber": template,
        "parameterCategory": field.parameter[1],
        "parameterNumber": field.parameter[2],
        "typeOfGeneratingProcess": 4 if ensemble else 2,
        "generatingProcessIdentifier": IFS_PROCESS,
        "indicatorOfUnitForForecastTime": 1,
        "forecastTime": since,
        "typeOfFirstFixedSurface": kind,
        "scaleFactorOfFirstFixedSurface": 0,
        "scaledValueOfFirstFixedSurface": height or 0,
        "typeOfSecondFixedSurface": 255,
    }
    if ensemble:
        keys |= {"typeOfEnsembleForecast": 255, "perturbationNumber": member or 0, "numberOfForecastsInEnsemble": 51}
    if field.process:
        keys |= _window_keys(field.process, init_time + Timedelta(hours=lead_hours), lead_hours - since)
    return SampleMessage(keys, values, *field.scales, "grid_ccsds")


def _window_keys(process: int, end: Timestamp, hours: int) -> dict[str, int | str]:
    parts = ("year", "month", "day", "hour", "minute", "second")
    return {
        **{f"{part}OfEndOfOverallTimeInterval": getattr(end, part) for part in parts},
        "numberOfTimeRanges": 1,
        "numberOfMissingInStatisticalProcess": 0,
        "typeOfStatisticalProcessing": process,
        "typeOfTimeIncrement": 2,
        "indicatorOfUnitForTimeRange": 1,
        "lengthOfTimeRange": hours,
    }


def ifs_path(init_time: Timestamp, lead_hours: int, *, single: bool = False, archive: str = ARCHIVE) -> Path:
    """Where a file lies in a folder that can be the mirror of all upstreams."""
    stream, kind = ("oper", "oper-fc") if single else ("enfo", "enfo-ef")
    name = f"{init_time:%Y%m%d%H}0000-{lead_hours}h-{kind}.grib2"
    return Path(archive, f"{init_time:%Y%m%d}", f"{init_time:%H}z", "ifs", "0p25", stream, name)


def write_ifs_sample(
    folder: Path,
    init_time: Timestamp,
    leads: Iterable[int],
    *,
    members: Iterable[int],
    single: bool = False,
    variables: Names = tuple(IFS_FIELDS),
    step: float = FULL_STEP,
    archive: str = ARCHIVE,
) -> list[Path]:
    """Write the files of one init time, each with its index.

    Parameters
    ----------
    members : iterable of int
        0 is the control.
    single : bool
        Write the files of the single forecast. Its messages belong to no ensemble, and only member 0 makes sense.

    Raises
    ------
    EncodingFailed
        ecCodes, in its child process, could not make a message.
    """
    paths, members = [], tuple(members)
    with Encoder() as encoder:
        for lead in leads:
            path = folder / ifs_path(init_time, lead, single=single, archive=archive)
            path.parent.mkdir(parents=True, exist_ok=True)
            lines, offset = [], 0
            with path.open("wb") as out:
                for member in members:
                    for variable in [name for name in IFS_FIELDS if name in variables]:
                        field = IFS_FIELDS[variable]
                        if field.process and lead == 0:
                            continue
                        values = ifs_values(variable, init_time, lead, member, step)
                        message = ifs_message(field, init_time, lead, values, None if single else member)
                        length = out.write(encoder.encode(message))
                        words = _words(field, init_time, lead, None if single else member)
                        lines.append(json.dumps({**words, "_offset": offset, "_length": length}))
                        offset += length
            path.with_suffix(".index").write_text("\n".join(lines) + "\n")
            paths.append(path)
    return paths


def _words(field: IfsField, init_time: Timestamp, lead_hours: int, member: int | None) -> dict[str, str]:
    """A line of the index, without the place of the message."""
    named_apart = field.param == "10fg" and lead_hours in GUST_NAMED_APART
    kind, height = field.surface
    level = {"levtype": "pl", "levelist": str((height or 0) // 100)} if kind == 100 else {"levtype": "sfc"}
    return {
        "domain": "g",
        "date": f"{init_time:%Y%m%d}",
        "time": f"{init_time:%H%M}",
        "expver": "0001",
        "class": "od",
        "type": "fc" if member is None else "pf" if member else "cf",
        "stream": "oper" if member is None else "enfo",
        "step": str(lead_hours),
        **level,
        **({"number": str(member)} if member else {}),
        "param": "10fg3" if named_apart else field.param,
    }
