"""Compiled loops of `grib_packing`, apart from it because importing numba takes seconds.

In: packed bits, and what section 5 says of them; out: float32 values, written where the caller wants them.
No bit is read but those given: what groups claim is summed up before one of them is unpacked. Every kernel releases the
GIL.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.types import Float32Array

type Octets = npt.NDArray[np.uint8]

WIDEST = 32
"""Most bits a packed number may have."""
_WORD = 8


class Scale(NamedTuple):
    """From a packed number X to a value, in float64: (X * binary + reference) * decimal, then * factor + offset."""

    reference: float
    binary: float
    decimal: float
    fill: float
    """Becomes NaN, before factor and offset; NaN for none."""
    factor: float
    offset: float


class Groups(NamedTuple):
    """How complex packing cuts its numbers into groups (octets 20 to 49 of section 5)."""

    count: int
    reference_bits: int
    width_reference: int
    width_bits: int
    length_reference: int
    length_step: int
    last_length: int
    length_bits: int
    missing: int
    """0 no missing values, 1 primary ones, 2 primary and secondary ones."""
    order: int
    """Of spatial differencing; 0 for none."""
    descriptor_bits: int
    """Bits of each first value and of the lowest difference."""


def _compiled[F: Callable[..., object]](function: F) -> F:
    try:
        compiled: F = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder that a cache could be written to
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


@_compiled
def _padded(packed: Octets) -> Octets:
    """A copy that has a whole word to be read at each of its octets, and at its end."""
    padded = np.zeros(packed.size + _WORD, np.uint8)
    padded[: packed.size] = packed
    return padded


@_compiled
def _number_at(octets: Octets, position: int, bits: int) -> int:
    """Read the number of 0 to 32 bits that begins at a bit."""
    first = np.uint64(position) >> np.uint64(3)
    word = np.uint64(0)
    for k in range(_WORD):
        word = word << np.uint64(8) | np.uint64(octets[first + np.uint64(k)])
    # In two steps, since no more than 63 bits can be shifted away at once.
    return np.int64(word << np.uint64(position & 7) >> np.uint64(1) >> np.uint64(63 - bits))


@_compiled
def _value(number: int, scale: Scale) -> np.float32:
    value = (np.float64(number) * scale.binary + scale.reference) * scale.decimal
    return np.float32(np.nan if value == scale.fill else value * scale.factor + scale.offset)


@_compiled
def unpack_simple(packed: Octets, bits: int, scale: Scale, out: Float32Array) -> None:
    """Unpack `out.size` numbers of `bits` bits, which `packed` must hold."""
    octets = _padded(packed)
    for i in range(out.size):
        out[i] = _value(_number_at(octets, i * bits, bits), scale)


@_compiled
def _whole_octets(bits: int) -> int:
    return (bits + 7) & ~7


@_compiled
def _begins(groups: Groups) -> tuple[int, int, int, int]:
    """Bits at which references, widths, lengths and numbers begin."""
    references = (groups.order + 1) * groups.descriptor_bits if groups.order else 0
    widths = references + _whole_octets(groups.count * groups.reference_bits)
    lengths = widths + _whole_octets(groups.count * groups.width_bits)
    return references, widths, lengths, lengths + _whole_octets(groups.count * groups.length_bits)


@_compiled
def _width(octets: Octets, groups: Groups, begin: int, g: int) -> int:
    return groups.width_reference + _number_at(octets, begin + g * groups.width_bits, groups.width_bits)


@_compiled
def _length(octets: Octets, groups: Groups, begin: int, g: int) -> int:
    if g == groups.count - 1:
        return groups.last_length
    scaled = _number_at(octets, begin + g * groups.length_bits, groups.length_bits)
    return groups.length_reference + scaled * groups.length_step


@_compiled
def _claims(octets: Octets, size: int, groups: Groups, points: int) -> tuple[int, int, int]:
    """Sum up the groups; stop where they exceed `points` or `WIDEST`, so that no sum overflows."""
    _, widths, lengths, bits = _begins(groups)
    total, widest = 0, 0
    if bits > 8 * size:
        return total, bits, widest
    for g in range(groups.count):
        width, length = _width(octets, groups, widths, g), _length(octets, groups, lengths, g)
        total += length
        widest = max(widest, width)
        if total > points or widest > WIDEST:
            break
        bits += width * length
    return total, bits, widest


@_compiled
def unpack_groups(packed: Octets, groups: Groups, scale: Scale, out: Float32Array) -> tuple[int, int, int]:
    """Unpack complex packing, if its groups fit.

    `groups.count` must not exceed `out.size`, no count of bits `WIDEST`.

    Returns
    -------
    points, bits, widest
        What the groups claim. Nothing was unpacked unless they are `out.size` points, fit into `packed`, and the widest
        does not exceed `WIDEST`.
    """
    octets = _padded(packed)
    claims = _claims(octets, packed.size, groups, out.size)
    if claims[0] == out.size and claims[1] <= 8 * packed.size and claims[2] <= WIDEST:
        _unpack(octets, groups, scale, out)
    return claims


@_compiled
def _unpack(octets: Octets, groups: Groups, scale: Scale, out: Float32Array) -> None:
    order, descriptor_bits = groups.order, groups.descriptor_bits
    references, widths, lengths, position = _begins(groups)
    first = (_number_at(octets, 0, descriptor_bits), _number_at(octets, descriptor_bits, descriptor_bits))
    lowest = _signed_at(octets, order * descriptor_bits, descriptor_bits) if order else 0
    last, gain, seen, start = 0, 0, 0, 0
    for g in range(groups.count):
        width, stop = _width(octets, groups, widths, g), start + _length(octets, groups, lengths, g)
        reference = _number_at(octets, references + g * groups.reference_bits, groups.reference_bits)
        for i in range(start, stop):
            number = _number_at(octets, position, width)
            position += width
            if groups.missing and _is_missing(number, width, reference, groups):
                out[i] = np.float32(np.nan)
                continue
            number += reference
            if order == 0:
                last = number
            elif seen < order:
                last, gain = first[seen], first[seen] - last
                seen += 1
            elif order == 1:
                last += number + lowest
            else:
                gain += number + lowest
                last += gain
            out[i] = _value(last, scale)
        start = stop


@_compiled
def _signed_at(octets: Octets, position: int, bits: int) -> int:
    """Sign and magnitude."""
    number = _number_at(octets, position, bits)
    sign = 1 << (bits - 1)
    return sign - number if number & sign else number


@_compiled
def _is_missing(number: int, width: int, reference: int, groups: Groups) -> bool:
    """Whether all bits are ones, or all but the last where secondary missing values are told apart."""
    bits, found = (width, number) if width else (groups.reference_bits, reference)
    return found > (1 << bits) - 1 - groups.missing


@_compiled
def expand(flags: Octets, packed: int, out: Float32Array) -> int:
    """Spread the first `packed` values over the points whose flag is set, the others become NaN.

    Returns
    -------
    int
        How many flags are set; unless they are `packed`, nothing was changed.
    """
    flagged = 0
    for i in range(out.size):
        flagged += flags[i >> 3] >> (7 - (i & 7)) & 1
    if flagged != packed:
        return flagged
    source = packed
    for i in range(out.size - 1, -1, -1):
        if flags[i >> 3] >> (7 - (i & 7)) & 1:
            source -= 1
            out[i] = out[source]
        else:
            out[i] = np.float32(np.nan)
    return flagged
