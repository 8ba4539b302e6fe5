"""NaN in the newest labels is measured wherever it lies, and judged by its budget."""

from dataclasses import replace

import numpy as np
import pytest

from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.spec.errors import UnknownVariable
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.core.check.published import NOW, PRECIPITATION, TEMPERATURE, Publish, data_var


@pytest.mark.parametrize("shape", ["forecast", "ensemble", "analysis"])
def test_recent_nans_passes_a_full_store(publish: Publish, shape: str) -> None:
    result = CheckRecentNans(window=3).check(publish(shape, 10).write().open(), NOW)
    assert result.passed
    assert result.metadata["worst_nan_fraction"] == 0
    assert "no NaN in the newest labels" in result.message


@pytest.mark.parametrize("shape", ["forecast", "ensemble", "analysis"])
def test_recent_nans_sees_only_its_window(publish: Publish, shape: str) -> None:
    store = publish(shape, 10)
    store["temperature_2m"][:8] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(window=2).check(opened, NOW).passed
    third = CheckRecentNans(window=3).check(opened, NOW)
    assert not third.passed
    assert third.severity == "ERROR"
    assert "'temperature_2m' has 100 % at" in third.message
    assert "where 0 % is allowed (" in third.message
    assert third.metadata["where_box"] == "everywhere", "a box would be that of one column of chunks"
    assert "reformat status noaa-gfs-forecast" in third.message


def test_recent_nans_measures_a_missing_lead_time_wherever_it_samples(publish: Publish) -> None:
    store = publish("forecast", 4)
    store["temperature_2m"][-1, 2] = np.nan
    result = CheckRecentNans(sampled_chunks=1).check(store.write().open(), NOW)
    assert not result.passed
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / 5)
    assert "has 20 % at 2026-07-29T18:00" in result.message


def test_recent_nans_measures_every_member(publish: Publish) -> None:
    store = publish("ensemble", 2)
    store["temperature_2m"][-1, 1] = np.nan
    result = CheckRecentNans(sampled_chunks=1).check(store.write().open(), NOW)
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / 3)


def test_recent_nans_at_the_budget_passes_and_above_fails(publish: Publish) -> None:
    store = publish("forecast", 2)
    store["temperature_2m"][-1, 2] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(max_nan_fraction=0.2).check(opened, NOW).passed
    assert not CheckRecentNans(max_nan_fraction=0.19).check(opened, NOW).passed


def test_recent_nans_budgets_run_from_the_newest_and_the_last_repeats(publish: Publish) -> None:
    store = publish("forecast", 5)
    store["temperature_2m"][-1, :2] = np.nan
    store["temperature_2m"][-3, 3] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(max_nan_fraction=(0.45, 0.0), window=2).check(opened, NOW).passed
    third = CheckRecentNans(max_nan_fraction=(0.45, 0.0), window=3).check(opened, NOW)
    assert not third.passed
    assert "at 2026-07-29T12:00" in third.message
    assert "at 2026-07-30T00:00" not in third.message


def test_recent_nans_does_not_read_a_label_that_may_be_empty(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1] = np.nan
    store.write()
    for shard in (store.folder / "temperature_2m/c/2").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"not a shard")
    assert CheckRecentNans(max_nan_fraction=(1.0, 0.0)).check(store.open(), NOW).passed


def test_recent_nans_of_the_newest_label_alone_may_still_fill(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1, -1] = np.nan
    result = CheckRecentNans().check(store.write().open(), NOW)
    assert not result.passed
    assert result.severity == "WARN"


def test_recent_nans_of_a_variable_without_any_value_is_an_error(publish: Publish) -> None:
    store = publish("forecast", 3)
    store["temperature_2m"][-1] = np.nan
    assert CheckRecentNans().check(store.write().open(), NOW).severity == "ERROR"


def test_recent_nans_expects_no_hour_0_of_a_windowed_variable(publish: Publish) -> None:
    store = publish("forecast", 2, (TEMPERATURE, PRECIPITATION))
    store["precipitation_surface"][:, 0] = np.nan
    opened = store.write().open()
    assert CheckRecentNans().check(opened, NOW).passed
    as_if_instant = opened.data_vars[0], data_var("precipitation_surface")
    assert not CheckRecentNans().check(store.open(as_if_instant), NOW).passed


def test_recent_nans_expects_no_first_step_of_a_rate(publish: Publish) -> None:
    """A rate lies between two totals, so the first step has none, whether or not the source has a file of it."""
    at_hour_0 = {"hour_0": True, "deaccumulation": Deaccumulation()}
    rate = PRECIPITATION.model_copy(update=at_hour_0)
    store = publish("forecast", 2, (rate,))
    store["precipitation_surface"][:, 0] = np.nan
    assert CheckRecentNans().check(store.write().open(), NOW).passed


def test_recent_nans_sees_every_later_step_of_a_rate(publish: Publish) -> None:
    rate = PRECIPITATION.model_copy(update={"deaccumulation": Deaccumulation()})
    store = publish("forecast", 2, (rate,))
    store["precipitation_surface"][:, 1] = np.nan
    assert CheckRecentNans().check(store.write().open(), NOW).metadata["worst_nan_fraction"] == pytest.approx(1 / 4)


def test_recent_nans_of_a_windowed_analysis_counts_every_step(publish: Publish) -> None:
    store = publish("analysis", 4, (PRECIPITATION,))
    store["precipitation_surface"][-1] = np.nan
    assert not CheckRecentNans().check(store.write().open(), NOW).passed


def test_recent_nans_that_measured_nothing_fails(publish: Publish) -> None:
    empty = CheckRecentNans().check(publish("forecast", 0).write().open(), NOW)
    assert not empty.passed
    assert "nothing was measured of 'temperature_2m' in the newest 2 labels of init_time" in empty.message


def test_recent_nans_that_may_look_at_no_variable_fails(publish: Publish) -> None:
    result = CheckRecentNans(exclude=("temperature_2m",)).check(publish("forecast", 2).write().open(), NOW)
    assert not result.passed
    assert "nothing was measured at all" in result.message


def test_recent_nans_of_a_young_archive_whose_only_label_may_be_empty_fails(publish: Publish) -> None:
    result = CheckRecentNans(max_nan_fraction=(1.0, 0.0)).check(publish("forecast", 1).write().open(), NOW)
    assert not result.passed
    assert "nothing was measured" in result.message


def test_recent_nans_of_a_variable_the_store_lacks_fails(publish: Publish) -> None:
    opened = publish("forecast", 2).write().open((TEMPERATURE, PRECIPITATION))
    result = CheckRecentNans().check(opened, NOW)
    assert not result.passed
    assert "'precipitation_surface'" in result.message


def test_recent_nans_looks_at_what_it_is_told(publish: Publish) -> None:
    store = publish("forecast", 2, (TEMPERATURE, PRECIPITATION))
    store["precipitation_surface"][:] = np.nan
    opened = store.write().open()
    assert CheckRecentNans(exclude=("precipitation_surface",)).check(opened, NOW).passed
    assert CheckRecentNans(include=("temperature_2m",)).check(opened, NOW).passed
    result = CheckRecentNans(name="recent_nans_rain", include=("precipitation_surface",)).check(opened, NOW)
    assert (result.name, result.passed) == ("recent_nans_rain", False)
    assert result.metadata["variables_measured"] == 1


@pytest.mark.parametrize(
    "validator", [CheckRecentNans(include=("temprature",)), CheckRecentNans(exclude=("temprature",))]
)
def test_recent_nans_refuses_an_unknown_variable(publish: Publish, validator: CheckRecentNans) -> None:
    opened = publish("forecast", 2, (TEMPERATURE, PRECIPITATION)).write().open()
    with pytest.raises(UnknownVariable, match=r"'temprature'.*it has precipitation_surface, temperature_2m"):
        validator.check(opened, NOW)


@pytest.mark.parametrize("share", [1.0, 2.5, (1.0,), (1.0, 1.0)])
def test_recent_nans_that_could_never_fail_is_a_configuration_error(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="could never fail"):
        CheckRecentNans(max_nan_fraction=share)


def test_recent_nans_whose_window_reaches_no_strict_budget_is_a_configuration_error() -> None:
    with pytest.raises(ValueError, match="newest 1 labels"):
        CheckRecentNans(max_nan_fraction=(1.0, 0.0), window=1)


@pytest.mark.parametrize(("shares", "window"), [((0.4, 0.0, 0.0), 2), ((0.4, 0.0), 1)])
def test_recent_nans_with_a_share_beyond_its_window_is_a_configuration_error(
    shares: tuple[float, ...], window: int
) -> None:
    with pytest.raises(
        ValueError, match=f"more shares than the {window} labels of its window, so the last is never used"
    ):
        CheckRecentNans(max_nan_fraction=shares, window=window)


@pytest.mark.parametrize("share", [(), -0.1, (0.0, float("nan"))])
def test_recent_nans_refuses_a_share_that_is_none(share: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be one share or more, none below 0"):
        CheckRecentNans(max_nan_fraction=share)


def test_recent_nans_samples_the_same_places_again_and_others_for_other_labels(publish: Publish) -> None:
    store = publish("forecast", 12)
    store["temperature_2m"][..., :4] = np.nan  # one of the three columns of chunks from west to east
    opened = store.write().open()
    check = CheckRecentNans(window=1, sampled_chunks=1)
    younger = [replace(opened, ds=opened.ds.isel(init_time=slice(0, labels))) for labels in range(1, 13)]

    np.random.seed(1)  # noqa: NPY002
    first = [check.check(store_then, NOW) for store_then in younger]
    np.random.seed(2)  # noqa: NPY002
    assert [check.check(store_then, NOW) for store_then in younger] == first
    assert {result.passed for result in first} == {True, False}


def test_recent_nans_reads_every_column_when_asked_for_all(publish: Publish) -> None:
    store = publish("forecast", 1)
    store["temperature_2m"][..., 6, 11] = np.nan  # a single point, in the clipped corner chunk
    result = CheckRecentNans(sampled_chunks=100).check(store.write().open(), NOW)
    assert result.metadata["worst_nan_fraction"] == pytest.approx(1 / (7 * 12))


def test_recent_nans_leaves_the_rest_of_the_archive_unread(publish: Publish) -> None:
    store = publish("forecast", 6).write()
    for index in range(4):
        for shard in (store.folder / f"temperature_2m/c/{index}").rglob("*"):
            if shard.is_file():
                shard.write_bytes(b"not a shard")
    assert CheckRecentNans().check(store.open(), NOW).passed


def test_recent_nans_leave_out_variables_in_which_nan_is_a_value(publish: Publish) -> None:
    ceiling = data_var("ceiling").model_copy(update={"source_fill_value": 9999.0})
    store = publish("forecast", 3, (TEMPERATURE, ceiling))
    store["ceiling"][:] = np.nan
    opened = store.write().open()
    result = CheckRecentNans().check(opened, NOW)
    assert result.passed
    assert result.metadata["variables_measured"] == 1
    named = CheckRecentNans(include=("ceiling",)).check(opened, NOW)
    assert (named.passed, named.metadata["worst_nan_fraction"]) == (False, 1.0)
