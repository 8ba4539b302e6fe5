"""Axes: the dimension that grows, those with a fixed list of labels, and evenly spaced ones.

In: starts, steps and sizes. Out: labels, as pandas indexes.
"""

from functools import lru_cache
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from reformatters_dagster.core.spec.values import AppendDim, Dim, Duration, Frozen, Time, Timedelta, Timestamp


class AppendAxis(Frozen):
    """The dimension that grows: an arithmetic grid from `start` (inclusive) on, without end."""

    name: AppendDim
    start: Time
    frequency: Annotated[Duration, Field(gt=Timedelta(0))]
    years: int = 15
    """Years from 2025 that the first chunk of its coordinates is to hold, so that they stay one object."""

    def labels(self, end: Timestamp) -> pd.DatetimeIndex:
        """Every label in `[start, end)`, at microsecond resolution."""
        return pd.date_range(self.start, end, freq=self.frequency, inclusive="left", name=self.name, unit="us")

    @property
    def coordinate_chunk(self) -> int:
        """Labels in one coordinate chunk."""
        years = max(2025 - self.start.year + self.years, 10)
        return int(pd.Timedelta(days=365 * years) / self.frequency)


class Dimension(Frozen):
    """A dimension other than the append dimension, with all its labels."""

    name: Dim
    labels: tuple[float, ...]
    """Seconds for `lead_time`, the coordinate's own units otherwise."""
    attrs: tuple[tuple[str, str], ...]

    @property
    def is_duration(self) -> bool:
        return self.name == "lead_time"

    def index(self) -> pd.Index:
        """The labels as xarray holds them."""
        values = np.asarray(self.labels, dtype=np.float64)
        if self.name == "ensemble_member":
            return pd.Index(values.astype(np.int16), name=self.name)
        if self.is_duration:
            return pd.TimedeltaIndex((values * 1e6).astype("timedelta64[us]"), name=self.name)
        return pd.Index(values, name=self.name)


def lead_time(**segments: str) -> Dimension:
    """Lead times from 0, in segments of growing step.

    Parameters
    ----------
    **segments : str
        `hourly_to="120h"`, `three_hourly_to="384h"`, `six_hourly_to="840h"`, in that order; each ends inclusively.
    """
    steps = {"hourly_to": 1, "three_hourly_to": 3, "six_hourly_to": 6}
    hours = [0]
    for name, end in segments.items():
        last = round(pd.Timedelta(end) / pd.Timedelta("1h"))
        hours.extend(range(hours[-1] + steps[name], last + 1, steps[name]))
    attrs = {"long_name": "Forecast lead time", "standard_name": "forecast_period"}
    return Dimension(name="lead_time", labels=tuple(h * 3600.0 for h in hours), attrs=tuple(attrs.items()))


def ensemble_member(count: int) -> Dimension:
    """Members of an ensemble, numbered from 0, the control."""
    attrs = {"long_name": "Ensemble member", "standard_name": "realization", "units": "1"}
    return Dimension(
        name="ensemble_member", labels=tuple(float(member) for member in range(count)), attrs=tuple(attrs.items())
    )


class RegularAxis(Frozen):
    """Evenly spaced labels: `first + step * k`, `k` in `[0, size)`, in degrees."""

    first: float
    step: float
    size: int = Field(gt=0)

    def labels(self) -> tuple[float, ...]:
        return _labels(self.first, self.step, self.size)


@lru_cache(maxsize=64)
def _labels(first: float, step: float, size: int) -> tuple[float, ...]:
    return tuple(first + step * k for k in range(size))
