"""Sensors: they launch the update of the next partition, and runs that fill holes.

In: a survey of upstream, ledger and store, and the runs that Dagster knows. Out: run requests, or the reason why there are none.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import WILL_RETRY_TAG
from pydantic import Field

from reformatters_dagster.core.ledger.lease import Sign, sweep_leases
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import Budget, Survey, survey_incomplete, survey_unpublished
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import Frozen, Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.orchestration.assets import launched_config
from reformatters_dagster.orchestration.checks import check_keys
from reformatters_dagster.orchestration.lineage import arrival
from reformatters_dagster.orchestration.lost_runs import end_lost_runs
from reformatters_dagster.orchestration.names import (
    ATTEMPT_TAG,
    BACKFILL_TAG,
    DATASET_TAG,
    EXCLUSIVE_TAG,
    FINGERPRINT_TAG,
    HEAL,
    HEAL_PRIORITY,
    K8S_TAG,
    MODE_TAG,
    PRIORITY_TAG,
    REASON_TAG,
    VARIABLES_TAG,
    asset_key,
)
from reformatters_dagster.orchestration.partitions import is_about, is_range
from reformatters_dagster.orchestration.resources import Reformatters, utc_now
from reformatters_dagster.orchestration.trouble import ended_at

MAX_ATTEMPTS = 3
"""How many runs of one partition with the same files follow one another, a tick apart. Each further run waits for a cool-down."""
COOL_DOWN = Timedelta("15min")
"""Time from the creation of the last of those runs to the next run. It doubles with each further run."""
LONGEST_COOL_DOWN = Timedelta("6h")
"""Longest cool-down. The attempts never stop: an outage may end at any time."""
RECORDS_READ = 20
"""How many runs of a partition with the same files a tick reads, newest first."""
OBSERVATIONS_KEPT = 100
"""How many partitions that the last look did not see stay in the cursor, newest first."""
MAX_HEALS = 2
"""Most runs of a dataset at a time that fill holes: they must not crowd out updates."""
LISTING_BUDGET = 20.0
"""Seconds of listing per tick; Dagster kills a sensor after 60."""
LISTING_PATIENCE = Patience(attempts=2, deadline=10.0, timeout=10.0, asked_for=25.0)

RETRIED_WITHIN = Timedelta("5min")
"""Longest time from a failure to Dagster's own retry. Later, the daemon is taken to be down."""

WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)


@dataclass(frozen=True)
class Attempts:
    """Runs that sensors launched for one partition with the same files as now."""

    count: int
    ended: int
    """How many of the newest succeeded or failed. A run that a person stopped proves nothing about the files."""
    last: Timestamp | None
    """When the newest run was created."""

    @property
    def cool_until(self) -> Timestamp | None:
        """When the next run may be launched; None where it need not wait."""
        if self.last is None or self.count < MAX_ATTEMPTS:
            return None
        doublings = min(self.count - MAX_ATTEMPTS, 32)
        until: Timestamp = self.last + min(COOL_DOWN * 2**doublings, LONGEST_COOL_DOWN)
        return until


class Memory(Frozen):
    """What a tick keeps for the next in its cursor.

    A lost cursor costs a repeated observation, and delays the end of a lost run and the sweeping of its lease.
    """

    observed: dict[str, str] = Field(default_factory=dict)
    """Fingerprint of the observed upstream files, by partition, so that an arrival is recorded once."""
    signs: dict[str, Sign] = Field(default_factory=dict)
    """Signs of life, by run id."""
    leases: dict[str, Sign] = Field(default_factory=dict)
    """What leases say, by partition."""


def build_upstream_sensor(
    dataset: DynamicalDataset, update_job: UnresolvedAssetJobDefinition, *, patience: Patience = LISTING_PATIENCE
) -> dg.SensorDefinition:
    """A sensor that launches an update for the partition to publish next, once its files have arrived.

    It decides from upstream, ledger and store, so a lost cursor loses nothing. One update of a dataset runs at a time. After an
    outage the partitions follow one another, oldest first.
    """

    @dg.sensor(
        name=dataset.job_name("upstream"),
        job=update_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Launches an operational update when the next partition's source files are there.",
    )
    def upstream(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult | dg.SkipReason:
        begun, workspace, memory, budget = _open(context, dataset, reformatters, patience)
        signs = end_lost_runs(context.instance, dataset, workspace.stores.internal, memory.signs, utc_now())
        memory = memory.model_copy(update={"signs": signs})
        running = _unfinished(context.instance, {EXCLUSIVE_TAG: dataset.dataset_id})
        if running:
            status = running[0].status
            state = "about to be begun again" if status in ENDED else status.value.lower()
            reason = f"run {running[0].run_id} is {state}; the next waits for it"
            return dg.SensorResult(skip_reason=reason, cursor=memory.model_dump_json())
        survey = survey_unpublished(begun, workspace, utc_now(), budget)
        return _answer(context, dataset, survey, memory, job="update", most=1)

    return upstream


def build_heal_sensor(
    dataset: DynamicalDataset,
    backfill_job: UnresolvedAssetJobDefinition,
    validate_job: UnresolvedAssetJobDefinition,
    *,
    pod: Mapping[str, Any],
    patience: Patience = LISTING_PATIENCE,
) -> dg.SensorDefinition:
    """A sensor that runs a published partition again when missing files have appeared or files have changed.

    Past the dataset's give-up age it marks the partition as known missing instead. It sweeps leases of runs that have ended,
    and runs again what they left uncommitted. After runs that filled holes it launches the validators.

    Parameters
    ----------
    pod : mapping
        What runs of this sensor ask of Kubernetes, in place of what the job asks for.
    """

    @dg.sensor(
        name=dataset.job_name("heal"),
        jobs=[backfill_job, validate_job],
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Fills holes of recent partitions when late or corrected source files appear.",
    )
    def heal(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult | dg.SkipReason:
        begun, workspace, memory, budget = _open(context, dataset, reformatters, patience)
        leases = sweep_leases(workspace.stores.internal, memory.leases, utc_now())
        memory = memory.model_copy(update={"leases": leases})
        survey = survey_incomplete(begun, workspace, utc_now(), budget)
        tags = {MODE_TAG: HEAL, PRIORITY_TAG: HEAL_PRIORITY, K8S_TAG: json.dumps(pod)}
        at_work = _unfinished(context.instance, {MODE_TAG: HEAL, DATASET_TAG: dataset.dataset_id})
        most = max(MAX_HEALS - len(at_work), 0)
        checks = check_keys(dataset, has_replicas=bool(reformatters.replicas))
        others = _validations_due(context.instance, dataset) if checks else []
        return _answer(
            context, dataset, survey, memory, job="backfill", most=most, tags=tags, others=others, announces=False
        )

    return heal


def _open(
    context: dg.SensorEvaluationContext, dataset: DynamicalDataset, reformatters: Reformatters, patience: Patience
) -> tuple[DynamicalDataset, Workspace, Memory, Budget]:
    """A dataset and its workspace, with a patience that fits a tick; what the last tick left; and time to list."""
    begun, workspace = reformatters.open(dataset, patience)
    return begun, workspace, _read_cursor(context.cursor), Budget(LISTING_BUDGET)


def _answer(
    context: dg.SensorEvaluationContext,
    dataset: DynamicalDataset,
    survey: Survey,
    memory: Memory,
    *,
    job: str,
    most: int,
    tags: dict[str, str] | None = None,
    others: Sequence[dg.RunRequest] = (),
    announces: bool = True,
) -> dg.SensorResult | dg.SkipReason:
    """Turn a survey into at most so many run requests beside others, or into the reason why there are none.

    Files of a partition that this sensor sees for the first time are an arrival only where it announces them.
    """
    requests: list[dg.RunRequest] = []
    waiting = list(survey.waiting)
    for launch in survey.launches:
        key = partition_key(launch.label)
        if len(requests) == most:
            waiting.append(f"{key} waits for runs before it")
            continue
        attempts = _attempts(context.instance, dataset, launch)
        if (reason := _why_wait(context.instance, dataset, launch, attempts)) is not None:
            waiting.append(f"{key} {reason}")
            continue
        requests.append(_request(dataset, launch, attempts, job, tags or {}))
    seen = {partition_key(arrivals.label): arrivals for arrivals in survey.seen if arrivals.present}
    waiting += [f"{partition_key(label)} is known missing from now on" for label in survey.given_up]
    events = [
        event
        for key, arrivals in seen.items()
        if memory.observed.get(key, None if announces else arrivals.fingerprint) != arrivals.fingerprint
        for event in arrival(dataset, arrivals)
    ]
    # A partition that could not be listed this time must not look new the next time.
    before = {key: memory.observed[key] for key in sorted(memory.observed)[-OBSERVATIONS_KEPT:]}
    observed = before | {key: arrivals.fingerprint for key, arrivals in seen.items()}
    requests += others
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("; ".join(waiting) or "nothing to do"),
        asset_events=events,
        cursor=memory.model_copy(update={"observed": observed}).model_dump_json(),
    )


def _read_cursor(cursor: str | None) -> Memory:
    try:
        return Memory.model_validate_json(cursor or "{}")
    except ValueError:
        return Memory()


def _why_wait(
    instance: dg.DagsterInstance, dataset: DynamicalDataset, launch: Launch, attempts: Attempts
) -> str | None:
    """Why a partition that is worth a run gets none now; None where it gets one."""
    key = partition_key(launch.label)
    at_work = instance.get_runs(dg.RunsFilter(statuses=AT_WORK))
    unfinished = [
        *_unfinished(instance, {"dagster/partition": key}),
        *(run for run in at_work if is_range(run) and is_about(run, key)),
    ]
    if any(_writes(run, dataset) for run in unfinished):
        return "is being written"
    if launch.few_attempts and attempts.ended >= MAX_ATTEMPTS:
        return (
            f"ran {attempts.ended} times since a run of it ended before its commit, and no commit accounts for that run's "
            "uploads yet: it is left to a person, who backfills it"
        )
    if (again := attempts.cool_until) is not None and utc_now() < again:
        waits = f"it is tried again at {again:%Y-%m-%dT%H:%M}, or when a file changes, or by a person"
        of_what = " for the variables it lacks" if launch.request.variables else ""
        return f"ran {attempts.count} times{of_what} with the files that are there; {waits}"
    return None


def _request(
    dataset: DynamicalDataset, launch: Launch, attempts: Attempts, job: str, tags: dict[str, str]
) -> dg.RunRequest:
    key, number, reason = partition_key(launch.label), attempts.count + 1, launch.reason
    request = launch.request
    if launch.past_give_up and attempts.ended >= MAX_ATTEMPTS:
        request = request.model_copy(update={"accept_missing": True})
        reason = f"{reason}; tried {attempts.ended} times, what cannot be used is missing"
    return dg.RunRequest(
        partition_key=key,
        job_name=dataset.job_name(job),
        run_key=f"{key}@{'/'.join([launch.arrivals.fingerprint, *_same_variables(launch).values()])}#{number}",
        tags={
            FINGERPRINT_TAG: launch.arrivals.fingerprint,
            ATTEMPT_TAG: str(number),
            REASON_TAG: reason,
            **_same_variables(launch),
            **tags,
        },
        run_config=launched_config(dataset, request),
    )


def _validations_due(instance: dg.DagsterInstance, dataset: DynamicalDataset) -> list[dg.RunRequest]:
    """A run of the validators where a run has filled holes since the last one of them was created; else none."""
    filled = dg.RunsFilter(
        tags={DATASET_TAG: dataset.dataset_id, MODE_TAG: HEAL}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    ended = {
        record.dagster_run.run_id: ended_at(record) for record in instance.get_run_records(filled, limit=RECORDS_READ)
    }
    validated = instance.get_run_records(dg.RunsFilter(job_name=dataset.job_name("validate")), limit=1)
    if not ended or (validated and validated[0].create_timestamp.timestamp() > max(ended.values())):
        return []
    newest = max(ended, key=lambda run_id: ended[run_id])
    reason = {REASON_TAG: f"run {newest} has filled holes"}
    return [dg.RunRequest(job_name=dataset.job_name("validate"), run_key=f"after {newest}", tags=reason)]


def _unfinished(instance: dg.DagsterInstance, tags: dict[str, str]) -> list[dg.DagsterRun]:
    """Runs with these tags that are at work, or will be soon.

    Queued runs of a backfill are left out: they may wait for days. A run whose process was lost a moment ago, and that Dagster is
    about to start again, is included.
    """
    runs = instance.get_runs(dg.RunsFilter(tags=tags, statuses=WAITING + AT_WORK))
    since = (utc_now() - RETRIED_WITHIN).to_pydatetime().replace(tzinfo=UTC)
    failed = dg.RunsFilter(
        tags=tags | {WILL_RETRY_TAG: "true"}, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since
    )
    retried = [run for run in instance.get_runs(failed) if run.is_complete_and_waiting_to_retry]
    return [*(run for run in runs if run.status in AT_WORK or BACKFILL_TAG not in run.tags), *retried]


def _writes(run: dg.DagsterRun, dataset: DynamicalDataset) -> bool:
    """Whether a run may write a dataset. A run that a sensor launched names no assets; its tag names the dataset."""
    if run.asset_selection is not None:
        return asset_key(dataset) in run.asset_selection
    return run.tags.get(DATASET_TAG, dataset.dataset_id) == dataset.dataset_id


def _same_files(dataset: DynamicalDataset, launch: Launch) -> dict[str, str]:
    """Tags of the runs that sensors launched for a partition with the same files as now, for the same variables."""
    return {
        DATASET_TAG: dataset.dataset_id,
        "dagster/partition": partition_key(launch.label),
        FINGERPRINT_TAG: launch.arrivals.fingerprint,
        **_same_variables(launch),
    }


def _same_variables(launch: Launch) -> dict[str, str]:
    """The tag of a run that is not about all variables: a digest, since the names may be longer than a tag holds."""
    if not launch.request.variables:
        return {}
    return {VARIABLES_TAG: hashlib.sha256(",".join(launch.request.variables).encode()).hexdigest()[:16]}


def _attempts(instance: dg.DagsterInstance, dataset: DynamicalDataset, launch: Launch) -> Attempts:
    records = instance.get_run_records(dg.RunsFilter(tags=_same_files(dataset, launch)), limit=RECORDS_READ)
    if not records:
        return Attempts(0, 0, None)
    # The number comes from a tag. A count would repeat a run key once somebody has deleted old runs.
    numbers = [int(record.dagster_run.tags.get(ATTEMPT_TAG, "0")) for record in records]
    ended = sum(record.dagster_run.status in ENDED for record in records)
    last = Timestamp(records[0].create_timestamp.timestamp(), unit="s").as_unit("us")
    return Attempts(max(len(records), *numbers), ended, last)
