"""The frame of a JPEG 2000 code stream, checked before anything unpacks it.

In: the octets of section 7, and what section 5 says of them. Out: nothing, or an error.

A decoder trusts these markers: they say how much memory it takes, and how long it works. GRIB needs few of them, for one image of
one component. Everything else is refused.
"""

import struct
from collections.abc import Container
from typing import NamedTuple

_START, _END = 0xFF4F, 0xFFD9
_SIZE, _CODING, _CODING_OF_COMPONENT, _QUANTIZATION, _QUANTIZATION_OF_COMPONENT = 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D
_TILE_LENGTHS, _PACKET_LENGTHS, _PACKET_LENGTHS_OF_TILE, _REGISTRATION, _COMMENT = (
    0xFF55,
    0xFF57,
    0xFF58,
    0xFF63,
    0xFF64,
)
_TILE_PART, _DATA = 0xFF90, 0xFF93
_ANYWHERE = {_CODING, _CODING_OF_COMPONENT, _QUANTIZATION, _QUANTIZATION_OF_COMPONENT, _COMMENT}
_IN_MAIN_HEADER = _ANYWHERE | {_TILE_LENGTHS, _PACKET_LENGTHS, _REGISTRATION}
_IN_TILE_PART = _ANYWHERE | {_PACKET_LENGTHS_OF_TILE}
_SIZ = ">HIIIIIIIIHBBB"
_TILE_PART_HEADER = 12
_MOST_TILES = 1024
"""A decoder takes kilobytes for each before it unpacks any. Encoders of GRIB write one."""
_MOST_LAYERS = 256
_SMALLEST_PRECINCT = 5
"""An exponent of 2. What a decoder keeps of smaller ones exceeds the image."""


class _Segment(NamedTuple):
    marker: int
    content: memoryview
    """Without the marker and the length."""
    stop: int
    """Where the next marker begins."""


def check_code_stream(stream: memoryview, points: int, bits: int) -> None:
    """Check that a code stream is one whole image of one component.

    Parameters
    ----------
    stream : memoryview
    points, bits : int
        Pixels of the image, and bits of each.

    Raises
    ------
    ValueError
        A marker contradicts that, is cut off, or asks a decoder for more than any field needs.

    Notes
    -----
    Source: ISO/IEC 15444-1, annex A.
    """
    try:
        if struct.unpack_from(">HH", stream) != (_START, _SIZE):
            raise ValueError(f"it begins with {bytes(stream[:4])!r}, not with the markers SOC and SIZ")
        size = _segment(stream, 2)
        _check_size(size.content, points, bits)
        begin = _check_segments(stream, size.stop, _IN_MAIN_HEADER, _TILE_PART)
        while True:
            begin = _check_tile_part(stream, begin)
            (marker,) = struct.unpack_from(">H", stream, begin)
            if marker == _END:
                return
            if marker != _TILE_PART:
                raise ValueError(f"marker {marker:#06x} follows a tile-part")
    except struct.error as error:
        raise ValueError(f"its {len(stream)} bytes end within a marker") from error


def _segment(stream: memoryview, at: int) -> _Segment:
    marker, length = struct.unpack_from(">HH", stream, at)
    stop = at + 2 + length
    if length < 2 or stop > len(stream):
        raise ValueError(f"marker {marker:#06x} claims {length} bytes of {len(stream) - at - 2} left")
    return _Segment(marker, stream[at + 4 : stop], stop)


def _check_segments(stream: memoryview, at: int, allowed: Container[int], last: int) -> int:
    """Check segments up to the marker `last`; return where that begins."""
    while struct.unpack_from(">H", stream, at)[0] != last:
        segment = _segment(stream, at)
        if segment.marker not in allowed:
            raise ValueError(f"marker {segment.marker:#06x} is not read in the code stream of a field")
        if segment.marker == _CODING:
            (layers,) = struct.unpack_from(">H", segment.content, 2)
            if not 1 <= layers <= _MOST_LAYERS:
                raise ValueError(f"it declares {layers} layers, 1 to {_MOST_LAYERS} are read")
            _check_coding(segment.content[0], segment.content[5:])
        elif segment.marker == _CODING_OF_COMPONENT:
            (style,) = struct.unpack_from(">B", segment.content, 1)
            _check_coding(style, segment.content[2:])
        at = segment.stop
    return at


def _check_size(content: memoryview, points: int, bits: int) -> None:
    _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, components, depth, across, down = (
        struct.unpack_from(_SIZ, content)
    )
    if width * height != points or (left, top, tile_left, tile_top) != (0, 0, 0, 0):
        raise ValueError(
            f"an image of {height} by {width} from {(top, left)!r}, tiles from {(tile_top, tile_left)!r}, "
            f"cannot hold {points} values"
        )
    if (components, depth, across, down) != (1, bits - 1, 1, 1):
        raise ValueError(
            f"{components} components of depth octet {depth:#04x}, every {(down, across)!r} pixels, "
            f"cannot hold values of {bits} bits"
        )
    if not tile_width or not tile_height or -(-width // tile_width) * -(-height // tile_height) > _MOST_TILES:
        raise ValueError(
            f"tiles of {tile_height} by {tile_width} cut an image of {height} by {width} into more than {_MOST_TILES}"
        )


def _check_coding(style: int, coding: memoryview) -> None:
    """Check how the image is cut into precincts, by the octets from the count of decomposition levels on."""
    levels, *_ = struct.unpack_from(">BBBBB", coding)
    precincts = coding[5:]
    if levels > 32:
        raise ValueError(f"it declares {levels} decomposition levels")
    if not style & 1:
        return
    smallest = min((min(octet & 15, octet >> 4) for octet in precincts[1:]), default=15)
    if len(precincts) != levels + 1 or smallest < _SMALLEST_PRECINCT:
        raise ValueError(f"it declares {levels} decomposition levels with precincts {bytes(precincts)!r}")


def _check_tile_part(stream: memoryview, begin: int) -> int:
    """Check a tile-part; return the byte after it."""
    _, length, tile, size, _, _ = struct.unpack_from(">HHHIBB", stream, begin)
    stop = begin + size if size else len(stream) - 2
    if length != 10 or tile >= _MOST_TILES or not begin + _TILE_PART_HEADER < stop <= len(stream) - 2:
        raise ValueError(f"tile-part {tile} at byte {begin} claims {size} bytes of {len(stream) - begin} left")
    _check_segments(stream[:stop], begin + _TILE_PART_HEADER, _IN_TILE_PART, _DATA)
    return stop
