"""Names in Dagster: the asset key of a dataset, and the tags that its runs carry however they are launched."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from reformatters_dagster.core.run.dataset import DynamicalDataset

DATASET_TAG = "reformatters/dataset"
MODE_TAG = "reformatters/mode"
UPDATE = "update"
"""The mode of runs that publish."""
HEAL = "heal"
"""The mode of runs that fill holes."""
BACKFILL = "backfill"
"""The mode of runs that fill history."""
EXCLUSIVE_TAG = "reformatters/exclusive"
FINGERPRINT_TAG = "reformatters/upstream"
"""Fingerprint of what the upstream listed when a sensor launched the run."""
ATTEMPT_TAG = "reformatters/attempt"
"""Number of the run among those that sensors launched for its partition and fingerprint, from 1."""
VARIABLES_TAG = "reformatters/variables"
"""Digest of the variables of a sensor's run; absent where the run is about all."""
REASON_TAG = "reformatters/reason"
"""Why a sensor launched the run."""
BACKFILL_TAG = "dagster/backfill"
"""Dagster's own tag: the partition backfill that a run belongs to."""
PRIORITY_TAG = "dagster/priority"
UPDATE_PRIORITY, HEAL_PRIORITY, BACKFILL_PRIORITY = "10", "0", "-10"
"""Priorities of runs in the queue, highest first. A run without one counts as 0."""
OUT_OF_MEMORY_TAG = "reformatters/out_of_memory"
"""The run whose pod was OOM-killed. Dagster hands it on to the retry of that run, which gets more memory."""
RETRIES_BEFORE_TAG = "reformatters/max_retries_before"
"""Of a run that the launcher has excluded from Dagster's retries: its `dagster/max_retries` before, or nothing."""
IMPLICIT_JOB = "__ASSET_JOB"
"""How Dagster's names of jobs begin that an asset's page launches."""
K8S_TAG = "dagster-k8s/config"
K8S_METADATA = "reformatters/k8s"
"""Metadata of an asset: what its runs need, where they are launched without a job's tags."""


SCRATCH = "scratch"
"""Name of the volume that a pod works on, where it has one."""
NOT_EVICTED = {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}
LITTLE_DISK = {"requests": {"ephemeral-storage": "1Gi"}, "limits": {"ephemeral-storage": "2Gi"}}
"""Disk of a node for a pod that moves no data, or moves it by way of a volume: logs, and what Dagster writes."""
SMALL_POD = {
    "container_config": {
        "resources": {
            "requests": {"cpu": "250m", "memory": "1Gi", **LITTLE_DISK["requests"]},
            "limits": {"memory": "2Gi", **LITTLE_DISK["limits"]},
        }
    },
    "pod_template_spec_metadata": NOT_EVICTED,
}
"""Resources of pods that move no data: the pod of a run whose steps have pods of their own, of a plan, and of new metadata."""


def asset_key(dataset: "DynamicalDataset") -> dg.AssetKey:
    return dg.AssetKey([dataset.provider, dataset.name])


def archive_key(folder: str) -> dg.AssetKey:
    """The external asset of an archive, by the folder of a mirror that stands for it.

    Its last part is what Dagster draws, and of a path on a server that would be `prod` or `grib`.
    """
    return dg.AssetKey(["upstream", folder.replace("/", "_")])


def published_key(dataset: "DynamicalDataset") -> dg.AssetKey:
    """The external asset of what readers see."""
    return dg.AssetKey([dataset.provider, f"{dataset.name}_published"])


def overview_key(provider: str) -> dg.AssetKey:
    """The external asset of a code location's overview."""
    return dg.AssetKey(["overview", provider])


def k8s_config(dataset: "DynamicalDataset") -> dict[str, Any]:
    """What a pod that works for a dataset needs, as the `dagster-k8s/config` tag holds it; `Pods` adds a deployment's wishes."""
    needs = dataset.resources
    limits = {"memory": needs.memory, "ephemeral-storage": needs.ephemeral_storage}
    return {
        "container_config": {"resources": {"requests": {"cpu": needs.cpu, **limits}, "limits": limits}},
        "pod_template_spec_metadata": NOT_EVICTED,
    }
