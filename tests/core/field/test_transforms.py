"""Totals and means to rates, and what all transforms have in common."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pygrib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reformatters_dagster.core.field.transforms import (
    RateCounts,
    deaccumulate_in_place,
    interpolate_in_place,
    round_in_place,
    seconds_since_reset,
)
from reformatters_dagster.core.spec.errors import ImplausibleRate
from reformatters_dagster.core.spec.values import Float32Array
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.core.field.steps import COMPILES, HOUR, NAN, Kind, flags, hours, rule

DATA = Path(__file__).parents[3] / "../shared/data"


# Deaccumulation: totals are in hours times the rate, so that the rates are small whole numbers.

ACCUMULATIONS = {
    "6 h window, 3 h steps": ("6h", [0, 3, 6, 9, 12], [NAN, 3, 9, 6, 6], [], [NAN, 1, 2, 2, 0]),
    "6 h window, 1 h steps": ("6h", [*range(9)], [NAN, 1, 3, 6, 10, 15, 21, 7, 15], [], [NAN, *range(1, 9)]),
    "6 h window, 6 h steps": ("6h", [0, 6, 12], [NAN, 6, 12], [], [NAN, 1, 2]),
    "1 h window, 1 h steps": ("1h", [0, 1, 2, 3], [NAN, 1, 2, 3], [], [NAN, 1, 2, 3]),
    "run total, 1 to 3 to 6 h steps": (
        None,
        [0, 1, 2, 3, 6, 9, 15],
        [NAN, 1, 3, 6, 9, 15, 39],
        [],
        [NAN, 1, 2, 3, 1, 2, 4],
    ),
    "6 h window, 3 to 6 h steps": ("6h", [0, 3, 6, 12, 18], [NAN, 3, 6, 12, 24], [], [NAN, 1, 1, 2, 4]),
    "run total, first step is 0": (None, [0, 1], [0, 5], [], [NAN, 5]),
    "run total, first step is late": (None, [3, 6, 9], [5, 8, 14], [], [NAN, 1, 2]),
    "first step in mid-window": ("6h", [3, 6, 9], [3, 9, 6], [], [NAN, 2, 2]),
    "first step at a reset still holds the old window": ("6h", [6, 9], [18, 3], [], [NAN, 1]),
    "first step missing at a reset": ("6h", [6, 9, 12], [NAN, 3, 9], [], [NAN, 1, 2]),
    "first step missing in mid-window": ("6h", [3, 6, 9], [NAN, 9, 6], [], [NAN, NAN, 2]),
    "missing in mid-window": ("6h", [0, 3, 6, 9], [NAN, NAN, 9, 6], [], [NAN, NAN, NAN, 2]),
    "missing at the reset": ("6h", [0, 3, 6, 9], [NAN, 3, NAN, 6], [], [NAN, 1, NAN, 2]),
    "missing in mid-window and at its reset": ("6h", [0, 3, 6, 9, 12], [NAN] * 3 + [6, 9], [], [NAN] * 3 + [2, 1]),
    "missing after the reset": ("6h", [0, 3, 6, 9, 12, 15], [NAN, 3, 9, NAN, 9, 3], [], [NAN, 1, 2, NAN, NAN, 1]),
    "missing in a run total": (None, [0, 1, 2, 3, 4], [NAN, 1, NAN, 3, 5], [], [NAN, 1, NAN, NAN, 2]),
    "all missing": ("6h", [0, 3, 6], [NAN] * 3, [], [NAN] * 3),
    "skipped in mid-window": ("6h", [0, 3, 6, 9, 12], [NAN, -7, 9, -8, 6], [1, 3], [NAN, -7 / HOUR, 1.5, -8 / HOUR, 1]),
    "skipped at the reset": ("6h", [0, 3, 6, 9], [NAN, 3, NAN, 6], [2], [NAN, 1, NAN, 2]),
    "skipped around the reset": ("6h", [0, 3, 6, 9, 12], [NAN, 3, 5, 6, 12], [2, 3], [NAN, 1, 5 / HOUR, 6 / HOUR, 2]),
    "skipped twice in a run total": (None, [0, 1, 2, 4, 5], [NAN, 1, NAN, NAN, 9], [2, 3], [NAN, 1, NAN, NAN, 2]),
    "skipped first": ("6h", [0, 3], [4, 3], [0], [NAN, 1]),
    "skipped last": (None, [0, 1, 2], [NAN, 1, 9], [2], [NAN, 1, 9 / HOUR]),
    "1 h window, 3 h steps": ("1h", [0, 3, 6], [NAN, 2, 5], [], [NAN, 2, 5]),
    "no label at the reset": ("6h", [0, 3, 9], [NAN, 3, 6], [], [NAN, 1, 2]),
    "quarter hours": ("1h", [0, 0.25, 0.5, 0.75, 1, 1.25], [NAN, 1, 1, 2, 3, 2], [], [NAN, 4, 0, 4, 4, 8]),
    "slightly negative": (None, [0, 1, 2, 3], [0, 4, 3.75, 4.75], [], [NAN, 4, 0, 1]),
    "exactly invalid_below": (None, [0, 1, 2, 3], [0, 4, 3.5, 4.5], [], [NAN, 4, NAN, 1]),
    "very negative": (None, [0, 1, 2, 3], [0, 4, 1, 2], [], [NAN, 4, NAN, 1]),
    "one step": ("6h", [0], [5], [], [NAN]),
    "no step": ("6h", [], [], [], []),
}


AVERAGES = {
    "run mean": (None, [0, 1, 3, 6], [NAN, 1, 3, 5], [], [NAN, 1, 4, 7]),
    "run mean, first step is late": (None, [2, 4, 6], [1, 3, 3], [], [NAN, 5, 3]),
    "run mean, missing": (None, [0, 1, 2, 3, 4], [NAN, 1, NAN, 2, 3], [], [NAN, 1, NAN, NAN, 6]),
    "run mean, skipped": (None, [0, 1, 2, 4], [NAN, 1, 9, 4], [2], [NAN, 1, 9, 5]),
    "6 h window, 3 h steps": ("6h", [0, 3, 6, 9, 12], [NAN, 1, 1.5, 5, 4], [], [NAN, 1, 2, 5, 3]),
    "6 h window, 3 to 6 h steps": ("6h", [0, 3, 6, 12], [NAN, 1, 1.5, 5], [], [NAN, 1, 2, 5]),
    "first step in mid-window": ("6h", [9, 12, 15], [5, 4, 7], [], [NAN, 3, 7]),
    "missing at the reset": ("6h", [0, 3, 6, 9, 12], [NAN, 1, NAN, 5, 4], [], [NAN, 1, NAN, 5, 3]),
    "skipped at the reset": ("6h", [0, 3, 6, 9], [NAN, 1, NAN, 5], [2], [NAN, 1, NAN, 5]),
    "skipped in mid-window": ("6h", [0, 3, 6, 9, 12], [NAN, 9, 2, 9, 4], [1, 3], [NAN, 9, 2, 9, 4]),
    "1 h window, 3 h steps": ("1h", [0, 3, 6], [NAN, 2, 5], [], [NAN, 2, 5]),
    "very negative": (None, [0, 1, 2, 3], [NAN, 2, 0.5, 1], [], [NAN, 2, NAN, 2]),
    "slightly negative": (None, [0, 1, 2, 3], [NAN, 2, 0.875, 1], [], [NAN, 2, 0, 1.25]),
}


type Case = tuple[str | None, list[float], list[float], list[int], list[float]]


@pytest.mark.parametrize("case", ACCUMULATIONS.values(), ids=ACCUMULATIONS.keys())
def test_deaccumulate_totals(case: Case) -> None:
    reset, labels, totals, skipped, expected = case
    values = np.array(totals, np.float32) * np.float32(HOUR)
    values[skipped] = np.array(totals, np.float32)[skipped] / np.float32(HOUR)

    deaccumulate_in_place(
        values, hours(labels), rule(reset=reset), axis=0, skip_step=flags(len(labels), skipped) if skipped else None
    )

    np.testing.assert_allclose(values, np.array(expected, np.float32), rtol=2e-7)


@pytest.mark.parametrize("case", AVERAGES.values(), ids=AVERAGES.keys())
def test_deaccumulate_means(case: Case) -> None:
    reset, labels, means, skipped, expected = case
    values = np.array(means, np.float32)

    deaccumulate_in_place(values, hours(labels), rule("average", reset), axis=0, skip_step=flags(len(labels), skipped))

    np.testing.assert_allclose(values, np.array(expected, np.float32), rtol=1e-6)


def test_deaccumulate_counts_what_it_changed() -> None:
    values = np.array([[0, 0, 0, NAN], [-0.25, -0.5, -2, NAN], [1, 1, 1, 1]], np.float32) * np.float32(HOUR)

    counts = deaccumulate_in_place(values, hours([0, 1, 2]), rule(), axis=0)

    assert counts == RateCounts(clamped=1, invalid=2, size=12)
    assert (counts.clamped_fraction, counts.invalid_fraction) == (1 / 12, 2 / 12)
    np.testing.assert_array_equal(values[1], np.array([0, NAN, NAN, NAN], np.float32))
    with pytest.raises(FrozenInstanceError):
        counts.clamped = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("clamp_limit", "invalid_limit", "passes"),
    [(0.25, 0.125, True), (0.24, 0.125, False), (0.25, 0.124, False)],
)
def test_implausible_rates_raise_after_the_whole_array_is_done(
    clamp_limit: float, invalid_limit: float, passes: bool
) -> None:
    limits = Deaccumulation(
        reset=pd.Timedelta("6h"),
        invalid_below=-0.5,
        expected_clamp_fraction=clamp_limit,
        expected_invalid_fraction=invalid_limit,
    )
    values = np.array([[0, 0, 0, 0], [-0.25, -0.25, -2, 4]], np.float32) * np.float32(HOUR)

    if passes:
        assert deaccumulate_in_place(values, hours([0, 1]), limits, axis=0) == RateCounts(2, 1, 8)
    else:
        with pytest.raises(ImplausibleRate) as raised:
            deaccumulate_in_place(values, hours([0, 1]), limits, axis=0)
        for words in (
            "of 8 rates 2 were slightly negative (fraction 0.25, limit 0.2",
            "1 at or below -0.5 (fraction 0.125, limit 0.12",
            repr(limits),
            "check that kind and reset are the source's",
            "raise this variable's limits",
        ):
            assert words in str(raised.value)

    np.testing.assert_array_equal(values, np.array([[NAN] * 4, [0, 0, NAN, 4]], np.float32))


@pytest.mark.parametrize(
    ("labels", "skip", "message"),
    [
        ([0, 1], None, r"lead_seconds of shape \(2,\) given for 3 steps"),
        ([0, 2, 1], None, "must ascend from 0 or later, found .*sort the steps"),
        ([0, 1, 1], None, "must ascend"),
        ([-1, 0, 1], None, "must ascend from 0"),
        ([0, 1, NAN], None, "must ascend"),
        ([0, 1, 2], [True], r"skip_step of shape \(1,\) given for 3 steps"),
    ],
)
def test_deaccumulate_refuses_steps_it_cannot_place(labels: list[float], skip: list[bool] | None, message: str) -> None:
    values = np.ones(3, np.float32)

    with pytest.raises(ValueError, match=message):
        deaccumulate_in_place(values, hours(labels), rule(), axis=0, skip_step=None if skip is None else np.array(skip))

    np.testing.assert_array_equal(values, 1)


def read_only() -> Float32Array:
    values = np.ones((3, 2), np.float32)
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.ones((3, 2)), "float64"),
        (np.ones((2, 3), np.float32).T, r"strides=\(4, 12\)"),
        (np.ones((3, 2), ">f4"), ">f4"),
        (read_only(), "writeable=False"),
    ],
    ids=["float64", "transposed", "big-endian", "read-only"],
)
def test_arrays_that_cannot_be_changed_in_place_are_refused(values: Float32Array, found: str) -> None:
    message = f"must be float32, C-contiguous and writeable, found .*{found}.*; copy it first"
    with pytest.raises(ValueError, match=message):
        deaccumulate_in_place(values, hours([0, 1, 2]), rule(), axis=0)
    with pytest.raises(ValueError, match=message):
        interpolate_in_place(values, flags(3, [1]), axis=0)
    with pytest.raises(ValueError, match=message):
        round_in_place(values, 7)


def test_an_axis_the_array_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="axis 2 is out of bounds"):
        deaccumulate_in_place(np.ones((3, 2), np.float32), hours([0, 1]), rule(), axis=2)


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], list[int], int | None, list[int]]:
    """Rates of every hour at four points, hours that are published, hours between resets, published steps to skip."""
    last = draw(st.integers(1, 30))
    rates = draw(hnp.arrays(np.float64, (last, 4), elements=st.integers(0, 50)))
    labels = sorted(draw(st.sets(st.integers(0, last), min_size=2)))
    reset = draw(st.sampled_from([None, 1, 3, 6, 12]))
    skipped = draw(st.sets(st.integers(1, len(labels) - 1)))
    return rates, labels, reset, sorted(skipped)


def in_window(rates: npt.NDArray[np.float64], until: int, reset: int | None) -> npt.NDArray[np.float64]:
    """The hours' rates that a source has in its window when it writes hour `until`; at a reset the window is full."""
    start = 0 if reset is None or until == 0 else (until - 1) // reset * reset
    return rates[start:until]


@COMPILES
@given(forecasts(), st.sampled_from(["accumulation", "average"]))
def test_accumulate_then_deaccumulate_is_identity(
    forecast: tuple[npt.NDArray[np.float64], list[int], int | None, list[int]], kind: Kind
) -> None:
    rates, labels, reset, skipped = forecast
    windows = [in_window(rates, label, reset) for label in labels]
    if kind == "accumulation":
        source = [window.sum(axis=0) * HOUR for window in windows]
    else:
        source = [window.mean(axis=0) if len(window) else np.full(4, NAN) for window in windows]
    values = np.array(source, np.float32)
    raw = values.copy()

    deaccumulate_in_place(
        values,
        hours(labels),
        rule(kind, None if reset is None else f"{reset}h"),
        axis=0,
        skip_step=flags(len(labels), skipped),
    )

    assert np.isnan(values[0]).all()
    before = labels[0]
    for step, label in enumerate(labels[1:], start=1):
        if step in skipped:
            np.testing.assert_array_equal(values[step], raw[step])
            continue
        mean = in_window(rates, label, reset)[-(label - before) :].mean(axis=0)
        np.testing.assert_allclose(values[step], mean, rtol=1e-5, atol=1e-3)
        before = label


@pytest.mark.parametrize("kind", ["accumulation", "average"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_axis_and_any_threads_give_what_each_column_gives_alone(kind: Kind, axis: int, threads: int) -> None:
    random = np.random.default_rng(8)
    labels, limits, skip = hours([0, 3, 6, 9, 12]), rule(kind, "6h", -1), flags(5, [3])
    columns = random.normal(0, 1 if kind == "average" else 3 * HOUR, (2, 3, 40, 5)).astype(np.float32)
    columns[random.random(columns.shape) < 0.05] = NAN
    values = np.moveaxis(columns, -1, axis).copy(order="C")

    counts = deaccumulate_in_place(values, labels, limits, axis=axis, skip_step=skip, threads=threads)

    alone = [deaccumulate_in_place(column, labels, limits, axis=0, skip_step=skip) for column in columns.reshape(-1, 5)]
    np.testing.assert_array_equal(np.moveaxis(values, axis, -1), columns)
    assert counts.clamped == sum(count.clamped for count in alone) > 0
    assert counts.invalid == sum(count.invalid for count in alone) > 0


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_wide_arrays_are_done_to_the_last_column(threads: int) -> None:
    width = 3 * 4096 + 5
    rates = np.arange(width, dtype=np.float32)
    values = np.stack([rates * 0, rates * 2, rates * 4, rates * 7])

    counts = deaccumulate_in_place(values, np.array([0.0, 2, 4, 5]), rule(), axis=0, threads=threads)

    assert counts == RateCounts(0, 0, 4 * width)
    np.testing.assert_array_equal(values[1:], np.stack([rates, rates, 3 * rates]))
    interpolate_in_place(values, flags(4, [2]), axis=0, threads=threads)
    np.testing.assert_array_equal(values[1:], np.stack([rates, 2 * rates, 3 * rates]))
    round_in_place(values, 1, threads=threads)
    assert set(np.unique(values[3, 1:].view(np.uint32) & 0x3FFFFF)) == {0}


def test_arrays_without_values_are_left_alone() -> None:
    for shape in [(0, 3), (3, 0)]:
        values = np.ones(shape, np.float32)
        assert deaccumulate_in_place(values, hours(range(shape[0])), rule(), axis=0, threads=2) == RateCounts(0, 0, 0)
        interpolate_in_place(values, flags(shape[0], []), axis=0, threads=2)
        round_in_place(values, 7, threads=2)


@pytest.mark.usefixtures("shared_data")
def test_real_precipitation_of_one_run() -> None:
    expected, totals = [], [np.full((200, 247), NAN, np.float32)]
    for step in (3, 6):
        path = DATA / f"accum_sequence_cmc/yt87__pywgrib2_xr--CMC_glb_APCP_SFC_0_ps30km_2020012500_P{step:03d}.grib2"
        totals.append(pygrib.fromstring(path.read_bytes()).values.astype(np.float32))
        points = json.loads(path.with_name(path.name + ".expected.json").read_text())["messages"][0]["points"]
        expected.append({point["flat_index"]: point["value"] for point in points})
    values = np.stack(totals)
    precipitation = Deaccumulation()

    counts = deaccumulate_in_place(values, hours([0, 3, 6]), precipitation, axis=0)

    assert counts.invalid == 0
    for index, total in expected[0].items():
        after = expected[1][index]
        rates = [NAN, total / (3 * HOUR), (after - total) / (3 * HOUR)]
        np.testing.assert_allclose(values.reshape(3, -1)[:, index], rates, rtol=1e-4)


# Shards and their buffers


@pytest.mark.parametrize(
    ("times", "reset", "left", "right", "every_other_missing"),
    [
        (pd.date_range("2026-07-29T01", periods=48, freq="1h"), "6h", 1, 0, False),
        (pd.date_range("2026-07-29T00", periods=48, freq="1h"), "1h", 1, 0, False),
        (pd.date_range("2026-07-29T06", periods=48, freq="3h"), "6h", 2, 2, True),
    ],
    ids=["1 h steps, 6 h window", "1 h steps, 1 h window", "6 h steps filled to 3 h"],
)
@pytest.mark.parametrize("kind", ["accumulation", "average"])
@pytest.mark.parametrize("shard", [8, 14])
def test_adjacent_shards_with_a_buffer_equal_one_long_run(
    times: pd.DatetimeIndex, reset: str, left: int, right: int, every_other_missing: bool, kind: Kind, shard: int
) -> None:
    source = np.random.default_rng(5).random((len(times), 3), np.float32)
    missing = np.arange(len(times)) % 2 == 1 if every_other_missing else np.zeros(len(times), np.bool_)
    limits = rule(kind, reset, invalid_below=-1e9)

    def transformed(start: int, stop: int) -> Float32Array:
        values, gaps = source[start:stop].copy(), missing[start:stop].copy()
        seconds = seconds_since_reset(times[start:stop], limits.reset)
        deaccumulate_in_place(values, seconds, limits, axis=0, skip_step=gaps)
        values[gaps] = NAN
        gaps[[0, -1]] = False
        interpolate_in_place(values, gaps, axis=0)
        round_in_place(values, 7)
        return values

    shards = []
    for start in range(0, len(times), shard):
        first, stop = max(0, start - left), min(start + shard, len(times))
        shards.append(transformed(first, min(stop + right, len(times)))[start - first :][: stop - start])

    whole = transformed(0, len(times))
    assert np.isfinite(whole[2:-1]).all()
    np.testing.assert_array_equal(np.concatenate(shards), whole)


@pytest.mark.parametrize(
    ("first", "reset", "expected"),
    [
        ("2026-07-29T00", "6h", [0, 3, 6]),
        ("2026-07-29T03", "6h", [3, 6, 9]),
        ("2026-07-29T18", "6h", [0, 3, 6]),
        ("2026-07-29T17", "1h", [0, 3, 6]),
        ("2026-07-29T17:30", "1h", [0.5, 3.5, 6.5]),
        ("2026-07-29T21", "24h", [21, 24, 27]),
    ],
)
def test_seconds_since_reset(first: str, reset: str, expected: list[float]) -> None:
    seconds = seconds_since_reset(pd.date_range(first, periods=3, freq="3h", unit="us"), pd.Timedelta(reset))

    assert seconds.dtype == np.float64
    np.testing.assert_array_equal(seconds, hours(expected))


def test_valid_times_without_a_reset_are_refused() -> None:
    with pytest.raises(ValueError, match="need a reset to be deaccumulated, found None; give lead times, or set"):
        seconds_since_reset(pd.date_range("2026-07-29", periods=3), None)
