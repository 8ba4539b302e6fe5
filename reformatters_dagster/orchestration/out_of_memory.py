"""Pods that the kernel killed at their memory limit, and more memory for what is tried once more.

In: pods, and resources of a container. Out: what was killed and what it had asked for, larger resources, and messages.
The webserver imports this module, so it must not import the core.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from kubernetes.utils import parse_quantity  # type: ignore[import-untyped]

from reformatters_dagster.orchestration.names import DATASET_TAG, K8S_TAG, SMALL_POD

MEMORY = "memory"
MI = 2**20
DEFAULT_MORE = 1.5
"""How many times as much memory is asked for after an OOM kill."""


@dataclass(frozen=True)
class Killed:
    """A container that ran out of memory."""

    pod: str
    limit: str | None
    request: str | None

    @property
    def text(self) -> str:
        at = f"at its memory limit of {self.limit}" if self.limit else "without a memory limit, as its node ran out"
        return f"OOMKilled: pod {self.pod} was killed {at} (it asked for {self.request or 'none'})"


def find_killed(pods: Iterable[Any]) -> Killed | None:
    """The first container of some pods whose last end was an OOM kill."""
    for pod in pods:
        containers = {container.name: container for container in pod.spec.containers}
        for status in pod.status.container_statuses or []:
            ends = [state.terminated for state in (status.state, status.last_state) if state is not None]
            if any(end is not None and end.reason == "OOMKilled" for end in ends):
                resources = containers[status.name].resources
                limits, requests = (resources and resources.limits) or {}, (resources and resources.requests) or {}
                return Killed(pod.metadata.name, limits.get(MEMORY), requests.get(MEMORY))
    return None


def with_more_memory(context: K8sContainerContext, factor: float) -> K8sContainerContext:
    """The same pod with request and limit of its memory multiplied."""
    config = context.run_k8s_config.to_dict()
    container = config["container_config"]
    resources = {
        kind: {
            name: multiplied(quantity, factor) if name == MEMORY else quantity for name, quantity in quantities.items()
        }
        if isinstance(quantities, Mapping)
        else quantities
        for kind, quantities in (container.get("resources") or {}).items()
    }
    larger = config | {"container_config": {**container, "resources": resources}}
    return context._replace(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(larger))


def multiplied(quantity: str, factor: float) -> str:
    """A multiple of a quantity of memory, in whole Mi, or Gi where that is exact.

    >>> multiplied("4Gi", 1.5), multiplied("1500M", 1.5)
    ('6Gi', '2146Mi')
    """
    mi = math.ceil(float(parse_quantity(quantity)) * factor / MI)
    return f"{mi // 1024}Gi" if mi % 1024 == 0 else f"{mi}Mi"


def what_to_raise(run: dg.DagsterRun, killed: Killed) -> str:
    """The field that decides the memory of a run's pod, with a value that is larger than what was not enough."""
    if json.loads(run.tags.get(K8S_TAG, "{}")).get("container_config") == SMALL_POD["container_config"]:
        return "raise SMALL_POD in reformatters_dagster/orchestration/names.py"
    return raise_of(dataset_of(run), killed)


def raise_of(dataset: str, killed: Killed) -> str:
    """The field of a dataset's definition that decides the memory of its pods."""
    known = killed.limit or killed.request
    enough = f'"{multiplied(known, DEFAULT_MORE)}"' if known else "…"
    return f"raise `resources=Resources(memory={enough}, …)` in the definition of {dataset}"


def dataset_of(run: dg.DagsterRun) -> str:
    """The dataset of a run, in words."""
    keys = sorted({*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())})
    names = [run.tags[DATASET_TAG]] if DATASET_TAG in run.tags else ["-".join(k.path).replace("_", "-") for k in keys]
    return f"dataset {', '.join(names)}" if names else "the dataset"
