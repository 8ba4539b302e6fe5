"""Interpolation and rounding, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reformatters_dagster.core.field.transforms import deaccumulate_in_place, interpolate_in_place, round_in_place
from reformatters_dagster.core.spec.values import Float32Array
from tests.core.field.steps import COMPILES, NAN, flags, hours, rule

# Interpolation


@pytest.mark.parametrize(
    ("values", "flagged", "expected"),
    [
        ([1, NAN, 3], [1], [1, 2, 3]),
        ([1, 99, 4, NAN, -4], [1, 3], [1, 2.5, 4, 0, -4]),
        ([NAN, 5, 3], [1], [NAN, NAN, 3]),
        ([1, 5, NAN], [1], [1, NAN, NAN]),
        ([1, NAN, 3], [], [1, NAN, 3]),
        ([5], [], [5]),
    ],
)
def test_interpolate(values: list[float], flagged: list[int], expected: list[float]) -> None:
    row = np.array(values, np.float32)

    interpolate_in_place(row, flags(len(values), flagged), axis=0)

    np.testing.assert_array_equal(row, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("flagged", "message"),
    [
        ([0], r"steps \[0\] of 5, found \[0\] at an end and \[\] followed by another"),
        ([2, 4], r"steps \[2, 4\] of 5, found \[4\] at an end and \[\] followed by another"),
        ([1, 2], r"found \[\] at an end and \[1\] followed by another; flag only steps with an unflagged neighbour"),
        ([0, 1, 2, 3, 4], r"found \[0, 4\] at an end and \[0, 1, 2, 3\] followed by another"),
    ],
)
def test_interpolate_refuses_steps_without_two_neighbours(flagged: list[int], message: str) -> None:
    values = np.arange(5, dtype=np.float32)

    with pytest.raises(ValueError, match=message):
        interpolate_in_place(values, flags(5, flagged), axis=0)

    np.testing.assert_array_equal(values, [0, 1, 2, 3, 4])


def test_interpolate_wants_one_flag_per_step() -> None:
    with pytest.raises(ValueError, match=r"flags of shape \(4,\) given for 3 steps; give one per step"):
        interpolate_in_place(np.ones((3, 2), np.float32), flags(4, [1]), axis=0)


@COMPILES
@given(
    hnp.arrays(np.float32, (2, 7, 3), elements=st.floats(-1e6, 1e6, width=32) | st.just(NAN)),
    st.sets(st.sampled_from([1, 3, 5])),
    st.integers(0, 2),
)
def test_interpolate_any_axis(values: Float32Array, flagged: set[int], axis: int) -> None:
    moved = np.moveaxis(values, 1, axis).copy(order="C")

    interpolate_in_place(moved, flags(7, sorted(flagged)), axis=axis)

    for step in flagged:
        before, after = values[:, step - 1], values[:, step + 1]
        values[:, step] = before + (after - before) / 2
    np.testing.assert_array_equal(np.moveaxis(moved, axis, 1), values)


# Rounding


def rounded_exactly(number: float, keep: int) -> float:
    if np.isnan(number) or np.isinf(number) or number == 0:
        return number
    exponent = max(np.frexp(number)[1] - 1, -126)
    unit = Fraction(2) ** int(exponent - keep)
    magnitude = round(Fraction(abs(number)) / unit) * unit
    return float(np.copysign(np.inf if magnitude >= 2**128 else float(magnitude), number))


@COMPILES
@given(hnp.arrays(np.uint32, 40, elements=st.integers(0, 2**32 - 1)), st.integers(1, 23))
@example(np.arange(0x3F800000, 0x3F800028, dtype=np.uint32), 21)
@example(np.arange(0x7F7FFFF0, 0x7F800018, dtype=np.uint32), 20)
@example(np.arange(0xFF7FFFF0, 0xFF800018, dtype=np.uint32), 20)
@example(np.arange(0, 40, dtype=np.uint32), 20)
@example(np.arange(0x80000000, 0x80000028, dtype=np.uint32), 21)
def test_round_equals_exact_arithmetic_and_is_idempotent(bits: npt.NDArray[np.uint32], keep: int) -> None:
    values = bits.view(np.float32).copy()
    expected = np.array([rounded_exactly(float(number), keep) for number in values], np.float32)

    round_in_place(values, keep)

    nan = np.isnan(bits.view(np.float32))
    np.testing.assert_array_equal(values.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])
    np.testing.assert_array_equal(values.view(np.uint32)[nan], bits[nan])

    again = values.copy()
    round_in_place(again, keep)
    np.testing.assert_array_equal(again.view(np.uint32), values.view(np.uint32))


@COMPILES
@given(st.integers(1, 23), st.booleans(), st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_rounding_along_with_deaccumulation_is_rounding_after_it(
    keep: int, skips: bool, threads: int, seed: int
) -> None:
    size, width = 7, 5000
    steps = np.random.default_rng(seed).exponential(size=(2, size, width)).astype(np.float32)
    steps[0, 3, ::7] = NAN
    totals = steps.cumsum(axis=1, dtype=np.float32)
    skip_step = flags(size, [2]) if skips else None
    expected = totals.copy()
    deaccumulate_in_place(expected, hours(range(size)), rule(), axis=1, skip_step=skip_step)
    skipped = expected[:, 2].copy()
    round_in_place(expected, keep)
    if skips:
        expected[:, 2] = skipped

    deaccumulate_in_place(
        totals, hours(range(size)), rule(), axis=1, skip_step=skip_step, keep_mantissa_bits=keep, threads=threads
    )

    np.testing.assert_array_equal(totals.view(np.uint32), expected.view(np.uint32))


@COMPILES
@given(
    hnp.arrays(
        np.float32,
        20,
        elements=st.floats(2.0**-126, 2.0**126, width=32) | st.floats(-(2.0**126), -(2.0**-126), width=32),
    ),
    st.integers(1, 23),
)
def test_round_error_is_bounded(values: Float32Array, keep: int) -> None:
    rounded = values.copy()

    round_in_place(rounded, keep)

    exact = values.astype(np.float64)
    assert (np.abs(rounded - exact) <= np.abs(exact) * 2.0 ** -(keep + 1)).all()


@pytest.mark.parametrize(
    ("number", "keep", "expected"),
    [
        (1.25, 1, 1.0),
        (1.75, 1, 2.0),
        (1.2500001, 1, 1.5),
        (3.9, 1, 4.0),
        (3.4e38, 4, np.inf),
        (-3.4e38, 4, -np.inf),
        (np.inf, 1, np.inf),
        (-np.inf, 22, -np.inf),
        (-0.0, 7, -0.0),
        (1.2345678, 23, 1.2345678),
        (273.15, 7, 274.0),
    ],
)
def test_round(number: float, keep: int, expected: float) -> None:
    values = np.array([[number]], np.float32)

    round_in_place(values, keep)

    np.testing.assert_array_equal(values.view(np.uint32), np.array([[expected]], np.float32).view(np.uint32))


@pytest.mark.parametrize("keep", [0, 24, -1])
def test_round_refuses_other_numbers_of_bits(keep: int) -> None:
    with pytest.raises(ValueError, match=f"asked to keep {keep} mantissa bits, float32 has 23; keep 1 to 23"):
        round_in_place(np.ones(3, np.float32), keep)
    totals = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=f"asked to keep {keep} mantissa bits"):
        deaccumulate_in_place(totals, hours([0, 1, 2]), rule(), axis=0, keep_mantissa_bits=keep)
    np.testing.assert_array_equal(totals, 1)
