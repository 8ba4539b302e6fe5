"""A message that is cut, damaged or contradicts itself is refused, and says why."""

import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.grib.header import MessageHeader, read_header
from reformatters_dagster.core.grib.sections import check_framing
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.real_messages import (
    CONSTANT,
    DATA,
    HRRR,
    MEMBER,
    THREE,
    TWO_FIELDS,
    first_of,
    make_message,
    messages_of,
)
from tests.grib_writer import reframed


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
