"""Two jobs that do nothing, tagged as those of a dataset are: for tests of what launches them."""

import dagster as dg

from reformatters_dagster.orchestration.names import DATASET_TAG, K8S_TAG, NOT_EVICTED, SMALL_POD
from reformatters_dagster.orchestration.step_pods import step_pods_executor

DATASET = "noaa-gfs-forecast"
MEMORY = {"container_config": {"resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}}}
POD = MEMORY | {"pod_template_spec_metadata": NOT_EVICTED}


@dg.op(tags={K8S_TAG: POD})
def work() -> None:
    """Never executed."""


@dg.job(tags={DATASET_TAG: DATASET, K8S_TAG: POD}, executor_def=dg.in_process_executor)
def update() -> None:
    work()


@dg.job(
    tags={DATASET_TAG: DATASET, K8S_TAG: SMALL_POD}, executor_def=step_pods_executor.configured({"max_concurrent": 2})
)
def with_step_pods() -> None:
    work()


defs = dg.Definitions(jobs=[update, with_step_pods])


def step_pods_job() -> dg.JobDefinition:
    """What `dg.reconstructable` needs."""
    return with_step_pods
