"""Arrivals, heals and giving up where a shard holds many labels."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.launches import Budget, Survey, survey_incomplete, survey_unpublished
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.run.plan import plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.errors import StoreMissing
from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import INIT, TEMPERATURE, Sample, Site, gfs_key
from tests.long_shards import HOUR, LAST, chunks, make, read_labels

pytest_plugins = ["tests.datasets"]


@pytest.fixture
def site(tmp_path: Path, gfs_sample: Sample) -> Site:
    return make(tmp_path / "site", gfs_sample)


@pytest.fixture
def at_once(tmp_path: Path, gfs_sample: Sample) -> Site:
    """Another deployment, which makes every shard in one go."""
    return make(tmp_path / "at-once", gfs_sample)


def aged(site: Site, time: Timestamp) -> None:
    """Every upstream file was written at a time."""
    for path in site.upstream.rglob("*.f0*"):
        os.utime(path, (time.timestamp(), time.timestamp()))


def run(site: Site, launch: Launch, now: Timestamp) -> RunReport:
    """What the ops of a launched run do."""
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, launch.request, now)
    context = dataset.context(workspace, now)
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    return RunReport(
        [launch.label], [commit_partition(dataset, workspace, plan, outcomes, run_id=context.run_id, now=now)]
    )


def unpublished(site: Site, now: Timestamp) -> Survey:
    return survey_unpublished(site.dataset, site.workspace, now, Budget(20))


def test_a_bunch_of_files_is_one_launch(site: Site) -> None:
    site.update(INIT + 12 * HOUR)
    now = LAST + 5 * HOUR
    aged(site, now - pd.Timedelta("5min"))
    survey = unpublished(site, now)
    assert survey.launches == []
    assert survey.waiting == ["2026-07-29T18:00 got its newest file at 15:55; more of the bunch are waited for"]
    (launch,) = unpublished(site, now + pd.Timedelta("5min")).launches
    run(site, launch, now)
    survey = unpublished(site, now + HOUR)
    assert survey.launches == []
    assert survey.waiting == ["2026-07-29T18:00 has nothing new since its last run"]
    assert site.read().indexes["time"][-1] == LAST + HOUR


def test_a_hole_of_a_long_shard_is_healed_without_reading_it_all(site: Site, at_once: Site) -> None:
    site.file(4).unlink()
    site.update(LAST)
    site.arrive(INIT, leads=[4])
    now = LAST + 2 * HOUR
    (launch,) = survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches
    assert launch.reason == "missing files that have arrived: 1"
    report = run(site, launch, now)
    assert read_labels(report, TEMPERATURE) == [INIT + 4 * HOUR]
    at_once.update(LAST)
    assert chunks(site) == chunks(at_once)


def test_old_files_of_a_shard_are_not_listed_again(site: Site) -> None:
    """Past the give-up age the ledger is asked, so that a look costs the same at the end of 60 days as at their beginning."""
    site.update(INIT + 12 * HOUR)
    entry, soon, now = site.ledger(), INIT + pd.Timedelta("1D"), INIT + pd.Timedelta("6D")
    assert entry is not None
    listed = find_arrivals(site.dataset, site.workspace, INIT, soon)
    site.file(3).unlink()
    trusted = find_arrivals(site.dataset, site.workspace, INIT, now, known=entry)
    assert (trusted.present, trusted.expected) == (listed.present, listed.expected)
    assert trusted.etags == listed.etags
    assert find_arrivals(site.dataset, site.workspace, INIT, soon).present == listed.present - 1


def test_a_shard_in_progress_is_not_given_up(site: Site) -> None:
    site.file(4).unlink()
    site.update(LAST)
    late = INIT + site.dataset.give_up_age + HOUR
    assert survey_incomplete(site.dataset, site.workspace, late, Budget(20)).given_up == []
    end = INIT + 23 * HOUR + site.dataset.give_up_age
    assert survey_incomplete(site.dataset, site.workspace, end, Budget(20)).given_up == [INIT]


def test_a_store_that_was_lost_beside_its_ledger_is_noticed(site: Site) -> None:
    """By the ledger alone there would be nothing new, for ever."""
    now = INIT + 6 * HOUR
    aged(site, now - HOUR)
    (launch,) = unpublished(site, now).launches
    run(site, launch, now)
    shutil.rmtree(site.stores.primary.url)
    (launch,) = unpublished(site, now).launches
    with pytest.raises(StoreMissing, match="no store stands there, while the ledger says"):
        run(site, launch, now)


def test_a_late_file_of_an_old_label_is_seen_while_its_shard_is_young(tmp_path: Path, gfs_sample: Sample) -> None:
    """The shard's last label counts, for what an update tries and for what a look lists."""
    site = make(tmp_path / "young", gfs_sample).having(give_up_age=6 * HOUR, quiet=pd.Timedelta("-3650D"))
    site.file(4).unlink()
    site.update(INIT + 9 * HOUR)
    now = INIT + pd.Timedelta("28h")
    assert now - pd.Timedelta("6h") > INIT + 4 * HOUR
    site.arrive(INIT, leads=[4])
    (launch,) = survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches
    assert launch.reason == "missing files that have arrived: 1"
    (launch,) = unpublished(site, now).launches
    report = run(site, launch, now)
    assert INIT + 4 * HOUR in read_labels(report, TEMPERATURE)
    assert report.commits[0].entry.upstream == launch.arrivals.fingerprint


def test_what_an_update_did_not_try_does_not_count_as_seen(site: Site) -> None:
    site = site.having(give_up_age=6 * HOUR, quiet=pd.Timedelta("-3650D"))
    site.file(4).unlink()
    site.update(INIT + 9 * HOUR)
    site.arrive(INIT, leads=[4])
    now = INIT + pd.Timedelta("29h")
    (launch,) = unpublished(site, now).launches
    report = run(site, launch, now)
    assert INIT + 4 * HOUR not in read_labels(report, TEMPERATURE)
    assert report.commits[0].entry.upstream == ""
    later = now + site.dataset.heal_cool_down
    (heal,) = survey_incomplete(site.dataset, site.workspace, later, Budget(20)).launches
    assert gfs_key(INIT, 4) not in run(site, heal, later).commits[0].entry.lacking
