"""What is worth a run, to run requests.

In: a survey of upstream, ledger and store. Out: an update of the partition to publish next, and runs that fill holes.
"""

import json
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from reformatters_dagster.core.arrivals import Arrivals
from reformatters_dagster.core.coverage import partition_key
from reformatters_dagster.core.dataset import DynamicalDataset
from reformatters_dagster.core.download import Patience
from reformatters_dagster.core.reconcile import Budget, Launch, Survey, survey_incomplete, survey_unpublished
from reformatters_dagster.orchestration.names import EXCLUSIVE_TAG, FINGERPRINT_TAG, MODE_TAG, asset_key
from reformatters_dagster.orchestration.resources import Reformatters, utc_now

MAX_ATTEMPTS = 3
"""Runs of one partition with the same files; then it waits for a file that changes."""
MAX_HEALS = 2
"""Runs that fill holes, per tick: they must not crowd out updates."""
LISTING_BUDGET = 20.0
"""Seconds of listing per tick; Dagster kills a sensor after 60."""
LISTING_PATIENCE = Patience(attempts=2, deadline=10.0, timeout=10.0)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def build_upstream_sensor(dataset: DynamicalDataset, update_job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """A sensor that launches an update for the partition to publish next, once its files have arrived.

    It decides from upstream, ledger and store alone, so that losing its cursor loses nothing. One update of a dataset runs at
    a time; after an outage the partitions follow one another, oldest first.
    """

    @dg.sensor(
        name=dataset.job_name("upstream"),
        job=update_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Launches an operational update when the next partition's source files are there.",
    )
    def upstream(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult | dg.SkipReason:
        running = _unfinished(context.instance, {EXCLUSIVE_TAG: dataset.dataset_id})
        if running:
            return dg.SkipReason(f"run {running[0].run_id} is {running[0].status.value.lower()}; the next waits for it")
        workspace = reformatters.workspace(dataset, LISTING_PATIENCE)
        survey = survey_unpublished(dataset, workspace, utc_now(), Budget(LISTING_BUDGET))
        return _answer(context, dataset, survey, most=1)

    return upstream


def build_heal_sensor(dataset: DynamicalDataset, backfill_job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """A sensor that runs published partitions again whose missing files have appeared, or whose files have changed.

    Past the dataset's give-up age a partition is marked as known missing instead.
    """

    @dg.sensor(
        name=dataset.job_name("heal"),
        job=backfill_job,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Fills holes of recent partitions when late or corrected source files appear.",
    )
    def heal(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult | dg.SkipReason:
        workspace = reformatters.workspace(dataset, LISTING_PATIENCE)
        survey = survey_incomplete(dataset, workspace, utc_now(), Budget(LISTING_BUDGET))
        return _answer(context, dataset, survey, most=MAX_HEALS, tags={MODE_TAG: "heal", "dagster/priority": "0"})

    return heal


def _answer(
    context: dg.SensorEvaluationContext,
    dataset: DynamicalDataset,
    survey: Survey,
    *,
    most: int,
    tags: dict[str, str] | None = None,
) -> dg.SensorResult | dg.SkipReason:
    """Run requests of a survey, at most so many; or why there are none.

    The cursor remembers what was observed, so that an arrival is recorded once; losing it costs a repeated observation.
    """
    instance = context.instance
    requests: list[dg.RunRequest] = []
    waiting = list(survey.waiting)
    for launch in survey.launches:
        key = partition_key(launch.label)
        if len(requests) == most:
            waiting.append(f"{key} waits for the next tick")
            continue
        if _unfinished(instance, {"dagster/partition": key}, asset_key(dataset)):
            waiting.append(f"{key} is being written")
            continue
        attempts = _attempts(instance, key, launch.arrivals)
        if attempts >= MAX_ATTEMPTS:
            waiting.append(
                f"{key} ran {attempts} times with the files that are there; a new file, or a person, is needed"
            )
            continue
        requests.append(_request(dataset, launch, attempts, tags or {}))
    observed = _read_cursor(context.cursor)
    seen = {partition_key(arrivals.label): arrivals for arrivals in survey.seen if arrivals.present}
    events = [_observation(asset_key(dataset), seen[key]) for key in seen if observed.get(key) != seen[key].fingerprint]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("; ".join(waiting) or "nothing to do"),
        asset_events=events,
        cursor=json.dumps({key: arrivals.fingerprint for key, arrivals in seen.items()}),
    )


def _read_cursor(cursor: str | None) -> dict[str, str]:
    try:
        return dict(json.loads(cursor or "{}"))
    except (ValueError, TypeError):
        return {}


def _request(dataset: DynamicalDataset, launch: Launch, attempts: int, tags: dict[str, str]) -> dg.RunRequest:
    key = partition_key(launch.label)
    return dg.RunRequest(
        partition_key=key,
        run_key=f"{key}@{launch.arrivals.fingerprint}#{attempts + 1}",
        tags={FINGERPRINT_TAG: launch.arrivals.fingerprint, "reformatters/reason": launch.reason, **tags},
        run_config=_run_config(
            dataset, publish=not tags, keep_published=bool(tags), accept_missing=launch.accept_missing
        ),
    )


def _run_config(dataset: DynamicalDataset, **config: bool) -> dict[str, Any]:
    return {"ops": {asset_key(dataset).to_python_identifier(): {"config": config}}}


def _unfinished(
    instance: dg.DagsterInstance, tags: dict[str, str], key: dg.AssetKey | None = None
) -> list[dg.DagsterRun]:
    """Runs with these tags that are not over; with a key, only those that write its asset."""
    runs = instance.get_runs(dg.RunsFilter(tags=tags, statuses=UNFINISHED))
    return [run for run in runs if key is None or run.asset_selection is None or key in run.asset_selection]


def _attempts(instance: dg.DagsterInstance, partition: str, arrivals: Arrivals) -> int:
    """Runs of a partition that were launched with the files that are there now."""
    tags = {"dagster/partition": partition, FINGERPRINT_TAG: arrivals.fingerprint}
    return instance.get_runs_count(dg.RunsFilter(tags=tags))


def _observation(key: dg.AssetKey, arrivals: Arrivals) -> dg.AssetObservation:
    """What of a partition has arrived and when, so that the asset's page plots the upstream's latency."""
    latency = (arrivals.newest - arrivals.label) / pd.Timedelta("1h") if arrivals.newest is not None else float("nan")
    return dg.AssetObservation(
        asset_key=key,
        partition=partition_key(arrivals.label),
        metadata={"files_present": arrivals.present, "files_expected": arrivals.expected, "latency_hours": latency},
    )
