"""Damage of packed values is named, whatever it is, and never a crash."""

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.packed import aec, chunk, png
from tests.grib_writer import Complex, Group, Scaling, frame, reframed, section, simple

ROOT = Path(__file__).parents[3]

GROUPS = Complex([Group(1, 4, [1, 2, 3]), Group(2, 5, [4, 5])], order=2, first=[3, 4], lowest=-1, descriptor_octets=2)
LAST_LENGTH = struct.pack(">IB", 2, 16)


def with_octet(message: bytes, octet: int, content: bytes) -> bytes:
    """Replace octets of section 5, counted from 1."""
    at = 16
    while message[at + 4] != 5:
        at += int.from_bytes(message[at : at + 4], "big")
    at += octet - 1
    return message[:at] + content + message[at + len(content) :]


def without_data(message: bytes, left: int = 0) -> bytes:
    """Cut section 7 off after so many octets of data."""
    at = 16
    while message[at + 4] != 7:
        at += int.from_bytes(message[at : at + 4], "big")
    return reframed(message[:at] + section(7, message[at + 5 : at + 5 + left]))


IMAGE = png([[1, 2], [3, 4]], 8)
RAW = frame((1, 3), struct.pack(">IHB", 3, 4, 1), struct.pack(">fff", 1, math.nan, 3))
BLOCKS = aec([1, 2, 3], 9, 8, 128, 14)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            with_octet(simple([1, 2, 3], 8, (1, 3)), 20, b"\x09"),
            "3 values of 9 bits are declared, section 7 holds 3 by",
        ),
        (with_octet(GROUPS.message(), 20, b"\x21"), "section 5 declares numbers of 33 bits"),
        (with_octet(GROUPS.message(), 20, b"\x20\x00\x01\x03"), r"5 values cannot be packed in Groups\(.*missing=3"),
        (with_octet(GROUPS.message(), 48, b"\x03"), r"5 values cannot be packed in Groups\(.*order=3"),
        (with_octet(GROUPS.message(), 49, b"\x05"), r"5 values cannot be packed in Groups\(.*descriptor_bits=40"),
        (with_octet(GROUPS.message(), 37, b"\x21"), r"5 values cannot be packed in Groups\(.*width_bits=33"),
        (with_octet(GROUPS.message(), 47, b"\x21"), r"5 values cannot be packed in Groups\(.*length_bits=33"),
        (with_octet(GROUPS.message(), 32, b"\0\0\0\6"), r"5 values cannot be packed in Groups\(total=6"),
        (with_octet(GROUPS.message(), 36, b"\x20"), "2 groups claim 3 values .* up to 36 bits each"),
        (with_octet(GROUPS.message(), 43, b"\xff" * 4), "claim 4294967298 values"),
        (with_octet(GROUPS.message(), 43, b"\0\0\0\1"), "claim 4 values or more"),
        (with_octet(GROUPS.message(), 38, b"\xff" * 4), "claim 4294967298 values"),
        (with_octet(GROUPS.message(), 36, b"\x01"), r"claim 5 values or more in \d+ bits .* section 7 holds 23 bytes"),
        (with_octet(GROUPS.message(), 32, b"\0\0\0\0"), "0 groups claim 0 values"),
        (with_octet(GROUPS.message(), 12, b"\x7f\x80\0\0"), "reference value inf"),
        (with_octet(GROUPS.message(), 16, b"\x7f\xff"), r"scales by 2\*\*32767 and 10\*\*0"),
        (with_octet(GROUPS.message(), 18, b"\xff\xff"), r"scales by 2\*\*0 and 10\*\*32767"),
        (GROUPS.message((1, 7), [1] * 6 + [0]), "the bit map marks 6 points, 5 values are packed"),
        (GROUPS.message((1, 7), [1] * 4 + [0] * 3), "the bit map marks 4 points, 5 values are packed"),
        (IMAGE.replace(b"IHDR", b"JHDR"), "section 7 begins with .*JHDR.*not with the header of a PNG"),
        (IMAGE.replace(b"IDAT", b"IDAX"), "its PNG cannot be unpacked"),
        (png([[1, 2], [3, 4]], 8, points=5), "5 values cannot be a PNG of 2 by 2 pixels, depth 8, colour type 0"),
        (png([[1, 2], [3, 4]], 8, 8, 3), "4 values cannot be a PNG of 2 by 2 pixels, depth 8, colour type 3"),
        (
            with_octet(png([[1, 2], [3, 4]], 48, 16, 2), 20, b"\x10"),
            "4 values cannot be a PNG of 2 by 2 pixels, depth 16, colour type 2",
        ),
        (png([[1, 2], [3, 4]], 24, extra=chunk(b"tRNS", bytes(6))), r"holds \(2, 2, 4\) numbers, \(2, 2, 3\) are decl"),
        (with_octet(BLOCKS, 23, b"\x00"), "CCSDS cannot have packed blocks of 0, reference samples every 128"),
        (with_octet(BLOCKS, 24, b"\0\0"), "CCSDS cannot have packed blocks of 8, reference samples every 0"),
        (with_octet(BLOCKS, 24, b"\x10\1"), "CCSDS cannot have packed blocks of 8, reference samples every 4097"),
        (with_octet(RAW, 12, b"\3"), r"section 5 has the precision 3, only \[1, 2\] are read"),
        (with_octet(RAW, 12, b"\2"), "3 values of 8 bytes are declared, section 7 holds 12 bytes"),
        (without_data(BLOCKS), "CCSDS cannot have packed blocks of 8, reference samples every 128, in 0 bytes"),
        (without_data(aec(range(400), 9, 8, 128, 14), 9), r"CCSDS holds \d+ values, 400 are declared"),
        (without_data(IMAGE, 30), "its PNG cannot be unpacked"),
        (without_data(IMAGE), "section 7 begins with b'', not"),
    ],
)
def test_damage_is_named(message: bytes, says: str) -> None:
    with pytest.raises(CorruptMessage, match=f"^f006: .*{says}.*fetch (them|it) again$"):
        decode(message, where="f006")


def test_no_grid_is_so_large_that_it_fills_the_memory() -> None:
    packing = struct.pack(">IH", 20_000 * 20_000, 0) + Scaling().octets() + b"\0\0"
    with pytest.raises(
        CorruptMessage, match="f006: a grid of 20000 by 20000 is not read, only 1 to 134217728 points are"
    ):
        decode(frame((20_000, 20_000), packing, b""), where="f006")


def test_ieee_values_are_scaled_and_placed() -> None:
    np.testing.assert_array_equal(decode(RAW, scale_factor=2, add_offset=1), [[3, np.nan, 7]])
    np.testing.assert_array_equal(decode(RAW, source_fill_value=1), [[np.nan, np.nan, 3]])
    bit_map = frame((2, 2), struct.pack(">IHB", 2, 4, 2), struct.pack(">dd", 5, 6), [1, 0, 0, 1])
    np.testing.assert_array_equal(decode(bit_map), [[5, np.nan], [np.nan, 6]])
    with pytest.raises(CorruptMessage, match=r"^f006: values up to 3.0 exceed float32$"):
        decode(RAW, scale_factor=1e39, where="f006")


def test_differences_beyond_float32() -> None:
    message = replace(GROUPS, scaling=Scaling(0.0, 123, 5)).message()
    assert np.isfinite(decode(message)).all()
    with pytest.raises(CorruptMessage, match=r"^f006: values up to [0-9.]+e\+[0-9]+ exceed float32$"):
        decode(message, scale_factor=1e10, where="f006")


@pytest.mark.parametrize(
    ("count", "checks"), [(1000, {}), pytest.param(20_000, {"NUMBA_BOUNDSCHECK": "1"}, marks=pytest.mark.slow)]
)
def test_damaged_messages_are_unpacked_or_refused(tmp_path: Path, count: int, checks: Mapping[str, str]) -> None:
    """By kernels that check every index, in the slow test. `python -m tests.fuzz_grib 200000 7` tries more."""
    own_cache = {"NUMBA_CACHE_DIR": str(tmp_path)} if checks else {}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_grib", str(count), "20261121"],
        cwd=ROOT,
        env=os.environ | checks | own_cache,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert outcomes["crashes"] == 0, done.stderr
    tried = ("values", "corrupt", "ecCodes ended", "too large to try")
    assert sum(outcomes.get(outcome, 0) for outcome in tried) == count
    assert min(outcomes["values"], outcomes["corrupt"]) > count / 20
    assert outcomes["slowest_cpu_seconds"] < 10
    assert outcomes["growth_megabytes"] < 1024
