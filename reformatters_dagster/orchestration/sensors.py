"""Upstream arrivals to run requests.

In: what the upstream lists and what the store holds. Out: updates of the partitions the store lacks, oldest first.
"""

import dagster as dg
import pandas as pd
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from reformatters_dagster.core.arrivals import Arrivals, find_arrivals
from reformatters_dagster.core.coverage import partition_key
from reformatters_dagster.core.dataset import DynamicalDataset
from reformatters_dagster.core.published import published_labels
from reformatters_dagster.core.types import Timestamp
from reformatters_dagster.orchestration.names import EXCLUSIVE_TAG, asset_key
from reformatters_dagster.orchestration.resources import Reformatters, utc_now

FINGERPRINT_TAG = "reformatters/upstream"
MAX_ATTEMPTS = 3
"""Updates of one partition with the same files; then it waits for a file that changes."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def next_label(dataset: DynamicalDataset, reformatters: Reformatters) -> Timestamp:
    """First label of the shard an update would publish next."""
    template = dataset.template_config
    published = published_labels(reformatters.workspace(dataset).stores.primary, template.append_dim.name)
    shards = len(published) // template.shard_length
    return template.append_dim.start + shards * template.shard_duration


def is_due(dataset: DynamicalDataset, arrivals: Arrivals, now: Timestamp) -> bool:
    """Whether to start: everything is there, or something is and the soft deadline has passed."""
    return arrivals.complete or (arrivals.present > 0 and now - arrivals.label >= dataset.soft_deadline)


def build_upstream_sensor(dataset: DynamicalDataset, update_job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """A sensor that launches an update for the next partition once its files have arrived.

    It decides from the upstream and the published store alone, so that losing its cursor loses nothing. One partition at a
    time: the next is seen when this one is published.
    """
    key = asset_key(dataset)

    @dg.sensor(
        name=dataset.job_name("upstream"),
        job=update_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Launches an operational update when the next partition's source files are there.",
    )
    def upstream(context: dg.SensorEvaluationContext, reformatters: Reformatters) -> dg.SensorResult | dg.SkipReason:
        now = utc_now()
        label = next_label(dataset, reformatters)
        if label > now:
            return dg.SkipReason(f"everything before {label:%Y-%m-%dT%H:%M} is published")
        running = context.instance.get_runs(
            dg.RunsFilter(tags={EXCLUSIVE_TAG: dataset.dataset_id}, statuses=UNFINISHED), limit=1
        )
        if running:
            return dg.SkipReason(f"run {running[0].run_id} is {running[0].status.value.lower()}; {label} waits for it")
        jobs = dataset.context(reformatters.workspace(dataset), now)
        arrivals = find_arrivals(dataset.region_job, jobs, label)
        seen = f"{arrivals.present} of {arrivals.expected} files of {label:%Y-%m-%dT%H:%M} have arrived"
        if not is_due(dataset, arrivals, now):
            return dg.SkipReason(seen)
        attempts = _attempts(context, dataset, label, arrivals)
        if attempts >= MAX_ATTEMPTS:
            return dg.SkipReason(
                f"{seen}; {attempts} updates with these files did not publish it: new files, or a person"
            )
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    partition_key=partition_key(label),
                    run_key=f"{partition_key(label)}@{arrivals.fingerprint}#{attempts + 1}",
                    tags={FINGERPRINT_TAG: arrivals.fingerprint},
                )
            ],
            asset_events=[_observation(key, arrivals)],
        )

    return upstream


def _attempts(
    context: dg.SensorEvaluationContext, dataset: DynamicalDataset, label: Timestamp, arrivals: Arrivals
) -> int:
    """Updates of a partition that have run with the files that are there now."""
    tags = {
        EXCLUSIVE_TAG: dataset.dataset_id,
        "dagster/partition": partition_key(label),
        FINGERPRINT_TAG: arrivals.fingerprint,
    }
    return context.instance.get_runs_count(dg.RunsFilter(tags=tags))


def _observation(key: dg.AssetKey, arrivals: Arrivals) -> dg.AssetObservation:
    """When the upstream was ready, so that the asset's page plots its latency."""
    latency = (arrivals.newest - arrivals.label) / pd.Timedelta("1h") if arrivals.newest is not None else float("nan")
    return dg.AssetObservation(
        asset_key=key,
        partition=partition_key(arrivals.label),
        metadata={"files_present": arrivals.present, "files_expected": arrivals.expected, "latency_hours": latency},
    )
