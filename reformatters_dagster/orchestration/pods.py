"""How a deployment wants the pods of its runs: where their scratch lies, and where which kind of run is scheduled.

In: texts of the environment, a dataset, a mode. Out: what the `dagster-k8s/config` tag holds. Parts of it that nobody asked for
are left out, so that without a cluster it says what a dataset needs and no more.
"""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, TypeAdapter, ValidationError

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.orchestration.names import (
    BACKFILL,
    HEAL,
    K8S_TAG,
    LITTLE_DISK,
    SCRATCH,
    SMALL_POD,
    UPDATE,
    k8s_config,
)

MODES = (UPDATE, HEAL, BACKFILL)
PLACEMENT = {"node_selector", "tolerations", "priority_class_name", "affinity", "topology_spread_constraints"}
"""What of a pod's spec a mode may decide."""

type PodConfig = dict[str, Any]
"""As the `dagster-k8s/config` tag holds it."""


class Pods(Frozen):
    """What a deployment adds to the needs of its datasets."""

    scratch_class: str | None = None
    """Storage class of a volume for each pod that moves data. None: the node's disk, with a limit."""
    scratch_path: str | None = None
    """Where that volume is mounted: the tmp folder of runs."""
    by_mode: Mapping[str, PodConfig] = Field(default_factory=dict)
    """Parts of the pod's spec, by `update`, `heal` and `backfill`."""

    @classmethod
    def parse(cls, scratch_class: str | None, tmp: str | None, by_mode: str | None) -> Self:
        """From the texts of `REFORMATTERS_SCRATCH_CLASS`, `REFORMATTERS_TMP` and `REFORMATTERS_PODS`.

        Raises
        ------
        Refused
            When there is a class and no folder, or where the placement cannot be read.
        """
        scratch_class, tmp = (scratch_class or "").strip() or None, (tmp or "").strip() or None
        if scratch_class and not tmp:
            raise Refused(
                f"REFORMATTERS_SCRATCH_CLASS is {scratch_class!r} and REFORMATTERS_TMP is not set: "
                "set it to the folder at which pods find their volume"
            )
        return cls(scratch_class=scratch_class, scratch_path=tmp, by_mode=_parse_placement(by_mode or "{}"))

    def of(self, dataset: DynamicalDataset, mode: str | None = None) -> PodConfig:
        """A pod that works for a dataset; of a step where there is no mode, since steps serve runs of every mode."""
        config = k8s_config(dataset)
        if self.scratch_class is not None:
            needs = config["container_config"]["resources"]
            little = {kind: needs[kind] | LITTLE_DISK[kind] for kind in needs}
            mount = {"name": SCRATCH, "mount_path": self.scratch_path}
            config = config | {
                "container_config": {"resources": little, "volume_mounts": [mount]},
                "pod_spec_config": {"volumes": [self._volume(dataset.resources.ephemeral_storage)]},
            }
        return self._placed(config, mode)

    def small(self, mode: str) -> PodConfig:
        """A pod that moves no data."""
        return self._placed(SMALL_POD, mode)

    def _placed(self, config: PodConfig, mode: str | None) -> PodConfig:
        placement = self.by_mode.get(mode or "", {})
        return config | {"pod_spec_config": config.get("pod_spec_config", {}) | placement} if placement else config

    def _volume(self, size: str) -> PodConfig:
        """A volume that is made and removed with its pod."""
        spec = {
            "access_modes": ["ReadWriteOnce"],
            "storage_class_name": self.scratch_class,
            "resources": {"requests": {"storage": size}},
        }
        return {"name": SCRATCH, "ephemeral": {"volume_claim_template": {"spec": spec}}}


NO_PODS = Pods()


def placement_of(tags: Mapping[str, str]) -> PodConfig:
    """Where a run is scheduled, by its tags: its steps go there too."""
    spec = json.loads(tags.get(K8S_TAG, "{}")).get("pod_spec_config", {})
    return {key: value for key, value in spec.items() if key in PLACEMENT}


def _parse_placement(text: str) -> dict[str, PodConfig]:
    try:
        found = TypeAdapter(dict[str, PodConfig]).validate_python(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise Refused(f"REFORMATTERS_PODS is {text!r}; write a JSON object of pod specs by mode") from error
    if unknown := sorted(set(found) - set(MODES)):
        raise Refused(f"REFORMATTERS_PODS names the modes {', '.join(unknown)}; there are {', '.join(MODES)}")
    if unknown := sorted({key for spec in found.values() for key in spec} - PLACEMENT):
        raise Refused(f"REFORMATTERS_PODS says {', '.join(unknown)}; a mode may say {', '.join(sorted(PLACEMENT))}")
    return found
