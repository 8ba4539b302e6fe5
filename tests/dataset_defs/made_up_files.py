"""Files of a made-up source: GRIB2 messages that say what a source's do, and the index beside them.

In: which messages a file holds, and their values. Out: the file and its index, as a region job of that kind reads them.
"""

import bz2
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reformatters_dagster.core.job.idx_grib_job import IdxGribRegionJob
from reformatters_dagster.core.job.mars_index_grib_job import MarsIndexGribRegionJob
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.job.whole_file_grib_job import WholeFileGribRegionJob
from reformatters_dagster.core.source.compression import Compression
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField
from reformatters_dagster.sample_upstream import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.weather import Field

COMPRESS: Mapping[Compression | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "bz2": bz2.compress,
    "gzip": gzip.compress,
}
PROCESSES = {"avg": 0, "acc": 1, "max": 2, "min": 3}
"""Statistical processes of GRIB2 code table 4.10."""


type Origin = tuple[int, int]
"""Originating centre, and its generating process."""


class MadeUpMessage(NamedTuple):
    """One message: what it says of itself, and its values in the source's units."""

    field: GribField
    init_time: Timestamp
    start: int
    """Lead hour at which the time window begins; equals `end` for an instant."""
    end: int
    member: int | None
    values: Field
    binary_scale: int
    origin: Origin | None


def write_file(
    path: Path, job: RegionJob[Any], messages: Sequence[MadeUpMessage], grid: LatLonGrid, encoder: Encoder
) -> None:
    """Write a file, with the index that the job reads."""
    encoded = [encoder.encode(_sample(message, grid)) for message in messages]
    starts = [sum(map(len, encoded[:at])) for at in range(len(encoded))]
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(encoded)
    if isinstance(job, IdxGribRegionJob):
        lines = [_idx_line(*numbered) for numbered in zip(range(1, len(messages) + 1), starts, messages, strict=True)]
        Path(f"{path}.idx").write_text("".join(f"{line}\n" for line in lines))
    elif isinstance(job, MarsIndexGribRegionJob):
        lines = [_mars_line(at, len(part), one) for at, part, one in zip(starts, encoded, messages, strict=True)]
        path.with_suffix(".index").write_text("".join(f"{line}\n" for line in lines))
    elif isinstance(job, WholeFileGribRegionJob):
        data = COMPRESS[job.compression](data)
    else:
        raise NotImplementedError(f"{type(job).__name__} reads an index of its own; say here how it is written")
    path.write_bytes(data)


def _idx_line(number: int, start: int, message: MadeUpMessage) -> str:
    field, end = message.field, message.end
    words = f"{end} hour fcst" if end else "anl"
    if field.statistic != "instant":
        whole_days = message.start == 0 and end % 24 == 0
        window = f"0-{end // 24} day" if whole_days else f"{message.start}-{end} hour"
        words = f"{window} {field.statistic.replace('avg', 'ave')} fcst"
    return f"{number}:{start}:d={message.init_time:%Y%m%d%H}:{field.element}:{field.level}:{words}:"


def _mars_line(start: int, length: int, message: MadeUpMessage) -> str:
    kind, _, level = message.field.level.partition(" ")
    words = {
        "date": f"{message.init_time:%Y%m%d}",
        "time": f"{message.init_time:%H%M}",
        "type": "pf" if message.member else "fc",
        "step": str(message.end),
        "levtype": kind,
        **({"levelist": level} if level else {}),
        **({"number": str(message.member)} if message.member else {}),
        "param": message.field.element,
    }
    return json.dumps({**words, "_offset": start, "_length": length})


def _sample(message: MadeUpMessage, grid: LatLonGrid) -> SampleMessage:
    field, (kind, height) = message.field, message.field.surface
    instant, ensemble = field.statistic == "instant", message.member is not None
    latitudes, longitudes = grid.latitude.labels(), grid.longitude.labels()
    keys: dict[str, int | str] = {
        "discipline": field.parameter[0],
        "significanceOfReferenceTime": 1,
        "dataDate": int(f"{message.init_time:%Y%m%d}"),
        "dataTime": int(f"{message.init_time:%H%M}"),
        "shapeOfTheEarth": 6,
        "Ni": len(longitudes),
        "Nj": len(latitudes),
        "latitudeOfFirstGridPoint": round(latitudes[0] * 1e6),
        "longitudeOfFirstGridPoint": round(longitudes[0] % 360 * 1e6),
        "latitudeOfLastGridPoint": round(latitudes[-1] * 1e6),
        "longitudeOfLastGridPoint": round(longitudes[-1] % 360 * 1e6),
        "iDirectionIncrement": round(abs(grid.longitude.step) * 1e6),
        "jDirectionIncrement": round(abs(grid.latitude.step) * 1e6),
        "scanningMode": 0 if grid.latitude.step < 0 else 64,
        "productDefinitionTemplateNumber": (0 if instant else 8) + (3 if ensemble and not instant else int(ensemble)),
        "parameterCategory": field.parameter[1],
        "parameterNumber": field.parameter[2],
        "indicatorOfUnitForForecastTime": 1,
        "forecastTime": message.start,
        "typeOfFirstFixedSurface": kind,
        "scaleFactorOfFirstFixedSurface": 0,
        "scaledValueOfFirstFixedSurface": int(height or 0),
        "typeOfSecondFixedSurface": 255,
    }
    if message.member is not None:
        keys |= {"typeOfEnsembleForecast": 3, "perturbationNumber": message.member}
    if not instant:
        keys |= _window_keys(message)
    if message.origin is not None:
        keys["centre"], keys["generatingProcessIdentifier"] = message.origin
    return SampleMessage(keys, message.values, 0, message.binary_scale, "grid_simple")


def _window_keys(message: MadeUpMessage) -> dict[str, int | str]:
    stop = message.init_time + Timedelta(hours=message.end)
    parts = ("year", "month", "day", "hour", "minute", "second")
    return {
        **{f"{part}OfEndOfOverallTimeInterval": getattr(stop, part) for part in parts},
        "numberOfTimeRanges": 1,
        "typeOfStatisticalProcessing": PROCESSES[message.field.statistic],
        "typeOfTimeIncrement": 2,
        "indicatorOfUnitForTimeRange": 1,
        "lengthOfTimeRange": message.end - message.start,
    }
