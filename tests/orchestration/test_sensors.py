"""Sensors: what has arrived, what is published and what is running decide, and nothing else."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.errors import NothingSucceeded, StoreUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.orchestration import sensors
from reformatters_dagster.orchestration.names import (
    ATTEMPT_TAG,
    BACKFILL_TAG,
    DATASET_TAG,
    EXCLUSIVE_TAG,
    FINGERPRINT_TAG,
    MODE_TAG,
)
from reformatters_dagster.orchestration.resources import Reformatters, utc_now
from reformatters_dagster.orchestration.sensors import LISTING_PATIENCE
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import (
    LEADS,
    NOMADS,
    PRIMARY,
    TEMPERATURE,
    WIND,
    Sample,
    Site,
    assert_forecast_true,
    gfs_forecast,
    gfs_key,
)
from tests.datasets import STEP as SAMPLE_STEP
from tests.orchestration.deployments import Deployment
from tests.stores import Silence

pytest_plugins = ["tests.datasets", "tests.stores"]

CYCLE = Timedelta("6h")
# Sensors ask the clock of the machine; the newest cycles of it are what there is to publish.
SECOND = utc_now().floor("6h").as_unit("us")
FIRST = SECOND - CYCLE


@dataclass(frozen=True)
class Watched:
    """A deployment whose archive starts with the last full cycle, and its sensors."""

    deployment: Deployment

    @property
    def site(self) -> Site:
        return self.deployment.site

    def having(self, **changes: Any) -> "Watched":
        return Watched(replace(self.deployment, site=self.site.having(**changes)))

    def announce(self, label: Timestamp, leads: Iterable[int] = LEADS, content: bytes = b"") -> None:
        """Files that can be listed; nobody reads them."""
        for lead in leads:
            path = self.site.upstream / PRIMARY / gfs_key(label, lead)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.with_name(f"{path.name}.idx").write_bytes(content)

    def publish(self, *labels: Timestamp) -> None:
        """Metadata alone, which is what sensors go by."""
        self.deployment.run("initialise", end=str(max(labels) + CYCLE))

    def tick(self, kind: str = "upstream", cursor: str | None = None) -> SensorExecutionData:
        sensor = self.deployment.definitions.resolve_sensor_def(self.site.dataset.job_name(kind))
        resources = {"reformatters": Reformatters.from_settings(self.deployment.settings)}
        with dg.build_sensor_context(
            instance=self.deployment.instance,
            cursor=cursor,
            definitions=self.deployment.definitions,
            resources=resources,
        ) as context:
            return sensor.evaluate_tick(context)

    def record_run(
        self,
        request: dg.RunRequest,
        status: dg.DagsterRunStatus,
        kind: str = "update",
        *,
        ago: Timedelta = Timedelta(0),  # noqa: B008 it is immutable
    ) -> dg.DagsterRun:
        """A run as the daemon would have launched it so long ago, in the given state."""
        job = self.deployment.job({"upstream": "update", "heal": "backfill"}.get(kind, kind))
        tags = {**job.tags, **request.tags, "dagster/partition": str(request.partition_key)}
        run = dg.DagsterRun(job_name=job.name, tags=tags, status=status)
        created = (utc_now() - ago).to_pydatetime().replace(tzinfo=UTC)
        return self.deployment.instance.run_storage.add_historical_run(run, created)

    def fail(self, kind: str, times: int, ago: Timedelta) -> list[dg.RunRequest]:
        """What a sensor asks for while every run fails at once; the last one did so long ago."""
        requests = [only(self.tick(kind))]
        self.record_run(requests[0], dg.DagsterRunStatus.FAILURE, kind, ago=Timedelta("20D"))
        while len(requests) < times:
            requests.append(only(self.tick(kind)))
            since = ago if len(requests) == times else Timedelta("20D")
            self.record_run(requests[-1], dg.DagsterRunStatus.FAILURE, kind, ago=since)
        return requests


@pytest.fixture
def watched(tmp_path: Path, instance: dg.DagsterInstance) -> Watched:
    axis = AppendAxis(name="init_time", start=FIRST, frequency="6h")
    dataset = gfs_forecast(tmp_path / "templates", append_dim=axis, variables=[TEMPERATURE])
    site = Site(tmp_path, dataset, Sample(tmp_path / "sample", tmp_path))
    (site.upstream / PRIMARY).mkdir(parents=True)
    return Watched(Deployment(site, instance)).having(soft_deadline=Timedelta("30D"))


def only(tick: SensorExecutionData) -> dg.RunRequest:
    """The one run a tick asks for."""
    requests = tick.run_requests or []
    assert len(requests) == 1, tick.skip_message
    return requests[0]


def skipped(tick: SensorExecutionData) -> str:
    """Why a tick asks for none."""
    assert not tick.run_requests
    return tick.skip_message or ""


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
    watched: Watched, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], kind: str, waits: str | None
) -> None:
    watched.announce(FIRST)
    if kind == "heal":
        watched.publish(FIRST)
    request = only(watched.tick(kind))
    lost = request.with_replaced_attrs(tags={**request.tags, **tags})
    watched.record_run(lost, dg.DagsterRunStatus.FAILURE, kind)
    if waits is None:
        assert str(only(watched.tick(kind)).run_key).endswith("#2")
        return
    assert waits in skipped(watched.tick(kind))
    monkeypatch.setattr(sensors, "RETRIED_WITHIN", Timedelta(0))
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


def test_a_failed_update_is_tried_again_at_once_and_then_ever_less_often(watched: Watched) -> None:
    watched.announce(FIRST)
    keys = [str(request.run_key) for request in watched.fail("upstream", 3, Timedelta("5min"))]
    assert [key[-2:] for key in keys] == ["#1", "#2", "#3"]
    again = utc_now() + Timedelta("10min")
    waits = skipped(watched.tick())
    assert f"{partition_key(FIRST)} ran 3 times with the files that are there" in waits
    assert any(f"it is tried again at {at:%Y-%m-%dT%H:%M}" in waits for at in (again, again - Timedelta("1min")))
    watched.announce(FIRST, leads=[9], content=b"again")
    assert str(only(watched.tick()).run_key).endswith("#1")


@pytest.mark.parametrize("kind", ["upstream", "heal"])
@pytest.mark.parametrize(
    ("times", "cool_down"), [(3, "15min"), (4, "30min"), (5, "1h"), (7, "4h"), (8, "6h"), (24, "6h")]
)
def test_it_is_never_given_up_while_its_files_are_there(
    watched: Watched, kind: str, times: int, cool_down: str
) -> None:
    watched.announce(FIRST)
    if kind == "heal":
        watched.publish(FIRST)
    requests = watched.fail(kind, times, Timedelta(cool_down) + Timedelta("1min"))
    last = only(watched.tick(kind))
    assert [str(request.run_key).rpartition("#")[2] for request in [*requests, last]] == [
        str(n + 1) for n in range(times + 1)
    ]
    watched.record_run(last, dg.DagsterRunStatus.FAILURE, kind, ago=Timedelta(cool_down) - Timedelta("1min"))
    assert f"ran {times + 1} times" in skipped(watched.tick(kind))


def test_runs_that_were_deleted_leave_no_run_key_to_be_used_twice(watched: Watched) -> None:
    """Dagster launches nothing for a run key that it has a run of."""
    watched.announce(FIRST)
    old = watched.fail("upstream", 6, Timedelta("7h"))
    for run in watched.deployment.instance.get_runs()[1:]:
        watched.deployment.instance.delete_run(run.run_id)
    assert str(only(watched.tick()).run_key).endswith("#7")
    assert len({request.run_key for request in old}) == 6


def test_runs_of_another_dataset_with_the_same_files_do_not_count(watched: Watched) -> None:
    watched.announce(FIRST)
    request = only(watched.tick())
    theirs = request.with_replaced_attrs(tags={**request.tags, DATASET_TAG: "test-gfs-other"})
    for _ in range(3):
        watched.record_run(theirs, dg.DagsterRunStatus.FAILURE)
    assert only(watched.tick()) == request


def test_what_cannot_be_used_is_accepted_once_it_was_tried_often_enough(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    watched.announce(FIRST, content=b"no GRIB")
    assert settings_of(only(watched.tick()))["accept_missing"] is False
    watched.announce(SECOND)
    for _ in range(3):
        watched.record_run(only(watched.tick()), dg.DagsterRunStatus.CANCELED, ago=Timedelta("20D"))
    requests = watched.fail("upstream", 3, Timedelta("7h"))
    assert [settings_of(request)["accept_missing"] for request in requests] == [False] * 3
    last = only(watched.tick())
    assert settings_of(last)["accept_missing"] is True
    assert "past its give-up age" in last.tags["reformatters/reason"]
    assert "tried 3 times" in last.tags["reformatters/reason"]
    watched.deployment.run("update", FIRST, tags=dict(last.tags), **settings_of(last))
    assert list(watched.site.read().indexes["init_time"]) == [FIRST]
    entry = watched.site.ledger(FIRST)
    assert entry is not None
    assert entry.known_missing
    assert only(watched.tick()).partition_key == partition_key(SECOND)


def test_what_failed_for_another_reason_is_published_whole_and_not_known_to_be_missing(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    write_sample_upstream(watched.site.upstream, [FIRST], LEADS, variables=[TEMPERATURE], step=SAMPLE_STEP)
    watched.announce(SECOND)
    watched.fail("upstream", 3, Timedelta("7h"))
    last = only(watched.tick())
    assert settings_of(last)["accept_missing"] is True
    watched.deployment.run("update", FIRST, tags=dict(last.tags), **settings_of(last))
    assert_forecast_true(watched.site.read(), FIRST, variables=[TEMPERATURE])
    entry = watched.site.ledger(FIRST)
    assert entry is not None
    assert not entry.known_missing


def test_attempts_with_the_files_of_another_archive_are_counted(watched: Watched) -> None:
    first, other = watched.site.dataset.archives
    keeps_all = other.model_copy(update={"newest": None})
    watched = watched.having(soft_deadline=Timedelta("1h"), archives=(first, keeps_all))
    watched.announce(FIRST)
    (watched.site.upstream / PRIMARY).rename(watched.site.upstream / "kept")
    (watched.site.upstream / NOMADS).parent.mkdir(parents=True)
    (watched.site.upstream / "kept").rename(watched.site.upstream / NOMADS)
    requests = watched.fail("upstream", 3, Timedelta("5min"))
    assert NOMADS in requests[0].tags["reformatters/reason"]
    assert "ran 3 times with the files that are there" in skipped(watched.tick())


def test_late_ones_without_later_ones_are_tried_and_not_given_up(watched: Watched) -> None:
    watched = watched.having(give_up_age=Timedelta("1h"))
    watched.announce(FIRST)
    watched.fail("upstream", 4, Timedelta("7h"))
    assert settings_of(only(watched.tick()))["accept_missing"] is False


def test_what_arrives_is_observed_once(watched: Watched) -> None:
    watched.announce(FIRST, leads=[0, 1, 2])
    first = watched.tick()
    (observed,) = first.asset_events
    assert isinstance(observed, dg.AssetObservation)
    assert (observed.asset_key.path, observed.partition) == (["test", "gfs_forecast"], partition_key(FIRST))
    assert observed.metadata["files_present"].value == 3
    assert observed.metadata["files_expected"].value == 10
    hours = (utc_now() - FIRST) / Timedelta("1h")
    assert observed.metadata["latency_hours"].value == pytest.approx(hours, abs=0.1)
    assert list(watched.tick(cursor=first.cursor).asset_events) == []
    watched.announce(FIRST, leads=[3])
    assert len(watched.tick(cursor=first.cursor).asset_events) == 1


def test_a_listing_that_failed_makes_no_arrival_new(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.announce(FIRST, leads=[0, 1, 2])
    first = watched.tick()
    assert len(first.asset_events) == 1
    monkeypatch.setattr(sensors, "LISTING_PATIENCE", replace(LISTING_PATIENCE, asked_for=0.0))
    second = watched.tick(cursor=first.cursor)
    assert f"{partition_key(FIRST)} could not be listed" in skipped(second)
    monkeypatch.undo()
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
    watched: Watched, silence: Silence, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its thread would go on to wait, and those of the code location are few."""
    assert LISTING_PATIENCE.asked_for + 2 * LISTING_PATIENCE.timeout <= 45, "archives, then a last answer of each"
    monkeypatch.setattr(sensors, "LISTING_PATIENCE", replace(LISTING_PATIENCE, timeout=0.3))
    site = replace(watched.site, settings={"store": silence.url})
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="whether the object is there is not known"):
        Watched(replace(watched.deployment, site=site)).tick(kind)
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


def with_wind_unwritten(watched: Watched, folder: Path, *variables: str) -> Watched:
    """A partition whose files hold these variables, and of which no run has been about the wind."""
    axis = AppendAxis(name="init_time", start=FIRST, frequency="6h")
    both = gfs_forecast(folder / "both", append_dim=axis, variables=[TEMPERATURE, WIND])
    watched = Watched(replace(watched.deployment, site=replace(watched.site, dataset=both)))
    watched = watched.having(heal_cool_down=Timedelta(0))
    write_sample_upstream(watched.site.upstream, [FIRST], LEADS, variables=variables, step=SAMPLE_STEP)
    watched.site.backfill(FIRST, variables=(TEMPERATURE,))
    return watched


def test_a_heal_of_variables_that_nobody_wrote_is_of_them_alone(watched: Watched, tmp_path: Path) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = settings_of(only(watched.tick("heal")))
    assert (heal["variables"], heal["publish"], heal["keep_published"]) == ([WIND], False, True)
    watched.deployment.run("backfill", FIRST, **heal)
    assert_forecast_true(watched.site.read(), FIRST)


@pytest.mark.parametrize("ended", [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE])
def test_variables_that_nobody_wrote_are_tried_again_whatever_ended_their_run(
    watched: Watched, tmp_path: Path, ended: dg.DagsterRunStatus
) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = only(watched.tick("heal"))
    watched.record_run(heal, ended, "heal", ago=Timedelta("1h"))
    again = only(watched.tick("heal"))
    assert settings_of(again) == settings_of(heal)
    assert again.run_key == str(heal.run_key).replace("#1", "#2")


def test_variables_that_the_files_do_not_hold_are_tried_ever_less_often(watched: Watched, tmp_path: Path) -> None:
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE)
    heal = only(watched.tick("heal"))
    with pytest.raises(NothingSucceeded, match="none succeeded"):
        watched.deployment.run("backfill", FIRST, tags=dict(heal.tags), **settings_of(heal))
    for _ in range(2):
        watched.record_run(only(watched.tick("heal")), dg.DagsterRunStatus.FAILURE, "heal")
    reason = skipped(watched.tick("heal"))
    assert f"{partition_key(FIRST)} ran 3 times for the variables it lacks with the files that are there" in reason
    path = watched.site.file(4, FIRST)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b"more")
    assert only(watched.tick("heal")).tags[FINGERPRINT_TAG] != heal.tags[FINGERPRINT_TAG]


def test_runs_of_other_variables_with_the_same_files_are_no_try(watched: Watched, tmp_path: Path) -> None:
    """The update that published the partition had the same files, and knew nothing of a variable added since."""
    watched = with_wind_unwritten(watched, tmp_path, TEMPERATURE, WIND)
    heal = only(watched.tick("heal"))
    earlier = heal.with_replaced_attrs(
        tags={FINGERPRINT_TAG: heal.tags[FINGERPRINT_TAG], ATTEMPT_TAG: "1"},
    )
    for _ in range(3):
        watched.record_run(earlier, dg.DagsterRunStatus.FAILURE)
    assert only(watched.tick("heal")) == heal
    assert str(heal.run_key) != f"{partition_key(FIRST)}@{heal.tags[FINGERPRINT_TAG]}#1"


def settings_of(request: dg.RunRequest) -> dict[str, Any]:
    """Fields of the run config a sensor sends along."""
    fields: dict[str, Any] = request.run_config["ops"]["test__gfs_forecast"]["config"]
    return fields
