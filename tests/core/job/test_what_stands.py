"""What a store holds is not lost, and not taken for what the ledger says, when archives refuse files and files go."""

from pathlib import Path

import pandas as pd
import pytest

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.errors import (
    CorruptMessage,
    ReformatError,
    SourceFileUnavailable,
)
from reformatters_dagster.core.spec.values import Timedelta
from tests.core.job.standing import HOUR, LATE, entry_of, heal_at, healed, holes, key
from tests.datasets import (
    INIT,
    LEADS,
    RAIN,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    Site,
)
from tests.refusals import refusing

pytest_plugins = ["tests.datasets", "tests.stores"]


# Refusals


def test_a_hole_is_not_filled_at_the_price_of_another(site: Site) -> None:
    """The file that was missing has come, one that was used is refused: as many files as before."""
    refused: set[str] = set()
    site = site.having(region_job=refusing(GfsForecastRegionJob, refused))
    site.arrive(INIT, leads=[lead for lead in LEADS if lead != 3])
    site.update(INIT + LATE)
    site.arrive(INIT, leads=[3])
    refused.add(key(7))
    now = INIT + LATE + HOUR
    (launch,) = heal_at(site, now)
    assert set(healed(site, launch, now).stats.kept) == set(VARIABLES)
    assert holes(site) == [3]
    refused.clear()
    (again,) = heal_at(site, now + 5 * HOUR)
    assert again.reason == "missing files that have arrived: 1"
    assert healed(site, again, now + 5 * HOUR).entry.is_complete
    assert heal_at(site, now + 10 * HOUR) == []


def test_a_correction_that_could_not_be_taken_is_taken_later(site: Site) -> None:
    refused: set[str] = set()
    site = site.having(region_job=refusing(GfsForecastRegionJob, refused))
    site.arrive(INIT)
    site.update(INIT + LATE)
    data = site.file(4).read_bytes()
    site.file(4).unlink()
    site.file(4).write_bytes(data)
    refused.add(key(7))
    now = INIT + LATE + HOUR
    (launch,) = heal_at(site, now)
    assert healed(site, launch, now).entry.retry
    refused.clear()
    (again,) = heal_at(site, now + 5 * HOUR)
    assert again.reason == "files published again: 1"
    assert not healed(site, again, now + 5 * HOUR).entry.retry


def test_a_backfill_does_not_swap_one_hole_for_another(analysis: Site) -> None:
    analysis.remove(3)
    analysis.update(INIT + 4 * HOUR)
    analysis.arrive(INIT, leads=[3])
    other = analysis.having(region_job=refusing(GfsAnalysisRegionJob, {key(1)}))
    commit = other.backfill(INIT + 4 * HOUR, overwrite_chunks=True).commits[0]
    assert TEMPERATURE in commit.stats.kept
    assert holes(analysis, dim="time") == [3]


def test_a_hole_is_not_filled_at_the_price_of_another_once_other_files_are_wanted(site: Site) -> None:
    """A missing file was declared never made; another has come, and one that was used is gone: as many files as before."""

    class Known(GfsForecastRegionJob):
        known_missing_files = ("*.f004",)

    site.arrive(INIT, leads=[lead for lead in LEADS if lead not in {4, 5}])
    site.update(INIT + LATE)
    site.arrive(INIT, leads=[5])
    site.remove(3)
    other = site.having(region_job=Known)
    report = other.backfill(overwrite_chunks=True)
    assert set(report.commits[0].stats.kept) == set(VARIABLES)
    assert holes(site) == [4, 5]
    site.arrive(INIT, leads=[3])
    assert other.backfill(overwrite_chunks=True).commits[0].entry.is_complete
    assert holes(site) == [4]


def test_a_file_that_was_not_wanted_before_holds_no_hole_open(site: Site) -> None:
    """It is taken off the list of those never made, and is not there; another has come."""

    class Known(GfsForecastRegionJob):
        known_missing_files = ("*.f004",)

    site.arrive(INIT, leads=[lead for lead in LEADS if lead not in {4, 5}])
    site.having(region_job=Known).update(INIT + LATE)
    site.arrive(INIT, leads=[5])
    report = site.backfill(overwrite_chunks=True)
    assert report.commits[0].stats.kept == []
    assert holes(site) == [4]


def test_a_value_made_from_a_file_beside_the_shard_outlives_it(analysis: Site) -> None:
    """The hour before a shard, which its first rate is made from, is gone when the shard is made anew."""
    analysis.update(SECOND + 5 * HOUR)
    before = analysis.read()[RAIN].sel(time=SECOND)
    index = Path(f"{analysis.file(5)}.idx")
    index.write_text("".join(line for line in index.read_text().splitlines(keepends=True) if "APCP" not in line))
    report = analysis.backfill(SECOND + 6 * HOUR, overwrite_chunks=True, contains=(SECOND,))
    assert report.commits[0].stats.kept == [RAIN]
    assert before.notnull().any()
    assert analysis.read()[RAIN].sel(time=SECOND).identical(before)


def test_a_file_beside_the_shard_is_missed_until_it_comes(analysis: Site) -> None:
    """The hour before a shard, which its first rate is made from."""
    index = Path(f"{analysis.file(5)}.idx")
    whole = index.read_text()
    index.write_text("".join(line for line in whole.splitlines(keepends=True) if "APCP" not in line))
    analysis.update(SECOND + 2 * HOUR)
    for hours in (3, 4):
        analysis.update(SECOND + hours * HOUR)
        assert [one.file for one in entry_of(analysis, SECOND).variables[RAIN].missing] == [key(5)]
    index.unlink()
    index.write_text(whole)
    analysis.backfill(SECOND + 5 * HOUR, overwrite_chunks=True)
    assert entry_of(analysis, SECOND).is_complete
    assert analysis.read()[RAIN].sel(time=SECOND).notnull().any()


# Updates that go on


def test_a_forced_update_leaves_what_is_published(analysis: Site) -> None:
    analysis.update(INIT + 5 * HOUR)
    other = analysis.having(region_job=refusing(GfsAnalysisRegionJob, {key(3), key(4), key(5)}))
    plan = plan_partition(
        other.dataset, other.workspace, PartitionRequest(label=INIT, publish=True, force=True), INIT + 5 * HOUR
    )
    commit = run_partition(other.dataset, other.workspace, plan, run_id="forced")
    assert commit.labels == 6
    assert not entry_of(analysis).is_complete
    analysis.update(INIT + 5 * HOUR)
    assert holes(analysis, dim="time") == []


def test_an_update_is_committed_after_one_of_a_later_partition(site: Site) -> None:
    site.arrive(INIT, leads=range(8))
    site.update()
    site.arrive(INIT, SECOND)
    dataset, workspace, now = site.dataset, site.workspace, SECOND + SOON
    slow = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=True, root_run="slow"), now)
    context = dataset.context(workspace, now, run_id="slow")
    outcomes = [process_group(dataset, context, slow, group) for group in slow.groups]
    quick = plan_partition(dataset, workspace, PartitionRequest(label=SECOND, publish=True, root_run="quick"), now)
    run_partition(dataset, workspace, quick, run_id="quick")
    commit_partition(dataset, workspace, slow, outcomes, run_id="slow", now=now)
    assert entry_of(site).is_complete
    assert len(site.read()["init_time"]) == 2


@pytest.mark.parametrize("error", [SourceFileUnavailable, CorruptMessage])
def test_an_old_failure_does_not_keep_a_shard_from_being_given_up(analysis: Site, error: type[ReformatError]) -> None:
    patient = analysis.having(give_up_age=Timedelta("12h"))
    patient.remove(5)
    patient.having(region_job=refusing(GfsAnalysisRegionJob, {key(2)}, error)).update(INIT + 4 * HOUR)
    assert len(patient.read()["time"]) == 5
    patient.update(INIT + 24 * HOUR)
    assert len(patient.read()["time"]) > 6
    patient.update(INIT + 25 * HOUR)


def test_one_bad_file_in_a_whole_shard_does_not_hold_up_the_next(analysis: Site) -> None:
    analysis.file(3).write_bytes(bytes(1000))
    analysis.update(INIT + 5 * HOUR)
    assert len(analysis.read()["time"]) == 6
    analysis.update(INIT + 8 * HOUR)
    assert len(analysis.read()["time"]) == 9


def test_an_init_time_that_is_no_longer_upstream_does_not_hold_up_the_next(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    site.remove(*LEADS)
    site.arrive(SECOND)
    report = site.update(SECOND + SOON)
    assert [commit.plan.label for commit in report.commits] == [SECOND]
    assert list(report.failures) == report.unread == [INIT]
    assert holes(site) == []


def test_an_init_time_that_was_never_made_is_passed_after_the_give_up_age(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    site.arrive(THIRD)
    assert list(site.update(THIRD + SOON).failures) == [SECOND]
    age = site.dataset.give_up_age
    site.update(SECOND + age + HOUR)
    times = list(site.read().indexes["init_time"])
    assert times[:3] == [INIT, SECOND, THIRD]
    assert entry_of(site, SECOND).known_missing
    assert entry_of(site, THIRD).is_complete


def test_an_update_does_the_newest_labels_where_metadata_reaches_past_them(analysis: Site) -> None:
    analysis.backfill(INIT + 2 * HOUR, end=INIT + 6 * HOUR)
    report = analysis.update(INIT + 4 * HOUR)
    assert report.partitions == [INIT]
    assert pd.DatetimeIndex(analysis.read().indexes["time"])[-1] == INIT + 5 * HOUR
