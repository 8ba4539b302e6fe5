"""What a run has uploaded and not committed is neither lost nor taken for what the ledger says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_defs.noaa.gfs.analysis import GfsAnalysisRegionJob
from dataset_defs.noaa.gfs.forecast import GfsForecastRegionJob
from reformatters_dagster.core.ledger.progress import noted_partitions
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import (
    LeaseHeld,
    StoreMissing,
)
from reformatters_dagster.core.spec.values import Array2D, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from tests.core.job.standing import AT_ONCE, HOUR, LATE, entry_of, heal_at, healed, holes, key, killed_before_its_commit
from tests.datasets import (
    INIT,
    LEADS,
    RAIN,
    SOON,
    TEMPERATURE,
    VARIABLES,
    Site,
    objects_of,
)
from tests.refusals import refusing
from tests.stores import FaultStore, Stopped

pytest_plugins = ["tests.datasets", "tests.stores"]


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
