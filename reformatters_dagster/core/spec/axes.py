"""Axes: the dimension that grows, those with a fixed list of labels, and evenly spaced ones.

In: starts, steps and sizes. Out: labels, as pandas indexes.
"""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from reformatters_dagster.core.spec.values import AppendDim, Dim, Duration, Frozen, Time, Timedelta, Timestamp


class AppendAxis(Frozen):
    """The dimension that grows: an arithmetic grid from `start` (inclusive) on, without end.

    >>> axis = AppendAxis(name="init_time", start="2026-01-01T00", frequency="6h")
    >>> [f"{label:%dT%H}" for label in axis.labels(pd.Timestamp("2026-01-01T13"))]
    ['01T00', '01T06', '01T12']
    """

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
    """A dimension other than the append dimension, with all its labels.

    >>> levels = Dimension(
    ...     name="pressure_level",
    ...     labels=(500.0, 850.0),
    ...     attrs=(("long_name", "Pressure level"), ("standard_name", "air_pressure"), ("units", "hPa")),
    ... )
    >>> list(levels.index())
    [500.0, 850.0]
    """

    name: Dim
    labels: tuple[float, ...]
    """In the coordinate's own units; durations in seconds."""
    attrs: tuple[tuple[str, str], ...]
    kind: Literal["number", "integer", "duration"] = "number"
    """What the labels are, and so how they are stored."""

    def index(self) -> pd.Index:
        """The labels as xarray holds them."""
        values = np.asarray(self.labels, dtype=np.float64)
        if self.kind == "integer":
            return pd.Index(values.astype(np.int16), name=self.name)
        if self.kind == "duration":
            return pd.TimedeltaIndex((values * 1e6).astype("timedelta64[us]"), name=self.name)
        return pd.Index(values, name=self.name)


def lead_time(**segments: str) -> Dimension:
    """Lead times from 0, in segments of growing step.

    Parameters
    ----------
    **segments : str
        `hourly_to="120h"`, `three_hourly_to="384h"`, `six_hourly_to="840h"`, in that order; each ends inclusively.

    Examples
    --------
    >>> [seconds / 3600 for seconds in lead_time(hourly_to="2h", three_hourly_to="8h").labels]
    [0.0, 1.0, 2.0, 5.0, 8.0]
    """
    steps = {"hourly_to": 1, "three_hourly_to": 3, "six_hourly_to": 6}
    hours = [0]
    for name, end in segments.items():
        last = round(pd.Timedelta(end) / pd.Timedelta("1h"))
        hours.extend(range(hours[-1] + steps[name], last + 1, steps[name]))
    attrs = {"long_name": "Forecast lead time", "standard_name": "forecast_period"}
    labels = tuple(hour * 3600.0 for hour in hours)
    return Dimension(name="lead_time", labels=labels, attrs=tuple(attrs.items()), kind="duration")


def ensemble_member(count: int) -> Dimension:
    """Members of an ensemble, numbered from 0, the control.

    >>> list(ensemble_member(3).index())
    [0, 1, 2]
    """
    attrs = {"long_name": "Ensemble member", "standard_name": "realization", "units": "1"}
    labels = tuple(float(member) for member in range(count))
    return Dimension(name="ensemble_member", labels=labels, attrs=tuple(attrs.items()), kind="integer")


class RegularAxis(Frozen):
    """Evenly spaced labels: `first + step * k`, `k` in `[0, size)`, in degrees.

    >>> RegularAxis(first=90.0, step=-45.0, size=5).labels()
    (90.0, 45.0, 0.0, -45.0, -90.0)
    """

    first: float
    step: float
    size: int = Field(gt=0)

    def labels(self) -> tuple[float, ...]:
        return _labels(self.first, self.step, self.size)


@lru_cache(maxsize=64)
def _labels(first: float, step: float, size: int) -> tuple[float, ...]:
    return tuple(first + step * k for k in range(size))
