"""Kinds of value that all rooms use: dimensions, times, arrays, and the base of all frozen models."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

type AppendDim = Literal["init_time", "time"]
"""Forecasts grow along `init_time`, everything else along `time`."""
type Dim = str
"""Any name. `lead_time`, `ensemble_member` and those of grids mean what they say everywhere."""

# Naive UTC, always: a zone is taken off where text enters the program, never later.
Timestamp = pd.Timestamp
Timedelta = pd.Timedelta

MOMENT = Timedelta("1us")
"""What turns an inclusive end into an exclusive one."""

type Float32Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
type Array2D = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One field: rows and columns of the grid.

>>> import numpy as np
>>> def without_negatives(field: Array2D) -> Array2D:
...     return np.maximum(field, 0)
>>> without_negatives(np.full((1, 2), -1, np.float32)).tolist()
[[0.0, 0.0]]
"""

type Window = tuple[slice, slice]
"""Part of a grid: slices of its two dimensions."""


class Placing(NamedTuple):
    """Where the points of a message, row by row, go in the result, which has rows as long."""

    columns: int
    shift: int = 0
    """The column of the message that comes first; those before it follow the last."""
    upside_down: bool = False
    """Whether the last row comes first."""


type Lengths = np.ndarray[tuple[int, ...], np.dtype[np.timedelta64]]
"""Ingested forecast lengths of one init time: one, without dimensions, or one of each member."""

type Label = Timestamp | Timedelta | int | float
type OutLoc = dict[Dim, Label]
"""Where a field lands: one label for each dimension before the grid.

>>> place: OutLoc = {"init_time": pd.Timestamp("2026-01-01T06"), "lead_time": pd.Timedelta("9h")}
>>> list(place)
['init_time', 'lead_time']
"""
JSON = dict[str, Any]
type Names = Sequence[str]


def _naive(time: pd.Timestamp) -> pd.Timestamp:
    if time.tzinfo is not None:
        raise ValueError(f"{time!r} carries a time zone; times are naive UTC")
    return time if time.unit == "us" else time.as_unit("us")


Time = Annotated[Timestamp, BeforeValidator(pd.Timestamp), AfterValidator(_naive)]
"""A time as the field of a value, UTC without a zone; text will do.

>>> class DatedVar(DataVar):
...     changed: Time
>>> field = GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0))
>>> DatedVar.standard("temperature_2m", field, changed="2026-01-01T06").changed
Timestamp('2026-01-01 06:00:00')
"""

Duration = Annotated[Timedelta, BeforeValidator(pd.Timedelta)]
"""A duration as the field of a value; text will do.

>>> class LaggedVar(DataVar):
...     lag: Duration
>>> field = GribField(element="TMP", level="2 m above ground", parameter=(0, 0, 0), surface=(103, 2.0))
>>> LaggedVar.standard("temperature_2m", field, lag="6h").lag
Timedelta('0 days 06:00:00')
"""


class Frozen(BaseModel):
    """A value: compared by content, never changed, no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
