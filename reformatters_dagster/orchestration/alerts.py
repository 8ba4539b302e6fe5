"""Failed runs, failed ERROR checks, silent sensors and validations that are off, told to people.

In: what the instance recorded. Out: a message to a webhook, an event and check-ins to Sentry, where they are configured.

A daemon that is down tells nobody anything: that an update or a validation did not come is for Sentry's monitors to notice.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import Field

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.values import JSON, Frozen, Timedelta, Timestamp
from reformatters_dagster.orchestration.names import BACKFILL_TAG
from reformatters_dagster.orchestration.resources import utc_now

log = logging.getLogger(__name__)

SILENT_AFTER = Timedelta("30min")
"""A running sensor that has not ticked for so long is stale; so is one of which every tick of that time failed."""
REPEATED_WITHIN = Timedelta("6h")
"""A failure of the same job and partition, of the same backfill, or of the same check, is told once in so long."""
EVALUATIONS_READ = 200
"""Of a check, to know since when it fails."""
FAILURES_READ = 200
"""Of the same job and partition, or backfill, to know when it was told last."""
TIMEOUT = 10.0
LONGEST = 1500
RUNNING = dg.DefaultSensorStatus.RUNNING
IMPLICIT_JOB = "__ASSET_JOB"
"""Dagster's name for runs that are launched from an asset's page."""

type Kind = Literal["run failed", "check failed", "sensor is silent", "schedule is off"]
type Health = Literal["in_progress", "ok", "error"]


class Alert(Frozen):
    """Something a person should look at. The same trouble has the same kind and subject, so that it groups."""

    kind: Kind
    subject: str
    """Job, check, sensor or schedule, with its partition where it has one."""
    message: str
    facts: Mapping[str, str] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line, as chat webhooks show it."""
        return f"{self.kind}: {self.subject}: {self.message}"


class Alerts:
    """Where alerts go. One that cannot be delivered is logged, and fails nothing.

    Parameters
    ----------
    webhook : str, optional
        URL that takes a JSON body with `text`, as Slack's, Mattermost's and others' do, and the alert's fields beside it.
    sentry : bool
        Whether `sentry_sdk` has been initialised for this process.
    """

    def __init__(self, webhook: str | None, *, sentry: bool) -> None:
        self.webhook = webhook
        self.sentry = sentry

    def __bool__(self) -> bool:
        return self.webhook is not None or self.sentry

    def tell(self, alert: Alert) -> None:
        """Send an alert everywhere it is to go."""
        log.warning("%s", alert.text)
        if self.sentry:
            import sentry_sdk

            with sentry_sdk.new_scope() as scope:
                scope.fingerprint = [alert.kind, alert.subject]
                scope.set_context("facts", dict(alert.facts))
                sentry_sdk.capture_message(alert.text, level="error")
        if self.webhook is not None:
            self._post(alert)

    def _post(self, alert: Alert) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        retries = Retry(total=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None)
        body: JSON = {"text": alert.text, **alert.model_dump()}
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retries))
            try:
                session.post(str(self.webhook), json=body, timeout=TIMEOUT).raise_for_status()
            except requests.RequestException as error:
                # The error's text holds the URL, which is a secret.
                log.warning("an alert could not be delivered to the webhook: %s", type(error).__name__)

    def check_in(self, job: str, run_id: str, health: Health, *, crontab: str | None = None) -> None:
        """Tell Sentry's monitor of a job that a run of it began, or how it ended."""
        if not self.sentry:
            return
        from sentry_sdk.crons import capture_checkin

        monitor: Any = {
            "schedule": {"type": "crontab", "value": crontab}
            if crontab
            else {"type": "interval", "value": 1, "unit": "day"},
            "timezone": "UTC",
            "checkin_margin": 10,
            "max_runtime": 360,
        }
        capture_checkin(
            monitor_slug=job.replace("_", "-"),
            check_in_id=run_id.replace("-", ""),
            status=health,
            monitor_config=monitor,
        )


def open_alerts(webhook: str | None, sentry_dsn: str | None) -> Alerts:
    """Alerts to what is configured; with a DSN Sentry is initialised for this process."""
    if sentry_dsn:
        import sentry_sdk

        sentry_sdk.init(dsn=sentry_dsn, send_default_pii=False)
    return Alerts(webhook or None, sentry=bool(sentry_dsn))


def build_alert_sensors(
    provider: str, datasets: Sequence[DynamicalDataset], alerts: Alerts
) -> list[dg.SensorDefinition]:
    """Sensors of one code location that tell of trouble; none when nobody is to be told. They run from the start."""
    if not alerts:
        return []
    crons: dict[str, str | None] = {dataset.job_name("update"): None for dataset in datasets}
    crons |= {dataset.job_name("validate"): dataset.validate_cron for dataset in datasets}

    def check_in(run: dg.DagsterRun, health: Health) -> None:
        if run.job_name in crons:
            alerts.check_in(run.job_name, run.run_id, health, crontab=crons[run.job_name])

    @dg.run_failure_sensor(name=f"{provider}__alert_failures", default_status=RUNNING)
    def failures(context: dg.RunFailureSensorContext) -> None:
        """Tells of runs that failed, and of failed checks in them."""
        run = context.dagster_run
        check_in(run, "error")
        for alert in failed_checks(context.instance, run):
            alerts.tell(alert)
        if not told_before(context.instance, run):
            alerts.tell(failed_run(context.instance, run, context.failure_event.message or "no reason was recorded"))

    @dg.run_status_sensor(dg.DagsterRunStatus.SUCCESS, name=f"{provider}__alert_checks", default_status=RUNNING)
    def checks(context: dg.RunStatusSensorContext) -> None:
        """Tells of ERROR checks that failed in runs that succeeded, as Dagster lets them."""
        check_in(context.dagster_run, "ok")
        for alert in failed_checks(context.instance, context.dagster_run):
            alerts.tell(alert)

    @dg.run_status_sensor(dg.DagsterRunStatus.STARTED, name=f"{provider}__alert_starts", default_status=RUNNING)
    def starts(context: dg.RunStatusSensorContext) -> None:
        """Tells Sentry's monitors of updates and validations that begin."""
        check_in(context.dagster_run, "in_progress")

    watch = _watch(provider, datasets, alerts)
    return [failures, checks, watch, *([starts] if alerts.sentry else [])]


def _watch(provider: str, datasets: Sequence[DynamicalDataset], alerts: Alerts) -> dg.SensorDefinition:
    sensors_of = {
        dataset.job_name("validate_schedule"): [dataset.job_name(kind) for kind in ("upstream", "heal")]
        for dataset in datasets
    }
    names = {name for sensors in sensors_of.values() for name in sensors}

    @dg.sensor(name=f"{provider}__alert_sensors", minimum_interval_seconds=300, default_status=RUNNING)
    def sensors(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Tells of sensors of this code location that stopped ticking or always fail, and of validations that are off."""
        silent = {alert.subject: alert for alert in silent_sensors(context.instance, names, utc_now())}
        off = {alert.subject: alert for alert in schedules_off(context.instance, sensors_of)}
        trouble, told = silent | off, set(json.loads(context.cursor or "[]"))
        for subject in sorted(trouble.keys() - told):
            alerts.tell(trouble[subject])
        return dg.SensorResult(
            skip_reason=dg.SkipReason(
                f"{len(silent)} of {len(names)} sensors are silent, {len(off)} schedules are off"
            ),
            cursor=json.dumps(sorted(trouble)),
        )

    return sensors


def failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert:
    """What is told of a run that failed: the words of the first error beneath Dagster's own."""
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = [entry.dagster_event.event_specific_data.error for entry in steps if entry.dagster_event]  # type: ignore[union-attr]
    cause = next((error for error in errors if error is not None), None)
    while cause is not None and cause.cause is not None:
        cause = cause.cause
    failure = next((data.user_failure_data for data in _failures(steps) if data.user_failure_data), None)
    words = (failure and failure.description) or (cause.message if cause is not None else message)
    return Alert(
        kind="run failed",
        subject=_subject(run),
        message=" ".join(words.split())[:LONGEST],
        facts={"run_id": run.run_id, "job": run.job_name, "attempt": run.tags.get("dagster/retry_number", "0")},
    )


def _failures(steps: Sequence[dg.EventLogEntry]) -> Iterator[Any]:
    for entry in steps:
        if entry.dagster_event is not None:
            yield entry.dagster_event.event_specific_data


def _subject(run: dg.DagsterRun) -> str:
    """Job and partition; of a run of a backfill, the backfill, whose runs may all fail for one reason."""
    backfill, partition = run.tags.get(BACKFILL_TAG), run.tags.get("dagster/partition")
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    job = assets if run.job_name.startswith(IMPLICIT_JOB) and assets else run.job_name
    if backfill:
        return f"{job} backfill {backfill}"
    return f"{job} {partition}" if partition else job


def told_before(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether another run of the same subject, launched before this one, was told a short while before: see `_is_told`."""
    own = instance.get_run_record_by_id(run.run_id)
    if own is None:
        return False
    tags = {tag: run.tags[tag] for tag in (BACKFILL_TAG, "dagster/partition") if tag in run.tags}
    if BACKFILL_TAG in tags:
        tags.pop("dagster/partition", None)
    failed = dg.RunsFilter(job_name=run.job_name, tags=tags, statuses=[dg.DagsterRunStatus.FAILURE])
    records = instance.get_run_records(failed, limit=FAILURES_READ, cursor=run.run_id)
    times = [one.create_timestamp.timestamp() for one in records if _subject(one.dagster_run) == _subject(run)]
    return _is_told(times[::-1], own.create_timestamp.timestamp(), since_known=len(records) < FAILURES_READ)


def _is_told(failures: Sequence[float], time: float, *, since_known: bool) -> bool:
    """Whether the same trouble was told a short while before, given the earlier times of it, oldest first.

    It is told when it is met first, and again by the first that comes so long after it was told last. Where it was met more
    often than is read, it is told by the first of each quarter of a day.
    """
    within = REPEATED_WITHIN.total_seconds()
    if not failures:
        return False
    if not since_known:
        return failures[-1] // within == time // within
    told = failures[0]
    for failure in failures:
        told = failure if failure - told >= within else told
    return time - told < within


def failed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Alert]:
    """An alert for every ERROR check that failed in a run, but for those that were told of a short while before."""
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    newest = {_evaluation_of(entry).asset_check_key: entry for entry in entries}  # a step may be executed again
    for entry in newest.values():
        evaluation = _evaluation_of(entry)
        if _is_error(evaluation) and not check_told_before(instance, entry):
            yield Alert(
                kind="check failed",
                subject=f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}",
                message=(evaluation.description or "no description")[:LONGEST],
                facts={"run_id": run.run_id},
            )


def check_told_before(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> bool:
    """Whether a check that failed has not passed since it was told, which was a short while before: see `_is_told`."""
    failures, since_known = _failures_before(instance, entry)
    return _is_told(failures, entry.timestamp, since_known=since_known)


def _failures_before(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> tuple[list[float], bool]:
    """When other runs found that a check fails, since it passed last; and whether that was read from its beginning."""
    key = _evaluation_of(entry).asset_check_key
    evaluated = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = instance.event_log_storage.get_asset_check_execution_history(key, EVALUATIONS_READ, status=evaluated)
    events = [one.event for one in records if one.event is not None and one.run_id != entry.run_id]
    failures: list[float] = []
    # Records are in the order in which their runs began.
    for event in sorted(events, key=lambda one: one.timestamp, reverse=True):
        evaluation = _evaluation_of(event)
        if event.timestamp > entry.timestamp:
            continue
        if evaluation.passed:
            return failures[::-1], True
        if _is_error(evaluation):
            failures.append(event.timestamp)
    return failures[::-1], len(records) < EVALUATIONS_READ


def _evaluation_of(entry: dg.EventLogEntry) -> dg.AssetCheckEvaluation:
    return entry.get_dagster_event().asset_check_evaluation_data


def _is_error(evaluation: dg.AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR


def silent_sensors(instance: dg.DagsterInstance, names: set[str], now: Timestamp) -> Iterator[Alert]:
    """An alert for every running sensor that has not ticked lately, or of which every late tick failed."""
    since = (now - SILENT_AFTER).tz_localize("UTC").timestamp()
    for state in instance.all_instigator_state():
        if state.instigator_name not in names or not state.is_running:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=20)
        lately = [tick for tick in ticks if tick.timestamp >= since]
        if not ticks:
            continue
        if not lately:
            last = f"{Timestamp(ticks[0].timestamp, unit='s'):%Y-%m-%dT%H:%M}"
            yield Alert(kind="sensor is silent", subject=state.instigator_name, message=f"its last tick was at {last}")
        elif all(tick.status is TickStatus.FAILURE for tick in lately):
            error = lately[0].error
            words = " ".join(error.message.split())[:LONGEST] if error is not None else "no error was recorded"
            yield Alert(kind="sensor is silent", subject=state.instigator_name, message=f"every tick fails: {words}")


def schedules_off(instance: dg.DagsterInstance, sensors_of: Mapping[str, Sequence[str]]) -> Iterator[Alert]:
    """An alert for every schedule that is off while a sensor of its dataset is on.

    Parameters
    ----------
    sensors_of : mapping
        Names of the sensors that go with a schedule, by its name.
    """
    running = {state.instigator_name for state in instance.all_instigator_state() if state.is_running}
    for schedule, sensors in sensors_of.items():
        if schedule not in running and (on := [name for name in sensors if name in running]):
            message = f"{on[0]} runs, and nobody validates what is published: switch the schedule on"
            yield Alert(kind="schedule is off", subject=schedule, message=message)
