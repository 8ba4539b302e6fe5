"""The other pipelines' steps compute what this project's do; a comparison of times rests on it."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import numpy_steps
from benchmarks.task import KEEP_MANTISSA_BITS, RESET_HOURS
from reformatters_dagster.core.field.transforms import deaccumulate_in_place, round_in_place
from reformatters_dagster.core.spec.variables import Deaccumulation

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_deaccumulation_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    totals = rng.gamma(0.3, 4, (14, 3, 5)).astype(np.float32)
    totals[rng.random(totals.shape) < 0.05] = np.nan
    expected = totals.copy()
    rule = Deaccumulation(
        reset=pd.Timedelta(hours=RESET_HOURS), expected_clamp_fraction=1.0, expected_invalid_fraction=1.0
    )
    deaccumulate_in_place(expected, np.arange(0.0, 14 * 3600.0, 3600.0), rule, axis=0)
    numpy_steps.deaccumulate(totals)
    np.testing.assert_array_equal(totals, expected)


@given(SEEDS)
def test_rounding_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((2, 4, 50)) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    values[0, 0, :2] = np.nan, np.inf
    expected = values.copy()
    round_in_place(expected, KEEP_MANTISSA_BITS)
    numpy_steps.round_mantissa(values)
    np.testing.assert_array_equal(values.view(np.uint32), expected.view(np.uint32))
