"""What people are told of: failed runs, failed ERROR checks, silent sensors, and validations that are off.

In: what the instance recorded. Out: alerts, and whether the same trouble was told a short while before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.orchestration.alerts import Alert
from reformatters_dagster.orchestration.names import BACKFILL_TAG, IMPLICIT_JOB
from reformatters_dagster.orchestration.standing import is_repeated

SILENT_AFTER = Timedelta("30min")
"""A running sensor is silent when it has not ticked for so long, or when every tick in that time failed."""
REPEATED_WITHIN = Timedelta("6h")
"""A failure of the same job and partition, the same backfill or the same check is told once in this time."""
EVALUATIONS_READ = 200
"""How many evaluations of a check are read, to know since when it fails."""
FAILURES_READ = 200
"""How many failures of the same job and partition, or backfill, are read, to know when one was told last."""
LONGEST = 1500


def failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert:
    """The alert of a run that failed. It has the words of the innermost error, beneath Dagster's own."""
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
    """Job and partition of a run. For a run of a backfill, the backfill: all its runs may fail for one reason."""
    backfill, partition = run.tags.get(BACKFILL_TAG), run.tags.get("dagster/partition")
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    job = assets if run.job_name.startswith(IMPLICIT_JOB) and assets else run.job_name
    if backfill:
        return f"{job} backfill {backfill}"
    return f"{job} {partition}" if partition else job


def told_before(instance: dg.DagsterInstance, run: dg.DagsterRun, read: int = FAILURES_READ) -> bool:
    """Whether an earlier run of the same subject was told a short while before: see `_is_told`."""
    own = instance.get_run_record_by_id(run.run_id)
    if own is None:
        return False
    tags = {tag: run.tags[tag] for tag in (BACKFILL_TAG, "dagster/partition") if tag in run.tags}
    if BACKFILL_TAG in tags:
        tags.pop("dagster/partition", None)
    failed = dg.RunsFilter(job_name=run.job_name, tags=tags, statuses=[dg.DagsterRunStatus.FAILURE])
    records = instance.get_run_records(failed, limit=read, order_by="update_timestamp")
    others = [one for one in records if one.dagster_run.run_id != run.run_id]
    times = sorted(ended_at(one) for one in others if _subject(one.dagster_run) == _subject(run))
    own_time = ended_at(own)
    earlier = [time for time in times if time <= own_time]
    return _is_told(earlier, own_time, since_known=len(records) < read)


def ended_at(record: dg.RunRecord) -> float:
    """When a run ended, in seconds since 1970. Runs of one backfill are created together, and may end days apart."""
    return record.end_time or record.update_timestamp.timestamp()


def _is_told(failures: Sequence[float], time: float, *, since_known: bool) -> bool:
    """Whether the same trouble was told a short while before, given its earlier times, oldest first.

    The first failure is told. Then the first failure that comes REPEATED_WITHIN after the last one told is told. Where there are
    more failures than are read, the first of each quarter of a day is told.
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


def failed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun, read: int = EVALUATIONS_READ) -> Iterator[Alert]:
    """An alert for every ERROR check that failed in a run, unless it was told a short while before."""
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    newest = {_evaluation_of(entry).asset_check_key: entry for entry in entries}  # a step may be executed again
    for entry in newest.values():
        evaluation = _evaluation_of(entry)
        if _is_error(evaluation) and not is_repeated(evaluation) and not check_told_before(instance, entry, read):
            yield Alert(
                kind="check failed",
                subject=f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}",
                message=(evaluation.description or "no description")[:LONGEST],
                facts={"run_id": run.run_id},
            )


def check_told_before(instance: dg.DagsterInstance, entry: dg.EventLogEntry, read: int) -> bool:
    """Whether a failed check was told a short while before, and has not passed since: see `_is_told`."""
    failures, since_known = _failures_before(instance, entry, read)
    return _is_told(failures, entry.timestamp, since_known=since_known)


def _failures_before(instance: dg.DagsterInstance, entry: dg.EventLogEntry, read: int) -> tuple[list[float], bool]:
    """Times at which other runs saw a check fail since it last passed, and whether these are all such times."""
    key = _evaluation_of(entry).asset_check_key
    evaluated = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = instance.event_log_storage.get_asset_check_execution_history(key, read, status=evaluated)
    events = [one.event for one in records if one.event is not None and one.run_id != entry.run_id]
    failures: list[float] = []
    # Records are in the order in which their runs began.
    for event in sorted(events, key=lambda one: one.timestamp, reverse=True):
        evaluation = _evaluation_of(event)
        if event.timestamp > entry.timestamp or is_repeated(evaluation):
            continue
        if evaluation.passed:
            return failures[::-1], True
        if _is_error(evaluation):
            failures.append(event.timestamp)
    return failures[::-1], len(records) < read


def _evaluation_of(entry: dg.EventLogEntry) -> dg.AssetCheckEvaluation:
    return entry.get_dagster_event().asset_check_evaluation_data


def _is_error(evaluation: dg.AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR


def silent_sensors(instance: dg.DagsterInstance, names: set[str], now: Timestamp) -> Iterator[Alert]:
    """An alert for every running sensor that has not ticked lately, or whose late ticks all failed."""
    since = (now - SILENT_AFTER).tz_localize("UTC").timestamp()
    for state in instance.all_instigator_state():
        if state.instigator_name not in names or not state.is_running:
            continue
        lately = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
        if not lately:
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            if ticks:
                last = f"{Timestamp(ticks[0].timestamp, unit='s'):%Y-%m-%dT%H:%M}"
                yield Alert(
                    kind="sensor is silent", subject=state.instigator_name, message=f"its last tick was at {last}"
                )
        elif len(lately) > 1 and all(tick.status is TickStatus.FAILURE for tick in lately):
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
