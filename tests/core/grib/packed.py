"""Packed messages made by hand, and what pygrib makes of any."""

import math
import struct
import zlib
from collections.abc import Sequence

import imagecodecs
import numpy as np
import numpy.typing as npt
import pygrib

from reformatters_dagster.core.grib.packing import Units
from reformatters_dagster.core.spec.values import Array2D
from tests.grib_writer import Scaling, frame

MISSING = -(2**60)
NOTHING_ELSE = Units(math.nan, 1.0, 0.0)

type Field = npt.NDArray[np.float64]


def oracle(message: bytes) -> Field:
    """Values of pygrib, missing ones as NaN."""
    field = pygrib.fromstring(message)
    field["missingValue"] = MISSING
    values = np.array(np.ma.getdata(field.values), np.float64).ravel()
    values[values == MISSING] = np.nan
    return values


def same_bits(found: Array2D, expected: npt.ArrayLike) -> None:
    wanted = np.asarray(expected, np.float64).astype(np.float32)
    np.testing.assert_array_equal(found.ravel(), wanted)
    assert found.tobytes() == wanted.tobytes()


def aec(numbers: Sequence[int], bits: int, block: int, interval: int, flags: int) -> bytes:
    """A message in CCSDS packing (template 5.42)."""
    octets = 1 if bits <= 8 else 2 if bits <= 16 else 4
    packed = imagecodecs.aec_encode(
        np.array(numbers, f"<u{octets}"), bitspersample=bits, blocksize=block, rsi=interval, flags=flags & ~6
    )
    packing = struct.pack(">IH", len(numbers), 42) + Scaling(-7.0, -3, 1).octets()
    return frame((1, len(numbers)), packing + struct.pack(">BBBBH", bits, 0, flags, block, interval), bytes(packed))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    rows: Sequence[Sequence[int]], bits: int, depth: int = 0, colour: int = 0, extra: bytes = b"", points: int = 0
) -> bytes:
    """A message in PNG packing (template 5.41); its image has so many bits a pixel."""
    size = struct.pack(">II", len(rows[0]), len(rows))
    lines = b"".join(b"\0" + np.packbits([[int(b) for b in f"{n:0{bits}b}"] for n in row]).tobytes() for row in rows)
    depth, colour = (depth, colour) if depth else {24: (8, 2), 32: (8, 6)}.get(bits, (bits, 0))
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([depth, colour, 0, 0, 0])) + extra
    image += chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    points = points or len(rows) * len(rows[0])
    packing = struct.pack(">IH", points, 41) + Scaling(-3.0, 1, 1).octets() + bytes([bits, 0])
    return frame((1, points), packing, image)
