"""Rules, hours and flags for the tests of transforms."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import settings

from reformatters_dagster.core.spec.variables import Deaccumulation

type Kind = Literal["accumulation", "average"]
HOUR = 3600.0
NAN = float("nan")
COMPILES = settings(deadline=None)


def rule(kind: Kind = "accumulation", reset: str | None = None, invalid_below: float = -0.5) -> Deaccumulation:
    return Deaccumulation(
        kind=kind,
        reset=None if reset is None else pd.Timedelta(reset),
        invalid_below=invalid_below,
        expected_clamp_fraction=1,
        expected_invalid_fraction=1,
    )


def hours(labels: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.asarray(labels, np.float64) * HOUR


def flags(size: int, flagged: Sequence[int]) -> npt.NDArray[np.bool_]:
    return np.isin(np.arange(size), flagged)
