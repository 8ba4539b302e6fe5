"""The GEFS of the sample. In: init times, lead times, members. Out: GRIB2 with `.idx` beside it, in the archives' layouts.

Weather and packing are those of the GFS sample. Each member has the weather of other longitudes.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from reformatters_dagster.core.spec.values import Names, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.gfs import FULL_STEP, GFS_FIELDS, SampleField, bucket_start, gfs_message
from reformatters_dagster.sample_upstream.mirror import WINDOW_WORDS
from reformatters_dagster.sample_upstream.weather import Field, Globe, Window, globe_of

FORECASTS, REFORECASTS = "noaa-gefs-pds", "noaa-gefs-retrospective"
GEFS_PROCESS, ENSEMBLE_SUBCENTRE, PERTURBED = 107, 2, 30
ENSEMBLE_FORECAST = 4
"""Of GRIB2 code table 4.3."""
LOW_RESOLUTION_CONTROL, POSITIVE_PERTURBATION = 1, 3
"""Of GRIB2 code table 4.6."""
COARSEST = 4

type Kind = Literal["s", "a", "b"]


def _gust(globe: Globe, window: Window) -> Field:
    return 1.4 * np.hypot(weather.wind_u(globe, window), weather.wind_v(globe, window))


def _height_500hpa(globe: Globe, window: Window) -> Field:
    return 5500 + 12 * (weather.temperature_2m(globe, window) - 275)


def _field(element: str, level: str, parameter: tuple[int, int, int], surface: tuple[int, float | None]) -> GribField:
    return GribField(element=element, level=level, parameter=parameter, surface=surface)


GEFS_FIELDS: Mapping[str, SampleField] = {
    "geopotential_height_500hpa": SampleField(
        field=_field("HGT", "500 mb", (0, 3, 5), (100, 50_000)), decimal_scale=0, binary_scale=0, shape=_height_500hpa
    ),
    "wind_gust_surface": SampleField(
        field=_field("GUST", "surface", (0, 2, 22), (1, None)), decimal_scale=2, binary_scale=2, shape=_gust
    ),
    **GFS_FIELDS,
}
"""Every variable of the GEFS datasets, by its name there."""

_ONLY_B = {"wind_u_80m", "wind_v_80m", "wind_u_100m", "wind_v_100m", "temperature_80m", "pressure_80m"}
_B = _ONLY_B | {"wind_gust_surface", "percent_frozen_precipitation_surface", "geopotential_height_cloud_ceiling"}
_ONLY_A = {"geopotential_height_500hpa"}
VARIABLES: Mapping[Kind, frozenset[str]] = {
    "s": frozenset(GEFS_FIELDS) - _ONLY_A - _ONLY_B,
    "a": frozenset(GEFS_FIELDS) - _B,
    "b": frozenset(_B),
}
"""What the files of each kind hold."""


class GefsFile(NamedTuple):
    """One file to be made."""

    key: str
    """Below the mirror, the archive's folder included."""
    init_time: Timestamp
    lead_hours: tuple[int, ...]
    member: int
    variables: frozenset[str]
    step: float
    """Grid spacing, in degrees."""
    shift: float
    """How many degrees east of the control's the member's weather lies."""


def current_file(init: Timestamp, lead: int, kind: Kind, member: int = 0, step: float = FULL_STEP) -> GefsFile:
    """A file of GEFS version 12; `step` is the spacing of `s` files."""
    folder, grid, coarseness = ("p25", "0p25", 1) if kind == "s" else ("p5", "0p50", 2)
    name = f"ge{_member(member)}.t{init:%H}z.pgrb2{kind}.{grid}.f{lead:03d}"
    key = f"{FORECASTS}/gefs.{init:%Y%m%d/%H}/atmos/pgrb2{kind}{folder}/{name}"
    return GefsFile(key, init, (lead,), member, VARIABLES[kind], coarseness * step, COARSEST * step * member)


def former_file(init: Timestamp, lead: int, kind: Kind, member: int = 0, step: float = FULL_STEP) -> GefsFile:
    """A file of the version before 12, four times as coarse as `step`."""
    name = f"ge{_member(member)}.t{init:%H}z.pgrb2{kind}f{lead:02d}"
    key = f"{FORECASTS}/gefs.{init:%Y%m%d/%H}/pgrb2{kind}/{name}"
    return GefsFile(key, init, (lead,), member, VARIABLES[kind], COARSEST * step, COARSEST * step * member)


def reforecast_file(init: Timestamp, variable: str, stem: str, leads: Iterable[int], step: float) -> GefsFile:
    """A file of the control reforecast: one variable, all lead times. Levels above 700 hPa are half as fine."""
    key = f"{REFORECASTS}/GEFSv12/reforecast/{init:%Y/%Y%m%d%H}/c00/Days:1-10/{stem}_{init:%Y%m%d%H}_c00.grib2"
    step = 2 * step if stem.endswith("_abv700mb") else step
    return GefsFile(key, init, tuple(leads), 0, frozenset({variable}), step, 0.0)


def _member(member: int) -> str:
    return f"p{member:02d}" if member else "c00"


def gefs_values(variable: str, init_time: Timestamp, lead_hours: int, step: float, shift: float = 0.0) -> Field:
    """What a message holds, before packing: (latitude, longitude), from 90 N and 0 E on, in the source's units."""
    field, globe = GEFS_FIELDS[variable], globe_of(step)
    end = (init_time - weather.EPOCH) / Timedelta("1h") + lead_hours
    instant = field.field.statistic == "instant"
    start = end if instant else end - lead_hours + bucket_start(lead_hours)
    return np.roll(field.shape(globe, Window(start, end)), round(shift / step), axis=1)


def write_gefs_files(folder: Path, files: Iterable[GefsFile], variables: Names) -> list[Path]:
    """Write files with some of their variables, each with its index, under a folder that can be the mirror.

    Raises
    ------
    EncodingFailed
        ecCodes, in its child process, could not make a message.
    """
    paths = []
    with Encoder() as encoder:
        for file in files:
            path = folder / file.key
            path.parent.mkdir(parents=True, exist_ok=True)
            index, offset = [], 0
            with path.open("wb") as out:
                for number, (words, message) in enumerate(_messages(file, variables), 1):
                    index.append(f"{number}:{offset}:{words}\n")
                    offset += out.write(encoder.encode(message))
            path.with_name(f"{path.name}.idx").write_text("".join(index))
            paths.append(path)
    return paths


def _messages(file: GefsFile, variables: Names) -> Iterator[tuple[str, SampleMessage]]:
    """For each variable at each lead time: the line of the index, from the third field on, and the message."""
    wanted = [variable for variable in GEFS_FIELDS if variable in variables and variable in file.variables]
    for lead in file.lead_hours:
        for variable in wanted:
            field = _as_filed(variable, file.key)
            statistic = field.field.statistic
            if statistic != "instant" and lead == 0:
                continue
            since = bucket_start(lead)
            window = (
                (f"{lead} hour fcst" if lead else "anl")
                if statistic == "instant"
                else f"{since}-{lead} hour {WINDOW_WORDS[statistic]} fcst"
            )
            words = f"d={file.init_time:%Y%m%d%H}:{field.field.element}:{field.field.level}:{window}"
            ensemble = f"ENS=+{file.member}" if file.member else "ENS=low-res ctl"
            values = gefs_values(variable, file.init_time, lead, file.step, file.shift)
            yield f"{words}:{ensemble}", gefs_message(field, file.init_time, lead, file.member, values, since)


def _as_filed(variable: str, key: str) -> SampleField:
    """The reforecast files sea level pressure as plain pressure at mean sea level."""
    field = GEFS_FIELDS[variable]
    if variable != "pressure_reduced_to_mean_sea_level" or not key.startswith(REFORECASTS):
        return field
    plain = field.field.model_copy(update={"element": "PRES", "parameter": (0, 3, 0)})
    return field.model_copy(update={"field": plain})


def gefs_message(
    field: SampleField, init_time: Timestamp, lead_hours: int, member: int, values: Field, since: int = 0
) -> SampleMessage:
    """A global message with the given values, and the header that NCEP writes for a member; see `gfs_message`."""
    message = gfs_message(field, init_time, lead_hours, values, since)
    instant = field.field.statistic == "instant"
    ensemble: dict[str, int | str] = {
        "subCentre": ENSEMBLE_SUBCENTRE,
        "typeOfProcessedData": 3 if member == 0 else 4,
        "productDefinitionTemplateNumber": 1 if instant else 11,
        "typeOfGeneratingProcess": ENSEMBLE_FORECAST,
        "generatingProcessIdentifier": GEFS_PROCESS,
    }
    last: dict[str, int | str] = {
        "typeOfEnsembleForecast": POSITIVE_PERTURBATION if member else LOW_RESOLUTION_CONTROL,
        "perturbationNumber": member,
        "numberOfForecastsInEnsemble": PERTURBED,
    }
    return message._replace(keys={**message.keys, **ensemble, **last})
