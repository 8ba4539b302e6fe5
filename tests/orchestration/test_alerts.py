"""Trouble reaches a webhook and Sentry, once, without secrets; and nobody where nobody is to be told."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sentry_sdk
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.orchestration.alert_sensors import build_alert_sensors
from reformatters_dagster.orchestration.alerts import Alert, Alerts, open_alerts
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import BACKFILL_TAG
from reformatters_dagster.orchestration.standing import CHECKED_AT
from reformatters_dagster.orchestration.trouble import (
    EVALUATIONS_READ,
    FAILURES_READ,
    failed_checks,
    failed_run,
    silent_sensors,
    told_before,
)
from tests.datasets import INIT, SECOND
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]

NOW, MINUTE = pd.Timestamp("2026-07-30T05"), pd.Timedelta("1min")


class Webhook:
    """A server that keeps what it is sent, and answers with the statuses it is told to, then with 200."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.url = ""


@contextmanager
def serving(webhook: Webhook) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = webhook.answers.pop(0) if webhook.answers else 200
            if status == 200:
                webhook.bodies.append(body)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name is the library's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    webhook.url = f"http://127.0.0.1:{server.server_address[1]}/services/T0/B0/secret"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    with serving(made):
        yield made


class Captured(Transport):
    """Sentry's way out, which keeps what it is given."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        ENVELOPES.clear()

    def capture_envelope(self, envelope: Envelope) -> None:
        ENVELOPES.append(envelope)


ENVELOPES: list[Envelope] = []


@pytest.fixture
def sentry() -> Iterator[None]:
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=Captured, default_integrations=False)
    yield
    sentry_sdk.get_client().close()
    sentry_sdk.init()


def payloads(kind: str) -> list[dict[str, Any]]:
    return [item.payload.json for envelope in ENVELOPES for item in envelope.items if item.type == kind]  # type: ignore[misc]


def sensors(deployment: Deployment, alerts: Alerts) -> dict[str, Any]:
    return {one.name: one for one in build_alert_sensors("test", [deployment.site.dataset], alerts)}


def last_run(deployment: Deployment) -> dg.DagsterRun:
    return deployment.instance.get_runs(limit=1)[0]


def react(deployment: Deployment, alerts: Alerts, name: str) -> None:
    """Let one of the sensors see the last run, as the daemon does."""
    run = last_run(deployment)
    kind = dg.DagsterEventType.PIPELINE_FAILURE if name.endswith("failures") else dg.DagsterEventType.PIPELINE_SUCCESS
    (entry,) = deployment.instance.all_logs(run.run_id, of_type=kind)
    assert entry.dagster_event is not None
    context = dg.build_run_status_sensor_context(name, entry.dagster_event, deployment.instance, run)
    sensors(deployment, alerts)[name](context.for_run_failure() if name.endswith("failures") else context)


def fail(deployment: Deployment) -> None:
    """An update of a partition of which nothing is there."""
    with pytest.raises(Exception, match="none succeeded"):
        deployment.run("update", INIT)


def test_nobody_is_told_unless_someone_is_named(deployment: Deployment) -> None:
    assert not open_alerts("", None)
    names = {one.name for one in deployment.definitions.sensors or ()}
    assert names == {"test_gfs_forecast__upstream", "test_gfs_forecast__heal", "test__overview"}
    told = build_definitions([deployment.site.dataset], deployment.settings, Alerts("http://127.0.0.1:1", sentry=False))
    added = {one.name: one for one in told.sensors or ()}
    assert added.keys() - names == {"test__alert_failures", "test__alert_checks", "test__alert_sensors"}
    assert all(added[name].default_status is dg.DefaultSensorStatus.RUNNING for name in added.keys() - names)


def test_a_failed_run_is_told_once(deployment: Deployment, webhook: Webhook) -> None:
    alerts = Alerts(webhook.url, sentry=False)
    for _ in range(2):
        fail(deployment)
        react(deployment, alerts, "test__alert_failures")
    (body,) = webhook.bodies
    assert body["kind"] == "run failed"
    assert body["subject"] == "test_gfs_forecast__update 2026-07-29T18:00"
    assert "none succeeded, nothing was published" in body["message"]
    assert body["text"] == f"run failed: {body['subject']}: {body['message']}"
    assert body["facts"]["job"] == "test_gfs_forecast__update"


def told_at(
    instance: dg.DagsterInstance, hours: Iterable[int], *tags: dict[str, str], read: int = FAILURES_READ
) -> list[int]:
    """Hours at which a failed run was told; one was launched at each of those, the tags by turns."""
    found = []
    for hour in hours:
        time = NOON + pd.Timedelta(hours=hour)
        if not told_before(instance, failed_at(instance, time, time, tags[hour % len(tags)]), read):
            found.append(hour)
    return found


def failed_at(
    instance: dg.DagsterInstance, created: pd.Timestamp, ended: pd.Timestamp, tags: dict[str, str]
) -> dg.DagsterRun:
    """A run that was created at one time, and failed at another."""
    run = dg.DagsterRun("gfs__update", tags=tags, status=dg.DagsterRunStatus.STARTED)
    instance.run_storage.add_historical_run(run, created.to_pydatetime())
    event = DagsterEvent(DagsterEventType.RUN_FAILURE.value, run.job_name)
    instance.run_storage.handle_run_event(run.run_id, event, ended.to_pydatetime())
    return run


def test_runs_that_keep_failing_are_told_once_in_six_hours(instance: dg.DagsterInstance) -> None:
    """Though one fails every hour: from the last time it was told, not from the last time it failed."""
    partition = {"dagster/partition": "2026-07-29T18:00"}
    assert told_at(instance, range(20), partition) == [0, 6, 12, 18]
    assert told_at(instance, range(20, 22), {"dagster/partition": "2026-07-30T00:00"}) == [20]
    assert told_at(instance, range(22, 24), {}) == [22]


def test_runs_of_one_backfill_are_one_trouble(instance: dg.DagsterInstance) -> None:
    runs = [{BACKFILL_TAG: "abcdefgh", "dagster/partition": f"2026-07-{day}T18:00"} for day in (26, 27, 28)]
    assert told_at(instance, [*range(4), 7, 8], *runs) == [0, 7]
    assert told_at(instance, [9], runs[0] | {BACKFILL_TAG: "ijklmnop"}) == [9]
    assert told_at(instance, [10], {"dagster/partition": runs[0]["dagster/partition"]}) == [10]
    run = dg.DagsterRun("gfs__update", tags=runs[0])
    assert failed_run(instance, run, "").subject == "gfs__update backfill abcdefgh"


def test_runs_of_a_backfill_that_fail_days_apart_are_told_by_when_they_fail(instance: dg.DagsterInstance) -> None:
    """They are created together, and wait for each other."""
    told = []
    for number, hour in enumerate((0, 1, 7, 8, 40)):
        tags = {BACKFILL_TAG: "abcdefgh", "dagster/partition": f"2026-07-{10 + number}T18:00"}
        created = NOON + pd.Timedelta(seconds=number)
        if not told_before(instance, failed_at(instance, created, created + pd.Timedelta(hours=hour), tags)):
            told.append(hour)
    assert told == [0, 7, 40]


def test_runs_that_have_always_failed_are_told_once_in_a_quarter_of_a_day(instance: dg.DagsterInstance) -> None:
    assert told_at(instance, range(20), {"dagster/partition": "2026-07-29T18:00"}, read=4) == [0, 6, 12, 18]


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_an_error_check_that_failed_is_told_though_its_run_succeeded(deployment: Deployment, webhook: Webhook) -> None:
    late = CheckCurrentData(name="late", max_delay=pd.Timedelta("1h"))
    site = deployment.site.having(validators=(late, CheckExpectedShards()))
    checked = Deployment(site, deployment.instance)
    site.arrive(INIT)
    checked.run("update", INIT)
    react(checked, Alerts(webhook.url, sentry=False), "test__alert_checks")
    (body,) = webhook.bodies
    assert (body["kind"], body["subject"]) == ("check failed", "test/gfs_forecast late")
    assert "is due, the newest published is 2026-07-29T18:00" in body["message"]


def evaluate(
    instance: dg.DagsterInstance,
    hours: float,
    *,
    passed: bool = False,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    name: str = "late",
    repeated: bool = False,
    read: int = EVALUATIONS_READ,
) -> list[str]:
    """Record a run's evaluation of a check so many hours from noon; subjects that are told after it."""
    run, key = instance.create_run_for_job(CHECKED), dg.AssetKey("mrms")
    evaluation = AssetCheckEvaluation(
        key, name, passed, {CHECKED_AT: "earlier"} if repeated else {}, severity=severity, description="nothing came"
    )
    planned = AssetCheckEvaluationPlanned(asset_key=key, check_name=name)
    for kind, data in (("ASSET_CHECK_EVALUATION_PLANNED", planned), ("ASSET_CHECK_EVALUATION", evaluation)):
        event = DagsterEvent(kind, run.job_name, event_specific_data=data)
        time = (NOON + pd.Timedelta(hours=hours)).timestamp()
        entry = dg.EventLogEntry(None, "debug", "", run.run_id, time, job_name=run.job_name, dagster_event=event)  # type: ignore[no-untyped-call]
        instance.store_event(entry)
    return [alert.subject for alert in failed_checks(instance, run, read)]


NOON = pd.Timestamp("2026-07-30T12", tz="UTC")
TOLD = ["mrms late"]


@dg.job(name="validate")
def CHECKED() -> None:  # noqa: N802 a value, made by the decorator
    """A run's."""


def test_a_check_that_keeps_failing_is_told_once_in_six_hours(kept: dg.DagsterInstance) -> None:
    """Though it fails every hour: from the last time it was told, not from the last time it failed."""
    hours = [hour for hour in range(20) if evaluate(kept, hour) == TOLD]
    assert hours == [0, 6, 12, 18]


def test_a_check_that_fails_anew_after_it_passed_is_told(kept: dg.DagsterInstance) -> None:
    assert evaluate(kept, 0) == TOLD
    assert evaluate(kept, 1) == []
    assert evaluate(kept, 2, passed=True) == []
    assert evaluate(kept, 3) == TOLD
    assert evaluate(kept, 4) == []
    assert evaluate(kept, 4.5, name="other") == ["mrms other"]


def test_a_result_that_a_backfill_lets_stand_is_neither_told_nor_an_end_of_the_trouble(
    kept: dg.DagsterInstance,
) -> None:
    assert evaluate(kept, 0, repeated=True) == []
    assert evaluate(kept, 1) == TOLD
    assert evaluate(kept, 2, passed=True) == []
    assert evaluate(kept, 3, repeated=True) == []
    assert evaluate(kept, 4) == TOLD
    assert evaluate(kept, 5, passed=True, repeated=True) == []
    assert evaluate(kept, 6) == []


def test_a_warning_is_neither_told_nor_an_end_of_the_trouble(kept: dg.DagsterInstance) -> None:
    warn = dg.AssetCheckSeverity.WARN
    assert evaluate(kept, 0, severity=warn) == []
    assert evaluate(kept, 1) == TOLD
    assert evaluate(kept, 2, severity=warn) == []
    assert evaluate(kept, 3) == []


def test_a_sensor_that_is_late_goes_by_the_time_of_the_evaluation(kept: dg.DagsterInstance) -> None:
    """Evaluations since, and runs that have yet to evaluate the check, change nothing."""
    assert evaluate(kept, 5, passed=True) == []
    assert evaluate(kept, 9) == TOLD
    assert evaluate(kept, 4) == TOLD
    assert evaluate(kept, 3, passed=True) == []
    assert evaluate(kept, 4.5) == []


@pytest.mark.slow
def test_a_check_that_has_always_failed_is_told_once_in_a_quarter_of_a_day(kept: dg.DagsterInstance) -> None:
    """Where its first failure is too long ago to be read."""
    told = [hours for hours in range(24) if evaluate(kept, hours, read=4) == TOLD]
    assert told == [0, 6, 12, 18]
    assert evaluate(kept, 29, read=4) == TOLD
    assert evaluate(kept, 29.5, read=4) == []


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_a_check_of_which_every_run_fails_is_told_once(deployment: Deployment, webhook: Webhook) -> None:
    late = CheckCurrentData(name="late", max_delay=pd.Timedelta("1h"))
    site = deployment.site.having(validators=(late,))
    checked = Deployment(site, deployment.instance)
    site.arrive(INIT)
    for _ in range(2):
        checked.run("update", INIT)
        react(checked, Alerts(webhook.url, sentry=False), "test__alert_checks")
    assert [body["subject"] for body in webhook.bodies] == ["test/gfs_forecast late"]


def test_a_webhook_that_fails_is_asked_again_and_fails_nothing(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    alert = Alert(kind="run failed", subject="test/gfs_forecast", message="none succeeded")
    webhook.answers = [503, 200]
    Alerts(webhook.url, sentry=False).tell(alert)
    assert len(webhook.bodies) == 1
    webhook.answers = [404]
    Alerts(webhook.url, sentry=False).tell(alert)
    assert "could not be delivered to the webhook: HTTPError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("sentry")
def test_sentry_gets_an_event_and_check_ins(deployment: Deployment) -> None:
    fail(deployment)
    react(deployment, Alerts(None, sentry=True), "test__alert_failures")
    (event,) = payloads("event")
    assert event["fingerprint"] == ["run failed", "test_gfs_forecast__update 2026-07-29T18:00"]
    assert "none succeeded" in event["message"]
    (check_in,) = payloads("check_in")
    run = last_run(deployment)
    assert (check_in["monitor_slug"], check_in["status"]) == ("test-gfs-forecast--update", "error")
    assert check_in["check_in_id"] == run.run_id.replace("-", "")


@pytest.mark.usefixtures("sentry")
def test_a_validation_checks_in_by_its_schedule(deployment: Deployment) -> None:
    deployment.site.arrive(INIT)
    deployment.run("initialise", end=str(SECOND))
    deployment.run("validate")
    react(deployment, Alerts(None, sentry=True), "test__alert_checks")
    check_in = payloads("check_in")[-1]
    assert (check_in["monitor_slug"], check_in["status"]) == ("test-gfs-forecast--validate", "ok")
    assert check_in["monitor_config"]["schedule"] == {"type": "crontab", "value": "30 */6 * * *"}


def switch(instance: dg.DagsterInstance, kind: InstigatorType, name: str, *, on: bool) -> InstigatorState:
    """A sensor or schedule that a person has switched."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("test"), "__repository__")
    is_sensor = kind is InstigatorType.SENSOR
    data = SensorInstigatorData(min_interval=60) if is_sensor else ScheduleInstigatorData("30 */6 * * *")
    status = InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED
    state = InstigatorState(RemoteInstigatorOrigin(repository, name), kind, status, data)
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (instance.update_instigator_state if known else instance.add_instigator_state)(state)
    return state


def tick(instance: dg.DagsterInstance, name: str, time: pd.Timestamp, *, error: bool = False) -> None:
    """A running sensor with one tick at a time."""
    running = switch(instance, InstigatorType.SENSOR, name, on=True)
    instance.create_tick(
        TickData(
            instigator_origin_id=running.instigator_origin_id,
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.FAILURE if error else TickStatus.SKIPPED,
            timestamp=time.tz_localize("UTC").timestamp(),
            selector_id=running.selector_id,
            error=SerializableErrorInfo("the store cannot be\nread", [], "StoreUnavailable") if error else None,
        )
    )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that remembers ticks."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def test_sensors_that_stopped_or_keep_failing_are_told(kept: dg.DagsterInstance) -> None:
    instance = kept
    tick(instance, "one__upstream", NOW - pd.Timedelta("2h"))
    tick(instance, "two__upstream", NOW - pd.Timedelta("5min"))
    for minutes in (4, 3):
        tick(instance, "three__upstream", NOW - minutes * MINUTE, error=True)
    tick(instance, "four__upstream", NOW - pd.Timedelta("3min"), error=True)
    for minutes in range(29, 0, -1):
        tick(instance, "five__upstream", NOW - minutes * MINUTE, error=minutes <= 25)
    tick(instance, "not_ours", NOW - pd.Timedelta("9h"))
    names = {f"{one}__upstream" for one in ("one", "two", "three", "four", "five")}
    found = {alert.subject: alert.message for alert in silent_sensors(instance, names, NOW)}
    assert found == {
        "one__upstream": "its last tick was at 2026-07-30T03:00",
        "three__upstream": "every tick fails: the store cannot be read",
    }


@pytest.mark.parametrize("cursor", ["no json", "5", '[{"a": 1}]'])
def test_a_cursor_that_cannot_be_read_stops_no_watch(
    deployment: Deployment, kept: dg.DagsterInstance, webhook: Webhook, cursor: str
) -> None:
    name = "test_gfs_forecast__upstream"
    tick(kept, name, pd.Timestamp("2026-07-30T03"))
    watch = sensors(deployment, Alerts(webhook.url, sentry=False))["test__alert_sensors"]
    assert name in json.loads(watch(dg.build_sensor_context(instance=kept, cursor=cursor)).cursor)


def test_a_silent_sensor_is_told_once_until_it_ticks(
    deployment: Deployment, kept: dg.DagsterInstance, webhook: Webhook
) -> None:
    name = "test_gfs_forecast__upstream"
    tick(kept, name, pd.Timestamp("2026-07-30T03"))
    watch = sensors(deployment, Alerts(webhook.url, sentry=False))["test__alert_sensors"]
    cursor = None
    for _ in range(2):
        result = watch(dg.build_sensor_context(instance=kept, cursor=cursor))
        cursor = result.cursor
    off = "test_gfs_forecast__validate_schedule"
    assert json.loads(cursor or "") == [name, off]
    assert [body["subject"] for body in webhook.bodies] == [name, off]


def test_a_validation_that_is_off_while_sensors_run_is_told_once(
    deployment: Deployment, kept: dg.DagsterInstance, webhook: Webhook
) -> None:
    name = "test_gfs_forecast__validate_schedule"
    watch = sensors(deployment, Alerts(webhook.url, sentry=False))["test__alert_sensors"]

    def told_after(cursor: str | None) -> str | None:
        webhook.bodies.clear()
        answer: str | None = watch(dg.build_sensor_context(instance=kept, cursor=cursor)).cursor
        return answer

    cursor = told_after(None)
    assert webhook.bodies == [], "nothing is switched on yet"
    switch(kept, InstigatorType.SENSOR, "test_gfs_forecast__heal", on=True)
    cursor = told_after(cursor)
    (body,) = webhook.bodies
    assert (body["kind"], body["subject"]) == ("schedule is off", name)
    assert (
        body["message"]
        == "test_gfs_forecast__heal runs, and nobody validates what is published: switch the schedule on"
    )
    cursor = told_after(cursor)
    assert webhook.bodies == []
    switch(kept, InstigatorType.SCHEDULE, name, on=True)
    cursor = told_after(cursor)
    assert json.loads(cursor or "") == []
    switch(kept, InstigatorType.SCHEDULE, name, on=False)
    told_after(cursor)
    assert [body["subject"] for body in webhook.bodies] == [name]
