"""Real messages with what another decoder found in them, and small messages made by hand."""

import bz2
import gzip
import json
import lzma
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.grids import LatLonGrid
from tests.grib_writer import reframed

DATA = Path(__file__).parents[3] / "../shared/data"
DECOMPRESS: Mapping[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "bz2": bz2.decompress,
    "gz": gzip.decompress,
    "xz": lzma.decompress,
}
FOLDERS = ("gfs", "gefs", "hrrr", "ecmwf", "dwd_icon", "mrms", "accum_sequence_cmc", "idx_pairs")
FILES = [
    path.with_name(path.name.removesuffix(".expected.json"))
    for folder in FOLDERS
    for path in sorted((DATA / folder).glob("*.expected.json"))
    if "subgrids" not in path.name
]
GFS = DATA / "gfs"
TMP_2M = GFS / "FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2"
CROP = GFS / "FahrenheitResearch__arwen--nomads-crop-20260729t18z-f000.grib2"
THREE = GFS / "nmangue__NGrib--gfs.20200330.t18z.pgrb2.0p25.f012"
CONSTANT = GFS / "mpiannucci__gribberish--gfs.t18z.pgrb2.0p25.f186-RH.grib2"
SOIL = GFS / "FahrenheitResearch__arwen--s3-raw-soilw-20260729t18z-f000.grib2"
POTENTIAL_VORTICITY = GFS / "mpiannucci__gribberish--gfs.t12z.pgrb2.0p25.f023-PV-TMP-missing.grib2"
IFS = DATA / "ecmwf/mpiannucci__gribberish--ecmwf-ifs-oper-surface.grib2"
HRRR = DATA / "hrrr/mpiannucci__gribberish--hrrr.t06z.wrfsfcf01-CFRZR.grib2"
MEMBER = DATA / "gefs/nmangue__NGrib--gep08.t00z.pgrb2a.0p50.f012"
TWO_FIELDS = DATA / "idx_pairs/rouault__gdal--subgrids.grib2"
GLOBAL = LatLonGrid(
    latitude=RegularAxis(first=90, step=-0.25, size=721), longitude=RegularAxis(first=-180, step=0.25, size=1440)
)


def expected_of(path: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(Path(f"{path}.expected.json").read_text())
    return expected


def messages_of(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each message of a file with what is known of it."""
    expected = expected_of(path)
    raw = DECOMPRESS[expected["compression"]](path.read_bytes())
    return [(raw[m["offset"] : m["offset"] + m["total_length"]], m) for m in expected["messages"]]


def first_of(path: Path) -> bytes:
    return messages_of(path)[0][0]


def make_message(
    packed: Sequence[int],
    shape: tuple[int, int],
    *,
    reference: float = 0.0,
    scanning_mode: int = 0,
    bitmap: Sequence[int] = (),
    corners: tuple[int, int, int, int] = (1_000_000, 0, 0, 1_000_000),
) -> bytes:
    """Encode a 5.0 packed TMP 2 m field: 16 bits a value, no scaling; corners in micro-degrees."""
    ny, nx = shape
    latitude, longitude, last_latitude, last_longitude = corners
    earth = bytes([6, *[255, 255, 255, 255, 255] * 3])
    grid = struct.pack(">BIBBH", 0, ny * nx, 0, 0, 0) + earth + struct.pack(">IIII", nx, ny, 0, 0xFFFFFFFF)
    grid += struct.pack(
        ">IIBIIIIB", latitude, longitude, 48, last_latitude, last_longitude, *[0xFFFFFFFF] * 2, scanning_mode
    )
    product = struct.pack(">HHBBBBBHBBIBBIBBI", 0, 0, 0, 0, 2, 0, 96, 0, 0, 1, 6, 103, 0, 2, 255, 255, 0xFFFFFFFF)
    sections = {
        1: struct.pack(">HHBBBHBBBBBBB", 7, 0, 2, 1, 1, 2026, 7, 29, 18, 0, 0, 0, 1),
        3: grid,
        4: product,
        5: struct.pack(">IHfhhBB", len(packed), 0, reference, 0, 0, 16, 0),
        6: b"\x00" + np.packbits(np.array(bitmap, dtype=bool)).tobytes() if bitmap else b"\xff",
        7: struct.pack(f">{len(packed)}H", *packed),
    }
    body = b"".join(struct.pack(">IB", 5 + len(data), number) + data for number, data in sections.items())
    return reframed(b"GRIB\x00\x00\x00\x02" + bytes(8) + body)


def slow_where_large(path: Path) -> Any:
    """JPEG 2000, PNG and many fields take long; the default run leaves them out."""
    slow = path.parent.name in ("idx_pairs", "mrms", "accum_sequence_cmc") or path.suffix == ".xz"
    return pytest.param(path, id=path.name, marks=[pytest.mark.slow] if slow else [])
