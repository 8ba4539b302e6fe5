"""Sensors: what has arrived, what is published and what is running decide, and nothing else."""

import json
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.orchestration.names import (
    BACKFILL_TAG,
    DATASET_TAG,
    EXCLUSIVE_TAG,
    FINGERPRINT_TAG,
    MODE_TAG,
)
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.orchestration.sensors import LISTING_PATIENCE, RETRIED_WITHIN
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import (
    INIT,
    LEADS,
    PRIMARY,
    TEMPERATURE,
    assert_forecast_true,
)
from tests.datasets import STEP as SAMPLE_STEP
from tests.orchestration.deployments import Deployment
from tests.orchestration.watched import CYCLE, FIRST, SECOND, Watched, only, settings_of, skipped, watch
from tests.stores import Silence

pytest_plugins = ["tests.datasets", "tests.stores"]


def test_nothing_new_is_no_reason_to_run(watched: Watched) -> None:
    assert f"{partition_key(FIRST)} has 0 of 10 files" in skipped(watched.tick())


def test_a_new_init_time_launches_an_update_of_its_partition(watched: Watched) -> None:
    watched.announce(FIRST)
    request = only(watched.tick())
    key = partition_key(FIRST)
    assert request.partition_key == key
    fingerprint = request.tags[FINGERPRINT_TAG]
    assert request.run_key == f"{key}@{fingerprint}#1"
    assert request.run_config["ops"]["test__gfs_forecast"]["config"]["publish"] is True
    job = watched.deployment.job("update")
    assert dg.validate_run_config(job, request.run_config)
    assert job.tags[EXCLUSIVE_TAG] == "test-gfs-forecast"


def test_a_repeated_tick_asks_for_the_same_run_and_the_cursor_is_not_needed(watched: Watched) -> None:
    watched.announce(FIRST)
    first = watched.tick()
    for cursor in (first.cursor, None, "", "no json", "[]", json.dumps({"other": 1})):
        assert only(watched.tick(cursor=cursor)) == only(first), cursor


def test_a_file_published_again_is_another_run(watched: Watched) -> None:
    watched.announce(FIRST)
    before = only(watched.tick())
    watched.announce(FIRST, leads=[3], content=b"corrected")
    assert only(watched.tick()).run_key != before.run_key


def test_an_index_that_is_missing_keeps_its_file_from_counting(watched: Watched) -> None:
    watched.announce(FIRST)
    for index in watched.site.upstream.rglob("*f004.idx"):
        index.unlink()
    assert "has 9 of 10 files" in skipped(watched.tick())


@pytest.mark.parametrize(("deadline", "starts"), [("1h", True), ("30D", False)])
def test_what_is_there_at_the_soft_deadline_is_enough(watched: Watched, deadline: str, starts: bool) -> None:
    watched = watched.having(soft_deadline=Timedelta(deadline))
    assert "0 of 10 files" in skipped(watched.tick())
    watched.announce(FIRST, leads=[0, 1])
    result = watched.tick()
    if starts:
        assert only(result).partition_key == partition_key(FIRST)
    else:
        assert "2 of 10 files" in skipped(result)


def test_the_oldest_unpublished_partition_goes_first(watched: Watched) -> None:
    watched.announce(SECOND)
    assert f"{partition_key(FIRST)} has 0 of 10" in skipped(watched.tick())
    watched.announce(FIRST)
    assert only(watched.tick()).partition_key == partition_key(FIRST)
    watched.publish(FIRST)
    assert only(watched.tick()).partition_key == partition_key(SECOND)


def test_a_store_that_is_up_to_date_needs_nothing(watched: Watched) -> None:
    labels = list(pd.date_range(FIRST, utc_now(), freq=CYCLE))
    for label in labels:
        watched.announce(label)
    watched.publish(*labels)
    assert "published" in skipped(watched.tick())


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
)
def test_one_update_of_a_dataset_at_a_time(watched: Watched, status: dg.DagsterRunStatus) -> None:
    watched.announce(FIRST)
    run = watched.record_run(only(watched.tick()), status)
    assert run.run_id in skipped(watched.tick())


def test_an_update_whose_process_was_lost_does_not_hold_up_the_next(watched: Watched) -> None:
    watched.announce(FIRST)
    run = watched.record_run(only(watched.tick()), dg.DagsterRunStatus.STARTED)
    memory = json.loads(watched.tick().cursor or "")
    assert memory["signs"][run.run_id]["lease"] == ""
    memory["signs"][run.run_id]["since"] = str(utc_now() - Timedelta("2h"))
    again = watched.tick(cursor=json.dumps(memory))
    assert str(only(again).run_key).endswith("#2")
    assert json.loads(again.cursor or "")["signs"] == {}


@pytest.mark.parametrize(
    ("tags", "kind", "waits"),
    [
        ({WILL_RETRY_TAG: "true"}, "upstream", "is about to be begun again"),
        ({WILL_RETRY_TAG: "true"}, "heal", "is being written"),
        ({WILL_RETRY_TAG: "true", AUTO_RETRY_RUN_ID_TAG: "another"}, "upstream", None),
        ({WILL_RETRY_TAG: "false"}, "upstream", None),
    ],
)
def test_a_lost_run_that_dagster_begins_again_is_not_over(
    watched: Watched, tags: dict[str, str], kind: str, waits: str | None
) -> None:
    watched.announce(FIRST)
    if kind == "heal":
        watched.publish(FIRST)
    request = only(watched.tick(kind))
    lost = request.with_replaced_attrs(tags={**request.tags, **tags})
    run = watched.record_run(lost, dg.DagsterRunStatus.FAILURE, kind)
    if waits is None:
        assert str(only(watched.tick(kind)).run_key).endswith("#2")
        return
    assert waits in skipped(watched.tick(kind))
    failed = DagsterEvent(DagsterEventType.RUN_FAILURE.value, run.job_name)
    long_ago = (utc_now() - RETRIED_WITHIN - Timedelta("1min")).to_pydatetime()
    watched.deployment.instance.run_storage.handle_run_event(run.run_id, failed, long_ago)
    assert str(only(watched.tick(kind)).run_key).endswith("#2")


def test_a_partition_that_another_run_writes_waits(watched: Watched) -> None:
    watched.announce(FIRST)
    watched.record_run(dg.RunRequest(partition_key=partition_key(FIRST)), dg.DagsterRunStatus.STARTED, "backfill")
    assert f"{partition_key(FIRST)} is being written" in skipped(watched.tick())


@pytest.mark.parametrize("kind", ["upstream", "heal"])
def test_a_backfill_that_waits_in_the_queue_holds_up_nothing(watched: Watched, kind: str) -> None:
    watched.announce(FIRST)
    if kind == "heal":
        watched.publish(FIRST)
    queued = dg.RunRequest(partition_key=partition_key(FIRST), tags={BACKFILL_TAG: "abcdefgh"})
    run = watched.record_run(queued, dg.DagsterRunStatus.NOT_STARTED, "backfill", ago=Timedelta("3D"))
    assert only(watched.tick(kind)).partition_key == partition_key(FIRST)
    watched.deployment.instance.delete_run(run.run_id)
    watched.record_run(queued, dg.DagsterRunStatus.STARTED, "backfill")
    assert f"{partition_key(FIRST)} is being written" in skipped(watched.tick(kind))


@pytest.mark.parametrize(
    ("tags", "waits"),
    [({DATASET_TAG: "test-gfs-forecast"}, True), ({}, True), ({DATASET_TAG: "test-gefs-forecast"}, False)],
)
def test_runs_of_another_dataset_write_partitions_of_their_own(
    watched: Watched, tags: dict[str, str], waits: bool
) -> None:
    """A run that a sensor launched from a job names no assets; its tag says whose it is."""
    watched.announce(FIRST)
    key = partition_key(FIRST)
    run = dg.DagsterRun("another", tags={"dagster/partition": key, **tags}, status=dg.DagsterRunStatus.STARTED)
    assert run.asset_selection is None
    watched.deployment.instance.run_storage.add_run(run)
    if waits:
        assert f"{key} is being written" in skipped(watched.tick())
    else:
        assert only(watched.tick()).partition_key == key


def test_what_arrives_is_observed_once(watched: Watched) -> None:
    watched.announce(FIRST, leads=[0, 1, 2])
    first = watched.tick()
    observed, arrived = first.asset_events
    assert isinstance(observed, dg.AssetObservation)
    assert (observed.asset_key.path, observed.partition) == (["test", "gfs_forecast"], partition_key(FIRST))
    assert observed.metadata["files_present"].value == 3
    assert observed.metadata["files_expected"].value == 10
    hours = (utc_now() - FIRST) / Timedelta("1h")
    assert observed.metadata["latency_hours"].value == pytest.approx(hours, abs=0.1)
    assert isinstance(arrived, dg.AssetObservation)
    assert (arrived.asset_key.path, arrived.partition) == (["upstream", PRIMARY], None)
    whose = {name: arrived.metadata[name].value for name in ("dataset", "partition")}
    assert whose == {"dataset": "test-gfs-forecast", "partition": partition_key(FIRST)}
    assert {name: arrived.metadata[name] for name in observed.metadata} == observed.metadata
    assert list(watched.tick(cursor=first.cursor).asset_events) == []
    watched.announce(FIRST, leads=[3])
    assert len(watched.tick(cursor=first.cursor).asset_events) == 2


def test_a_listing_that_failed_makes_no_arrival_new(watched: Watched) -> None:
    watched.announce(FIRST, leads=[0, 1, 2])
    first = watched.tick()
    assert len(first.asset_events) == 2
    second = watched.tick(cursor=first.cursor, patience=replace(LISTING_PATIENCE, asked_for=0.0))
    assert f"{partition_key(FIRST)} could not be listed" in skipped(second)
    assert list(watched.tick(cursor=second.cursor).asset_events) == []


def test_a_cursor_does_not_grow_without_end(watched: Watched) -> None:
    many = {f"{hour:04}": "0" for hour in range(150)}
    tick = watched.tick(cursor=json.dumps({"observed": many}))
    assert json.loads(tick.cursor or "")["observed"] == dict(list(many.items())[50:])


def test_an_upstream_that_is_not_there_fails_the_tick(watched: Watched) -> None:
    (watched.site.upstream / PRIMARY).rmdir()
    watched.site.upstream.rmdir()
    with pytest.raises(Exception, match="upstream") as caught:
        watched.tick()
    assert "UpstreamMissing" in repr(caught.value.__cause__ or caught.value)


@pytest.mark.parametrize("kind", ["upstream", "heal"])
def test_a_store_that_never_answers_fails_the_tick_before_dagster_gives_it_up(
    watched: Watched, silence: Silence, kind: str
) -> None:
    """Its thread would go on to wait, and those of the code location are few."""
    assert LISTING_PATIENCE.asked_for + 2 * LISTING_PATIENCE.timeout <= 45, "archives, then a last answer of each"
    site = replace(watched.site, settings={"store": silence.url})
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="whether the object is there is not known"):
        Watched(replace(watched.deployment, site=site)).tick(kind, patience=replace(LISTING_PATIENCE, timeout=0.3))
    assert time.monotonic() - began < 10.0


def test_sensors_are_off_until_a_person_turns_them_on(watched: Watched) -> None:
    for kind in ("upstream", "heal"):
        sensor = watched.deployment.definitions.resolve_sensor_def(watched.site.dataset.job_name(kind))
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_arrival_to_publication_to_a_hole_that_heals(watched: Watched) -> None:
    watched = watched.having(soft_deadline=Timedelta("1h"), heal_cool_down=Timedelta(0))
    write_sample_upstream(watched.site.upstream, [FIRST], LEADS, variables=[TEMPERATURE], step=SAMPLE_STEP)
    late = watched.site.file(7, FIRST)
    late.rename(late.with_name("late"))
    update = only(watched.tick())
    watched.deployment.run("update", FIRST, tags=dict(update.tags), **settings_of(update))
    assert list(watched.site.read().indexes["init_time"]) == [FIRST]
    assert partition_key(FIRST) not in skipped(watched.tick())
    assert skipped(watched.tick("heal"))

    late.with_name("late").rename(late)
    heal = only(watched.tick("heal"))
    assert heal.partition_key == partition_key(FIRST)
    assert heal.tags[MODE_TAG] == "heal"
    assert heal.run_key != update.run_key
    assert settings_of(heal)["publish"] is False
    watched.deployment.run("backfill", FIRST, tags=dict(heal.tags), **settings_of(heal))
    assert_forecast_true(watched.site.read(), FIRST, variables=[TEMPERATURE])
    assert skipped(watched.tick("heal"))


def test_the_lease_of_a_run_that_ended_is_swept_by_the_heal_sensor(watched: Watched) -> None:
    watched.announce(FIRST)
    watched.publish(FIRST)
    internal, key = watched.site.stores.internal, f"lease/{partition_key(FIRST)}.json"
    internal.put(key, b'{"holder": "killed"}')
    memory = json.loads(watched.tick("heal").cursor or "")
    assert memory["leases"][partition_key(FIRST)]["lease"] == '{"holder": "killed"}'
    memory["leases"][partition_key(FIRST)]["since"] = str(utc_now() - Timedelta("31min"))
    assert json.loads(watched.tick("heal", json.dumps(memory)).cursor or "")["leases"] == {}
    assert not internal.exists(key)


def test_heals_leave_room_for_updates(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """At most two of a dataset are unfinished, however many partitions can be healed."""
    labels = [SECOND - number * CYCLE for number in range(4)]
    watched = watch(tmp_path, instance, labels[-1])
    watched.publish(*labels)
    for label in labels:
        watched.announce(label)
    runs = [
        watched.record_run(request, dg.DagsterRunStatus.STARTED, "heal")
        for request in watched.tick("heal").run_requests or []
    ]
    assert len(runs) == 2
    assert "waits for runs before it" in skipped(watched.tick("heal"))
    instance.report_run_canceled(runs[0])
    assert len(watched.tick("heal").run_requests or []) == 1


def test_an_arrival_is_recorded_once(watched: Watched) -> None:
    """By the sensor that waits for it; the other records what changes afterwards."""
    watched = watched.having(heal_cool_down=Timedelta(0))
    watched.announce(FIRST)
    assert len(watched.tick("upstream").asset_events) == 2
    watched.publish(FIRST)
    first = watched.tick("heal")
    assert not first.asset_events
    watched.announce(FIRST, leads=[4], content=b"corrected")
    late, _ = watched.tick("heal", first.cursor).asset_events
    assert late.partition == partition_key(FIRST)


def test_a_partition_that_is_given_up_is_named(deployment: Deployment) -> None:
    age = ((utc_now() - INIT) / 2 - Timedelta("3h")).floor("s")
    watched = Watched(deployment).having(give_up_age=age)
    watched.site.arrive(INIT, leads=[0, 1])
    watched.deployment.run("update", INIT)
    assert f"{partition_key(INIT)} is known missing from now on" in skipped(watched.tick("heal"))
    entry = watched.site.ledger(INIT)
    assert entry is not None
    assert entry.known_missing
