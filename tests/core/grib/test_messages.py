"""GRIB2 reading, against real messages and what another decoder found in them."""

import bz2
import gzip
import hashlib
import json
import lzma
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.grib.messages import (
    ANY_WINDOW,
    GridHeader,
    MessageHeader,
    check_framing,
    check_identity,
    coalesce,
    decode,
    read_header,
    to_grid,
)
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Array2D
from reformatters_dagster.core.spec.variables import GribField

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


def reframed(body: bytes) -> bytes:
    """The same bytes with a length and an end that pass `check_framing`."""
    return body[:8] + (len(body) + 4).to_bytes(8, "big") + body[16:] + b"7777"


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
@pytest.mark.parametrize("path", [slow_where_large(path) for path in FILES])
def test_values_are_what_eccodes_decodes(path: Path) -> None:
    for message, m in messages_of(path):
        values = decode(message)
        assert values.shape == (m["Ny"], m["Nx"])
        assert values.dtype == np.float32
        assert hashlib.md5(values.astype("<f4").tobytes()).hexdigest() == m["md5_float32_le_missing_nan"]
        assert int(np.isnan(values).sum()) == m["n_missing"]
        assert np.nanmin(values) == np.float32(m["min"])
        assert np.nanmax(values) == np.float32(m["max"])
        for point in m["points"]:
            found = values.flat[point["flat_index"]]
            assert np.isnan(found) if point["value"] is None else found == np.float32(point["value"])


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


@pytest.mark.usefixtures("shared_data")
def test_framing_says_what_is_wrong() -> None:
    message = first_of(CONSTANT)
    check_framing(message, "RH")
    for damaged, says in (
        (b"<html>" + message, r"RH: 216 bytes begin with b'<htm', .* b'GRIB'; the index does not fit"),
        (b"", r"RH: 0 bytes begin with b''"),
        (message[:12], r"RH: 12 bytes are too few"),
        (message[:-1], r"RH: the message declares 210 bytes, 209 are here"),
        (message + b"GRIB", r"RH: the message declares 210 bytes, 214 are here"),
        (message[:-4] + b"7767", r"RH: 210 bytes end with b'7767', .* b'7777'; .* fetch them again"),
    ):
        with pytest.raises(CorruptMessage, match=says):
            check_framing(damaged, "RH")


@pytest.mark.usefixtures("shared_data")
def test_real_damaged_files() -> None:
    head = (DATA / "corrupt/rouault__gdal--blend.t17z.master.f001.co.grib2.head").read_bytes()
    with pytest.raises(CorruptMessage, match=r"declares [0-9]+ bytes, 2000 are here"):
        read_header(head, "head")
    mixed = DATA / "corrupt/rouault__gdal--broken_combined_grib2_grib1.grb2"
    editions = [m["edition"] for _, m in messages_of(mixed)]
    for message, m in messages_of(mixed):
        if m["edition"] == 2:
            assert read_header(message, "mixed").number == m["parameterNumber"]
        else:
            with pytest.raises(CorruptMessage, match="GRIB edition 1, expected 2"):
                check_framing(message, "mixed")
    assert set(editions) == {1, 2}


@pytest.mark.usefixtures("shared_data")
def test_several_fields_in_one_message_are_refused() -> None:
    with pytest.raises(CorruptMessage, match="holds more than one field"):
        read_header(TWO_FIELDS.read_bytes(), "subgrids")


@pytest.mark.usefixtures("shared_data")
def test_unknown_product_template_is_refused() -> None:
    message = first_of(CONSTANT)
    at = message.index(b"\x00\x00\x00\x22\x04")
    with pytest.raises(CorruptMessage, match=r"product template 40 is not read, only \[0, 1, 2, 8, 11, 12\]"):
        read_header(message[: at + 7] + b"\x00\x28" + message[at + 9 :], "made")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.replace(b"\0\0\0\3\0\0\0\2", b"\0\0\0\3\0\0\0\3"), "3 by 3 is declared with 6 points"),
        (
            lambda m: m.replace(b"\0\0\0\6\6\xff", b"\0\0\0\5\6\xff"),
            r"section 17 at byte 169 claims [0-9]+ bytes of 18 left",
        ),
        (lambda m: m.replace(b"\6\xff\0\0", b"\6\xfe\0\0"), "bit map indicator 254 is not read"),
        (lambda m: m.replace(b"\5\0\0\0\6", b"\5\0\0\0\7"), "6 points have 7 values and no bit map"),
        (lambda m: m.replace(b"\7\xea\7\x1d", b"\7\xea\x0d\x1d"), r"section 1 has time \(2026, 13, 29, 18, 0, 0\)"),
        (lambda m: m[:20] + b"\x02" + m[21:], r"sections \[1\] are missing, found \[2, 3, 4, 5, 6, 7\]"),
    ],
)
def test_sections_that_contradict_each_other(change: Callable[[bytes], bytes], says: str) -> None:
    message = make_message(range(6), (2, 3))
    damaged = change(message)
    assert damaged != message
    with pytest.raises(CorruptMessage, match=says):
        read_header(damaged, "made")


def test_bit_map_too_short_for_the_grid() -> None:
    with pytest.raises(CorruptMessage, match="20 points have a bit map of 8 bits and 4 values"):
        read_header(make_message(range(4), (4, 5), bitmap=[1, 0, 1, 0, 1, 0, 1, 0]), "made")


@pytest.mark.usefixtures("shared_data")
def test_window_that_ends_before_it_begins() -> None:
    message, _ = messages_of(THREE)[1]
    end = struct.pack(">HBBBBB", 2020, 3, 31, 6, 0, 0)
    with pytest.raises(CorruptMessage, match=r"the window ends at .* before its start"):
        read_header(message.replace(end, struct.pack(">HBBBBB", 2020, 3, 30, 18, 0, 0)), "made")


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", [CONSTANT, THREE, HRRR, MEMBER])
def test_cut_at_every_byte(path: Path) -> None:
    for message, _ in messages_of(path):
        for size in range(16, min(len(message), 400)):
            with pytest.raises(CorruptMessage):
                read_header(message[:size], "cut")
            if size < len(message) - 4:
                with pytest.raises(CorruptMessage):
                    read_header(reframed(message[:size]), "cut and reframed")


@cache
def small_messages() -> list[bytes]:
    return [first_of(path) for path in (CONSTANT, THREE, HRRR)] + [m for m, _ in messages_of(THREE)[1:]]


@pytest.mark.usefixtures("shared_data")
@settings(max_examples=200, deadline=None)
@given(
    st.deferred(lambda: st.sampled_from(small_messages())),
    st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), min_size=1, max_size=6),
    st.binary(max_size=9),
    st.integers(16, 250),
)
def test_damage_is_never_anything_but_corrupt(
    message: bytes, changes: list[tuple[int, int]], inserted: bytes, at: int
) -> None:
    damaged = bytearray(message[:at] + inserted + message[at:])
    for position, byte in changes:
        damaged[position % len(damaged)] = byte
    for attempt in (bytes(damaged), b"GRIB\x00\x00\x00\x02" + reframed(bytes(damaged[:-4]))[8:]):
        with suppress(CorruptMessage):
            assert isinstance(read_header(attempt, "damaged"), MessageHeader)


FIELD = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc")
INIT = pd.Timestamp("2020-03-30T18")


def check(
    header: MessageHeader, field: GribField = FIELD, member: int | None = None, window: str | None = "6h"
) -> None:
    length = window if window in (None, ANY_WINDOW) else pd.Timedelta(window)
    check_identity(
        header, field, init_time=INIT, lead_time=pd.Timedelta("12h"), window=length, member=member, where="APCP in f012"
    )


@pytest.mark.usefixtures("shared_data")
def test_identity_of_the_message_that_was_asked_for() -> None:
    temperature, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    check(bucket)
    check(total, window="12h")
    instant = GribField(element="TMP", level="surface", parameter=(0, 0, 0), surface=(1, None))
    check(temperature, instant, window=None)
    check(replace(bucket, number=192), FIELD.model_copy(update={"alternative_parameters": ((0, 1, 192),)}))
    check(replace(bucket, member=0), member=0)
    check(
        replace(bucket, surface=(10, None)), FIELD.model_copy(update={"alternative_surfaces": ((8, None), (10, None))})
    )


@pytest.mark.usefixtures("shared_data")
def test_a_window_of_any_length_still_ends_at_the_lead_time() -> None:
    _, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    for header in (bucket, total):
        check(header, window=ANY_WINDOW)
    with pytest.raises(CorruptMessage, match=r"another message: stop asked .*12:00:00.*found .*11:00:00"):
        check(replace(bucket, stop=pd.Timedelta("11h")), window=ANY_WINDOW)
    with pytest.raises(CorruptMessage, match="another message: statistic asked 'acc', found 'instant'"):
        check(replace(bucket, statistic="instant"), window=ANY_WINDOW)


@pytest.mark.usefixtures("shared_data")
def test_swapped_messages_are_told_apart() -> None:
    temperature, bucket, total = (read_header(message, "f012") for message, _ in messages_of(THREE))
    with pytest.raises(
        CorruptMessage, match=r"APCP in f012 .* start asked .*06:00:00.*found .*0 days 00:00:00.*the index"
    ):
        check(total)
    with pytest.raises(
        CorruptMessage, match=r"parameter asked \(0, 1, 8\), found \(0, 0, 0\); statistic asked 'acc', found"
    ):
        check(temperature)
    with pytest.raises(CorruptMessage, match=r"start asked .*00:00:00.*found .*06:00:00"):
        check(bucket, window="12h")


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"discipline": 2}, r"parameter asked \(0, 1, 8\), found \(2, 1, 8\)"),
        ({"surface": (103, 2.0)}, r"surface asked \(1, None\), found \(103, 2.0\)"),
        ({"reference_time": pd.Timestamp("2020-03-30T12")}, "reference time asked .*T?18:00:00.*found .*12:00:00"),
        ({"statistic": "avg"}, "statistic asked 'acc', found 'avg'"),
        ({"start": pd.Timedelta("5h")}, "start asked .*06:00:00.*found .*05:00:00"),
        ({"stop": pd.Timedelta("11h")}, "stop asked .*12:00:00.*found .*11:00:00"),
        ({"member": 8}, "member asked None, found 8"),
    ],
)
def test_each_item_of_identity_is_compared(change: dict[str, Any], says: str) -> None:
    _, bucket, _ = (read_header(message, "f012") for message, _ in messages_of(THREE))
    with pytest.raises(CorruptMessage, match=says):
        check(replace(bucket, **change))


@pytest.mark.usefixtures("shared_data")
def test_surface_values_are_compared_where_they_are_asked_for() -> None:
    header = replace(read_header(first_of(THREE), "f012"), surface=(103, 2.0))
    at_2m, at_10m = (
        GribField(element="TMP", level="?", parameter=(0, 0, 0), surface=(103, height)) for height in (2.0, 10.0)
    )
    check(header, at_2m, window=None)
    with pytest.raises(CorruptMessage, match=r"surface asked \(103, 10.0\), found \(103, 2.0\)"):
        check(header, at_10m, window=None)
    with pytest.raises(CorruptMessage, match=r"surface asked \(103, 10.0\), found \(103, None\)"):
        check(replace(header, surface=(103, None)), at_10m, window=None)


@pytest.mark.usefixtures("shared_data")
def test_member_of_an_ensemble_message() -> None:
    header = read_header(first_of(MEMBER), "gep08")
    with pytest.raises(CorruptMessage, match="member asked 0, found 8"):
        check(header, member=0)


def test_values_near_the_decoders_own_missing_value_are_kept() -> None:
    message = make_message([9999, 9998, 7, 10000, 9999], (2, 3), bitmap=[1, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(decode(message), np.array([[9999, 9998, 7], [np.nan, 10000, 9999]], np.float32))


def test_fill_value_is_masked_before_scaling() -> None:
    values = decode(make_message([50, 0, 25, 100], (2, 2)), source_fill_value=50.0, scale_factor=0.5, add_offset=50.0)
    np.testing.assert_array_equal(values, np.array([[np.nan, 50], [62.5, 100]], np.float32))


@pytest.mark.usefixtures("shared_data")
def test_units_change_in_float64() -> None:
    message, m = messages_of(TMP_2M)[0]
    celsius = decode(message, add_offset=-273.15)
    for point in m["points"]:
        assert celsius.flat[point["flat_index"]] == np.float32(point["value"] - 273.15)


@pytest.mark.parametrize("mode", [0x00, 0x40, 0x80, 0xC0])
def test_points_come_in_the_order_they_are_stored(mode: int) -> None:
    values = decode(make_message(range(6), (2, 3), scanning_mode=mode))
    np.testing.assert_array_equal(values, np.array([[0, 1, 2], [3, 4, 5]], np.float32))


@pytest.mark.parametrize("mode", [0x10, 0x20, 0x08, 0x04, 0x02, 0x01])
def test_other_orders_are_refused(mode: int) -> None:
    with pytest.raises(CorruptMessage, match=f"scanning mode {mode:#04x} is not read"):
        decode(make_message(range(6), (2, 3), scanning_mode=mode))


def test_grid_without_rows_is_refused() -> None:
    message = bytearray(make_message(range(6), (2, 3)))
    at = message.index(struct.pack(">II", 3, 2))
    message[at : at + 4] = b"\xff" * 4
    with pytest.raises(CorruptMessage, match="points of grid template 0 form no rows"):
        decode(bytes(message))


def test_values_beyond_float32() -> None:
    with pytest.raises(CorruptMessage, match=r"TMP in f006: values up to 3\.0[0-9]*e\+39 exceed float32"):
        decode(make_message([0, 0], (1, 2), reference=3e38), scale_factor=10.0, where="TMP in f006")


def test_what_eccodes_cannot_unpack() -> None:
    message = make_message(range(6), (2, 3))
    packing = struct.pack(">IHfhhBB", 6, 0, 0.0, 0, 0, 16, 0)
    damaged = message.replace(packing, struct.pack(">IHfhhBB", 6, 0, 0.0, 0, 0, 200, 0))
    with pytest.raises(CorruptMessage, match=r"TMP in f006: ecCodes cannot unpack it .* fetch it again"):
        decode(damaged, where="TMP in f006")


@pytest.mark.usefixtures("shared_data")
def test_threads_decode_what_one_thread_does() -> None:
    messages = [message for message, _ in messages_of(GFS / "nilsmagnus__grib--gfs.t00z.pgrb2.2p50.f000")][:64]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode, messages))
    for alone, values in zip(map(decode, messages), together, strict=True):
        np.testing.assert_array_equal(alone, values)


def value_at(field: Array2D, grid: LatLonGrid, latitude: float, longitude: float) -> float:
    row = grid.latitude.labels().index(latitude)
    column = grid.longitude.labels().index((longitude + 180) % 360 - 180)
    return float(field[row, column])


@pytest.mark.usefixtures("shared_data")
def test_real_global_field_at_its_labels() -> None:
    message, m = messages_of(TMP_2M)[0]
    field = to_grid(decode(message), read_header(message, "TMP").grid, GLOBAL, "TMP")
    assert field.shape == GLOBAL.shape
    for point in m["points"]:
        assert value_at(field, GLOBAL, point["lat"], point["lon"]) == np.float32(point["value"])


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("north_first", [True, False])
@pytest.mark.parametrize("first", [-180, 0, 77])
@pytest.mark.parametrize("step", [0.25, -0.25])
@pytest.mark.parametrize("path", [TMP_2M, SOIL, POTENTIAL_VORTICITY, CONSTANT, IFS], ids=lambda path: path.name[-25:])
def test_a_message_is_decoded_straight_onto_a_grid(path: Path, step: float, first: float, north_first: bool) -> None:
    """As if it were decoded in its own order first: differences, a bit map, missing values, one value, CCSDS."""
    message = first_of(path)
    rows = RegularAxis(first=90, step=-0.25, size=721) if north_first else RegularAxis(first=-90, step=0.25, size=721)
    grid = LatLonGrid(latitude=rows, longitude=RegularAxis(first=first, step=step, size=1440))
    expected = to_grid(decode(message), read_header(message, path.name).grid, grid, path.name)
    out = np.full(grid.shape, 1e9, np.float32)
    assert decode(message, grid=grid, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("shared_data")
def test_real_south_to_north_crop_at_its_labels() -> None:
    message, m = messages_of(CROP)[0]
    header = read_header(message, "crop")
    assert m["scanningMode"] == 64
    grid = LatLonGrid(
        latitude=RegularAxis(first=m["lat2"], step=-0.25, size=41),
        longitude=RegularAxis(first=(m["lon1"] + 180) % 360 - 180, step=0.25, size=41),
    )
    field = to_grid(decode(message), header.grid, grid, "crop")
    for point in m["points"]:
        assert value_at(field, grid, point["lat"], point["lon"]) == np.float32(point["value"])


@pytest.mark.usefixtures("shared_data")
def test_real_grid_across_greenwich() -> None:
    (path,) = (DATA / "dwd_icon").glob("*T_2M.grib2.bz2")
    message, m = messages_of(path)[0]
    grid = LatLonGrid(
        latitude=RegularAxis(first=70.5, step=-0.0625, size=657),
        longitude=RegularAxis(first=-23.5, step=0.0625, size=1097),
    )
    field = to_grid(decode(message), read_header(message, "T_2M").grid, grid, "T_2M")
    for point in m["points"]:
        assert value_at(field, grid, point["lat"], point["lon"]) == np.float32(point["value"])


def source_of(latitude: RegularAxis, longitude: RegularAxis) -> tuple[Array2D, GridHeader]:
    """A field that names its own points, and the header of a message that runs along the axes."""
    y, x = np.array(latitude.labels()), np.array(longitude.labels())
    values = (np.round(y * 4)[:, None] * 10_000 + np.round(x % 360 * 4) % 1440).astype(np.float32)
    mode = (0x80 if longitude.step < 0 else 0) | (0x40 if latitude.step > 0 else 0)
    corners = (y[0], x[0] % 360, y[-1], x[-1] % 360)
    header = GridHeader(0, y.size, x.size, *corners, abs(latitude.step), abs(longitude.step), mode)
    return values, header


def axis(first: int, step: int, size: int) -> RegularAxis:
    return RegularAxis(first=first / 4, step=step / 4, size=size)


@given(
    st.sampled_from((-1, 1)),
    st.sampled_from((-1, 1)),
    st.integers(-720, 1439),
    st.integers(-720, 720),
    st.sampled_from((-1, 1)),
    st.sampled_from((4, 8, 90)),
)
def test_full_circle_from_any_start_in_any_direction(
    row_step: int, column_step: int, source_first: int, first: int, wanted_step: int, scale: int
) -> None:
    size = 1440 // scale
    first = source_first + (first - source_first) // scale * scale
    values, header = source_of(axis(-4 * row_step, row_step, 9), axis(source_first, column_step * scale, size))
    grid = LatLonGrid(latitude=axis(4, -1, 9), longitude=axis(first, wanted_step * scale, size))
    expected, _ = source_of(grid.latitude, grid.longitude)
    np.testing.assert_array_equal(to_grid(values, header, grid, "made"), expected)


REGION = LatLonGrid(latitude=axis(40, -1, 9), longitude=axis(-20, 1, 41))


@pytest.mark.parametrize("row_step", [-1, 1])
@pytest.mark.parametrize("column_step", [-1, 1])
def test_region_in_any_direction(row_step: int, column_step: int) -> None:
    rows = axis(40 if row_step < 0 else 32, row_step, 9)
    columns = axis(-20 if column_step > 0 else 20, column_step, 41)
    expected, _ = source_of(REGION.latitude, REGION.longitude)
    values, header = source_of(rows, columns)
    np.testing.assert_array_equal(to_grid(values, header, REGION, "made"), expected)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (axis(41, -1, 9), REGION.longitude),
        (REGION.latitude, axis(-19, 1, 41)),
        (axis(40, -2, 9), REGION.longitude),
        (REGION.latitude, axis(-20, 2, 41)),
        (REGION.latitude, RegularAxis(first=-4.9, step=0.25, size=41)),
    ],
)
def test_other_points_in_the_same_shape(latitude: RegularAxis, longitude: RegularAxis) -> None:
    values, header = source_of(latitude, longitude)
    with pytest.raises(
        CorruptMessage, match=r"TMP in f006 has latitudes .* template expects 10\.0 to 8\.0 by -0\.25 and -5\.0"
    ):
        to_grid(values, header, REGION, "TMP in f006")


def test_other_shape_names_both() -> None:
    with pytest.raises(
        CorruptMessage,
        match=r"TMP:2 m above ground in f006 has shape \(361, 720\), template expects \(721, 1440\); check",
    ):
        to_grid(np.zeros((361, 720), np.float32), GridHeader(0, 361, 720), GLOBAL, "TMP:2 m above ground in f006")


@pytest.mark.usefixtures("shared_data")
def test_other_projection_is_refused() -> None:
    message = first_of(HRRR)
    grid = LatLonGrid(latitude=axis(0, 1, 1059), longitude=axis(0, 1, 1799))
    with pytest.raises(CorruptMessage, match="CFRZR is on grid template 30, template expects 0"):
        to_grid(decode(message), read_header(message, "CFRZR").grid, grid, "CFRZR")


@pytest.mark.parametrize("change", [{"dx": 0.5}, {"dy": 0.2}, {"scanning_mode": 0x40}])
def test_header_that_contradicts_itself(change: dict[str, Any]) -> None:
    values, header = source_of(REGION.latitude, REGION.longitude)
    with pytest.raises(CorruptMessage, match=r"made contradicts itself: .* spacing .* scanning mode .* fetch it again"):
        to_grid(values, replace(header, **change), REGION, "made")


RANGES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=25
)


@given(RANGES, st.integers(0, 60), st.randoms())
def test_coalesced_ranges(ranges: list[tuple[int, int]], max_gap: int, random: Any) -> None:
    groups = coalesce(ranges, max_gap)
    assert sorted(position for group in groups for position in group) == list(range(len(ranges)))
    spans = [(min(ranges[k][0] for k in group), max(ranges[k][1] for k in group)) for group in groups]
    for before, after in pairwise(spans):
        assert after[0] - before[1] > max_gap
    for group in groups:
        reached = ranges[group[0]][1]
        for position in group[1:]:
            start, stop = ranges[position]
            assert start - reached <= max_gap
            reached = max(reached, stop)
    shuffled = random.sample(ranges, len(ranges))
    assert spans == [
        (min(shuffled[k][0] for k in group), max(shuffled[k][1] for k in group))
        for group in coalesce(shuffled, max_gap)
    ]


def test_neighbours_share_a_request_and_distant_ranges_do_not() -> None:
    assert coalesce([(200, 300), (0, 100), (100, 150), (1000, 1001)], 50) == [[1, 2, 0], [3]]
    assert coalesce([(0, 100), (151, 200)], 50) == [[0], [1]]
    assert coalesce([], 50) == []
