"""What the ledger knows and readers cannot see becomes a failed check, and stops being one."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.check.completeness import CheckCompleteness, CheckPlausibleRates
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.ledger.entries import MissingFile, OutdatedValue, write_ledger
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import Deaccumulation
from tests.datasets import INIT, RAIN, SECOND, SOON, TEMPERATURE, THIRD, VARIABLES, Site, gfs_key

pytest_plugins = ["tests.datasets"]

HOUR, DAY = Timedelta("1h"), Timedelta("1D")


@pytest.fixture
def site(site: Site) -> Site:
    """Three init times, of which files are given up two days after."""
    patient = site.having(soft_deadline=Timedelta("6h"), give_up_age=Timedelta("2D"))
    patient.arrive(INIT, SECOND, THIRD)
    return patient


def ask(site: Site, validator: Validator, now: Timestamp) -> CheckResult:
    (result,) = site.dataset.validate(site.stores.primary, now, [validator], internal=site.stores.internal)
    return result


def completeness(site: Site, now: Timestamp) -> CheckResult:
    return ask(site, CheckCompleteness(), now)


def test_a_whole_store_is_complete(site: Site) -> None:
    site.update(THIRD + SOON)
    result = completeness(site, THIRD + 7 * HOUR)
    assert result.passed
    assert result.message == "recent partitions were made from every file that is due"
    nothing = ("partitions_incomplete", "partitions_given_up", "files_missing", "values_outdated")
    assert result.metadata == dict.fromkeys(nothing, 0)


def test_a_hole_behind_the_newest_labels_is_found(site: Site) -> None:
    """Files are counted, each once, not the eight fields that four variables lack of them."""
    site.remove(3, 5, init_time=INIT)
    site.update(THIRD + SOON)
    result = completeness(site, THIRD + 7 * HOUR)
    assert (result.passed, result.severity) == (False, "WARN")
    assert result.message == (
        "1 recent partition is incomplete: 2026-07-29T18:00 lacks 2 files (SourceFileMissing: "
        f"{gfs_key(INIT, 3)}, {gfs_key(INIT, 5)}); "
        "`reformat status test-gfs-forecast --missing` names every missing file"
    )
    assert result.metadata == {
        "partitions_incomplete": 1,
        "partitions_given_up": 0,
        "files_missing": 2,
        "values_outdated": 0,
    }


@pytest.mark.parametrize(
    ("age", "passed", "severity", "given_up"),
    [
        ("5h59min", True, "ERROR", 0),  # severity has no meaning where it passed
        ("6h", False, "WARN", 0),
        ("47h", False, "WARN", 0),
        ("48h", False, "ERROR", 1),
        ("71h", False, "ERROR", 1),
        ("72h", False, "WARN", 1),
        ("5D", False, "WARN", 1),
        ("5D1min", True, "ERROR", 0),
    ],
)
def test_a_missing_file_is_told_of_while_it_is_recent(
    site: Site, age: str, *, passed: bool, severity: str, given_up: int
) -> None:
    site.remove(3, init_time=INIT)
    site.backfill(INIT + SOON)
    result = completeness(site, INIT + Timedelta(age))
    assert (result.passed, result.severity) == (passed, severity)
    assert result.metadata["partitions_given_up"] == given_up
    assert ("(given up: 1)" in result.message) == bool(given_up)


def test_files_are_named_by_the_kind_of_their_error(site: Site) -> None:
    lost = ("SourceFileMissing: f1", "CorruptMessage: cut", "SourceFileMissing: f3")
    site.update(THIRD + SOON)
    entry = site.ledger(SECOND)
    assert entry is not None
    missing = tuple(MissingFile(file=f"f{at}", labels="", reason=one, label=SECOND) for at, one in enumerate(lost, 1))
    coverage = entry.variables[RAIN].model_copy(update={"missing": missing})
    write_ledger(site.stores.internal, entry.model_copy(update={"variables": entry.variables | {RAIN: coverage}}))
    told = completeness(site, THIRD + 7 * HOUR).message
    assert "lacks 3 files (SourceFileMissing: f1, f3; CorruptMessage: f2)" in told


def test_outdated_values_are_found(site: Site) -> None:
    site.remove(3, init_time=SECOND)
    site.update(THIRD + SOON)
    for label in (INIT, SECOND):
        entry = site.ledger(label)
        assert entry is not None
        value = OutdatedValue(file="f004", labels="", reason="", waits_for="f005", label=label)
        coverage = entry.variables[RAIN].model_copy(update={"outdated": (value,)})
        changed = entry.model_copy(update={"variables": entry.variables | {RAIN: coverage}})
        write_ledger(site.stores.internal, changed)
    result = completeness(site, THIRD + 7 * HOUR)
    assert (result.passed, result.severity) == (False, "WARN")
    assert "2026-07-29T18:00 holds 1 outdated value" in result.message
    lost = f"2026-07-30T00:00 lacks 1 file (SourceFileMissing: {gfs_key(SECOND, 3)}) and holds 1 outdated value"
    assert lost in result.message
    assert result.metadata["values_outdated"] == 2
    assert completeness(site, INIT + SOON).passed


def test_what_nobody_wrote_is_found(site: Site) -> None:
    site.backfill(SECOND + SOON, contains=(SECOND,), variables=(TEMPERATURE,))
    found = completeness(site, SECOND + 7 * HOUR).message
    assert (
        f"2026-07-30T00:00 lacks {len(VARIABLES) - 1} variables altogether; 2026-07-29T18:00 was never written;"
        in found
    )


def test_of_a_shard_in_progress_only_hours_that_are_due_count(analysis: Site) -> None:
    analysis.file(2).unlink()
    analysis.update(INIT + 4 * HOUR)
    deadline = analysis.dataset.soft_deadline
    assert completeness(analysis, INIT + HOUR + deadline).passed
    result = completeness(analysis, INIT + 2 * HOUR + deadline)
    assert result.metadata["files_missing"] == 1


def test_of_a_shard_in_progress_each_hour_is_given_up_by_itself(analysis: Site) -> None:
    """Its last label is always ahead."""
    patient = analysis.having(give_up_age=Timedelta("8h"), soft_deadline=Timedelta("1h"))
    patient.file(2).unlink()
    patient.update(INIT + 4 * HOUR)
    found = [
        (one.severity, one.metadata["partitions_given_up"])
        for one in (completeness(patient, INIT + Timedelta(age)) for age in ("9h", "10h", "33h", "34h"))
    ]
    assert found == [("WARN", 0), ("ERROR", 1), ("ERROR", 1), ("WARN", 1)]


def test_a_store_without_a_ledger_is_not_asked(site: Site) -> None:
    site.update(INIT + SOON)
    asked = (CheckCompleteness(), CheckPlausibleRates())
    assert site.dataset.validate(site.stores.primary, INIT + DAY, asked) == []


@pytest.fixture
def wrong(site: Site) -> Site:
    """A dataset that takes totals for ones that restart every hour: half of its rates are negative or far too high."""
    config = site.dataset.template_config
    rule = Deaccumulation(reset=pd.Timedelta("6h"), expected_clamp_fraction=0.0, expected_invalid_fraction=0.0)
    changes: dict[str, Any] = {"deaccumulation": rule, "scale_factor": -1.0}
    rows = tuple(row.model_copy(update=changes) if row.name == RAIN else row for row in config.data_vars)
    return replace(site, dataset=replace(site.dataset, template_config=config.model_copy(update={"data_vars": rows})))


def test_implausible_rates_fail_a_check_and_stand_in_the_ledger(wrong: Site) -> None:
    report = wrong.update(INIT + SOON)
    entry = wrong.ledger()
    assert entry is not None
    assert "were slightly negative" in entry.variables[RAIN].implausible
    assert entry.variables[TEMPERATURE].implausible == ""
    assert set(report.commits[0].stats.implausible) == {RAIN}
    result = ask(wrong, CheckPlausibleRates(), INIT + DAY)
    assert (result.passed, result.severity) == (False, "ERROR")
    assert result.message.startswith(f"'{RAIN}' at 2026-07-29T18:00: of ")
    assert result.metadata == {"implausible": 1}


def test_plausible_rates_pass_and_are_counted(site: Site) -> None:
    report = site.update(INIT + SOON)
    assert ask(site, CheckPlausibleRates(), INIT + DAY).passed
    stats = report.commits[0].stats
    assert set(stats.clamped) == set(stats.invalid) >= {RAIN}
    assert stats.implausible == {}
