"""What Dagster calls things: the asset key of a dataset, and the tags its runs carry on every launch path."""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from reformatters_dagster.core.run.dataset import DynamicalDataset

DATASET_TAG = "reformatters/dataset"
MODE_TAG = "reformatters/mode"
UPDATE = "update"
"""Mode of the job that publishes."""
EXCLUSIVE_TAG = "reformatters/exclusive"
FINGERPRINT_TAG = "reformatters/upstream"
"""What the upstream listed when a sensor launched the run."""
ATTEMPT_TAG = "reformatters/attempt"
"""Which of the runs it is that sensors launched for that partition and listing, from 1."""
VARIABLES_TAG = "reformatters/variables"
"""Digest of the variables that a sensor's run is about, where it is not about all."""
BACKFILL_TAG = "dagster/backfill"
"""Dagster's own: which partition backfill a run belongs to."""
PRIORITY_TAG = "dagster/priority"
UPDATE_PRIORITY, HEAL_PRIORITY, BACKFILL_PRIORITY = "10", "0", "-10"
"""Of runs in the queue, the highest first; one that has none counts as 0."""
K8S_TAG = "dagster-k8s/config"
K8S_METADATA = "reformatters/k8s"
"""Metadata of an asset: what its runs need, for those that are launched without a job's tags."""


NOT_EVICTED = {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}
SMALL_POD = {
    "container_config": {"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
    "pod_template_spec_metadata": NOT_EVICTED,
}
"""What is asked of Kubernetes for pods that move no data: those of runs whose steps have their own, and of their plans."""


def asset_key(dataset: "DynamicalDataset") -> dg.AssetKey:
    return dg.AssetKey([dataset.provider, dataset.name])


def k8s_config(dataset: "DynamicalDataset") -> dict[str, Any]:
    """What a run of a dataset asks of Kubernetes, as the `dagster-k8s/config` tag holds it."""
    needs = dataset.resources
    quantities = {"cpu": needs.cpu, "memory": needs.memory, "ephemeral-storage": needs.ephemeral_storage}
    return {
        "container_config": {"resources": {"requests": quantities, "limits": {"memory": needs.memory}}},
        "pod_template_spec_metadata": NOT_EVICTED,
    }
