"""Packed values of a GRIB2 message to numbers.

In: sections 5, 6 and 7. Out: float32 values, in the order of the message or of a `Placing`.

Each value is, bit for bit, the value that ecCodes computes, rounded to float32. The GIL is released meanwhile.

Every claim of a message is checked before it is used. ecCodes reads past the end of damaged complex packing, and ends the
process over a damaged PNG or JPEG 2000. So a packing that has an unpacker here is never passed to ecCodes.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reformatters_dagster.core.grib.code_stream import check_code_stream
from reformatters_dagster.core.grib.sections import DAMAGED, Section, split
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Float32Array, Placing

if TYPE_CHECKING:
    from reformatters_dagster.core.grib.kernels import Groups, Scale

_LARGEST = float(np.finfo(np.float32).max)
_WIDEST = 32
_MOST_BITS: Mapping[int, int] = {0: _WIDEST, 40: 24}
"""Simple packing and JPEG 2000 with more are for ecCodes: OpenJPEG loses some."""
_IEEE = 4
_PRECISIONS: Mapping[int, str] = {1: ">f4", 2: ">f8"}
"""Code table 5.7."""
_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
_PNG_SAMPLES = {0: 1, 2: 3, 6: 4}
_AEC_3_BYTES, _AEC_BIG_ENDIAN = 2, 4


class Units(NamedTuple):
    """From a message's value to the stored value, in float64: value * factor + offset."""

    fill: float
    """The value that becomes NaN; NaN where no value does."""
    factor: float
    offset: float


@dataclass(frozen=True, slots=True)
class _Packed:
    message: bytes
    representation: Section
    data: memoryview
    """Section 7 without its length and number."""
    units: Units
    placing: Placing
    where: str

    def corrupt(self, finding: str) -> CorruptMessage:
        return CorruptMessage(f"{self.where}: {finding}; {DAMAGED}")

    @property
    def bits(self) -> int:
        """Bits of one number; in complex packing, bits of one group's reference."""
        bits = self.representation.unsigned(20, 1)
        if bits > _WIDEST:
            raise self.corrupt(f"section 5 declares numbers of {bits} bits, there are none of more than {_WIDEST}")
        return bits

    @property
    def is_constant(self) -> bool:
        """Whether every value is the reference. Complex packing in 0 bits may still have widths and differences."""
        has_groups = self.representation.unsigned(10, 2) in (2, 3) and self.representation.unsigned(32, 4) > 0
        return self.bits == 0 and not has_groups

    def scale(self) -> "Scale":
        from reformatters_dagster.core.grib import kernels

        binary, decimal = self.representation.signed(16, 2), self.representation.signed(18, 2)
        if abs(binary) > 1023 or abs(decimal) > 300:
            raise self.corrupt(f"section 5 scales by 2**{binary} and 10**{-decimal}")
        return kernels.Scale(self._reference(), math.ldexp(1, binary), _power_of_ten(-decimal), *self.units)

    def constant_scale(self) -> "Scale":
        """The scale where `is_constant`: ecCodes does not apply the decimal scale then."""
        from reformatters_dagster.core.grib import kernels

        return kernels.Scale(self._reference(), 0.0, 1.0, *self.units)

    def _reference(self) -> float:
        (reference,) = struct.unpack(">f", self.representation.unsigned(12, 4).to_bytes(4, "big"))
        if not math.isfinite(reference):
            raise self.corrupt(f"section 5 has the reference value {reference!r}")
        return float(reference)


def unpack(message: bytes, units: Units, out: Float32Array, where: str, placing: Placing | None = None) -> bool:
    """Unpack a message, if there is an unpacker for its data representation template (code table 5.0).

    Parameters
    ----------
    message : bytes
        One that `header.read_header` accepts.
    units : Units
    out : (points,) float32, C-contiguous
        Overwritten; missing is NaN.
    where : str
        Names the message in an error.
    placing : Placing, optional
        Default: the order of the message.

    Returns
    -------
    bool
        True for templates 0, 2, 3, 4, 40, 41 and 42. False for other templates, for simple packing in more than 32 bits and
        for JPEG 2000 in more than 24; then nothing is written.

    Raises
    ------
    CorruptMessage
        The sections contradict each other, or values exceed float32. Then the content of `out` is undefined.

    Notes
    -----
    Source: WMO Manual on Codes, FM 92 GRIB edition 2, templates 5.x and 7.x, code tables 5.5, 5.6 and 5.7.
    """
    sections = split(message, where)
    representation, bit_map = sections[5], sections[6]
    template = representation.unsigned(10, 2)
    if template not in _UNPACKERS or (template in _MOST_BITS and representation.unsigned(20, 1) > _MOST_BITS[template]):
        return False
    data = sections[7].body[5:]
    if bit_map.unsigned(6, 1) == 0:
        in_order = np.empty_like(out)
        values = in_order[: representation.unsigned(6, 4)]
        packed = _Packed(message, representation, data, units, Placing(values.size), where)
        _unpack_values(packed, template, values)
        _spread(packed, bit_map.body[6:], values.size, in_order)
        place(in_order, placing or Placing(out.size), out)
        return True
    packed = _Packed(message, representation, data, units, placing or Placing(out.size), where)
    if (count := representation.unsigned(6, 4)) != out.size:
        raise packed.corrupt(f"{count} values are packed for {out.size} points without a bit map")
    _unpack_values(packed, template, out)
    return True


def place(values: Float32Array, placing: Placing, out: Float32Array) -> None:
    """Copy (points,) values from the order of the message to their places."""
    rows, into = values.reshape(-1, placing.columns), out.reshape(-1, placing.columns)
    if placing.upside_down:
        rows = rows[::-1]
    into[:, : placing.columns - placing.shift] = rows[:, placing.shift :]
    into[:, placing.columns - placing.shift :] = rows[:, : placing.shift]


def _unpack_values(packed: _Packed, template: int, values: Float32Array) -> None:
    if values.size:
        unpacker = _unpack_simple if template != _IEEE and packed.is_constant else _UNPACKERS[template]
        unpacker(packed, values)


def _unpack_simple(packed: _Packed, values: Float32Array) -> None:
    bits, data = packed.bits, packed.data
    if bits * values.size > 8 * len(data):
        raise packed.corrupt(f"{values.size} values of {bits} bits are declared, section 7 holds {len(data)} bytes")
    begin = len(packed.message) - 4 - len(data)
    _unpack_numbers(packed, packed.message, 8 * begin, bits, values)


def _unpack_numbers(packed: _Packed, octets: bytes, begin: int, bits: int, values: Float32Array) -> None:
    from reformatters_dagster.core.grib import kernels

    scale = packed.constant_scale() if packed.is_constant else packed.scale()
    kernels.unpack_simple(np.frombuffer(octets, np.uint8), begin, bits, scale, packed.placing, values)
    _check_range(packed, scale, 2.0**bits, values)


def _unpack_complex(packed: _Packed, values: Float32Array) -> None:
    from reformatters_dagster.core.grib import kernels

    groups, scale = _read_groups(packed, values.size), packed.scale()
    octets = np.frombuffer(packed.message, np.uint8)
    end = len(packed.message) - 4
    begin = end - len(packed.data)
    points, bits, widest = kernels.claims(octets, 8 * begin, 8 * end, groups, values.size)
    if points != values.size or bits > 8 * len(packed.data) or widest > kernels.WIDEST:
        raise packed.corrupt(
            f"{groups.total} groups claim {points} values or more in {bits} bits or more, up to {widest} bits each; "
            f"{values.size} values are declared and section 7 holds {len(packed.data)} bytes"
        )
    kernels.unpack_groups(octets, 8 * begin, groups, scale, packed.placing, values)
    _check_range(packed, scale, 2.0**63, values)


def _read_groups(packed: _Packed, points: int) -> "Groups":
    from reformatters_dagster.core.grib import kernels

    section = packed.representation
    differenced = section.unsigned(10, 2) == 3
    order = section.unsigned(48, 1) if differenced else 0
    groups = kernels.Groups(
        total=section.unsigned(32, 4),
        reference_bits=packed.bits,
        width_reference=section.unsigned(36, 1),
        width_bits=section.unsigned(37, 1),
        length_reference=section.unsigned(38, 4),
        length_step=section.unsigned(42, 1),
        last_length=section.unsigned(43, 4),
        length_bits=section.unsigned(47, 1),
        missing=section.unsigned(23, 1),
        order=order,
        descriptor_bits=8 * section.unsigned(49, 1) if order else 0,
    )
    widest = max(groups.width_bits, groups.length_bits, groups.descriptor_bits)
    if groups.total > points or widest > _WIDEST or order > 2 or groups.missing > 2:
        raise packed.corrupt(f"{points} values cannot be packed in {groups!r}")
    return groups


def _unpack_ccsds(packed: _Packed, values: Float32Array) -> None:
    bits, section = packed.bits, packed.representation
    flags, block, interval = section.unsigned(22, 1), section.unsigned(23, 1), section.unsigned(24, 2)
    if block not in (8, 16, 32, 64) or not 1 <= interval <= 4096 or not packed.data:
        raise packed.corrupt(
            f"CCSDS cannot have packed blocks of {block}, reference samples every {interval}, in {len(packed.data)} bytes"
        )
    import imagecodecs

    octets = 1 if bits <= 8 else 2 if bits <= 16 else 4
    try:
        decoded = imagecodecs.aec_decode(
            packed.data,
            bitspersample=bits,
            flags=flags & ~_AEC_3_BYTES | _AEC_BIG_ENDIAN,
            blocksize=block,
            rsi=interval,
            # The last block is always packed whole, and octets may follow it.
            out=(values.size // block + 1) * block * octets,
        )
    except (RuntimeError, ValueError) as error:
        raise packed.corrupt(f"CCSDS cannot be unpacked ({error})") from error
    numbers = bytes(decoded)
    if len(numbers) < octets * values.size:
        raise packed.corrupt(f"CCSDS holds {len(numbers) // octets} values, {values.size} are declared")
    _unpack_octets(packed, numbers, 8 * octets, values)


def _unpack_png(packed: _Packed, values: Float32Array) -> None:
    header = bytes(packed.data[: len(_PNG) + 13])
    if len(header) < len(_PNG) + 13 or not header.startswith(_PNG):
        raise packed.corrupt(f"section 7 begins with {header!r}, not with the header of a PNG")
    width, height, depth, colour = struct.unpack_from(">IIBB", header, len(_PNG))
    samples = _PNG_SAMPLES.get(colour, 0)
    if width * height != values.size or not (depth == 8 if samples > 1 else samples and depth in (1, 2, 4, 8, 16)):
        raise packed.corrupt(
            f"{values.size} values cannot be a PNG of {height} by {width} pixels, depth {depth}, colour type {colour}"
        )
    import imagecodecs

    try:
        image = imagecodecs.png_decode(packed.data)
    except (RuntimeError, ValueError) as error:
        raise packed.corrupt(f"its PNG cannot be unpacked ({error})") from error
    if image.size != samples * values.size:
        raise packed.corrupt(f"its PNG holds {image.shape!r} numbers, {(height, width, samples)!r} are declared")
    if depth < 8:
        image = image // (255 // (2**depth - 1))
    octets = image.astype(image.dtype.newbyteorder(">")).tobytes()
    _unpack_octets(packed, octets, max(depth, 8) * samples, values)


def _unpack_jpeg(packed: _Packed, values: Float32Array) -> None:
    import imagecodecs

    try:
        check_code_stream(packed.data, values.size, packed.bits)
        image = imagecodecs.jpeg2k_decode(packed.data)
    except (RuntimeError, ValueError) as error:
        raise packed.corrupt(f"its JPEG 2000 cannot be unpacked: {error}") from error
    if image.size != values.size or image.dtype.kind != "u":
        raise packed.corrupt(f"its JPEG 2000 holds {image.shape!r} of {image.dtype}, {values.size} values are declared")
    octets = image.astype(image.dtype.newbyteorder(">")).tobytes()
    _unpack_octets(packed, octets, 8 * image.itemsize, values)


def _unpack_ieee(packed: _Packed, values: Float32Array) -> None:
    precision = packed.representation.unsigned(12, 1)
    if precision not in _PRECISIONS:
        raise packed.corrupt(f"section 5 has the precision {precision!r}, only {sorted(_PRECISIONS)} are read")
    kind = np.dtype(_PRECISIONS[precision])
    if kind.itemsize * values.size > len(packed.data):
        raise packed.corrupt(
            f"{values.size} values of {kind.itemsize} bytes are declared, section 7 holds {len(packed.data)} bytes"
        )
    found = np.frombuffer(packed.data, kind, values.size).astype(np.float64)
    fill, factor, offset = packed.units
    found[found == fill] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        in_order = (found * factor + offset).astype(np.float32)
    if np.isinf(in_order).any():
        raise CorruptMessage(f"{packed.where}: values up to {np.nanmax(np.abs(found))!r} exceed float32")
    place(in_order, packed.placing, values)


def _unpack_octets(packed: _Packed, octets: bytes, bits: int, values: Float32Array) -> None:
    from reformatters_dagster.core.grib import kernels

    _unpack_numbers(packed, octets.ljust(kernels.WORD, b"\0"), 0, bits, values)


_UNPACKERS: Mapping[int, Callable[[_Packed, Float32Array], None]] = {
    0: _unpack_simple,
    2: _unpack_complex,
    3: _unpack_complex,
    _IEEE: _unpack_ieee,
    40: _unpack_jpeg,
    41: _unpack_png,
    42: _unpack_ccsds,
}


def _spread(packed: _Packed, flags: memoryview, count: int, out: Float32Array) -> None:
    from reformatters_dagster.core.grib import kernels

    flagged = kernels.spread(np.frombuffer(flags, np.uint8), count, out)
    if flagged != count:
        raise packed.corrupt(f"the bit map marks {flagged} points, {count} values are packed")


def _power_of_ten(exponent: int) -> float:
    """The power as ecCodes computes it, step by step: `10.0**exponent` differs in the last bit."""
    power = 1.0
    for _ in range(abs(exponent)):
        power = power / 10 if exponent < 0 else power * 10
    return power


def _check_range(packed: _Packed, scale: "Scale", number: float, values: Float32Array) -> None:
    """Check that no value exceeds float32. The values are read only where the largest possible number would exceed it."""
    peak = (number * scale.binary + abs(scale.reference)) * scale.decimal
    peak = peak * abs(scale.factor) + abs(scale.offset)
    if not peak <= _LARGEST and np.isinf(values).any():
        raise CorruptMessage(f"{packed.where}: values up to {peak!r} exceed float32")
