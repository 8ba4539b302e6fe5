"""Validators run one after the other, whatever one of them does."""

from dataclasses import replace

from reformatters_dagster.core.check import validators
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.check.validators import Validator, run_validators
from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.core.spec.values import Timestamp
from tests.core.check.published import NOW, Publish


def test_every_validator_answers_when_one_breaks(publish: Publish) -> None:
    def unreachable(name: str) -> set[str]:
        raise StoreUnavailable(f"s3://bucket does not answer when asked for {name}")

    opened = publish("forecast", 3).write().open()
    broken = replace(opened, shard_keys=unreachable)
    asked: list[Validator] = [
        CheckCurrentData(max_delay="12h"),
        CheckExpectedShards(),
        CheckRecentNans(include=("temprature",)),
        CheckRecentNans(name="recent_nans_too"),
    ]
    results = run_validators(asked, broken, Timestamp("2026-07-29T18"))
    assert [result.name for result in results] == ["current_data", "expected_shards", "recent_nans", "recent_nans_too"]
    assert [result.passed for result in results] == [True, False, False, True]
    assert results[1].severity == "ERROR"
    assert results[1].message.startswith("the check itself broke: StoreUnavailable: s3://bucket does not answer")
    assert "UnknownVariable" in results[2].message
    assert "temperature_2m" in results[2].message


def test_the_example_of_a_new_check_is_a_check(publish: Publish) -> None:
    assert validators.__doc__ is not None
    example = validators.__doc__.split("```python\n")[1].split("```")[0]
    written = vars(validators).copy()
    exec(example, written)
    opened = publish("forecast", 3).write().open()
    (result,) = run_validators([written["CheckNotEmpty"]()], opened, NOW)
    assert (result.name, result.passed, result.message) == ("not_empty", True, "3 labels of init_time are published")
