"""Compiled loops of `grib_packing`, apart from it because importing numba takes seconds.

In: a message, the bit at which its packed numbers begin, and what section 5 says of them. Out: float32 values, written
where the caller wants them. Octets are never read past the last one; `claims` tells whether groups stay within section 7
before one of them is unpacked. Every kernel releases the GIL.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core._compiled import compiled
from reformatters_dagster.core.types import Float32Array

type Octets = npt.NDArray[np.uint8]
type Numbers = npt.NDArray[np.int64]

WIDEST = 32
"""Most bits a packed number may have."""
WORD = 8
"""Octets that are read at once: there must be as many."""
_BLOCK = 4096
_MISSING = -(1 << 63)


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

    total: int
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
    """Bits of each first value and of the lowest difference; 0 without differencing."""


class _Sums(NamedTuple):
    """How far spatial differencing is undone."""

    last: int
    gain: int
    """The last number less the one before it."""
    seen: int
    """How many of the first numbers, which are no differences, are through."""


def _inlined[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """For what is called once a group, where a call costs as much as the work."""
    return compiled(function, inline="always")


@compiled
def _word_at(octets: Octets, begin: int) -> np.uint64:
    word = np.uint64(0)
    for k in range(WORD):
        word = word << np.uint64(8) | np.uint64(octets[np.uint64(begin) + np.uint64(k)])
    return word


@compiled
def _top(word: np.uint64, bits: int) -> int:
    # Two shifts, since 64 bits cannot be shifted away at once.
    return int(np.int64(word >> np.uint64(1) >> np.uint64(63 - bits)))


@compiled
def _inner_number(octets: Octets, position: int, bits: int) -> int:
    """Read the number of up to 32 bits that begins at a bit at least a word before the end."""
    return _top(_word_at(octets, position >> 3) << np.uint64(position & 7), bits)


@compiled
def _number(octets: Octets, position: int, bits: int) -> int:
    """Read the number of up to 32 bits that begins at any bit."""
    begin = min(position >> 3, octets.size - WORD)
    return _top(_word_at(octets, begin) << np.uint64((position - 8 * begin) & 63), bits)


@compiled
def _last_word(octets: Octets) -> int:
    return 8 * (octets.size - WORD)


@compiled
def _scale(numbers: Numbers, scale: Scale, out: Float32Array) -> None:
    for i in range(out.size):
        value = (np.float64(numbers[i]) * scale.binary + scale.reference) * scale.decimal
        missing = (value == scale.fill) | (numbers[i] == _MISSING)
        value = value * scale.factor + scale.offset
        out[i] = np.float32(np.nan) if missing else np.float32(value)


@compiled
def unpack_simple(octets: Octets, begin: int, bits: int, scale: Scale, out: Float32Array) -> None:
    """Unpack `out.size` numbers of `bits` bits from bit `begin` on; the octets must hold them."""
    numbers = np.empty(_BLOCK, np.int64)
    for start in range(0, out.size, _BLOCK):
        stop = min(start + _BLOCK, out.size)
        if begin + stop * bits <= _last_word(octets):
            for i in range(start, stop):
                numbers[i - start] = _inner_number(octets, begin + i * bits, bits)
        else:
            for i in range(start, stop):
                numbers[i - start] = _number(octets, begin + i * bits, bits)
        _scale(numbers, scale, out[start:stop])


@compiled
def _whole_octets(bits: int) -> int:
    return (bits + 7) & ~7


@compiled
def _begins(begin: int, groups: Groups) -> tuple[int, int, int, int]:
    """Bits at which references, widths, lengths and numbers begin."""
    references = begin + (groups.order + 1) * groups.descriptor_bits
    widths = references + _whole_octets(groups.total * groups.reference_bits)
    lengths = widths + _whole_octets(groups.total * groups.width_bits)
    return references, widths, lengths, lengths + _whole_octets(groups.total * groups.length_bits)


@compiled
def _width(octets: Octets, groups: Groups, widths: int, g: int) -> int:
    return groups.width_reference + _number(octets, widths + g * groups.width_bits, groups.width_bits)


@compiled
def _length(octets: Octets, groups: Groups, lengths: int, g: int) -> int:
    if g == groups.total - 1:
        return groups.last_length
    scaled = _number(octets, lengths + g * groups.length_bits, groups.length_bits)
    return groups.length_reference + scaled * groups.length_step


@compiled
def claims(octets: Octets, begin: int, end: int, groups: Groups, points: int) -> tuple[int, int, int]:
    """Sum up what groups claim, up to the first that makes it too much, so that no sum overflows.

    Parameters
    ----------
    octets
    begin, end : int
        Bits between which everything must lie.
    groups : Groups
        At most `points` of them, and no more than 32 bits for each of their numbers.
    points : int
        How many numbers there are to be.

    Returns
    -------
    points, bits, widest : int
        They fit if that many points are wanted, that many bits are there, and the widest does not exceed `WIDEST`.
    """
    _, widths, lengths, position = _begins(begin, groups)
    claimed, widest = 0, 0
    if position > end:
        return claimed, position - begin, widest
    for g in range(groups.total):
        width, length = _width(octets, groups, widths, g), _length(octets, groups, lengths, g)
        claimed += length
        widest = max(widest, width)
        if claimed > points or widest > WIDEST:
            break
        position += width * length
    return claimed, position - begin, widest


@compiled
def unpack_groups(octets: Octets, begin: int, groups: Groups, scale: Scale, out: Float32Array) -> None:
    """Unpack groups from bit `begin` on; their `claims` must fit."""
    references, widths, lengths, position = _begins(begin, groups)
    lowest = _signed(octets, begin + groups.order * groups.descriptor_bits, groups.descriptor_bits)
    numbers = np.empty(_BLOCK, np.int64)
    sums = _Sums(0, 0, 0)
    done, filled = 0, 0
    for g in range(groups.total):
        width, left = _width(octets, groups, widths, g), _length(octets, groups, lengths, g)
        reference = _number(octets, references + g * groups.reference_bits, groups.reference_bits)
        while left:
            part = numbers[filled : filled + left]
            whole = groups.missing == 0 and sums.seen == groups.order
            if whole and position + width * part.size <= _last_word(octets):
                sums = _read(octets, position, width, reference + lowest, groups.order, sums, part)
            else:
                sums = _read_with_care(octets, position, width, reference, begin, lowest, groups, sums, part)
            position += width * part.size
            left -= part.size
            filled += part.size
            if filled == _BLOCK:
                _scale(numbers, scale, out[done : done + _BLOCK])
                done += _BLOCK
                filled = 0
    _scale(numbers, scale, out[done:])


@_inlined
def _read(octets: Octets, position: int, width: int, base: int, order: int, sums: _Sums, numbers: Numbers) -> _Sums:
    """Read numbers and undo differencing, where none can be missing, be a first number, or end in the last word."""
    last, gain, i = sums.last, sums.gain, 0
    if order == 2:
        while width <= 14 and i + 4 <= numbers.size:  # one word holds four
            word = _word_at(octets, position >> 3) << np.uint64(position & 7)
            for k in range(i, i + 4):
                gain += _top(word, width) + base
                last += gain
                numbers[k] = last
                word <<= np.uint64(width)
            position += 4 * width
            i += 4
        for k in range(i, numbers.size):
            gain += _inner_number(octets, position, width) + base
            last += gain
            numbers[k] = last
            position += width
    elif order == 1:
        for k in range(numbers.size):
            last += _inner_number(octets, position, width) + base
            numbers[k] = last
            position += width
    else:
        for k in range(numbers.size):
            numbers[k] = _inner_number(octets, position, width) + base
            position += width
    return _Sums(last, gain, sums.seen)


@compiled
def _read_with_care(
    octets: Octets,
    position: int,
    width: int,
    reference: int,
    begin: int,
    lowest: int,
    groups: Groups,
    sums: _Sums,
    numbers: Numbers,
) -> _Sums:
    """Read numbers and undo differencing, anywhere."""
    last, gain, seen = sums
    for i in range(numbers.size):
        number = _number(octets, position, width)
        position += width
        if groups.missing and _is_missing(number, width, reference, groups):
            numbers[i] = _MISSING
            continue
        number += reference + lowest
        if groups.order == 0:
            last = number
        elif seen < groups.order:
            first = _number(octets, begin + seen * groups.descriptor_bits, groups.descriptor_bits)
            last, gain, seen = first, first - last, seen + 1
        elif groups.order == 1:
            last += number
        else:
            gain += number
            last += gain
        numbers[i] = last
    return _Sums(last, gain, seen)


@compiled
def _signed(octets: Octets, position: int, bits: int) -> int:
    """Sign and magnitude; 0 for no bits."""
    number = _number(octets, position, bits)
    sign = 1 << bits >> 1
    return sign - number if number & sign else number


@compiled
def _is_missing(number: int, width: int, reference: int, groups: Groups) -> bool:
    """Whether all bits are ones, or all but the last where secondary missing values are told apart."""
    bits, found = (width, number) if width else (groups.reference_bits, reference)
    return found > (1 << bits) - 1 - groups.missing


@compiled
def _flag(flags: Octets, i: int) -> int:
    return int(flags[i >> 3] >> (7 - (i & 7)) & 1)


@compiled
def spread(flags: Octets, packed: int, out: Float32Array) -> int:
    """Spread the first `packed` values over the points whose flag is set; the others become NaN.

    Returns
    -------
    int
        How many flags are set. Unless they are `packed`, nothing was changed.
    """
    flagged = 0
    for i in range(out.size):
        flagged += _flag(flags, i)
    if flagged != packed:
        return flagged
    source = packed
    for i in range(out.size - 1, -1, -1):
        if _flag(flags, i):
            source -= 1
            out[i] = out[source]
        else:
            out[i] = np.float32(np.nan)
    return flagged
