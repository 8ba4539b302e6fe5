"""Compiled loops of `transforms`, in a module of their own because importing numba takes seconds.

In: a float32 buffer seen as (before, time, after), and a range of its strips. Out: the same memory, changed.

A strip is up to `STRIP` neighbouring columns along `after`, at one index of `before`. Two of its time steps fit in a core's
cache. No two strips share memory, so threads can work on them at the same time. Every kernel releases the GIL.
"""

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.compiled import compiled
from reformatters_dagster.core.spec.values import Float32Array

STRIP = 4096
MANTISSA_BITS = 23
"""Of a float32."""


@compiled
def _rates_of_row(
    row: Float32Array,
    previous: Float32Array,
    average: bool,
    elapsed: np.float32,
    weight: np.float32,
    invalid_below: np.float32,
) -> tuple[int, int]:
    zero, nan = np.float32(0), np.float32(np.nan)
    negative, invalid = np.int32(0), np.int32(0)
    for i in range(row.size):
        gain = row[i] - previous[i]
        rate = row[i] + gain * weight if average else gain / elapsed
        below = rate < zero
        lost = below & (rate <= invalid_below)
        negative += np.int32(below)
        invalid += np.int32(lost)
        row[i] = nan if lost else (zero if below else rate)
    return int(negative), int(invalid)


@compiled
def round_mantissa(bits: npt.NDArray[np.uint32], keep: int) -> None:
    """Round float32 numbers, given as their bits, to `keep` bits of mantissa, ties to even; NaN is left as it is."""
    dropped = np.uint32(MANTISSA_BITS - keep)
    below_half = np.uint32((1 << (MANTISSA_BITS - 1 - keep)) - 1)
    kept = np.uint32(0xFFFFFFFF << (MANTISSA_BITS - keep) & 0xFFFFFFFF)
    magnitude, infinity, one = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint32(1)
    for i in range(bits.size):
        number = bits[i]
        rounded = np.uint32(number + below_half + (number >> dropped & one)) & kept
        bits[i] = number if number & magnitude > infinity else rounded


@compiled
def deaccumulate(
    cube: Float32Array,
    first: int,
    last: int,
    steps: npt.NDArray[np.intp],
    previous: npt.NDArray[np.intp],
    average: bool,
    elapsed: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    invalid_below: np.float32,
    keep: int,
) -> tuple[int, int]:
    """Turn `steps` of strips `[first, last)` into rates, step 0 into NaN; count the negative and the invalid rates.

    `previous` is the step whose total is subtracted, -1 for none. The last step comes first, so that every total is
    still there when the step after it needs it. Rates are rounded to `keep` bits of mantissa while they are in the cache.
    """
    after = cube.shape[2]
    bits = cube.view(np.uint32)
    strips = (after + STRIP - 1) // STRIP
    nothing = np.zeros(min(after, STRIP), np.float32)
    negative, invalid = 0, 0
    for strip in range(first, last):
        layer = cube[strip // strips]
        start = strip % strips * STRIP
        stop = min(start + STRIP, after)
        for s in range(steps.size - 1, -1, -1):
            before = nothing[: stop - start] if previous[s] < 0 else layer[previous[s], start:stop]
            counts = _rates_of_row(layer[steps[s], start:stop], before, average, elapsed[s], weight[s], invalid_below)
            negative += counts[0]
            invalid += counts[1]
            if keep < MANTISSA_BITS:
                round_mantissa(bits[strip // strips, steps[s], start:stop], keep)
        layer[:1, start:stop] = np.nan
    return negative, invalid


@compiled
def interpolate(cube: Float32Array, first: int, last: int, steps: npt.NDArray[np.intp]) -> None:
    """Set each of `steps` of strips `[first, last)` to the middle of the steps beside it."""
    after = cube.shape[2]
    strips = (after + STRIP - 1) // STRIP
    half = np.float32(0.5)
    for strip in range(first, last):
        layer = cube[strip // strips]
        start = strip % strips * STRIP
        for step in steps:
            for i in range(start, min(start + STRIP, after)):
                layer[step, i] = layer[step - 1, i] + (layer[step + 1, i] - layer[step - 1, i]) * half
