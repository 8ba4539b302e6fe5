"""A published value that something new beside it has made outdated is known, and is made again."""

from pathlib import Path

import pytest

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.run.launches import Budget, survey_incomplete
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import INIT, RAIN, SECOND, Sample, Site, assert_true, gfs_key
from tests.long_shards import HOUR, chunks, make
from tests.refusals import refusing

pytest_plugins = ["tests.datasets"]


def entry_of(site: Site) -> LedgerEntry:
    entry = site.ledger()
    assert entry is not None
    return entry


def heal_at(site: Site, now: Timestamp) -> list[Launch]:
    return survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches


def heal(site: Site, now: Timestamp) -> str:
    """Run what the sensor launches; why it did."""
    (launch,) = heal_at(site, now)
    plan = plan_partition(site.dataset, site.workspace, launch.request, now)
    run_partition(site.dataset, site.workspace, plan, run_id="heal")
    return launch.reason


def put_again(site: Site, lead: int) -> None:
    """The same content, in another version."""
    data = site.file(lead).read_bytes()
    site.file(lead).unlink()
    site.file(lead).write_bytes(data)


@pytest.fixture
def refused() -> set[str]:
    """Keys of files that archives refuse at the moment."""
    return set()


@pytest.fixture
def site(tmp_path: Path, gfs_sample: Sample, refused: set[str]) -> Site:
    made = make(tmp_path / "site", gfs_sample)
    return made.having(region_job=refusing(GfsAnalysisRegionJob, refused))


def filled_while_a_margin_fails(site: Site, refused: set[str]) -> None:
    """Hour 2 is filled while hour 4 fails, which is read for its sake only: the rate of hour 3 stays as it was."""
    site.remove(2)
    site.update(INIT + 12 * HOUR)
    site.arrive(INIT, leads=[2])
    refused.add(gfs_key(INIT, 4))
    site.update(INIT + 13 * HOUR)


def test_a_rate_beside_a_hole_that_was_filled_stays_wanted(site: Site, refused: set[str]) -> None:
    filled_while_a_margin_fails(site, refused)
    assert_true(site.read()[RAIN].sel(time=INIT + 2 * HOUR), RAIN, INIT, 2)
    assert site.read()[RAIN].sel(time=INIT + 3 * HOUR).isnull().all()
    assert not entry_of(site).is_complete
    refused.clear()
    heal(site, INIT + 14 * HOUR)
    assert_true(site.read()[RAIN].sel(time=INIT + 3 * HOUR), RAIN, INIT, 3)
    assert entry_of(site).is_complete
    assert heal_at(site, INIT + 15 * HOUR) == []


def test_a_rate_beside_a_corrected_file_stays_wanted(site: Site, refused: set[str]) -> None:
    site.update(INIT + 12 * HOUR)
    put_again(site, 2)
    refused.add(gfs_key(INIT, 4))
    site.update(INIT + 13 * HOUR)
    (value,) = entry_of(site).variables[RAIN].outdated
    assert (value.file, value.waits_for) == (gfs_key(INIT, 3), gfs_key(INIT, 4))
    assert value.label == INIT + 3 * HOUR
    assert value.labels == f"time={INIT + 3 * HOUR}"
    assert "was used before and failed now: SourceFileUnavailable" in value.reason
    refused.clear()
    heal(site, INIT + 14 * HOUR)
    assert entry_of(site).is_complete


def test_it_stays_wanted_while_the_file_fails(site: Site, refused: set[str]) -> None:
    filled_while_a_margin_fails(site, refused)
    before = site.objects()
    assert heal(site, INIT + 14 * HOUR) == "files that values waited for, now there: 1"
    assert not entry_of(site).is_complete
    assert chunks(site) == {key: data for key, data in before.items() if "/c/" in key}
    assert heal(site, INIT + 15 * HOUR) == "files that values waited for, now there: 1"
    refused.clear()
    heal(site, INIT + 16 * HOUR)
    assert entry_of(site).is_complete


def test_nobody_waits_for_a_file_that_is_gone(site: Site, refused: set[str]) -> None:
    filled_while_a_margin_fails(site, refused)
    site.remove(4)
    assert heal_at(site, INIT + 14 * HOUR) == []
    site.arrive(INIT, leads=[4])
    refused.clear()
    heal(site, INIT + 14 * HOUR)
    assert entry_of(site).is_complete


def test_it_is_told_by_a_run_that_was_killed(site: Site, refused: set[str]) -> None:
    """Its note tells what the ledger does not."""
    site.remove(2)
    site.update(INIT + 12 * HOUR)
    site.arrive(INIT, leads=[2])
    refused.add(gfs_key(INIT, 4))
    request = PartitionRequest(label=INIT, publish=True, root_run="killed")
    plan = plan_partition(site.dataset, site.workspace, request, INIT + 13 * HOUR)
    context = site.dataset.context(site.workspace, plan.now, run_id="killed")
    for group in plan.groups:
        process_group(site.dataset, context, plan, group)
    for stored, _ in site.stores.internal.list("lease"):
        site.stores.internal.delete(stored)
    refused.clear()
    site.update(INIT + 14 * HOUR)
    assert_true(site.read()[RAIN].sel(time=INIT + 3 * HOUR), RAIN, INIT, 3)
    assert entry_of(site).is_complete


def test_what_is_given_up_is_not_filled_by_being_read_for_others(site: Site) -> None:
    """Hour 8 comes when its shard is given up. It is read for the sake of hour 9, beside new hours; its own rate is not made."""
    site = site.having(give_up_age=6 * HOUR)
    site.remove(2, init_time=SECOND)
    site.update(INIT + 9 * HOUR)
    site.arrive(SECOND, leads=[2])
    site.update(INIT + 23 * HOUR + 6 * HOUR)
    rain = site.read()[RAIN]
    assert rain.sel(time=INIT + 8 * HOUR).isnull().all()
    for lead in (3, 4):
        assert_true(rain.sel(time=SECOND + lead * HOUR), RAIN, SECOND, lead)
    assert gfs_key(SECOND, 2) in [one.file for one in entry_of(site).variables[RAIN].missing]


def test_a_correction_that_is_refused_stays_wanted(site: Site, refused: set[str]) -> None:
    site.update(INIT + 12 * HOUR)
    put_again(site, 2)
    refused.add(gfs_key(INIT, 2))
    heal(site, INIT + 13 * HOUR)
    assert not entry_of(site).is_complete
    refused.clear()
    assert heal(site, INIT + 14 * HOUR) == "files published again: 1"
    assert entry_of(site).is_complete
    assert heal_at(site, INIT + 15 * HOUR) == []


# The hour before a shard, which its first rate is made from


def entry_of_second(site: Site) -> LedgerEntry:
    entry = site.ledger(SECOND)
    assert entry is not None
    return entry


def test_a_corrected_file_beside_a_shard_reaches_its_first_rate(analysis: Site) -> None:
    analysis.backfill(SECOND + 6 * HOUR)
    before = entry_of_second(analysis).etags[gfs_key(INIT, 5)]
    assert before
    put_again(analysis, 5)
    found = {launch.label: launch for launch in heal_at(analysis, SECOND + 12 * HOUR)}
    assert found.keys() == {INIT, SECOND}
    plan = plan_partition(analysis.dataset, analysis.workspace, found[SECOND].request, SECOND + 12 * HOUR)
    commit = run_partition(analysis.dataset, analysis.workspace, plan, run_id="heal")
    assert SECOND in [file.coord.out_loc()["time"] for file in commit.results[RAIN] if file.was_read]
    assert commit.entry.is_complete
    assert commit.entry.etags[gfs_key(INIT, 5)] != before
    assert SECOND not in [launch.label for launch in heal_at(analysis, SECOND + 18 * HOUR)]


def test_a_corrected_file_beside_a_shard_waits_while_its_first_rate_cannot_be_made(analysis: Site) -> None:
    refused: set[str] = set()
    analysis = analysis.having(region_job=refusing(GfsAnalysisRegionJob, refused))
    analysis.backfill(SECOND + 6 * HOUR)
    before = entry_of_second(analysis).etags[gfs_key(INIT, 5)]
    put_again(analysis, 5)
    request = PartitionRequest(label=SECOND, publish=False, keep_published=True)
    for lead, now in ((1, SECOND + 12 * HOUR), (None, SECOND + 13 * HOUR)):
        refused.clear()
        if lead is not None:
            refused.add(gfs_key(SECOND, lead))
        plan = plan_partition(analysis.dataset, analysis.workspace, request, now)
        entry = run_partition(analysis.dataset, analysis.workspace, plan, run_id="heal").entry
        assert entry.is_complete == (lead is None)
        assert (entry.etags[gfs_key(INIT, 5)] == before) == (lead is not None)
