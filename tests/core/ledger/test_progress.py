"""A retried run does not repeat what an earlier attempt has uploaded, and still commits."""

import json
from dataclasses import replace
from threading import Lock

import pandas as pd
import pytest

from dataset_defs.noaa.gfs.forecast import GfsSourceFileCoord
from reformatters_dagster.core.ledger.entries import write_ledger
from reformatters_dagster.core.ledger.lease import LeaseTerms
from reformatters_dagster.core.ledger.progress import Outdated, UpdateProgressTracker, Upload
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.source.files import FileResult, SourceFileStatus
from reformatters_dagster.core.spec.errors import LeaseHeld, OutcomeMissing, OutcomeOvertaken
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.spec.variables import Deaccumulation
from reformatters_dagster.core.store.ingested_lengths import INGESTED
from tests.datasets import IN_ORDER, INIT, RAIN, SECOND, SOON, TEMPERATURE, Site, assert_forecast_true, gfs_key
from tests.long_shards import changed
from tests.stores import Stopped

pytest_plugins = ["tests.datasets"]

AT_ONCE = LeaseTerms(time_to_live=0.0, heartbeat=60, look_again=0.0)


def run(site: Site, root_run: str, run_id: str) -> int:
    """One attempt of an update, as the ops of a run make it; how many bytes it fetched."""
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(
        dataset, workspace, PartitionRequest(label=INIT, publish=True, root_run=root_run), INIT + SOON
    )
    context = dataset.context(workspace, plan.now, run_id=run_id)
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    report = commit_partition(dataset, workspace, plan, outcomes, run_id=run_id, now=plan.now)
    assert list(report.results) == [name for group in plan.groups for name in group]
    return report.stats.bytes_in


@pytest.mark.parametrize("puts", [0, 6, 12, *(pytest.param(puts, marks=pytest.mark.slow) for puts in (2, 4, 8, 10))])
def test_an_attempt_that_was_cut_off_is_continued(site: Site, puts: int) -> None:
    site = site.having(lease_terms=AT_ONCE)
    site.arrive(INIT)
    undisturbed = replace(site, folder=site.folder / "other")
    undisturbed.arrive(INIT)
    whole = run(undisturbed, "root", "first")

    chunks: list[str] = []

    def stop(url: str, key: str) -> None:
        if "/c/" in key and "forecast_length" not in key:
            if len(chunks) == puts:
                raise Stopped
            chunks.append(key)

    try:
        run(replace(site, before_put=stop), "root", "first")
    except Stopped:
        finished = {key.split("/c/")[0] for key in chunks[:-1]}
    else:
        finished = set()
    again = run(replace(site, before_put=None), "root", "second")
    assert again < whole if len(finished) > 1 else again <= whole
    assert_forecast_true(site.read(), INIT)
    mine, other = site.objects(), undisturbed.objects()
    assert {key: mine[key] for key in mine if "_internal" not in key} == {
        key: other[key] for key in other if "_internal" not in key
    }
    assert not [key for key in mine if "/progress/" in key or "/lease/" in key]


def test_a_resumed_run_remembers_rates_that_cannot_be_right(site: Site) -> None:
    """The attempt that made them ended before its commit."""
    site.arrive(INIT)
    rule = Deaccumulation(reset=pd.Timedelta("6h"), expected_clamp_fraction=0.0, expected_invalid_fraction=0.0)
    wrong = replace(site, dataset=changed(site.dataset, [RAIN], deaccumulation=rule, scale_factor=-1.0))

    def stop(url: str, key: str) -> None:
        if "ledger/" in key:
            raise Stopped

    with pytest.raises(Stopped):
        run(replace(wrong, before_put=stop), "root", "first")
    run(wrong, "root", "second")
    entry = wrong.ledger()
    assert entry is not None
    assert "were slightly negative" in entry.variables[RAIN].implausible
    assert {name for name, known in entry.variables.items() if known.implausible} == {RAIN}


def test_a_note_keeps_what_is_said_of_rates(site: Site) -> None:
    """Until a whole upload replaces the shards it is about; a note of earlier code says nothing."""
    coord = site.dataset.region_job.source_file_coord
    tracker = UpdateProgressTracker(site.stores.internal, "2026-07-29T18:00", "root", coord)
    tracker.record(RAIN, [], implausible="half are negative")
    assert tracker.uploads()[RAIN].implausible == "half are negative"
    tracker.begin(RAIN, [], tracker.uploads()[RAIN])
    assert tracker.uploads()[RAIN].implausible == "half are negative"
    tracker.record(RAIN, [])
    assert tracker.uploads()[RAIN].implausible == ""
    key = f"progress/2026-07-29T18:00/{RAIN}.json"
    note = json.loads(site.stores.internal.get(key)[0])
    del note["implausible"]
    site.stores.internal.put(key, json.dumps(note).encode())
    assert (tracker.uploads()[RAIN].readable, tracker.uploads()[RAIN].implausible) == (True, "")


def test_what_landed_too_late_is_noted_without_the_right_to_write(site: Site) -> None:
    site.arrive(INIT)
    results = site.job().process()[RAIN]
    coord, internal = site.dataset.region_job.source_file_coord, site.stores.internal

    def refuse() -> None:
        raise LeaseHeld("another writer took it")

    late = UpdateProgressTracker(internal.guarded(refuse), "2026-07-29T18:00", "late", coord)
    with pytest.raises(LeaseHeld):
        late.record(RAIN, results)
    late.doubt(RAIN, results)
    other = UpdateProgressTracker(internal, "2026-07-29T18:00", "other", coord)
    noted, keys = other.uploads()[RAIN], frozenset(file.coord.key() for file in results)
    assert (noted.root_run, noted.finished, noted.is_late) == ("late", False, True)
    assert (noted.used, noted.lacking) == (keys, frozenset())
    document = json.loads(internal.get(f"progress/2026-07-29T18:00/{RAIN}.json")[0])
    assert frozenset(document["doubtful"]) == keys, "code that knows no late objects trusts none of them"

    told = {file.coord.key(): file.etag or "" for file in results}
    assert noted.older(told) == frozenset()
    newer = {**told, gfs_key(INIT, 2): "newer", gfs_key(INIT, 3): ""}
    assert noted.older(newer) == {gfs_key(INIT, 2), gfs_key(INIT, 3)}
    now = [
        file.model_copy(update={"etag": "newer"}) if file.coord.key() == gfs_key(INIT, 2) else file for file in results
    ]
    other.begin(RAIN, now, noted)
    assert other.uploads()[RAIN].lacking == {gfs_key(INIT, 2)}, "until it is whole the late object may stay"


def test_what_landed_too_late_holds_what_the_upload_in_its_place_holds_too(site: Site) -> None:
    """The object may be of either: files that one of them lacks, or has in another version, are in doubt."""
    site.arrive(INIT)
    results = site.job().process()[RAIN]
    coord, internal = site.dataset.region_job.source_file_coord, site.stores.internal
    keys = [file.coord.key() for file in results]
    late, other = (UpdateProgressTracker(internal, "2026-07-29T18:00", root, coord) for root in ("late", "other"))
    failed = FileResult(coord=results[1].coord).advance(SourceFileStatus.READ_FAILED, "spoilt")
    begun = [results[0].model_copy(update={"etag": "newer"}), failed, *results[2:]]
    other.begin(RAIN, begun, None)
    late.doubt(RAIN, results)
    noted = late.uploads()[RAIN]
    assert noted.lacking == {keys[0], keys[1]}
    late.doubt(RAIN, results[:2])
    assert late.uploads()[RAIN].lacking == {keys[0], keys[1]}, "nor is it trusted the next time"
    internal.put(f"progress/2026-07-29T18:00/{RAIN}.json", b"")
    late.doubt(RAIN, results)
    assert late.uploads()[RAIN].lacking == frozenset(keys)


def test_a_note_that_comes_late_claims_no_shards_that_another_run_has_replaced(site: Site) -> None:
    """Neither over the note of that run, nor once it has committed; nor is an upload begun that does not know of it."""
    site.arrive(INIT)
    files = site.job().process()[RAIN]
    coord, internal = site.dataset.region_job.source_file_coord, site.stores.internal
    one, other = (UpdateProgressTracker(internal, "2026-07-29T18:00", root, coord) for root in ("one", "other"))
    one.begin(RAIN, files, None)
    begun = one.uploads()[RAIN]
    other.begin(RAIN, files[1:], begun)
    other.record(RAIN, files[1:])
    told = rf"an upload of {RAIN} was to be noted at .*/{RAIN}\.json by run 'one'; another run .* run the whole partition again"
    with pytest.raises(OutcomeOvertaken, match=told):
        one.record(RAIN, files)
    for before in (begun, None):
        with pytest.raises(OutcomeOvertaken, match=told):
            one.begin(RAIN, files, before)
    assert one.uploads()[RAIN] == Upload("other", finished=True, results=files[1:], goes_on=True)
    other.clear([RAIN])
    with pytest.raises(OutcomeOvertaken, match=told):
        one.record(RAIN, files)
    assert one.uploads() == {}


def test_a_value_that_may_be_outdated_is_held_all_the_same(site: Site) -> None:
    """As an upload has left it; another one, which has made it anew, may not have reached its place."""
    site.arrive(INIT)
    whole = site.job().process()[RAIN]
    coord, internal = site.dataset.region_job.source_file_coord, site.stores.internal
    keys, why = [file.coord.key() for file in whole], {"waits_for": "f009", "reason": "spoilt"}
    outdated = [whole[0], whole[1].model_copy(update=why), *whole[2:]]
    one, other = (UpdateProgressTracker(internal, "2026-07-29T18:00", root, coord) for root in ("one", "other"))
    one.begin(RAIN, outdated, None)
    other.begin(RAIN, whole, other.uploads()[RAIN])
    document = json.loads(internal.get(f"progress/2026-07-29T18:00/{RAIN}.json")[0])
    assert document["doubtful"] == [keys[1]], "code that knows no outdated values trusts it not"
    for files in (whole, outdated):
        noted = one.uploads()[RAIN]
        assert (noted.lacking, noted.outdated) == (frozenset(), {keys[1]: Outdated("f009", "spoilt")})
        one.doubt(RAIN, files)
    failed = FileResult(coord=whole[1].coord).advance(SourceFileStatus.READ_FAILED, "spoilt")
    other.begin(RAIN, [whole[0], failed, *whole[2:]], one.uploads()[RAIN])
    assert (other.uploads()[RAIN].lacking, other.uploads()[RAIN].outdated) == (frozenset(keys[1:2]), {})
    other.record(RAIN, whole)
    assert (other.uploads()[RAIN].settled, other.uploads()[RAIN].outdated) == (frozenset(keys), {})


def test_an_attempt_with_nothing_left_to_do_removes_what_a_killed_one_left(site: Site) -> None:
    site.arrive(INIT)
    dataset, workspace = site.dataset, site.workspace
    request = PartitionRequest(label=INIT, publish=True, root_run="run")
    plan = plan_partition(dataset, workspace, request, INIT + SOON)
    for attempt in ("killed", "next"):
        for group in plan.groups:
            process_group(dataset, dataset.context(workspace, plan.now, run_id=attempt), plan, group)
        left = workspace.tmp / f"{dataset.dataset_id}-0123456789ab"
        assert not left.exists()
        left.mkdir()
        left.with_name(f"{left.name}.lock").touch()
        if attempt == "next":
            process_group(dataset, dataset.context(workspace, plan.now, run_id="third"), plan, plan.groups[0])
            assert list(workspace.tmp.iterdir()) == []


def test_an_upload_is_told_to_every_run_and_is_that_of_one(site: Site) -> None:
    site.arrive(INIT)
    site.remove(3)
    results = site.job().process()
    coord = site.dataset.region_job.source_file_coord
    own, other = (
        UpdateProgressTracker(site.stores.internal, "2026-07-29T18:00", root, coord) for root in ("root", "other")
    )
    for variable, files in results.items():
        own.record(variable, files)
    found = other.uploads()
    assert {name: list(upload.results) for name, upload in found.items()} == {
        name: list(results[name]) for name in IN_ORDER
    }
    upload = found[IN_ORDER[0]]
    assert (upload.finished, own.is_own(upload), other.is_own(upload)) == (True, True, False)
    assert upload.lacking == {gfs_key(INIT, 3)}
    other.begin(IN_ORDER[0], [file for file in results[IN_ORDER[0]] if file.succeeded], upload)
    begun = own.uploads()[IN_ORDER[0]]
    assert not begun.finished
    assert not own.is_own(begun)
    assert begun.lacking == {gfs_key(INIT, 3)}
    other.clear(IN_ORDER[:1])
    assert own.uploads().keys() == set(IN_ORDER[1:])


def test_what_is_begun_over_an_unknown_upload_is_all_in_doubt(site: Site) -> None:
    site.arrive(INIT)
    files = site.job().process()[IN_ORDER[0]]
    tracker = UpdateProgressTracker(
        site.stores.internal, "2026-07-29T18:00", "root", site.dataset.region_job.source_file_coord
    )
    site.stores.internal.put(f"progress/2026-07-29T18:00/{IN_ORDER[0]}.json", b"")
    tracker.begin(IN_ORDER[0], files, tracker.uploads()[IN_ORDER[0]])
    begun = tracker.uploads()[IN_ORDER[0]]
    assert begun.used - begun.lacking == frozenset()
    assert begun.used


def test_an_upload_that_cannot_be_read_is_one_of_which_nothing_is_known(site: Site) -> None:
    site.arrive(INIT)
    site.stores.internal.put("progress/2026-07-29T18:00/temperature_2m.json", b"")
    site.dataset.reformat_operational_update(site.workspace, run_id="first", now=INIT + SOON, root_run="root")
    assert_forecast_true(site.read(), INIT)
    assert not [key for key in site.objects() if "/progress/" in key]


def test_a_commit_waits_for_every_variable(site: Site) -> None:
    site.arrive(INIT)
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=True), INIT + SOON)
    first, second = plan.groups
    outcome = process_group(dataset, dataset.context(workspace, plan.now, run_id="one"), plan, first)
    before = site.objects()
    lacking = (
        rf"was to be committed with 4 variables; {', '.join(sorted(second))} were not processed: process them first"
    )
    with pytest.raises(OutcomeMissing, match=lacking):
        commit_partition(dataset, workspace, plan, [outcome], run_id="one", now=plan.now)
    assert {key for key in before if "/lease/" not in key} == site.objects().keys()


def test_a_commit_that_another_run_has_overtaken_is_refused(site: Site) -> None:
    site = site.having(lease_terms=AT_ONCE)
    site.arrive(INIT)
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=True, root_run="slow"), INIT + SOON)
    context = dataset.context(workspace, plan.now, run_id="slow")
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    coord = dataset.region_job.source_file_coord
    carried = [GroupOutcome.from_json(outcome.to_json(), coord) for outcome in outcomes]
    run(site, "quick", "quick")
    before = site.objects()

    with pytest.raises(OutcomeOvertaken, match=r"by run 'slow'; run 'quick' has committed it since .* run the whole"):
        commit_partition(dataset, workspace, plan, carried, run_id="slow again", now=plan.now)

    assert site.objects() == before
    run(site, "slow", "slow anew")


def test_an_attempt_that_a_later_one_has_overtaken_commits_nothing_else(site: Site) -> None:
    """It stood still between its uploads and its commit. What it would tell is not what the shards hold."""
    site.arrive(INIT, leads=[0, 3])
    dataset, workspace = site.dataset, site.workspace
    request = PartitionRequest(label=INIT, publish=True, root_run="run")
    plan = plan_partition(dataset, workspace, request, INIT + SOON)
    context = dataset.context(workspace, plan.now, run_id="attempt 1")
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    assert {outcome.made_by for outcome in outcomes} == {"attempt 1"}
    commit_partition(dataset, workspace, plan, outcomes, run_id="attempt 2", now=plan.now)
    again = site.objects()
    for attempt in ("attempt 1", "attempt 3"):
        commit_partition(dataset, workspace, plan, outcomes, run_id=attempt, now=plan.now)
        assert site.objects() == again, "that an attempt commits the same again changes nothing"

    site.arrive(INIT)
    run(site, "run", "attempt 4")
    before = site.objects()
    with pytest.raises(
        OutcomeOvertaken,
        match=r"by attempt 'attempt 1' of run 'run'; attempt 'attempt 4' .* run the whole partition again",
    ):
        commit_partition(dataset, workspace, plan, outcomes, run_id="attempt 1", now=plan.now)
    assert site.objects() == before


def test_a_commit_whose_lease_was_taken_meanwhile_says_so(site: Site) -> None:
    site = site.having(lease_terms=AT_ONCE)
    site.arrive(INIT)
    site.arrive(SECOND)
    faster: list[str] = []

    def overtake(url: str, key: str) -> None:
        if key.startswith("ingested_forecast_length/c/") and not faster:
            faster.append(key)
            undisturbed = replace(site, before_put=None)
            undisturbed.dataset.reformat_operational_update(undisturbed.workspace, run_id="quick", now=SECOND + SOON)

    with pytest.raises(LeaseHeld, match="held by 'slow'; another writer took it meanwhile"):
        run(replace(site, before_put=overtake), "slow", "slow")

    assert faster
    assert_forecast_true(site.read(), INIT)
    assert_forecast_true(site.read(), SECOND)


def take_the_lease(site: Site) -> None:
    """As another writer does, to whom it showed no sign of life."""
    lease = b'{"holder": "quick", "attempt": "quick", "beats": 1}'
    site.stores.internal.put("lease/2026-07-29T18:00.json", lease)


def test_no_object_of_a_shard_is_put_once_the_lease_is_lost(site: Site) -> None:
    """A variable has two objects. Nor is it noted as uploaded: the note of its beginning tells that it may be."""
    site.arrive(INIT)
    begun: list[str] = []
    one_at_a_time = Lock()

    def take_over(url: str, key: str) -> None:
        if f"{TEMPERATURE}/c/" in key:
            with one_at_a_time:
                if not begun:
                    take_the_lease(site)
                begun.append(key)

    with pytest.raises(LeaseHeld, match="held by 'slow'; another writer took it meanwhile"):
        run(replace(site, before_put=take_over), "slow", "slow")

    assert [key for key in site.objects() if f"{TEMPERATURE}/c/" in key] == []
    tracker = UpdateProgressTracker(site.stores.internal, "2026-07-29T18:00", "slow", GfsSourceFileCoord)
    assert not tracker.uploads()[TEMPERATURE].finished


KEYS = [f"{INGESTED}/c/0", f"{TEMPERATURE}/zarr.json", "zarr.json", "ledger/2026-07-29T18:00.json"]


@pytest.mark.parametrize("before", KEYS)
def test_a_commit_puts_nothing_once_the_lease_is_lost(site: Site, before: str) -> None:
    site.arrive(INIT)
    standing: dict[str, bytes] = {}

    def take_over(url: str, key: str) -> None:
        if key == before and not standing:
            take_the_lease(site)
            standing.update(site.objects())

    with pytest.raises(LeaseHeld, match="held by 'slow'; another writer took it meanwhile"):
        run(replace(site, before_put=take_over), "slow", "slow")
    assert site.objects() == standing


def test_a_commit_that_stalls_before_its_last_put_leaves_a_newer_entry(site: Site) -> None:
    site.arrive(INIT)
    run(site, "first", "first")
    newer = site.ledger()
    assert newer is not None

    def overtake(url: str, key: str) -> None:
        if key.startswith("ledger/"):
            write_ledger(site.stores.internal, newer.model_copy(update={"run_id": "quick"}))

    lost = r"accounted for by run 'slow'; run 'quick' has written the ledger entry meanwhile, .*: that entry stays; run the"
    with pytest.raises(OutcomeOvertaken, match=lost):
        run(replace(site, before_put=overtake), "slow", "slow")
    entry = site.ledger()
    assert entry is not None
    assert entry.run_id == "quick"


def test_a_sensor_that_gives_up_meanwhile_does_not_stop_a_commit(site: Site) -> None:
    site.arrive(INIT)
    run(site, "first", "first")
    known = site.ledger()
    marked: list[str] = []
    assert known is not None

    def give_up(url: str, key: str) -> None:
        if key.startswith("ledger/") and not marked:
            marked.append(key)
            write_ledger(site.stores.internal, known.model_copy(update={"known_missing": True}))

    run(replace(site, before_put=give_up), "second", "second")
    entry = site.ledger()
    assert entry is not None
    assert (entry.run_id, entry.known_missing) == ("second", False)


@pytest.mark.parametrize("damaged", [b"", b"{}"])
def test_a_commit_replaces_an_entry_that_cannot_be_read(site: Site, damaged: bytes) -> None:
    site.arrive(INIT)
    run(site, "first", "first")
    site.stores.internal.put("ledger/2026-07-29T18:00.json", damaged)
    run(site, "second", "second")
    entry = site.ledger()
    assert entry is not None
    assert entry.run_id == "second"


def test_a_commit_is_repeated_by_a_later_attempt_of_the_same_run(site: Site) -> None:
    site.arrive(INIT)
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, PartitionRequest(label=INIT, publish=True, root_run="root"), INIT + SOON)
    context = dataset.context(workspace, plan.now, run_id="first")
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    for attempt in ("first", "second"):
        report = commit_partition(dataset, workspace, plan, outcomes, run_id=attempt, now=plan.now)
        assert (report.entry.run_id, report.entry.root_run) == (attempt, "root")
    assert_forecast_true(site.read(), INIT)


def test_a_note_of_a_later_version_is_read(site: Site) -> None:
    tracker = UpdateProgressTracker(site.stores.internal, "2026-07-29T18:00", "root", GfsSourceFileCoord)
    result = FileResult(coord=GfsSourceFileCoord(init_time=INIT, lead_time=Timedelta("1h")), etag="1")
    tracker.record(TEMPERATURE, [result.advance(SourceFileStatus.SUCCEEDED)])
    written = tracker.uploads()
    key = f"progress/2026-07-29T18:00/{TEMPERATURE}.json"
    document = json.loads(site.stores.internal.get(key)[0])
    document["colour"] = "red"
    document["results"][0]["tries"] = 3
    site.stores.internal.put(key, json.dumps(document).encode())
    assert tracker.uploads() == written
    assert written[TEMPERATURE].used == {gfs_key(INIT, 1)}
