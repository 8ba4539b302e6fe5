"""JPEG 2000 (template 5.40): the values that ecCodes finds, and damage that a decoder never sees."""

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage
from tests.core.grib.packed import oracle, same_bits
from tests.core.grib.real_messages import DATA, messages_of
from tests.core.grib.test_damaged_packing import with_octet
from tests.grib_writer import Scaling, frame

CMC = DATA / "accum_sequence_cmc/yt87__pywgrib2_xr--CMC_glb_APCP_SFC_0_ps30km_2020012500_P003.grib2"
NUMBERS = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100


def code_stream(numbers: npt.NDArray[Any], bits: int, *, lossy: bool = False) -> bytes:
    level = 90 if lossy else 0
    return bytes(
        imagecodecs.jpeg2k_encode(numbers, codecformat="j2k", bitspersample=bits, reversible=not lossy, level=level)
    )


def jpeg(stream: bytes, bits: int = 12, points: int = 24) -> bytes:
    packing = struct.pack(">IH", points, 40) + Scaling(-7.0, -3, 1).octets() + bytes([bits, 0, 0, 255])
    return frame((1, points), packing, stream)


STREAM = code_stream(NUMBERS, 12)
SIZ, COD, SOT = 2, STREAM.index(b"\xff\x52"), STREAM.index(b"\xff\x90")


def at(offset: int, octets: bytes) -> bytes:
    return STREAM[:offset] + octets + STREAM[offset + len(octets) :]


def inserted(offset: int, octets: bytes) -> bytes:
    return STREAM[:offset] + octets + STREAM[offset:]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.sampled_from([(1, 1), (1, 40), (13, 17), (64, 70)]), st.integers(0, 2**32))
def test_values_are_those_of_eccodes(bits: int, shape: tuple[int, int], seed: int) -> None:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    numbers = np.random.default_rng(seed).integers(0, 2**bits, shape).astype(kind)
    message = jpeg(code_stream(numbers, bits), bits, numbers.size)
    same_bits(decode(message), [Scaling(-7.0, -3, 1).value(int(number)) for number in numbers.ravel()])
    same_bits(decode(message), oracle(message))


def test_lossy_values_are_those_of_eccodes() -> None:
    numbers = np.random.default_rng(1).integers(0, 4000, (60, 90)).astype(np.uint16)
    message = jpeg(code_stream(numbers, 12, lossy=True), 12, numbers.size)
    same_bits(decode(message), oracle(message))


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"", "its 0 bytes end within a marker"),
        (at(0, b"\xff\xd8"), "it begins with .*, not with the markers SOC and SIZ"),
        (at(SIZ + 2, struct.pack(">H", 9000)), "marker 0xff51 claims 9000 bytes of"),
        (at(SIZ + 2, struct.pack(">H", 20)), "its .* bytes end within a marker"),
        (at(SIZ + 6, struct.pack(">I", 7)), "an image of 4 by 7 from .* cannot hold 24 values"),
        (at(SIZ + 14, struct.pack(">I", 1)), r"an image of 4 by 6 from \(0, 1\).* cannot hold 24 values"),
        (at(SIZ + 30, struct.pack(">I", 1)), r"tiles from \(0, 1\)"),
        (at(SIZ + 22, struct.pack(">I", 0)), "tiles of 4 by 0 cut an image of 4 by 6 into more than 1024"),
        (at(SIZ + 38, struct.pack(">H", 2)), "2 components of depth octet 0x0b, .* values of 12 bits"),
        (at(SIZ + 40, b"\x0c"), "1 components of depth octet 0x0c"),
        (at(SIZ + 40, b"\x8b"), "1 components of depth octet 0x8b"),
        (at(SIZ + 41, b"\x02"), r"every \(1, 2\) pixels"),
        (at(COD, b"\xff\x5f"), "marker 0xff5f is not read in the code stream of a field"),
        (at(COD + 6, b"\1\1"), "it declares 257 layers, 1 to 256 are read"),
        (at(COD + 6, b"\0\0"), "it declares 0 layers"),
        (at(COD + 9, b"\x21"), "it declares 33 decomposition levels"),
        (at(COD + 4, b"\1"), "it declares . decomposition levels with precincts b''"),
        (inserted(COD, b"\xff\x53\0\x0b\0\1\1\4\4\0\1\x11\x11"), "1 decomposition levels with precincts b'.x11.x11'"),
        (inserted(COD, b"\xff\x53\0\2"), "its .* bytes end within a marker"),
        (inserted(COD, b"\xff\x53\0\3\0"), "its .* bytes end within a marker"),
        (inserted(COD, b"\xff\x53\0\4\0\0"), "its .* bytes end within a marker"),
        (at(SOT + 2, b"\0\x0b"), "tile-part 0 at byte .* claims .* bytes of"),
        (at(SOT + 4, b"\xff\xff"), "tile-part 65535 at byte"),
        (at(SOT + 6, b"\xff" * 4), "tile-part 0 at byte .* claims 4294967295 bytes of"),
        (at(SOT + 6, b"\0\0\0\1"), "tile-part 0 at byte .* claims 1 bytes of"),
        (at(SOT + 6, b"\0\0\0\x14"), "marker 0x.* follows a tile-part"),
        (inserted(SOT + 12, b"\xff\x61\0\3\0"), "marker 0xff61 is not read in the code stream of a field"),
        (STREAM[:-2], "tile-part 0 at byte .* claims"),
        (STREAM[:SOT], "its .* bytes end within a marker"),
        (STREAM[: SIZ + 2], "its .* bytes end within a marker"),
        (at(COD + 10, b"\x0f"), "its JPEG 2000 cannot be unpacked"),
    ],
)
def test_what_a_decoder_should_not_see_is_named(stream: bytes, says: str) -> None:
    with pytest.raises(CorruptMessage, match=f"^f006: its JPEG 2000 cannot be unpacked: .*{says}|^f006: {says}"):
        decode(jpeg(stream), where="f006")


def test_tiles_without_number_are_refused() -> None:
    numbers = np.zeros((64, 64), np.uint16)
    stream = code_stream(numbers, 12)
    tiny = stream[: SIZ + 22] + struct.pack(">II", 1, 1) + stream[SIZ + 30 :]
    with pytest.raises(CorruptMessage, match="tiles of 1 by 1 cut an image of 64 by 64 into more than 1024"):
        decode(jpeg(tiny, points=4096), where="f006")


def test_more_bits_than_openjpeg_keeps_are_left_to_eccodes() -> None:
    with pytest.raises(CorruptMessage, match="ecCodes"):
        decode(with_octet(jpeg(b"no code stream"), 20, b"\x1a"), where="f006")


# Octets whose change ends the process inside ecCodes: the size of the image and of its tiles, and the components.
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("flip", [lambda octet: octet ^ 0x80, lambda octet: octet ^ 1, lambda _: 0xFF])
def test_one_byte_never_ends_the_process(flip: Callable[[int], int]) -> None:
    message, _ = messages_of(CMC)[0]
    begin = message.index(b"\xff\x4f\xff\x51")
    for offset in range(begin, begin + 180):
        damaged = bytearray(message)
        damaged[offset] = flip(damaged[offset])
        try:
            values = decode(bytes(damaged))
        except CorruptMessage:
            continue
        assert values.size == 49400
