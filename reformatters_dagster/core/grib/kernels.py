"""Compiled loops of `packing`, in a module of their own because importing numba takes seconds.

In: a message, the bit at which its packed numbers begin, and what section 5 says of them. Out: float32 values in the order of a
`Placing`. No kernel reads past the last octet. `claims` tells whether groups stay within section 7, before any is unpacked. Every
kernel releases the GIL.

They stay in one module: numba's cache of a kernel follows changes of the kernel's own module, not of another that it calls into.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.compiled import compiled
from reformatters_dagster.core.spec.values import Float32Array, Placing

type Octets = npt.NDArray[np.uint8]
type Numbers = npt.NDArray[np.int64]

WIDEST = 32
"""Most bits a packed number may have."""
WORD = 8
"""Octets read at once. A message must have at least so many."""
_BLOCK = 2048
_BEFORE = 2
"""Numbers kept from the block before: as many as the highest order of differencing."""
_BEYOND = 8
"""Most numbers read from one word."""
_MISSING = -(1 << 63)


class Scale(NamedTuple):
    """From a packed number X to a value, in float64: (X * binary + reference) * decimal, then * factor + offset."""

    reference: float
    binary: float
    decimal: float
    fill: float
    """The value, before factor and offset, that becomes NaN; NaN where no value does."""
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
    """0: no missing values; 1: primary ones; 2: primary and secondary ones."""
    order: int
    """Order of spatial differencing; 0 for none."""
    descriptor_bits: int
    """Bits of each first value and of the lowest difference; 0 without differencing."""


class _Sums(NamedTuple):
    """How far the undoing of spatial differencing has come."""

    last: int
    gain: int
    """The last number minus the one before it."""
    seen: int
    """How many first numbers, which are not differences, have been read."""


def _inlined[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile into the caller: what is called once per group, where a call costs as much as its work."""
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
    """Read a number of up to 32 bits that begins at least one word before the end."""
    return _top(_word_at(octets, position >> 3) << np.uint64(position & 7), bits)


@compiled
def _number(octets: Octets, position: int, bits: int) -> int:
    """Read a number of up to 32 bits that begins anywhere."""
    begin = min(position >> 3, octets.size - WORD)
    return _top(_word_at(octets, begin) << np.uint64((position - 8 * begin) & 63), bits)


@compiled
def _last_word(octets: Octets) -> int:
    return 8 * (octets.size - WORD)


@compiled
def _is_plain(scale: Scale) -> bool:
    """Whether no value becomes NaN and no factor applies, as in most messages."""
    return bool(np.isnan(scale.fill) and scale.factor == 1.0)


@compiled
def _scale(numbers: Numbers, scale: Scale, plain: bool, out: Float32Array) -> None:
    if plain:
        for i in range(out.size):
            value = (np.float64(numbers[i]) * scale.binary + scale.reference) * scale.decimal
            out[i] = np.float32(value + scale.offset)
        return
    for i in range(out.size):
        value = (np.float64(numbers[i]) * scale.binary + scale.reference) * scale.decimal
        missing = (value == scale.fill) | (numbers[i] == _MISSING)
        value = value * scale.factor + scale.offset
        out[i] = np.float32(np.nan) if missing else np.float32(value)


@compiled
def _deliver(numbers: Numbers, first: int, scale: Scale, plain: bool, placing: Placing, out: Float32Array) -> None:
    """Scale numbers and put each in its place. The first number is point `first` of the message.

    `plain` says that no number is missing and the scale `_is_plain`.
    """
    columns, begin = placing.columns, 0
    while begin < numbers.size:
        row, column = divmod(first + begin, columns)
        left = placing.shift - column if column < placing.shift else columns - column
        end = min(begin + left, numbers.size)
        if placing.upside_down:
            row = out.size // columns - 1 - row
        place = row * columns + (column - placing.shift) % columns
        _scale(numbers[begin:end], scale, plain, out[place : place + end - begin])
        begin = end


@compiled
def unpack_simple(octets: Octets, begin: int, bits: int, scale: Scale, placing: Placing, out: Float32Array) -> None:
    """Unpack `out.size` numbers of `bits` bits from bit `begin` on. The octets must hold them all."""
    numbers = np.empty(_BLOCK, np.int64)
    plain = _is_plain(scale)
    for start in range(0, out.size, _BLOCK):
        stop = min(start + _BLOCK, out.size)
        if begin + stop * bits <= _last_word(octets):
            for i in range(start, stop):
                numbers[i - start] = _inner_number(octets, begin + i * bits, bits)
        else:
            for i in range(start, stop):
                numbers[i - start] = _number(octets, begin + i * bits, bits)
        _deliver(numbers[: stop - start], start, scale, plain, placing, out)


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
    """Sum what groups claim. Stop at the first group that claims too much, so that no sum overflows.

    Parameters
    ----------
    octets
    begin, end : int
        First bit of section 7's data, and the bit after its last.
    groups : Groups
        At most `points` groups, whose numbers have at most 32 bits each.
    points : int
        How many numbers the groups must hold.

    Returns
    -------
    points, bits, widest : int
        The groups fit if `points` are as many as wanted, `bits` are no more than section 7 has, and `widest` does not exceed
        `WIDEST`.
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
def unpack_groups(
    octets: Octets, begin: int, groups: Groups, scale: Scale, placing: Placing, out: Float32Array
) -> None:
    """Unpack groups from bit `begin` on. Their `claims` must fit."""
    references, widths, lengths, position = _begins(begin, groups)
    lowest = _signed(octets, begin + groups.order * groups.descriptor_bits, groups.descriptor_bits)
    numbers = np.empty(_BEFORE + _BLOCK + _BEYOND, np.int64)
    plain = groups.missing == 0 and _is_plain(scale)
    sums = _Sums(0, 0, 0)
    done, filled = 0, _BEFORE
    for g in range(groups.total):
        width, left = _width(octets, groups, widths, g), _length(octets, groups, lengths, g)
        reference = _number(octets, references + g * groups.reference_bits, groups.reference_bits)
        while left:
            if filled == _BEFORE + _BLOCK:
                _deliver(numbers[_BEFORE:filled], done, scale, plain, placing, out)
                numbers[0], numbers[1] = numbers[filled - 2], numbers[filled - 1]
                done, filled = done + _BLOCK, _BEFORE
            count = min(left, _BEFORE + _BLOCK - filled)
            whole = groups.missing == 0 and sums.seen == groups.order
            if whole and position + width * (count + _BEYOND) <= _last_word(octets):
                sums = _read(octets, position, width, reference + lowest, groups.order, sums, numbers, filled, count)
            else:
                part = numbers[filled : filled + count]
                sums = _read_with_care(octets, position, width, reference, begin, lowest, groups, sums, part)
            position += width * count
            left -= count
            filled += count
    _deliver(numbers[_BEFORE:filled], done, scale, plain, placing, out)


@_inlined
def _read(
    octets: Octets,
    position: int,
    width: int,
    base: int,
    order: int,
    sums: _Sums,
    numbers: Numbers,
    first: int,
    count: int,
) -> _Sums:
    """Read numbers and undo differencing, fast. No number may be missing or a first number; `_BEYOND` more must be readable.

    Whole words are read, which overwrites some numbers beyond the last. The sums returned follow from the last number and the one
    before it.
    """
    if order == 2:
        if width == 0:
            _repeat(base, sums, numbers, first, count)
        elif width <= 7:
            _read_words(octets, position, width, base, 8, sums, numbers, first, count)
        elif width <= 14:
            _read_words(octets, position, width, base, 4, sums, numbers, first, count)
        else:
            _read_words(octets, position, width, base, 1, sums, numbers, first, count)
        end = np.uint64(first + count)
        total, before = int(numbers[end - np.uint64(1)]), int(numbers[end - np.uint64(2)])
        return _Sums(total, total - before, sums.seen)
    previous = sums.last
    for k in range(first, first + count):
        number = _inner_number(octets, position, width) + base
        previous = previous + number if order == 1 else number
        numbers[k] = previous
        position += width
    return _Sums(previous, 0, sums.seen)


@_inlined
def _repeat(base: int, sums: _Sums, numbers: Numbers, first: int, count: int) -> None:
    """Fill in numbers of 0 bits: every second difference is the same."""
    last, gain = sums.last, sums.gain
    for k in range(np.uint64(first), np.uint64(first + count)):
        gain += base
        last += gain
        numbers[k] = last


@_inlined
def _read_words(
    octets: Octets,
    position: int,
    width: int,
    base: int,
    each: int,
    sums: _Sums,
    numbers: Numbers,
    first: int,
    count: int,
) -> None:
    """Read second differences, `each` of them from one word."""
    last, gain = sums.last, sums.gain
    at, end = np.uint64(first), np.uint64(first + count)
    while at < end:
        word = _word_at(octets, position >> 3) << np.uint64(position & 7)
        for k in range(each):
            gain += int(np.int64(word >> np.uint64(64 - width))) + base
            last += gain
            numbers[at + np.uint64(k)] = last
            word <<= np.uint64(width)
        position += each * width
        at += np.uint64(each)


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
    """Read numbers and undo differencing, anywhere in the message: slower than `_read`."""
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
    """Read a number as sign and magnitude; 0 where it has no bits."""
    number = _number(octets, position, bits)
    sign = 1 << bits >> 1
    return sign - number if number & sign else number


@compiled
def _is_missing(number: int, width: int, reference: int, groups: Groups) -> bool:
    """Whether all bits are 1, or all but the last where there are secondary missing values."""
    bits, found = (width, number) if width else (groups.reference_bits, reference)
    return found > (1 << bits) - 1 - groups.missing


@compiled
def _flag(flags: Octets, i: int) -> int:
    return int(flags[i >> 3] >> (7 - (i & 7)) & 1)


@compiled
def spread(flags: Octets, packed: int, out: Float32Array) -> int:
    """Spread the first `packed` values over the points whose flag is set. The other points become NaN.

    Returns
    -------
    int
        How many flags are set. Where that is not `packed`, nothing was changed.
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
