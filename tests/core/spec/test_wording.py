"""What people read of durations and of names that are none."""

import pytest

from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.spec.wording import did_you_mean, spell_bytes, spell_duration


@pytest.mark.parametrize(
    ("duration", "told"),
    [
        ("6h", "6 h"),
        ("94.521286s", "1 min 34 s"),
        ("60D", "60 d"),
        ("90min", "1 h 30 min"),
        ("1D 2h 3min", "1 d 2 h"),
        ("1D 3min", "1 d"),
        ("59s", "59 s"),
        ("400ms", "0 s"),
        ("0s", "0 s"),
        ("-400ms", "0 s"),
        ("-5s", "-5 s"),
    ],
)
def test_durations_are_told_by_their_two_largest_units(duration: str, told: str) -> None:
    assert spell_duration(Timedelta(duration)) == told


def test_a_name_that_is_alike_is_suggested() -> None:
    known = ["temperature_2m", "wind_u_10m"]
    assert did_you_mean(["temprature_2m"], known) == ": did you mean 'temperature_2m'?"
    assert (
        did_you_mean(["temp_2m", "wind_u10m", "temp2m"], known) == ": did you mean 'temperature_2m' and 'wind_u_10m'?"
    )
    assert did_you_mean(["rain"], known) == ""


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (6_149_220, "6.15 MB"),
        (9_995_000, "10.0 MB"),
        (99_949_999, "99.9 MB"),
        (99_950_000, "100 MB"),
        (442_743_840, "443 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.00 GB"),
        (21_700_000_000, "21.7 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(count: float, told: str) -> None:
    assert spell_bytes(count) == told
