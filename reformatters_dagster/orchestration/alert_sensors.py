"""Sensors that tell people of trouble. They run from the start, where somebody is to be told.

In: runs as they begin and end, and what the instance recorded. Out: alerts, each told once.

A daemon that is down tells nobody anything. Sentry's monitors notice that an update or a validation did not come.
"""

import json
from collections.abc import Sequence

import dagster as dg

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.orchestration.alerts import Alerts, Health
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.orchestration.trouble import (
    failed_checks,
    failed_run,
    schedules_off,
    silent_sensors,
    told_before,
)

RUNNING = dg.DefaultSensorStatus.RUNNING


def build_alert_sensors(
    provider: str, datasets: Sequence[DynamicalDataset], alerts: Alerts
) -> list[dg.SensorDefinition]:
    """Sensors of one code location that tell of trouble. There are none where `alerts` goes nowhere."""
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
        trouble, told = silent | off, _read_cursor(context.cursor)
        for subject in sorted(trouble.keys() - told):
            alerts.tell(trouble[subject])
        return dg.SensorResult(
            skip_reason=dg.SkipReason(
                f"{len(silent)} of {len(names)} sensors are silent, {len(off)} schedules are off"
            ),
            cursor=json.dumps(sorted(trouble)),
        )

    return sensors


def _read_cursor(cursor: str | None) -> set[str]:
    """Subjects that were told at the last tick; none where the cursor cannot be read: they are then told once more."""
    try:
        told = json.loads(cursor or "[]")
    except ValueError:
        return set()
    return {one for one in told if isinstance(one, str)} if isinstance(told, list) else set()
