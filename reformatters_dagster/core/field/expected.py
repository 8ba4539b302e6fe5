"""What published values must be, worked out a second time from the source's numbers, and how far rounding may take them off.

In: numbers of one or two messages at some points, and the row of a variable. Out: values, and bounds. Nothing of `transforms`
takes part, so an error of it shows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.variables import DataVar

_FLOAT32 = 2.0**-22
"""Share of a number by which a few float32 operations may take it off."""

type Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WindowsOfRate:
    """Which windows a rate is made from: how many seconds each message's window has run since it last began."""

    own: float
    previous: float = 0.0
    """Of the message of the step before, in the same window; 0 where the rate needs no such message."""


@dataclass(frozen=True)
class Expected:
    """Values that must have been published.

    Attributes
    ----------
    values : (point,) float64
        NaN where none may be published.
    bounds : (point,) float64
        How far a published value may be off.
    either : (point,) bool
        Where rounding decides whether there is a value, or which of two.
    """

    values: Numbers
    bounds: Numbers
    either: npt.NDArray[np.bool_]

    def differing(self, published: Numbers) -> npt.NDArray[np.bool_]:
        """Where a published value is not the one that must have been published."""
        missing = np.isnan(self.values)
        with np.errstate(invalid="ignore"):
            off = np.abs(published - self.values) > self.bounds
        found: npt.NDArray[np.bool_] = (missing != np.isnan(published)) | (off & ~missing)
        return found & ~self.either


def expected_values(
    numbers: Numbers, data_var: DataVar, scale_factors: tuple[float, ...], windows: WindowsOfRate | None
) -> Expected:
    """What a variable must hold at some points.

    Parameters
    ----------
    numbers : (message, point) float64
        In the units of the messages: the step's own message, then that of the step before, if `windows` wants it.
    scale_factors : tuple of float
        Of each message.
    windows : WindowsOfRate, optional
        None where the variable is no rate.
    """
    factors = np.array(scale_factors)[:, None]
    known = numbers if data_var.source_fill_value is None else _without(numbers, data_var.source_fill_value)
    fields = known * factors + data_var.add_offset
    slack = _FLOAT32 * (np.abs(known * factors) + abs(data_var.add_offset))
    either = np.zeros(fields.shape[1], np.bool_)
    if windows is None:
        return Expected(fields[0], slack[0] + _rounding(data_var, fields[0]), either)
    values, slack_of_rate = _rate(fields, slack, data_var, windows)
    rule = data_var.deaccumulation
    assert rule is not None
    either = np.abs(values - rule.invalid_below) <= slack_of_rate
    with np.errstate(invalid="ignore"):
        values = np.where(values <= rule.invalid_below, np.nan, np.maximum(values, 0.0))
    return Expected(values, slack_of_rate + _rounding(data_var, values), either)


def _rate(fields: Numbers, slack: Numbers, data_var: DataVar, windows: WindowsOfRate) -> tuple[Numbers, Numbers]:
    """The mean rate over the seconds between two messages: totals in the window are told apart, whichever kind they are of."""
    rule = data_var.deaccumulation
    assert rule is not None
    seconds = windows.own - windows.previous
    own, previous = (windows.own, windows.previous) if rule.kind == "average" else (1.0, 1.0)
    if not windows.previous:
        return fields[0] * own / seconds, slack[0] * own / seconds
    return (fields[0] * own - fields[1] * previous) / seconds, (slack[0] * own + slack[1] * previous) * 2 / seconds


def _rounding(data_var: DataVar, values: Numbers) -> Numbers:
    """Half a step of the mantissa that is kept."""
    bits = 23 if data_var.keep_mantissa_bits is None else data_var.keep_mantissa_bits
    bounds: Numbers = np.abs(np.nan_to_num(values)) * 2.0 ** -(bits + 1)
    return bounds


def _without(numbers: Numbers, fill: float) -> Numbers:
    return np.where(numbers == fill, np.nan, numbers)
