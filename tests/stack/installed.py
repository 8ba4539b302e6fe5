"""The chart in `helm/` with the values of the stack, and the addresses of this machine in place of a cluster's.

In: values. Out: what its manifests say of the instance config, config maps, and the pods of the services. Whatever is not an
address, a folder or an interval stays as it is rendered.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.helm.rendered import RELEASE, Manifest, one, render
from tests.stack.kubelet import container_of

HOME = "/opt/dagster/dagster_home"
"""`DAGSTER_HOME` in the image."""
INTERVALS: Mapping[str, Mapping[str, Any]] = {
    "run_coordinator": {"dequeue_interval_seconds": 1},
}
"""Where Dagster looks more often than the chart says, so that a test need not wait."""


@dataclass(frozen=True)
class Installed:
    """A rendered chart.

    Parameters
    ----------
    values : mapping
        As for `helm install`.
    home : Path
        The folder of this machine that is `DAGSTER_HOME` for services and runs.
    kubeconfig : Path
        Where the launcher and the step executor find the API; a pod's service account would tell them.
    """

    values: Mapping[str, Any]
    home: Path
    kubeconfig: Path

    @cached_property
    def _manifests(self) -> list[Manifest]:
        rendered: list[Manifest] = json.loads(json.dumps(render(self.values)).replace(HOME, str(self.home)))
        return rendered

    @property
    def config_maps(self) -> dict[str, dict[str, str]]:
        return {one["metadata"]["name"]: one["data"] for one in self._manifests if one["kind"] == "ConfigMap"}

    @property
    def dagster_yaml(self) -> str:
        config = yaml.safe_load(self.config_maps[f"{RELEASE}-instance"]["dagster.yaml"])
        # An API server outside of which the processes run.
        config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(self.kubeconfig)}
        for section, intervals in INTERVALS.items():
            config[section]["config"] |= intervals
        text: str = yaml.safe_dump(config)
        return text

    def pod(self, deployment: str) -> Manifest:
        """A pod of one of the chart's Deployments."""
        template = one(self._manifests, "Deployment", deployment)["spec"]["template"]
        return {"metadata": {**template["metadata"], "name": f"{RELEASE}-{deployment}-0"}, "spec": template["spec"]}

    def command(self, deployment: str, **changed: str) -> list[str]:
        """What the container of a Deployment executes, with other values of some options."""
        words: list[str] = container_of(self.pod(deployment))["args"]
        options = {word.partition("=")[0] for word in words}
        assert options >= {f"--{name}" for name in changed}, f"{deployment} has {options}"
        return [
            f"{option}={changed.get(option.removeprefix('--'), value)}" if equals else option
            for option, equals, value in (word.partition("=") for word in words)
        ]
