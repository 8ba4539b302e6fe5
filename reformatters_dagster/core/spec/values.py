"""Kinds of value that all rooms use: dimensions, times, arrays, and the base of all frozen models."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

type AppendDim = Literal["init_time", "time"]
type Dim = Literal["init_time", "time", "lead_time", "ensemble_member", "latitude", "longitude", "y", "x"]

# Naive UTC, always: a zone is taken off where text enters the program, never later.
Timestamp = pd.Timestamp
Timedelta = pd.Timedelta

MOMENT = Timedelta("1us")
"""What turns an inclusive end into an exclusive one."""

type Float32Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
type Array2D = np.ndarray[tuple[int, int], np.dtype[np.float32]]

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
JSON = dict[str, Any]
type Names = Sequence[str]


def _naive(time: pd.Timestamp) -> pd.Timestamp:
    if time.tzinfo is not None:
        raise ValueError(f"{time!r} carries a time zone; times are naive UTC")
    return time.as_unit("us")


Time = Annotated[Timestamp, BeforeValidator(pd.Timestamp), AfterValidator(_naive)]
Duration = Annotated[Timedelta, BeforeValidator(pd.Timedelta)]


class Frozen(BaseModel):
    """A value: compared by content, never changed, no field it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
