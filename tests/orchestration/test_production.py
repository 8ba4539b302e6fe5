"""What is handed to operators as an example: `docs/dagster.yaml`, the chart values in `helm/`, and what they name."""

import logging
import re
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.ref import InstanceRef
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import filter_runs_to_should_retry
from dagster._daemon.monitoring.run_monitoring import check_run_timeout
from dagster_k8s import K8sRunLauncher
from dagster_postgres.utils import pg_url_from_config

from reformatters_dagster.orchestration.names import MODE_TAG
from reformatters_dagster.orchestration.run_coordinator import DatasetRunCoordinator
from tests.orchestration.chart import ROOT, deployments, instance_config, values, write_kubeconfig

EXAMPLE = (ROOT / "docs" / "dagster.yaml").read_text()
POSTGRES = {"HOST": "db.example", "USERNAME": "dagster", "PASSWORD": "p@ss", "DB": "runs"}

CHART_KEYS = {
    "": "global generatePostgresqlPasswordSecret postgresql dagsterWebserver dagsterDaemon runLauncher pythonLogs "
    "retention telemetry dagster-user-deployments",
    "global": "postgresqlSecretName serviceAccountName dagsterHome",
    "postgresql": "enabled postgresqlHost postgresqlUsername postgresqlDatabase postgresqlScheme service",
    "dagsterWebserver": "image replicaCount workspace resources env envSecrets",
    "dagsterWebserver.workspace": "enabled servers externalConfigmap",
    "dagsterDaemon": "enabled image resources runCoordinator runMonitoring runRetries sensors schedules env envSecrets",
    "dagsterDaemon.runCoordinator": "enabled type config",
    "dagsterDaemon.runMonitoring": "enabled startTimeoutSeconds cancelTimeoutSeconds maxRuntimeSeconds "
    "maxResumeRunAttempts pollIntervalSeconds freeSlotsAfterRunEndSeconds",
    "dagsterDaemon.runRetries": "enabled maxRetries retryOnAssetOrOpFailure",
    "dagsterDaemon.sensors": "useThreads numWorkers numSubmitWorkers",
    "runLauncher": "type config",
    "runLauncher.config.k8sRunLauncher": "imagePullPolicy jobNamespace loadInclusterConfig envSecrets envVars labels "
    "failPodOnRunFailure resources schedulerName securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig podSpecConfig podTemplateSpecMetadata "
    "jobSpecConfig jobMetadata",
    "pythonLogs": "pythonLogLevel managedPythonLoggers dagsterHandlerConfig",
    "retention": "enabled sensor schedule autoMaterialize",
    "telemetry": "enabled",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
}
"""Keys of the chart for Dagster 1.13 by section: one it does not know would be refused, or do nothing."""
DEPLOYMENT_KEYS = """
name image dagsterApiGrpcArgs port env envConfigMaps envSecrets annotations nodeSelector tolerations resources
readinessProbe livenessProbe startupProbe labels volumes volumeMounts includeConfigInLaunchedRuns
"""


def write_instance(folder: Path, config: Mapping[str, Any]) -> str:
    (folder / "dagster.yaml").write_text(yaml.safe_dump(dict(config)))
    return str(folder)


def with_sqlite(folder: Path) -> dict[str, Any]:
    """The example for one machine, its storage in a folder."""
    config: dict[str, Any] = yaml.safe_load(EXAMPLE)
    return config | {"storage": {"sqlite": {"base_dir": str(folder / "storage")}}}


# One machine


def test_the_example_instance_queues_watches_and_forgets(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(write_instance(tmp_path, with_sqlite(tmp_path))) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert isinstance(instance.run_coordinator, DatasetRunCoordinator)
        assert queue is not None
        assert queue.max_concurrent_runs == 4
        limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
        assert limits == {"reformatters/exclusive": 1, "dagster/backfill": 2, MODE_TAG: 1}
        assert limits["dagster/backfill"] + limits[MODE_TAG] < queue.max_concurrent_runs
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert instance.run_monitoring_max_runtime_seconds == 12 * 3600
        assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
        assert instance.run_retries_retry_on_asset_or_op_failure is False
        assert instance.get_settings("sensors")["use_threads"] is True
        assert not instance.telemetry_enabled
        assert instance.managed_python_loggers == ["reformatters_dagster"]


def test_the_example_instance_finds_its_postgres_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text(EXAMPLE)
    for name, value in POSTGRES.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    storage = InstanceRef.from_dir(str(tmp_path)).storage_data
    assert storage is not None
    assert (storage.module_name, storage.class_name) == ("dagster_postgres", "DagsterPostgresStorage")
    assert "p@ss" not in storage.config_yaml
    settings = yaml.safe_load(storage.config_yaml)["postgres_db"]
    found = {name: POSTGRES[setting["env"].removeprefix("DAGSTER_PG_")] for name, setting in settings.items()}
    assert pg_url_from_config({"postgres_db": found}) == "postgresql://dagster:p%40ss@db.example:5432/runs"


def test_the_example_instance_says_which_variable_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text(EXAMPLE)
    for name, value in POSTGRES.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    monkeypatch.delenv("DAGSTER_PG_PASSWORD")
    with pytest.raises(DagsterInvalidConfigError, match="DAGSTER_PG_PASSWORD"):
        dg.DagsterInstance.from_config(str(tmp_path))


def test_a_run_that_hangs_is_ended_and_begun_again(tmp_path: Path) -> None:
    """A dataset's updates run one at a time: nothing else would end it but a person."""
    with dg.DagsterInstance.from_config(write_instance(tmp_path, with_sqlite(tmp_path))) as instance:
        limit = instance.run_monitoring_max_runtime_seconds
        hung, busy = (begun(instance, seconds) for seconds in (limit + 60, limit - 600))
        ended, running = (after_a_look(instance, run) for run in (hung, busy))
        assert (ended.status, running.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED)
        assert list(filter_runs_to_should_retry([ended, running], instance)) == [ended]


@dg.job
def hang() -> None:
    """Never executed."""


def begun(instance: dg.DagsterInstance, seconds: float) -> dg.DagsterRun:
    """A run that began so many seconds ago, and that no process runs."""
    run = instance.create_run_for_job(hang, status=dg.DagsterRunStatus.STARTING)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    instance.report_dagster_event(started, run.run_id, timestamp=time.time() - seconds)
    return run


def after_a_look(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """The run, once the daemon has looked whether it takes too long."""
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    limit = float(instance.run_monitoring_max_runtime_seconds)
    check_run_timeout(instance, record, logging.getLogger("test"), limit)
    seen = instance.get_run_by_id(run.run_id)
    assert seen is not None
    return seen


# Kubernetes


def test_the_chart_s_instance_launches_jobs_and_agrees_with_the_other(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    config, other = instance_config(tmp_path / "kubeconfig"), with_sqlite(tmp_path)
    folder = write_instance(tmp_path, config | {"storage": other["storage"]})
    with dg.DagsterInstance.from_config(folder) as instance:
        assert isinstance(instance.run_launcher, K8sRunLauncher)
        assert isinstance(instance.run_coordinator, DatasetRunCoordinator)
        assert instance.run_monitoring_max_runtime_seconds == 12 * 3600
    for section in ("run_retries", "sensors", "python_logs", "retention", "telemetry"):
        assert config[section] == other[section], section
    assert config["run_coordinator"]["class"] == other["run_coordinator"]["class"]
    assert config["run_monitoring"] | {"start_timeout_seconds": 300} == other["run_monitoring"]


@pytest.mark.parametrize("section", CHART_KEYS)
def test_the_chart_knows_every_key(section: str) -> None:
    part: Any = values()
    for name in filter(None, section.split(".")):
        part = part[name]
    assert set(part) <= set(CHART_KEYS[section].split())


def test_the_chart_knows_every_key_of_a_deployment() -> None:
    for deployment in deployments():
        assert set(deployment) <= set(DEPLOYMENT_KEYS.split())


def test_the_chart_serves_the_code_locations_of_the_workspace() -> None:
    loaded = [entry["python_module"] for entry in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]]
    servers = {server["name"]: server for server in values()["dagsterWebserver"]["workspace"]["servers"]}
    by_host = {deployment["name"]: deployment for deployment in deployments()}
    assert set(servers) == {location["location_name"] for location in loaded}
    assert {server["host"] for server in servers.values()} == set(by_host)
    for location in loaded:
        deployment = by_host[servers[location["location_name"]]["host"]]
        assert deployment["dagsterApiGrpcArgs"] == ["--module-name", location["module_name"]]
        assert deployment["port"] == servers[location["location_name"]]["port"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", deployment["name"])


def test_whatever_loads_the_run_coordinator_runs_our_image() -> None:
    chart = values()
    images = [chart[part]["image"] for part in ("dagsterWebserver", "dagsterDaemon")]
    images += [deployment["image"] for deployment in deployments()]
    assert all(image == images[0] for image in images)
    assert images[0]["tag"] == version("reformatters-dagster")


def test_settings_are_documented_and_secrets_come_by_name() -> None:
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    given = {setting["name"] for deployment in deployments() for setting in deployment["env"]}
    assert {name for name in given if name.startswith("REFORMATTERS_")} <= documented
    assert not any(word in name for name in given for word in ("SECRET", "KEY", "TOKEN", "PASSWORD", "WEBHOOK", "DSN"))
    readme = (ROOT / "helm" / "README.md").read_text()
    secrets = {secret["name"] for deployment in deployments() for secret in deployment["envSecrets"]}
    for secret in {*secrets, values()["global"]["postgresqlSecretName"]}:
        assert f"create secret generic {secret} " in readme


def test_the_chart_is_of_the_dagster_that_is_installed() -> None:
    readme = (ROOT / "helm" / "README.md").read_text()
    assert re.findall(r"--version (\S+)", readme) == [version("dagster")]
