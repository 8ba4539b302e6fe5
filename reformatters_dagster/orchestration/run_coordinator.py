"""Pod resources and a priority for runs that Dagster launches without the tags of our jobs.

In: a run on its way into the queue. Out: the same run with the resources its datasets need, and with its priority.

A run that is launched from an asset's page, partition backfills included, runs in an implicit job of Dagster, which has none of
our tags. `dagster.yaml` names `DatasetRunCoordinator`, so webserver and daemon import this module. It must not import the core.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.tags import MAX_RETRIES_TAG

from reformatters_dagster.orchestration.names import (
    BACKFILL_PRIORITY,
    BACKFILL_TAG,
    K8S_METADATA,
    K8S_TAG,
    PRIORITY_TAG,
    RETRIES_BEFORE_TAG,
    SCRATCH,
)
from reformatters_dagster.orchestration.standing import restate_planned

type PodConfig = dict[str, Any]
"""As `names.k8s_config` makes it."""


class DatasetRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's run queue, which adds tags to runs that lack them.

    Every run of a dataset gets the dataset's pod resources, and every run of a backfill the priority of the `__backfill` job. A
    run's own tags win. A run that a person executes again, after the launcher had excluded it from Dagster's retries, has them
    again. Checks that a run plans show their last results while it waits, and if it never begins.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        run, tags = context.dagster_run, dict[str, str]()
        if K8S_TAG not in run.tags and (needs := list(_needs(context))):
            tags[K8S_TAG] = json.dumps(largest_need(needs))
        if BACKFILL_TAG in run.tags and PRIORITY_TAG not in run.tags:
            tags[PRIORITY_TAG] = BACKFILL_PRIORITY
        if RETRIES_BEFORE_TAG in run.tags:  # of the run before, which a person executes again
            tags[MAX_RETRIES_TAG] = run.tags[RETRIES_BEFORE_TAG] or str(self._instance.run_retries_max_retries)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        restate_planned(self._instance, run)
        return super().submit_run(context)


def _needs(context: SubmitRunContext) -> Iterator[PodConfig]:
    """Pod config of every dataset whose asset or checks a run selects."""
    run, graph = context.dagster_run, context.workspace.asset_graph
    checked = {check.asset_key for check in run.asset_check_selection or ()}
    for key in sorted(checked | (run.asset_selection or set())):
        if graph.has(key) and (need := graph.get(key).metadata.get(K8S_METADATA)) is not None:
            yield _plain(need)


def _plain(metadata: Any) -> PodConfig:
    value: PodConfig = metadata.value if isinstance(metadata, dg.MetadataValue) else metadata
    return value


def largest_need(needs: Sequence[PodConfig]) -> PodConfig:
    """One pod config that is enough for each of several: that of the largest volume, with the largest quantity of each resource.

    Parameters
    ----------
    needs : sequence of PodConfig
        One or more.
    """
    from kubernetes.utils import parse_quantity  # type: ignore[import-untyped]

    resources: PodConfig = {}
    for need in needs:
        for kind, quantities in need["container_config"]["resources"].items():
            largest = resources.setdefault(kind, {})
            for name, quantity in quantities.items():
                largest[name] = max(largest.get(name, quantity), quantity, key=parse_quantity)
    first = max(needs, key=lambda need: parse_quantity(scratch_of(need)))
    return {**first, "container_config": {**first["container_config"], "resources": resources}}


def scratch_of(need: PodConfig) -> str:
    """Size of the volume that a pod works on; 0 without one."""
    for volume in need.get("pod_spec_config", {}).get("volumes", ()):
        if volume["name"] == SCRATCH:
            size: str = volume["ephemeral"]["volume_claim_template"]["spec"]["resources"]["requests"]["storage"]
            return size
    return "0"
