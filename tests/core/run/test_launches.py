"""What is launched follows from upstream, ledger and store, and from nothing remembered in between."""

import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import (
    Budget,
    is_whole,
    survey_incomplete,
    survey_unpublished,
)
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.errors import NothingSucceeded
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import (
    INIT,
    LEADS,
    NOMADS,
    SECOND,
    SOON,
    STEP,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    Sample,
    Site,
    gfs_key,
)
from tests.launched import LATE, giving_up, heals, launches, run
from tests.upstreams import FaultServer

pytest_plugins = ["tests.datasets"]


def test_nothing_is_launched_before_the_files_are_there(site: Site) -> None:
    survey = survey_unpublished(site.dataset, site.workspace, INIT + SOON, Budget(20))
    assert survey.launches == []
    assert survey.waiting == ["2026-07-29T18:00 has 0 of 10 files"]


def test_a_complete_partition_is_launched_at_once(site: Site) -> None:
    site.arrive(INIT)
    (launch,) = launches(site, INIT + Timedelta("1h"))
    assert (launch.label, launch.reason) == (INIT, "all files have arrived")


def test_a_file_without_its_index_has_not_arrived(site: Site) -> None:
    site.arrive(INIT)
    site.file(4).with_name(f"{site.file(4).name}.idx").unlink()
    survey = survey_unpublished(site.dataset, site.workspace, INIT + SOON, Budget(20))
    assert (survey.launches, survey.waiting) == ([], ["2026-07-29T18:00 has 9 of 10 files"])


def test_an_incomplete_one_is_launched_at_the_soft_deadline(site: Site) -> None:
    site.arrive(INIT, leads=range(6))
    assert launches(site, INIT + site.dataset.soft_deadline - Timedelta("1min")) == []
    (launch,) = launches(site, INIT + site.dataset.soft_deadline)
    assert launch.reason == "the soft deadline has passed with 6 of 10 files"


def test_after_an_outage_every_partition_follows_oldest_first(site: Site) -> None:
    site.arrive(INIT, SECOND, THIRD)
    now = THIRD + SOON
    seen = survey_unpublished(site.dataset, site.workspace, now, Budget(20)).seen
    assert sorted(arrivals.label for arrivals in seen) == [INIT, SECOND, THIRD]
    done = []
    while found := launches(site, now):
        (launch,) = found
        run(site, launch, now)
        done.append(launch.label)
    assert done == [INIT, SECOND, THIRD]
    assert list(site.read().indexes["init_time"]) == done


def test_one_that_never_came_is_given_up_once_later_ones_are_there(site: Site) -> None:
    site = site.having(give_up_age=Timedelta("10h"))
    site.arrive(SECOND)
    assert launches(site, SECOND + Timedelta("3h")) == []
    now = INIT + Timedelta("10h")
    (launch,) = launches(site, now)
    assert (launch.label, launch.request.accept_missing) == (INIT, True)
    assert "given up with 0 of 10 files" in launch.reason
    run(site, launch, now)
    entry = site.ledger(INIT)
    assert entry is not None
    assert entry.known_missing
    assert {coverage.succeeded for coverage in entry.variables.values()} == {0}
    (launch,) = launches(site, now)
    run(site, launch, now)
    ds = site.read()
    assert list(ds.indexes["init_time"]) == [INIT, SECOND]
    assert ds["temperature_2m"].sel(init_time=INIT).isnull().all()
    assert not ds["temperature_2m"].sel(init_time=SECOND).isnull().any()
    assert heals(site, now) == []


def test_one_that_is_there_and_past_its_age_says_so_once_later_ones_are_there(site: Site) -> None:
    """Whether it is given up is for those who know how often it was tried."""
    site = site.having(give_up_age=Timedelta("10h"))
    site.arrive(INIT)
    for lead in LEADS:
        site.file(lead).write_bytes(bytes(1000))
    now = INIT + Timedelta("10h")
    (launch,) = launches(site, now)
    assert (launch.label, launch.past_give_up) == (INIT, False)
    site.arrive(SECOND)
    (launch,) = launches(site, now - Timedelta("1min"))
    assert (launch.label, launch.past_give_up) == (INIT, False)
    (launch,) = launches(site, now)
    assert (launch.label, launch.past_give_up, launch.request.accept_missing) == (INIT, True, False)
    assert launch.reason == "all files have arrived; it is past its give-up age, and later ones have arrived"
    with pytest.raises(NothingSucceeded, match="nothing was published"):
        run(site, launch, now)
    run(site, giving_up(launch), now)
    entry = site.ledger()
    assert entry is not None
    assert entry.known_missing
    (launch,) = launches(site, now)
    assert launch.label == SECOND


def test_a_shard_whose_last_labels_never_came_does_not_hold_the_next_one_up(analysis: Site) -> None:
    """It has nothing new since its last run, and is past its age."""
    # Files of the test are younger than the time it plays at.
    site = analysis.having(give_up_age=Timedelta("10h"), quiet=Timedelta("-3650D"))
    for lead in (4, 5):
        analysis.file(lead).unlink()
    now = SECOND + Timedelta("5h")
    (launch,) = launches(site, now)
    run(site, launch, now)
    assert len(site.read().indexes["time"]) == 4
    assert launches(site, now) == []
    later = INIT + Timedelta("16h")
    (launch,) = launches(site, later)
    assert (launch.label, launch.past_give_up) == (INIT, True)
    run(site, giving_up(launch), later)
    assert len(site.read().indexes["time"]) == 6
    (launch,) = launches(site, later)
    assert launch.label == SECOND


def never_made(site: Site, *init_times: Timestamp) -> Site:
    """The same place, with a dataset that knows that some init times were never made."""

    class Job(GfsForecastRegionJob):
        known_missing_files = tuple(f"gfs.{init:%Y%m%d/%H}/*" for init in init_times)

    return site.having(region_job=Job)


def test_one_that_was_never_made_is_published_at_once_and_complete(site: Site) -> None:
    site.arrive(SECOND)
    known = never_made(site, INIT)
    now = INIT + SOON
    (launch,) = launches(known, now)
    assert (launch.label, launch.reason) == (INIT, "no file of it is expected")
    run(known, launch, now)
    entry = known.ledger()
    assert entry is not None
    assert is_whole(known.dataset, entry)
    assert not entry.known_missing
    assert known.read()[TEMPERATURE].isnull().all()
    checks = known.dataset.validate(known.stores.primary, now, [CheckExpectedShards()], internal=known.stores.internal)
    assert [check.passed for check in checks] == [True]
    assert heals(known, now + Timedelta("1h")) == []
    (launch,) = launches(known, SECOND + SOON)
    assert launch.label == SECOND


def test_ones_that_were_never_made_stop_no_update_and_no_backfill(site: Site) -> None:
    site.arrive(THIRD)
    known = never_made(site, INIT, SECOND)
    assert known.update(INIT + SOON).failures == {}
    report = known.update(THIRD + SOON)
    assert (report.failures, [commit.labels for commit in report.commits]) == ({}, [1, 2, 3])
    assert known.backfill(THIRD + SOON, contains=(SECOND,), overwrite_chunks=True).failures == {}


def test_one_that_was_never_made_is_healed_once(site: Site) -> None:
    """Metadata shows it, and no run has written it."""
    known = never_made(site, INIT)
    known.dataset.initialise(known.workspace, SECOND, SECOND)
    now = SECOND + LATE
    (launch,) = heals(known, now)
    assert launch.reason == "never written, and 0 of 0 files are there"
    run(known, launch, now)
    assert heals(known, now + Timedelta("1h")) == []


def test_without_acceptance_nothing_is_never_published(site: Site) -> None:
    site.arrive(SECOND)
    plan = plan_partition(site.dataset, site.workspace, PartitionRequest(label=INIT, publish=True), SECOND)
    outcome = process_group(site.dataset, site.dataset.context(site.workspace, SECOND, run_id="a"), plan, VARIABLES)
    with pytest.raises(NothingSucceeded, match="nothing was published"):
        commit_partition(site.dataset, site.workspace, plan, [outcome], run_id="a", now=SECOND)


def test_files_that_only_another_archive_has_are_launched_at_the_soft_deadline(site: Site) -> None:
    site.arrive(INIT, archive=NOMADS)
    deadline = INIT + site.dataset.soft_deadline
    assert launches(site, deadline - Timedelta("1min")) == []
    (launch,) = launches(site, deadline)
    assert launch.reason == f"all files have arrived in {NOMADS!r}"
    assert launches(site, deadline + Timedelta("1min")) == [launch]
    assert survey_unpublished(site.dataset, site.workspace, deadline, Budget(0)).launches == []
    run(site, launch, deadline)
    assert list(site.read().indexes["init_time"]) == [INIT]
    later = deadline + Timedelta("1h")
    assert heals(site, later) == []
    site.arrive(INIT)
    assert heals(site, later) == [], "it has them already, from elsewhere"


def test_other_archives_are_not_asked_while_the_first_serves(site: Site) -> None:
    site.arrive(INIT, archive=NOMADS)
    site.arrive(INIT, leads=[0])
    (launch,) = launches(site, INIT + LATE)
    assert launch.reason == "the soft deadline has passed with 1 of 10 files"


def test_archives_that_cannot_list_are_asked_while_the_one_that_can_is_out(site: Site) -> None:
    """Behind an HTTP mirror there is no listing at all."""
    site.arrive(INIT, archive=NOMADS)
    files = {
        path.relative_to(site.upstream).as_posix(): path.read_bytes()
        for path in site.upstream.rglob("*")
        if path.is_file()
    }
    with FaultServer(files) as server:
        remote = replace(site, settings={"upstream": server.url})
        survey = survey_unpublished(remote.dataset, remote.workspace, INIT + SOON, Budget(20))
        assert survey.launches == []
        assert "2026-07-29T18:00 could not be listed: files of" in survey.waiting[0]
        (launch,) = launches(remote, INIT + LATE)
        assert launch.reason == f"the soft deadline has passed with 3 of 3 files asked for in {NOMADS!r}"
        run(remote, launch, INIT + LATE)
        entry = remote.ledger()
        assert entry is not None
        assert is_whole(remote.dataset, entry)


def test_later_ones_that_only_another_archive_has_are_later_ones(site: Site) -> None:
    site = site.having(give_up_age=Timedelta("10h"), soft_deadline=Timedelta("3h"))
    site.arrive(SECOND, archive=NOMADS)
    (launch,) = launches(site, INIT + Timedelta("10h"))
    assert (launch.label, launch.request.accept_missing) == (INIT, True)
    assert launch.reason == "given up with 0 of 10 files; later ones have arrived"


def test_a_shard_of_many_labels_is_looked_for_by_what_it_lacks(analysis: Site) -> None:
    """Its archive has been out since its last run; the other has the next hours, for as long as it keeps them."""
    site = analysis.having(quiet=Timedelta("-3650D"), soft_deadline=Timedelta("1h"))
    now = INIT + Timedelta("2h")
    (launch,) = launches(site, now)
    run(site, launch, now)
    site.arrive(INIT, leads=range(7), archive=NOMADS)
    files = {
        path.relative_to(site.upstream).as_posix(): path.read_bytes()
        for path in (site.upstream / NOMADS).rglob("*")
        if path.is_file()
    }
    with FaultServer(files) as server:
        remote = replace(site, settings={"upstream": server.url})
        assert launches(remote, now) == []
        later = INIT + Timedelta("5h")
        (launch,) = launches(remote, later)
        assert launch.reason == f"all files have arrived in {NOMADS!r}"
        run(remote, launch, later)
        assert len(remote.read().indexes["time"]) == 6
        assert launches(remote, later) == []


def gone(site: Site, *leads: int) -> None:
    """Take files away with their indexes."""
    site.remove(*leads)
    for lead in leads:
        Path(f"{site.file(lead)}.idx").unlink()


def test_a_shard_that_only_another_archive_continues_is_looked_for_once_its_next_label_is_late(analysis: Site) -> None:
    """Its usual archive answers, and gets nothing more."""
    site = analysis.having(quiet=Timedelta("-3650D"), soft_deadline=Timedelta("3h"))
    gone(site, 3, 4, 5, 6)
    now = INIT + Timedelta("4h")
    run(site, launches(site, now)[0], now)
    assert len(site.read().indexes["time"]) == 3
    site.arrive(INIT, leads=range(7), archive=NOMADS)
    assert launches(site, INIT + Timedelta("6h") - Timedelta("1min")) == [], "hour 3 is not late yet"
    later = INIT + Timedelta("6h")
    assert survey_unpublished(site.dataset, site.workspace, later, Budget(0)).launches == []
    (launch,) = launches(site, later)
    assert (launch.label, launch.reason) == (INIT, f"all files have arrived in {NOMADS!r}")
    run(site, launch, later)
    assert len(site.read().indexes["time"]) == 6


@pytest.mark.parametrize("usual", [True, False])
def test_files_that_are_bad_in_every_archive_are_not_launched_for_ever(analysis: Site, *, usual: bool) -> None:
    """Updates look in other archives than heals do, and neither takes what the other one saw for news."""
    site = analysis.having(quiet=Timedelta("-3650D"), soft_deadline=Timedelta("1h"))
    site.arrive(INIT, leads=range(5), archive=NOMADS)
    gone(site, *([] if usual else [1]), 3, 4, 5, 6)
    for bad in (site.file(1, archive=NOMADS), site.file(4, archive=NOMADS), *([site.file(1)] if usual else [])):
        bad.write_bytes(bytes(1000))
    runs = []
    for half_hours in range(8, 48):
        now = INIT + half_hours * site.dataset.heal_cool_down
        for look in (launches, heals):
            for launch in look(site, now):
                if launch.label == INIT:
                    run(site, launch, now)
                    runs.append((half_hours, launch.reason))
    assert len(site.read().indexes["time"]) == 4, "what can be had of the other archive is there"
    assert [half_hours for half_hours, _ in runs if half_hours > 16] == [], runs


def test_hours_that_a_heal_saw_and_could_not_publish_are_for_an_update(analysis: Site) -> None:
    # Files of the test are younger than the time it plays at.
    site = analysis.having(quiet=Timedelta("-3650D"), soft_deadline=Timedelta("1h"))
    site.remove(1)
    now = INIT + Timedelta("2h")
    run(site, launches(site, now)[0], now)
    assert launches(site, now) == []
    published = len(site.read().indexes["time"])
    site.arrive(INIT, leads=[1])
    later = now + site.dataset.heal_cool_down + Timedelta("2h")
    (heal,) = heals(site, later)
    assert heal.reason == "missing files that have arrived: 1"
    run(site, heal, later)
    assert len(site.read().indexes["time"]) == published
    (launch,) = launches(site, later)
    assert launch.arrivals.fingerprint == heal.arrivals.fingerprint
    run(site, launch, later)
    assert len(site.read().indexes["time"]) > published
    survey = survey_unpublished(site.dataset, site.workspace, later, Budget(20))
    assert survey.launches == []
    assert survey.waiting == [f"{partition_key(INIT)} has nothing new since its last run"]


def test_a_spent_budget_stops_the_listing_and_says_so(site: Site) -> None:
    site.arrive(INIT, SECOND, THIRD)
    survey = survey_unpublished(site.dataset, site.workspace, THIRD + SOON, Budget(0))
    assert [launch.label for launch in survey.launches] == [INIT]
    assert survey.waiting == ["the listing budget ended before 2026-07-30T06:00"]


@pytest.mark.slow
def test_a_week_of_late_disordered_and_missing_files_ends_in_the_truth(
    tmp_path: Path, forecast_dataset: DynamicalDataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """100 looks at an upstream of 28 init times; the ledger ends equal to it, and no partition runs without a change."""
    inits = list(pd.date_range(INIT, periods=28, freq="6h", unit="us"))
    folder = tmp_path_factory.mktemp("week")
    write_sample_upstream(folder, inits, LEADS, variables=VARIABLES, step=STEP)
    dataset = replace(forecast_dataset, heal_cool_down=Timedelta("1h"), give_up_age=Timedelta("3D"))
    site = Site(tmp_path, dataset, Sample(folder, folder))
    ticks, chance = 100, random.Random(20260729)
    hours = (inits[-1] - INIT + Timedelta("1D")) / Timedelta("1h")
    arrives = {
        (init, lead): init + Timedelta(hours=chance.choice([2, 3, 4, 5, 9, 30]) + chance.random())
        for init in inits
        for lead in LEADS
        if chance.random() > 0.03 and init != inits[9]
    }
    there: set[tuple[Timestamp, int]] = set()
    runs: Counter[Timestamp] = Counter()
    for tick in range(ticks):
        now = INIT + Timedelta(minutes=round(60 * hours * tick / (ticks - 1)))
        for init, lead in sorted(place for place, time in arrives.items() if time <= now and place not in there):
            site.arrive(init, leads=[lead])
            there.add((init, lead))
        arrived = Counter(init for init, _ in there)
        for look in (survey_unpublished, survey_incomplete):
            for launch in look(site.dataset, site.workspace, now, Budget(60)).launches:
                run(site, launch, now)
                runs[launch.label] += 1
    published = list(published_labels(site.stores.primary, "init_time"))
    assert published == inits[: len(published)]
    assert len(published) >= 26
    for init in published:
        entry = site.ledger(init)
        assert entry is not None
        for variable, coverage in entry.variables.items():
            lacking = {missing.file for missing in coverage.missing}
            wanted = [lead for lead in LEADS if lead or variable in ("temperature_2m", "wind_u_10m")]
            # What came after the give-up age is known to be missing, and not waited for.
            gone = {gfs_key(init, lead) for lead in wanted if (init, lead) not in there}
            assert gone <= lacking, partition_key(init)
            assert lacking - gone == set() or entry.known_missing, partition_key(init)
        assert runs[init] <= max(arrived[init], 1), partition_key(init)
    shutil.rmtree(folder)
