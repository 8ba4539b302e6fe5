"""What a store holds is not lost, and not taken for what the ledger says, when archives refuse files and runs are killed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.lease import LeaseTerms
from reformatters_dagster.core.ledger.progress import noted_partitions
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.launches import Budget, survey_incomplete
from reformatters_dagster.core.run.outcomes import CommitReport
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import (
    CorruptMessage,
    LeaseHeld,
    ReformatError,
    SourceFileUnavailable,
    StoreMissing,
)
from reformatters_dagster.core.spec.values import Array2D, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
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
    gfs_key,
    objects_of,
)
from tests.refusals import refusing
from tests.stores import FaultStore, Stopped

pytest_plugins = ["tests.datasets", "tests.stores"]

HOUR = Timedelta("1h")
LATE = Timedelta("7h")
AT_ONCE = LeaseTerms(time_to_live=0.0, heartbeat=60, look_again=0.0)


def key(lead: int, init_time: Timestamp = INIT) -> str:
    return gfs_key(init_time, lead)


def holes(site: Site, variable: str = TEMPERATURE, dim: str = "lead_time") -> list[int]:
    """Positions at which readers see nothing but NaN."""
    field = site.read()[variable]
    others = [one for one in field.dims if one != dim]
    return [int(at) for at in field.isnull().all(others).to_numpy().nonzero()[0]]


def entry_of(site: Site, label: Timestamp = INIT) -> LedgerEntry:
    entry = site.ledger(label)
    assert entry is not None
    return entry


def heal_at(site: Site, now: Timestamp) -> list[Launch]:
    return survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches


def healed(site: Site, launch: Launch, now: Timestamp) -> CommitReport:
    plan = plan_partition(site.dataset, site.workspace, launch.request, now)
    return run_partition(site.dataset, site.workspace, plan, run_id="heal")


def killed_before_its_commit(site: Site, plan: PartitionPlan, root_run: str) -> None:
    """All shards are up; the lease is gone, as after its time to live."""
    context = site.dataset.context(site.workspace, plan.now, run_id=root_run, force=plan.request.force)
    for group in plan.groups:
        process_group(site.dataset, context, plan, group)
    for stored, _ in site.stores.internal.list("lease"):
        site.stores.internal.delete(stored)


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


# Runs that ended between upload and commit


@pytest.mark.parametrize("force", [False, True])
def test_shards_that_the_ledger_does_not_tell_of_are_not_trusted(analysis: Site, force: bool) -> None:
    """A run fills one hole, makes another where it may, and is killed; the next goes on with what really stands."""
    if not force:
        analysis.remove(3)
    analysis.update(INIT + 4 * HOUR)
    analysis.arrive(INIT, leads=[3])
    other = analysis.having(region_job=refusing(GfsAnalysisRegionJob, {key(2)}))
    plan = plan_partition(
        other.dataset,
        other.workspace,
        PartitionRequest(label=INIT, publish=False, force=force, root_run="killed"),
        INIT + 4 * HOUR,
    )
    killed_before_its_commit(other, plan, "killed")
    analysis.update(INIT + 5 * HOUR)
    assert entry_of(analysis).is_complete
    assert holes(analysis, dim="time") == []


def test_a_commit_of_other_variables_leaves_them_in_doubt(analysis: Site) -> None:
    """A run makes a hole and is killed; one of a single variable commits; then all are continued."""
    analysis.update(INIT + 4 * HOUR)
    other = analysis.having(region_job=refusing(GfsAnalysisRegionJob, {key(2)}))
    plan = plan_partition(
        other.dataset,
        other.workspace,
        PartitionRequest(label=INIT, publish=False, force=True, root_run="killed"),
        INIT + 4 * HOUR,
    )
    killed_before_its_commit(other, plan, "killed")
    analysis.backfill(INIT + 4 * HOUR, overwrite_chunks=True, variables=(RAIN,))
    assert holes(analysis, dim="time") == [2]
    analysis.update(INIT + 5 * HOUR)
    assert not any(2 in holes(analysis, name, "time") for name in VARIABLES)


def test_a_run_that_comes_as_another_commits_keeps_its_own_notes(site: Site) -> None:
    """Nothing is forgotten once the lease is gone."""
    site.arrive(INIT)
    held: list[bool] = []

    class Watched(FaultStore):
        def delete(self, key: str) -> None:
            if "progress/" in key:
                held.append(self.exists("lease/2026-07-29T18:00.json"))
            super().delete(key)

    internal = Watched(site.stores.internal, lambda url, stored: None)
    workspace = replace(site.workspace, stores=replace(site.stores, internal=internal))
    site.dataset.reformat_operational_update(workspace, run_id="one", now=INIT + SOON)
    assert held == [True] * len(VARIABLES)


def test_values_that_no_ledger_tells_of_are_kept(site: Site) -> None:
    """Killed as it was about to write the first entry, with everything published."""
    site.arrive(INIT)

    def stop(url: str, stored: str) -> None:
        if "ledger/" in stored:
            raise Stopped

    first = replace(site, before_put=stop)
    with pytest.raises(Stopped):
        first.dataset.reformat_operational_update(first.workspace, run_id="one", now=INIT + SOON, root_run="one")
    other = site.having(region_job=refusing(GfsForecastRegionJob, {key(lead) for lead in range(4, 9)}))
    other.dataset.reformat_operational_update(other.workspace, run_id="two", now=INIT + SOON, root_run="two")
    assert holes(site) == []
    assert entry_of(site).is_complete


def planned(site: Site, now: Timestamp, **request: Any) -> PartitionPlan:
    return plan_partition(site.dataset, site.workspace, PartitionRequest(label=INIT, **request), now)


def test_a_file_that_an_earlier_run_lacked_is_asked_for_again(site: Site) -> None:
    """It has come since. The next run is refused another file, and tells of what the earlier one has made."""
    site.arrive(INIT)
    site.remove(4)
    killed_before_its_commit(site, planned(site, INIT + SOON, publish=True, root_run="killed"), "killed")
    site.arrive(INIT, leads=[4])
    listed = find_arrivals(site.dataset, site.workspace, INIT, INIT + SOON).fingerprint
    other = site.having(region_job=refusing(GfsForecastRegionJob, {key(2)}))
    plan = planned(other, INIT + SOON, publish=True, upstream=listed, root_run="next")
    run_partition(other.dataset, other.workspace, plan, run_id="next")
    assert entry_of(site).lacking == {key(4)}
    assert entry_of(site).upstream == "", "file 4 of what is listed was not tried"
    (launch,) = heal_at(site, INIT + LATE)
    healed(site, launch, INIT + LATE)
    assert holes(site) == []
    assert entry_of(site).upstream == listed


def test_a_whole_upload_is_gone_on_with_though_a_file_of_it_has_vanished(analysis: Site) -> None:
    """The hour that its run was about to publish; the ledger does not tell of it."""
    analysis.update(INIT + 3 * HOUR)
    killed_before_its_commit(analysis, planned(analysis, INIT + 4 * HOUR, publish=True, root_run="killed"), "killed")
    (hour,) = {key(4)} - entry_of(analysis).etags.keys()
    version = find_arrivals(analysis.dataset, analysis.workspace, INIT, INIT + 4 * HOUR).etags[hour]
    analysis.remove(4)
    analysis.update(INIT + 5 * HOUR)
    assert [holes(analysis, name, "time") for name in (TEMPERATURE, RAIN)] == [[], [0, 5]]
    (lost,) = entry_of(analysis).missing_files
    assert (lost.file, lost.waits_for) == (key(5), key(4)), "a rate is made from both hours"
    assert entry_of(analysis).etags[hour] == version
    assert noted_partitions(analysis.stores.internal) == set()


def test_a_whole_upload_is_published_though_the_file_after_it_is_spoilt(analysis: Site) -> None:
    """The next run reads nothing, and would not be worth a commit by itself."""
    analysis.update(INIT + 3 * HOUR)
    killed_before_its_commit(analysis, planned(analysis, INIT + 4 * HOUR, publish=True, root_run="killed"), "killed")
    analysis.file(5).write_bytes(b"GRIB")
    analysis.update(INIT + 5 * HOUR)
    assert analysis.read().sizes["time"] == 5
    assert entry_of(analysis).lacking == {key(5)}
    assert noted_partitions(analysis.stores.internal) == set()


def test_the_first_upload_of_all_holds_nothing_up_though_a_file_of_it_has_vanished(analysis: Site) -> None:
    killed_before_its_commit(analysis, planned(analysis, INIT + 3 * HOUR, publish=True, root_run="killed"), "killed")
    analysis.remove(1)
    analysis.update(INIT + 4 * HOUR)
    assert {(lost.file, lost.reason.partition(":")[0]) for lost in entry_of(analysis).missing_files} == {
        (key(4), "KeptShard")
    }
    analysis.update(INIT + 5 * HOUR)
    assert entry_of(analysis).is_complete
    assert holes(analysis, dim="time") == []


def test_objects_that_an_upload_has_left_are_put_again_without_its_file_that_has_vanished(analysis: Site) -> None:
    """It was killed among the objects of a shard: some had the new file's values, and others not."""
    analysis.remove(2)
    analysis.update(INIT + 4 * HOUR)
    analysis.arrive(INIT, leads=[2])
    put: list[str] = []

    def stop_at_second(url: str, stored: str) -> None:
        if f"{TEMPERATURE}/c/" in stored:
            put.append(stored)
            if len(put) == 2:
                raise Stopped

    stopped = replace(analysis, before_put=stop_at_second)
    plan = planned(stopped, INIT + 4 * HOUR, publish=False, root_run="killed")
    with pytest.raises(Stopped):
        killed_before_its_commit(stopped, plan, "killed")
    values = analysis.read()[TEMPERATURE].sel(time=INIT + 2 * HOUR)
    assert bool(values.isnull().any()) != bool(values.isnull().all()), "readers see a part of the field"
    for stored, _ in analysis.stores.internal.list("lease"):
        analysis.stores.internal.delete(stored)
    analysis.remove(2)
    (launch,) = heal_at(analysis, INIT + LATE)
    healed(analysis, launch, INIT + LATE)
    assert holes(analysis, dim="time") == [2]
    assert key(2) in entry_of(analysis).lacking
    assert noted_partitions(analysis.stores.internal) == set()


class Shifted(GfsAnalysisRegionJob):
    """Other values of the same files."""

    def read_data(self, coord: Any, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        return super().read_data(coord, data_var, downloaded) + np.float32(1)


def without_leases(site: Site) -> None:
    """As after their time to live."""
    for stored, _ in site.stores.internal.list("lease"):
        site.stores.internal.delete(stored)


def killed_at(site: Site, plan: PartitionPlan, what: str, number: int) -> None:
    """Killed as it was about to put the given one of the objects whose address has this in it."""
    put: list[str] = []

    def stop(url: str, stored: str) -> None:
        if what in f"{url}/{stored}":
            put.append(stored)
            if len(put) == number:
                raise Stopped

    with pytest.raises(Stopped):
        killed_before_its_commit(replace(site, before_put=stop), plan, plan.request.root_run)
    without_leases(site)


def published_anew(site: Site, lead: int) -> None:
    """Another version of a file, with the same content."""
    content = site.file(lead).read_bytes()
    site.file(lead).unlink()
    site.file(lead).write_bytes(content)


@pytest.mark.parametrize("kind", ["analysis", "site"])
def test_a_value_that_two_uploads_hold_is_kept_though_its_file_has_vanished(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """The first was whole, and readers saw the value; the second was killed among its objects, which held it too."""
    at: Site = request.getfixturevalue(kind)
    dim, now = ("time", INIT + 4 * HOUR) if kind == "analysis" else ("lead_time", INIT + SOON)
    at.arrive(INIT, leads=[] if kind == "analysis" else LEADS)
    at.remove(2, 3)
    at.update(now)
    at.arrive(INIT, leads=[2])
    killed_before_its_commit(at, planned(at, now, publish=False, keep_published=True, root_run="one"), "one")
    assert holes(at, dim=dim) == [3]
    at.arrive(INIT, leads=[3])
    other = planned(at, now, publish=False, keep_published=True, root_run="other")
    killed_at(at, other, f"{TEMPERATURE}/c/", 2)
    at.remove(2)
    (launch,) = heal_at(at, INIT + LATE)
    healed(at, launch, INIT + LATE)
    assert 2 not in holes(at, dim=dim)


def test_of_two_versions_that_variables_hold_the_older_is_told(analysis: Site) -> None:
    """One variable was made from the newer one by a run that was killed; it is not listed just then."""
    analysis.update(INIT + 4 * HOUR)
    before = entry_of(analysis).etags[key(2)]
    published_anew(analysis, 2)
    some = planned(analysis, INIT + 4 * HOUR, publish=False, keep_published=True, root_run="killed")
    last = some.model_copy(update={"groups": some.groups[-1:], "request": some.request})
    killed_before_its_commit(analysis, last, "killed")
    hidden = analysis.file(2).with_name("hidden")
    analysis.file(2).rename(hidden)
    (launch,) = heal_at(analysis, INIT + LATE)
    healed(analysis, launch, INIT + LATE)
    assert entry_of(analysis).etags[key(2)] == before
    hidden.rename(analysis.file(2))
    (launch,) = heal_at(analysis, INIT + 2 * LATE)
    assert launch.reason == "files published again: 1"


def test_a_retry_knows_that_its_attempts_went_on_with_another_run(analysis: Site) -> None:
    """What that run has read was published again before this one looked."""
    analysis.update(INIT + 3 * HOUR)
    killed_before_its_commit(analysis, planned(analysis, INIT + 4 * HOUR, publish=True, root_run="one"), "one")
    published_anew(analysis, 4)
    listed = find_arrivals(analysis.dataset, analysis.workspace, INIT, INIT + 5 * HOUR, known=entry_of(analysis))
    plan = planned(analysis, INIT + 5 * HOUR, publish=True, upstream=listed.fingerprint, root_run="other")
    killed_before_its_commit(analysis, plan, "other")
    run_partition(analysis.dataset, analysis.workspace, plan, run_id="again")
    assert entry_of(analysis).upstream == ""
    (launch,) = heal_at(analysis, INIT + LATE)
    assert launch.reason == "files published again: 1"


def test_half_an_upload_is_put_back_in_a_replica_though_nothing_is_read(analysis: Site) -> None:
    """It made a value anew from a file that has vanished since, and was killed before the primary's objects."""
    analysis = replace(analysis, settings={"replicas": (str(analysis.folder / "copy"),)})
    analysis.update(INIT + 4 * HOUR)
    published_anew(analysis, 2)
    shifted = analysis.having(region_job=Shifted)
    plan = planned(shifted, INIT + 4 * HOUR, publish=False, keep_published=True, root_run="killed")
    killed_at(shifted, plan, f"{analysis.stores.primary.url}/{TEMPERATURE}/c/", 1)
    analysis.remove(2)
    places = [Path(store.url) / TEMPERATURE for store in (analysis.stores.primary, *analysis.stores.replicas)]
    assert objects_of(places[0]) != objects_of(places[1])
    (launch,) = heal_at(analysis, INIT + LATE)
    healed(analysis, launch, INIT + LATE)
    assert objects_of(places[0]) == objects_of(places[1])
    assert noted_partitions(analysis.stores.internal) == set()


def test_an_attempt_does_not_build_on_shards_that_another_run_has_replaced(site: Site) -> None:
    site.arrive(INIT)
    recorded: list[str] = []

    def stop_at_second(url: str, stored: str) -> None:
        if "progress/" in stored:
            recorded.append(stored)
            if len(recorded) == 4:
                raise Stopped

    def stop_at_commit(url: str, stored: str) -> None:
        if stored == "zarr.json":
            raise Stopped

    def attempt(at: Site, run_id: str, root_run: str) -> None:
        at.dataset.reformat_operational_update(at.workspace, run_id=run_id, now=INIT + SOON, root_run=root_run)

    with pytest.raises(Stopped):
        attempt(replace(site, before_put=stop_at_second), "one", "one")
    lacking = site.having(region_job=refusing(GfsForecastRegionJob, {key(4)}))
    with pytest.raises(Stopped):
        attempt(replace(lacking, before_put=stop_at_commit), "two", "two")
    attempt(site, "one again", "one")
    assert entry_of(site).is_complete
    assert not any(holes(site, name)[1:] for name in VARIABLES)
    assert holes(site) == []


def test_a_resumed_run_does_what_was_not_planned_then(analysis: Site) -> None:
    recorded: list[str] = []

    def stop(url: str, stored: str) -> None:
        if "progress/" in stored:
            recorded.append(stored)
            if len(recorded) == 5:
                raise Stopped

    def attempt(at: Site, run_id: str, hours: int) -> None:
        now = INIT + hours * HOUR
        at.dataset.reformat_operational_update(at.workspace, run_id=run_id, now=now, root_run="one")

    with pytest.raises(Stopped):
        attempt(replace(analysis, before_put=stop), "one", 2)
    attempt(analysis, "two", 5)
    assert entry_of(analysis).is_complete
    assert not any(holes(analysis, name, "time")[1:] for name in VARIABLES)
    assert holes(analysis, dim="time") == []


def test_a_writer_that_lost_its_lease_uploads_nothing_more(site: Site) -> None:
    site = site.having(lease_terms=AT_ONCE)
    site.arrive(INIT)
    uploaded: list[str] = []

    def overtake(url: str, stored: str) -> None:
        if "/c/" in stored and not uploaded:
            uploaded.append(stored)
            quick = replace(site, before_put=None)
            quick.dataset.reformat_operational_update(quick.workspace, run_id="quick", now=INIT + SOON)
        elif "/c/" in stored:
            uploaded.append(stored)

    slow = replace(site.having(region_job=refusing(GfsForecastRegionJob, {key(4), key(5)})), before_put=overtake)
    with pytest.raises(LeaseHeld, match="another writer took it meanwhile"):
        slow.update()
    variables = {stored.partition("/c/")[0] for stored in uploaded}
    assert len(variables) == 1
    assert all(holes(site, name)[1:] == [] for name in set(VARIABLES) - variables)


def test_a_ledger_whose_store_is_gone_keeps_nothing(site: Site) -> None:
    site.arrive(INIT)
    site.update()
    for path in sorted(Path(site.stores.primary.url).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    site.remove(7)
    with pytest.raises(StoreMissing, match="no store stands there, while the ledger says"):
        site.update()
    for name, _ in site.stores.internal.list():
        site.stores.internal.delete(name)
    site.update()
    assert holes(site) == [7]
    assert [one.file for one in entry_of(site).variables[TEMPERATURE].missing] == [key(7)]


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
