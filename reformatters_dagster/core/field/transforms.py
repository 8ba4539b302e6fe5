"""Numerical steps between decoding and writing: deaccumulate, interpolate, round.

In: C-contiguous float32 arrays of one variable, in stored units. Out: the same memory, overwritten.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.array_utils import normalize_axis_index

from reformatters_dagster.core.spec.errors import ImplausibleRate
from reformatters_dagster.core.spec.values import Float32Array, Timedelta
from reformatters_dagster.core.spec.variables import Deaccumulation


@dataclass(frozen=True)
class RateCounts:
    """How many negative rates were changed, and to what."""

    clamped: int
    """Slightly negative ones, set to 0."""
    invalid: int
    """Those at or below `Deaccumulation.invalid_below`, set to NaN."""
    size: int
    """Values of the whole array, first steps and missing values included."""

    @property
    def clamped_fraction(self) -> float:
        return self.clamped / max(self.size, 1)

    @property
    def invalid_fraction(self) -> float:
        return self.invalid / max(self.size, 1)


def seconds_since_reset(times: pd.DatetimeIndex, reset: Timedelta | None) -> npt.NDArray[np.float64]:
    """Seconds to use as lead times where the steps are valid times, as in analysis datasets.

    Parameters
    ----------
    times : DatetimeIndex
    reset : Timedelta, optional
        How often the source restarts its window, counted from 1970-01-01T00.

    Returns
    -------
    (time,) float64
        Seconds since the last restart at or before the first time.

    Raises
    ------
    ValueError
        Without a reset: nothing tells how much of a run's total lies before a valid time.
    """
    if reset is None:
        raise ValueError("valid times need a reset to be deaccumulated, found None; give lead times, or set the reset")
    microseconds, window = times.as_unit("us").asi8, reset // pd.Timedelta("1us")
    return np.asarray((microseconds - microseconds[:1] // window * window) / 1e6, dtype=np.float64)


def deaccumulate_in_place(
    totals: Float32Array,
    lead_seconds: npt.NDArray[np.float64],
    rule: Deaccumulation,
    *,
    axis: int,
    skip_step: npt.NDArray[np.bool_] | None = None,
    keep_mantissa_bits: int | None = None,
    threads: int = 1,
) -> RateCounts:
    """Turn running totals, or running means, into mean rates since the step before.

    The source's window restarts whenever `lead_seconds` is a multiple of `rule.reset`. A rate never reaches back over a
    restart: when the step at the restart is skipped, the next rate is the mean since the restart.

    Parameters
    ----------
    totals : (..., step, ...) float32, C-contiguous
        Overwritten with rates: totals in X become X s-1, means in X s-1 stay so. The first step becomes NaN, and so does
        every value made from a NaN: a missing total blanks its own step, and the next one in the same window.
    lead_seconds : (step,) float64
        Seconds since the start of the forecast, ascending, not negative.
    axis : int
        Where the steps are.
    skip_step : (step,) bool, optional
        Steps that hold no total. They keep their values, for the caller to overwrite; the step after them counts from the
        step before them. The first step becomes NaN even so.
    keep_mantissa_bits : int, optional
        Round the rates as `round_in_place` does, which saves a pass over the memory. Skipped steps are not rounded.
    threads : int
        How many threads share the work.

    Raises
    ------
    ImplausibleRate
        More rates were negative than `rule` expects: the window is wrong, not the weather. The array is transformed even so.
    ValueError
        The array cannot be changed in place, `lead_seconds` does not describe its steps, or as in `round_in_place`.

    Notes
    -----
    Source: GRIB2 code table 4.10, statistical processes 0 and 1.
    """
    from reformatters_dagster.core.field import kernels

    cube = _as_cube(totals, axis)
    windows = _windows(_checked_seconds(lead_seconds, cube.shape[1]), rule, skip_step)
    keep = kernels.MANTISSA_BITS if keep_mantissa_bits is None else _checked_bits(keep_mantissa_bits)

    def deaccumulate(first: int, last: int) -> tuple[int, int]:
        return kernels.deaccumulate(cube, first, last, *windows, np.float32(rule.invalid_below), keep)

    counts = _over_threads(deaccumulate, _strips(cube, kernels.STRIP), threads)
    invalid = sum(count for _, count in counts)
    rates = RateCounts(sum(count for count, _ in counts) - invalid, invalid, totals.size)
    _check_plausible(rates, rule)
    return rates


def interpolate_in_place(values: Float32Array, flagged: npt.NDArray[np.bool_], *, axis: int, threads: int = 1) -> None:
    """Fill flagged steps with the middle between the steps beside them.

    Parameters
    ----------
    values : (..., step, ...) float32, C-contiguous
        Overwritten where flagged; NaN where either neighbour is NaN.
    flagged : (step,) bool
    axis : int
        Where the steps are.
    threads : int
        How many threads share the work.

    Raises
    ------
    ValueError
        The first, the last or two neighbouring steps are flagged, and nothing was changed; or the array cannot be
        changed in place.
    """
    from reformatters_dagster.core.field import kernels

    cube = _as_cube(values, axis)
    if flagged.shape != cube.shape[1:2]:
        raise ValueError(f"flags of shape {flagged.shape!r} given for {cube.shape[1]!r} steps; give one per step")
    steps = np.flatnonzero(flagged)
    ends = steps[(steps == 0) | (steps == flagged.size - 1)]
    pairs = steps[:-1][np.diff(steps) == 1]
    if ends.size or pairs.size:
        raise ValueError(
            f"asked to interpolate steps {steps.tolist()!r} of {flagged.size!r}, found {ends.tolist()!r} at an end and "
            f"{pairs.tolist()!r} followed by another; flag only steps with an unflagged neighbour on both sides"
        )
    _over_threads(
        lambda first, last: kernels.interpolate(cube, first, last, steps), _strips(cube, kernels.STRIP), threads
    )


def round_in_place(values: Float32Array, keep_mantissa_bits: int, *, threads: int = 1) -> None:
    """Round to a shorter mantissa, ties to even, so that the values compress.

    Parameters
    ----------
    values : (...) float32, C-contiguous
        Overwritten. Relative error at most 2**-(keep_mantissa_bits + 1), for subnormal numbers that share of the
        smallest normal one. NaN and infinity stay; what rounds past the largest number becomes infinity.
    keep_mantissa_bits : int
        1 to 23; 23 changes nothing.
    threads : int
        How many threads share the work.

    Raises
    ------
    ValueError
        Another number of bits, or the array cannot be changed in place.
    """
    from reformatters_dagster.core.field import kernels

    keep = _checked_bits(keep_mantissa_bits)
    bits = _changeable(values).reshape(-1).view(np.uint32)
    if keep < kernels.MANTISSA_BITS:
        _over_threads(lambda first, last: kernels.round_mantissa(bits[first:last], keep), bits.size, threads)


class _Windows(NamedTuple):
    """For each step with a total, except the first: what its rate is made of. In the order of the kernel's arguments."""

    steps: npt.NDArray[np.intp]
    previous: npt.NDArray[np.intp]
    """The step whose total is subtracted; -1 where the window began at that step or later."""
    average: bool
    elapsed: npt.NDArray[np.float32]
    """Seconds the rate is a mean over."""
    weight: npt.NDArray[np.float32]
    """Length of the window before those seconds, as a multiple of them."""


def _windows(
    seconds: npt.NDArray[np.float64], rule: Deaccumulation, skip_step: npt.NDArray[np.bool_] | None
) -> _Windows:
    held = np.ones(seconds.size, np.bool_) if skip_step is None else ~skip_step
    if held.shape != seconds.shape:
        raise ValueError(f"skip_step of shape {held.shape!r} given for {seconds.size!r} steps; give one flag per step")
    held[:1] = True
    steps = np.flatnonzero(held)
    before, until = seconds[steps[:-1]], seconds[steps[1:]]
    restart = np.zeros_like(until)
    if rule.reset is not None:
        reset = rule.reset.total_seconds()
        restart = (np.ceil(until / reset) - 1) * reset
    since = np.maximum(before, restart)
    elapsed = until - since
    return _Windows(
        steps[1:],
        np.where(before <= restart, -1, steps[:-1]),
        rule.kind == "average",
        elapsed.astype(np.float32),
        ((since - restart) / elapsed).astype(np.float32),
    )


def _check_plausible(counts: RateCounts, rule: Deaccumulation) -> None:
    clamped, invalid = counts.clamped_fraction, counts.invalid_fraction
    if clamped > rule.expected_clamp_fraction or invalid > rule.expected_invalid_fraction:
        raise ImplausibleRate(
            f"of {counts.size!r} rates {counts.clamped!r} were slightly negative (fraction {clamped:.3g}, limit "
            f"{rule.expected_clamp_fraction!r}) and {counts.invalid!r} at or below {rule.invalid_below!r} (fraction "
            f"{invalid:.3g}, limit {rule.expected_invalid_fraction!r}) by {rule!r}; check that kind and reset are the "
            "source's and that no message was taken for another, or raise this variable's limits"
        )


def _checked_seconds(seconds: npt.NDArray[np.float64], steps: int) -> npt.NDArray[np.float64]:
    if seconds.shape != (steps,):
        raise ValueError(f"lead_seconds of shape {seconds.shape!r} given for {steps!r} steps; give one per step")
    if not ((seconds[:1] >= 0).all() and (np.diff(seconds) > 0).all()):
        raise ValueError(f"lead_seconds must ascend from 0 or later, found {seconds!r}; sort the steps")
    return seconds


def _checked_bits(keep_mantissa_bits: int) -> int:
    if not 1 <= keep_mantissa_bits <= 23:
        raise ValueError(f"asked to keep {keep_mantissa_bits!r} mantissa bits, float32 has 23; keep 1 to 23")
    return keep_mantissa_bits


def _changeable(values: Float32Array) -> Float32Array:
    if values.dtype != np.float32 or not values.flags.carray:
        raise ValueError(
            "an array changed in place must be float32, C-contiguous and writeable, found dtype="
            f"{str(values.dtype)!r} strides={values.strides!r} writeable={values.flags.writeable!r}; copy it first"
        )
    return values


def _as_cube(values: Float32Array, axis: int) -> Float32Array:
    """The array seen as (before, axis, after)."""
    shape = _changeable(values).shape
    axis = normalize_axis_index(axis, values.ndim)
    return values.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


def _strips(cube: Float32Array, width: int) -> int:
    return cube.shape[0] * ceil(cube.shape[2] / width)


def _over_threads[T](work: Callable[[int, int], T], count: int, threads: int) -> list[T]:
    """Do `work(first, last)` on `count` things in as many ranges as there are threads."""
    if threads <= 1:
        return [work(0, count)]
    bounds = [count * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda bound: work(*bound), pairwise(bounds)))
