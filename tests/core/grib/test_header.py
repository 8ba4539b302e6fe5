"""Headers, against what another decoder reads of real messages."""

import struct
from pathlib import Path

import pandas as pd
import pytest

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.real_messages import FILES, GFS, first_of, make_message, messages_of


def hours(text: str) -> pd.Timedelta:
    return pd.Timedelta(minutes=int(text[:-1])) if text.endswith("m") else pd.Timedelta(hours=int(text))


def sign_and_magnitude(value: int, bits: int) -> int:
    sign = 1 << (bits - 1)
    return sign - value if value >= sign else value


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in FILES])
def test_header_is_what_eccodes_reads(path: Path) -> None:
    for message, m in messages_of(path):
        header = read_header(message, path.name)
        grid = header.grid
        start, _, stop = m["stepRange"].partition("-")
        kind, scale, value = m["scaledFirstSurface"]
        assert (header.discipline, header.category, header.number) == (
            m["discipline"],
            m["parameterCategory"],
            m["parameterNumber"],
        )
        assert f"{header.reference_time:%Y%m%d%H%M}" == f"{m['dataDate']}{m['dataTime']:04}"
        assert (header.start, header.stop) == (hours(start), hours(stop or start))
        assert header.statistic == {"accum": "acc"}.get(m["stepType"], m["stepType"])
        assert header.surface[0] == kind
        if value is None:
            assert header.surface[1] is None
        else:
            assert header.surface[1] == sign_and_magnitude(value, 32) / 10 ** sign_and_magnitude(scale, 8)
        assert header.member == m["perturbationNumber"]
        assert (header.packing, header.points) == (m["drt"], m["n_points"])
        assert (grid.template, grid.ny, grid.nx, grid.scanning_mode) == (m["gdt"], m["Ny"], m["Nx"], m["scanningMode"])
        assert (grid.latitude_first, grid.longitude_first) == (m["lat1"], m["lon1"])
        assert (grid.latitude_last, grid.longitude_last) == (m["lat2"], m["lon2"])
        assert (grid.dy, grid.dx) == (m["dy"], m["dx"])


@pytest.mark.usefixtures("shared_data")
def test_negative_surface_value_is_sign_and_magnitude() -> None:
    path = GFS / "mpiannucci__gribberish--gfs.t12z.pgrb2.0p25.f023-PV-TMP-missing.grib2"
    kind, value = read_header(first_of(path), "PV").surface
    assert (kind, value) == (109, -2000 / 1e9)


def test_missing_surface_value_is_none() -> None:
    message = bytearray(make_message([0], (1, 1)))
    at = message.index(bytes([103, 0, 0, 0, 0, 2]))
    message[at + 1] = 255
    assert read_header(bytes(message), "made").surface == (103, None)


@pytest.mark.parametrize(
    ("unit", "number", "start"),
    [(0, 90, "90min"), (1, 6, "6h"), (2, 2, "2D"), (10, 2, "6h"), (11, 2, "12h"), (12, 3, "36h"), (13, 60, "60s")],
)
def test_every_unit_of_time(unit: int, number: int, start: str) -> None:
    message = bytearray(make_message([0], (1, 1)))
    at = message.index(struct.pack(">BI", 1, 6))
    message[at : at + 5] = struct.pack(">BI", unit, number)
    assert read_header(bytes(message), "made").start == pd.Timedelta(start)


@pytest.mark.parametrize(
    ("unit", "number", "says"),
    [(3, 1, "unit of time 3"), (2, 0x7FFFFFF, "beyond a century"), (255, 1, "unit of time 255")],
)
def test_times_without_meaning_are_refused(unit: int, number: int, says: str) -> None:
    message = bytearray(make_message([0], (1, 1)))
    at = message.index(struct.pack(">BI", 1, 6))
    message[at : at + 5] = struct.pack(">BI", unit, number)
    with pytest.raises(CorruptMessage, match=says):
        read_header(bytes(message), "made")


def test_basic_angle_scales_the_corners() -> None:
    message = bytearray(make_message([0] * 4, (2, 2), corners=(60, 0, 59, 1)))
    at = message.index(struct.pack(">II", 0, 0xFFFFFFFF))
    message[at : at + 8] = struct.pack(">II", 1, 2)
    grid = read_header(bytes(message), "made").grid
    assert (grid.latitude_first, grid.latitude_last, grid.longitude_last) == (30.0, 29.5, 0.5)
    message[at : at + 8] = struct.pack(">II", 1, 0)
    with pytest.raises(CorruptMessage, match="basic angle of 1 comes without subdivisions"):
        read_header(bytes(message), "made")
