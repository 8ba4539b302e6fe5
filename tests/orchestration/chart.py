"""What the chart in `helm/` makes of an instance, for tests that run outside of a cluster."""

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.helm.rendered import PLAIN, one, render

type Config = dict[str, Any]


def rendered_instance(values: Config = PLAIN) -> Config:
    """The `dagster.yaml` that the chart mounts."""
    config: Config = yaml.safe_load(one(render(values), "ConfigMap", "instance")["data"]["dagster.yaml"])
    return config


def instance_config(kubeconfig: Path, values: Config = PLAIN) -> Config:
    """The same without its storage, for a cluster outside of which this process runs."""
    config = rendered_instance(values)
    del config["storage"]
    config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return config


def write_kubeconfig(file: Path, server: str) -> None:
    """Client configuration for a cluster at an address, without credentials."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    file.write_text(json.dumps(config))
