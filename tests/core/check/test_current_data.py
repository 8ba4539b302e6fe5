"""A label is due a while after the time it names, and not before."""

import pandas as pd
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.spec.values import Timestamp
from tests.core.check.published import FORECAST, START, Publish, no_coordinates, nothing


def test_current_data_is_due_max_delay_after_its_label(publish: Publish) -> None:
    opened = publish("forecast", 3).write().open()  # up to 2026-07-29T12
    check = CheckCurrentData(max_delay="5h")

    at_the_last_moment = check.check(opened, Timestamp("2026-07-29T22:59:59"))
    assert at_the_last_moment.passed
    assert at_the_last_moment.metadata == {"due": "2026-07-29T12:00", "newest": "2026-07-29T12:00", "steps_late": 0}

    too_late = check.check(opened, Timestamp("2026-07-29T23:00"))
    assert not too_late.passed
    assert too_late.severity == "ERROR"
    assert too_late.metadata["steps_late"] == 1
    assert "init_time 2026-07-29T18:00 is due" in too_late.message
    assert "newest published is 2026-07-29T12:00" in too_late.message
    assert "reformat update noaa-gfs-forecast" in too_late.message


def test_current_data_says_the_same_until_the_next_label_falls_due(publish: Publish) -> None:
    opened = publish("forecast", 3).write().open()
    minutes = pd.date_range("2026-07-29T23:00", "2026-07-30T04:59", freq="7min")
    results = [CheckCurrentData(max_delay="5h").check(opened, minute) for minute in minutes]
    assert all(result == results[0] for result in results)
    assert CheckCurrentData(max_delay="5h").check(opened, Timestamp("2026-07-30T05:00")).metadata["steps_late"] == 2


def test_current_data_of_an_archive_that_has_just_begun(publish: Publish) -> None:
    opened = publish("forecast", 0).write().open()
    check = CheckCurrentData(max_delay="5h")
    before = check.check(opened, START + pd.Timedelta("4h59min"))
    assert before.passed
    assert before.message == "no init_time is due yet; the first is 2026-07-29T00:00"
    after = check.check(opened, START + pd.Timedelta("5h"))
    assert not after.passed
    assert "newest published is none" in after.message
    assert after.metadata["steps_late"] == 1


def test_current_data_may_be_ahead(publish: Publish) -> None:
    opened = publish("analysis", 30).write().open()
    result = CheckCurrentData(max_delay="2h").check(opened, START + pd.Timedelta("20h"))
    assert result.passed
    assert result.metadata["steps_late"] == 0


@given(
    labels=st.integers(1, 30),
    delay=st.integers(0, 3000),
    elapsed=st.integers(-3000, 10_000),
)
def test_current_data_passes_exactly_when_no_missing_label_is_due(labels: int, delay: int, elapsed: int) -> None:
    axis_labels = pd.date_range(START, periods=labels, freq="6h", unit="us")
    ds = xr.Dataset(coords={"init_time": axis_labels}, attrs={"dataset_id": "x"})
    opened = OpenedStore(ds, FORECAST, (), lambda _: set(), nothing, no_coordinates)
    now = START + pd.Timedelta(minutes=elapsed)
    result = CheckCurrentData(max_delay=pd.Timedelta(minutes=delay)).check(opened, now)
    first_missing = START + labels * pd.Timedelta("6h")
    assert result.passed == (now < first_missing + pd.Timedelta(minutes=delay))
