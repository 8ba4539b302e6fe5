"""The radar around Guam in the sample. In: hours, a grid. Out: rainfall, and gzipped messages as MRMS names and packs them."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.sample_upstream import weather
from reformatters_dagster.sample_upstream.encoder import Encoder, SampleMessage
from reformatters_dagster.sample_upstream.weather import Field, Window, globe_over

ARCHIVE = "noaa-mrms-pds"
PRODUCT = "MultiSensor_QPE_01H_Pass1_00.00"
OKLAHOMA, MERGED_RADAR = 161, 101
"""Originating centre and generating process as MRMS writes them."""
RESOLUTION = 0.1
UNSEEN, MISSING = -3.0, -1.0


def mrms_values(time: Timestamp, grid: LatLonGrid) -> Field:
    """Rainfall of the hour before a time, in kg m-2, with the source's numbers for "seen by no radar" and "missing".

    Returns
    -------
    (latitude, longitude) float64
        In the order of the grid.
    """
    globe = globe_over(np.array(grid.latitude.labels()), np.array(grid.longitude.labels()))
    end = (time - weather.EPOCH) / Timedelta("1h")
    fell = weather.rain_total(globe, Window(end - 1, end))
    fell[:, : len(globe.longitude) // 4] = UNSEEN
    fell[0, -1] = MISSING
    return fell


def mrms_message(time: Timestamp, grid: LatLonGrid, values: Field) -> SampleMessage:
    """A message with the given values on a grid from north to south, and the header that MRMS writes."""
    latitudes, longitudes = grid.latitude.labels(), grid.longitude.labels()
    keys: dict[str, int | str] = {
        "discipline": 209,
        "centre": OKLAHOMA,
        "subCentre": 0,
        "tablesVersion": 255,
        "localTablesVersion": 1,
        "significanceOfReferenceTime": 3,
        "dataDate": int(f"{time:%Y%m%d}"),
        "dataTime": int(f"{time:%H%M}"),
        "productionStatusOfProcessedData": 0,
        "typeOfProcessedData": 7,
        "shapeOfTheEarth": 1,
        "Ni": len(longitudes),
        "Nj": len(latitudes),
        "latitudeOfFirstGridPoint": round(latitudes[0] * 1e6),
        "longitudeOfFirstGridPoint": round(longitudes[0] * 1e6),
        "latitudeOfLastGridPoint": round(latitudes[-1] * 1e6),
        "longitudeOfLastGridPoint": round(longitudes[-1] * 1e6),
        "iDirectionIncrement": round(abs(grid.longitude.step) * 1e6),
        "jDirectionIncrement": round(abs(grid.latitude.step) * 1e6),
        "scanningMode": 0,
        "productDefinitionTemplateNumber": 0,
        "parameterCategory": 6,
        "parameterNumber": 30,
        "typeOfGeneratingProcess": 8,
        "generatingProcessIdentifier": MERGED_RADAR,
        "indicatorOfUnitForForecastTime": 0,
        "forecastTime": 0,
        "typeOfFirstFixedSurface": 102,
        "scaleFactorOfFirstFixedSurface": 0,
        "scaledValueOfFirstFixedSurface": 0,
        "typeOfSecondFixedSurface": 255,
    }
    return SampleMessage(keys, values, 1, 0, "grid_png")


def mrms_path(time: Timestamp) -> Path:
    """Where the file of an hour lies in a folder that can be the mirror of all upstreams."""
    return Path(ARCHIVE, "GUAM", PRODUCT, f"{time:%Y%m%d}", f"MRMS_{PRODUCT}_{time:%Y%m%d-%H%M%S}.grib2.gz")


def write_mrms_sample(folder: Path, times: Sequence[Timestamp], *, grid: LatLonGrid) -> list[Path]:
    """Write the files of some hours under a folder that can be the mirror of all upstreams."""
    paths = []
    with Encoder() as encoder:
        for time in times:
            path = folder / mrms_path(time)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(encoder.encode(mrms_message(time, grid, mrms_values(time, grid)))))
            paths.append(path)
    return paths
