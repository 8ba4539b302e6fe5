"""What the official Dagster chart makes of `helm/values.yaml`, in the parts that Dagster reads.

The chart itself cannot be had offline: the mapping of its keys stands here as its templates for Dagster 1.13 have it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
RELEASE = "reformatters"
NAMESPACE = "dagster"

type Config = dict[str, Any]


def values() -> Config:
    """`helm/values.yaml`, parsed."""
    parsed: Config = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())
    return parsed


def deployments() -> list[Config]:
    """Its user deployments."""
    listed: list[Config] = values()["dagster-user-deployments"]["deployments"]
    return listed


def snake(keys: Mapping[str, Any]) -> Config:
    """A mapping whose own keys are spelled as Dagster spells them; what is below them stays."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value for key, value in keys.items()}


def instance_config(kubeconfig: Path) -> Config:
    """The instance's `dagster.yaml`, without its storage, for a cluster outside of which this process runs."""
    chart = values()
    daemon, launcher = chart["dagsterDaemon"], dict(chart["runLauncher"]["config"]["k8sRunLauncher"])
    given: Config = {
        "job_namespace": NAMESPACE,
        "service_account_name": f"{RELEASE}-dagster",
        "instance_config_map": f"{RELEASE}-dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "postgres_password_secret": chart["global"]["postgresqlSecretName"],
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "run_k8s_config": snake(launcher.pop("runK8sConfig")),
    }
    return {
        "run_coordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
        "run_launcher": {
            "module": "dagster_k8s",
            "class": chart["runLauncher"]["type"],
            "config": snake(launcher) | given,
        },
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "sensors": snake(daemon["sensors"]),
        "python_logs": snake(chart["pythonLogs"]),
        "retention": {
            kind: snake(kept)
            for kind, kept in chart["retention"].items()
            if chart["retention"]["enabled"] and kind != "enabled"
        },
        "telemetry": chart["telemetry"],
    }


def container_context(deployment: Config) -> Config:
    """What runs inherit from the user deployment of their code location."""
    return {
        "k8s": {
            "image_pull_policy": deployment["image"]["pullPolicy"],
            "env_config_maps": [f"{RELEASE}-dagster-user-deployments-{deployment['name']}-user-env"],
            "env_secrets": [secret["name"] for secret in deployment["envSecrets"]],
            "env": deployment["env"],
            "resources": deployment["resources"],
            "namespace": NAMESPACE,
            "service_account_name": f"{RELEASE}-dagster-user-deployments-user-deployments",
            "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
        }
    }


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
