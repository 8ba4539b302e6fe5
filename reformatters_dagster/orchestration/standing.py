"""Results of asset checks that stand while runs come and go that do not check.

In: what the instance recorded. Out: the last real result of a check, recorded once more where Dagster would show none.

Dagster shows a check by its newest record. A run from an asset's page gets such a record for every check when it is created. If
the run is refused, is ended or belongs to a backfill, no result follows: Dagster shows that the check was skipped or failed to
execute. After a materialization it shows every earlier result as not evaluated. The webserver imports this module, so it must
not import the core.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

CHECKED_AT = "checked_at"
"""Metadata of a result that was recorded once more: when it was found. A result without it was found when it was recorded."""
RECORDS_READ = 25
"""How many results of a check are read, newest record first, to find the last real one."""
EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
MATERIALIZES = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
CHECKS = DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED


def is_repeated(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether a result was only recorded once more: nobody looked at the data for it."""
    return CHECKED_AT in evaluation.metadata


def restate_planned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Give every check that a run plans its last real result. If the run evaluates a check, that result takes its place.

    Runs that materialize nothing are left alone: they are there for their checks, and what becomes of these is to be seen.
    """
    logs = instance.all_logs(run.run_id, of_type={MATERIALIZES, CHECKS})
    events = [entry.get_dagster_event() for entry in logs]
    if any(event.event_type is MATERIALIZES for event in events):
        planned = [event.asset_check_planned_data.asset_check_key for event in events if event.event_type is CHECKS]
        restate(instance, run, planned)


def restate(instance: dg.DagsterInstance, run: dg.DagsterRun, checks: Iterable[dg.AssetCheckKey]) -> None:
    """Record in a run the last real result of each check of which the run has recorded none.

    The record names the run's partition. So it replaces the record that Dagster made when the run was created, and counts for
    what the run materializes, whatever other runs of a backfill materialize meanwhile.
    """
    logs = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    done = {entry.get_dagster_event().asset_check_evaluation_data.asset_check_key for entry in logs}
    for check in checks:
        if check in done or (last := _last_result(instance, check, run.tags.get("dagster/partition"))) is None:
            continue
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=run.job_name,
            event_specific_data=last,
            message=f"the last result of the check {check.name} stands",
        )
        instance.report_dagster_event(event, run.run_id, logging.INFO)


def never_evaluated(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]) -> set[dg.AssetCheckKey]:
    """Those of some checks that have no result yet."""
    storage = instance.event_log_storage
    return {
        check for check in checks if not storage.get_asset_check_execution_history(check, limit=1, status=EVALUATED)
    }


def _last_result(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partition: str | None
) -> dg.AssetCheckEvaluation | None:
    """The result of a check that was found last, for a partition's record, with the time at which it was found."""
    records = instance.event_log_storage.get_asset_check_execution_history(check, RECORDS_READ, status=EVALUATED)
    found = [(_found_at(record), record.evaluation) for record in records if record.evaluation is not None]
    if not found:
        return None
    time, last = max(found, key=lambda one: one[0])
    return dg.AssetCheckEvaluation(
        asset_key=last.asset_key,
        check_name=last.check_name,
        passed=last.passed,
        metadata={**last.metadata, CHECKED_AT: dg.MetadataValue.timestamp(time)},
        severity=last.severity,
        description=_told_as_earlier(last, time),
        blocking=last.blocking,
        partition=partition,
    )


def _told_as_earlier(last: dg.AssetCheckEvaluation, time: float) -> str:
    """The words of a result, and when it was found: nobody has looked since."""
    told, found = last.description or "", datetime.fromtimestamp(time, UTC)
    return told if is_repeated(last) else f"{told} [found at {found:%Y-%m-%d %H:%M} UTC, not looked at since]"


def _found_at(record: AssetCheckExecutionRecord) -> float:
    """When somebody looked at the data for a result, in seconds since 1970."""
    assert record.event is not None
    known = record.evaluation.metadata.get(CHECKED_AT) if record.evaluation is not None else None
    return known.value if isinstance(known, dg.TimestampMetadataValue) else record.event.timestamp
