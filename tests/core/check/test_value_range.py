"""Values that are not possible are told, and only those."""

import numpy as np
import pytest

from reformatters_dagster.core.check.value_range import CheckValueRange
from tests.core.check.published import NOW, PRECIPITATION, TEMPERATURE, Publish

BOUNDED = TEMPERATURE.model_copy(update={"valid_range": (-110.0, 75.0), "units": "degree_Celsius"})


@pytest.mark.parametrize(
    ("value", "passed"), [(-110.0, True), (75.0, True), (75.5, False), (-273.0, False), (9e9, False)]
)
def test_a_value_beyond_what_is_possible_is_a_warning(publish: Publish, value: float, *, passed: bool) -> None:
    store = publish("forecast", 3, (BOUNDED,))
    store["temperature_2m"][2, 4, 6, 11] = value
    result = CheckValueRange(sampled_chunks=100).check(store.write().open(), NOW)
    assert result.passed is passed
    assert result.metadata["variables_measured"] == 1
    assert result.metadata["variables_beyond"] == (0 if passed else 1)
    if not passed:
        assert result.severity == "WARN"
        assert "at init_time 2026-07-29T12:00 'temperature_2m' reaches from" in result.message
        assert "degree_Celsius where -110 to 75 is possible (lead times 4 h); compare with the source" in result.message


def test_only_the_newest_label_and_what_is_a_number_is_held_to_a_range(publish: Publish) -> None:
    store = publish("forecast", 3, (BOUNDED,))
    store["temperature_2m"][1] = 9e9
    store["temperature_2m"][2, 0] = np.nan
    assert CheckValueRange(sampled_chunks=100).check(store.write().open(), NOW).passed


def test_a_field_of_nothing_but_nan_and_one_without_a_range_are_not_judged(publish: Publish) -> None:
    store = publish("forecast", 1, (BOUNDED, PRECIPITATION))
    store["temperature_2m"][...] = np.nan
    store["precipitation_surface"][...] = 9e9
    result = CheckValueRange().check(store.write().open(), NOW)
    assert result.passed
    assert result.message == "values of 0 of 1 variables are within what is possible, the others have no values"
    assert result.metadata["variables_measured"] == 0
