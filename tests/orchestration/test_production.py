"""What is handed to operators as an example: `docs/dagster.yaml`, the chart values in `helm/`, and what they name."""

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.instance.ref import InstanceRef
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import filter_runs_to_should_retry
from dagster._daemon.monitoring.run_monitoring import check_run_timeout
from dagster_postgres.utils import pg_url_from_config

from reformatters_dagster.orchestration.names import MODE_TAG
from reformatters_dagster.orchestration.run_coordinator import DatasetRunCoordinator
from reformatters_dagster.orchestration.run_launcher import DatasetK8sRunLauncher
from tests.helm.rendered import PLAIN, ROOT, one, render
from tests.orchestration.chart import instance_config, write_kubeconfig

EXAMPLE = (ROOT / "docs" / "dagster.yaml").read_text()
POSTGRES = {"HOST": "db.example", "USERNAME": "dagster", "PASSWORD": "p@ss", "DB": "runs"}

SETTINGS = {
    "replicas": ["s3://copy"],
    "upstream": "s3://mirror",
    "start": "2026-07-01T00",
    "owners": ["team:weather"],
    "codeUrl": "https://example.org/blob/main",
    "env": {"AWS_REGION": "us-east-1"},
}


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
        assert isinstance(instance.run_launcher, DatasetK8sRunLauncher)
        assert isinstance(instance.run_coordinator, DatasetRunCoordinator)
        assert instance.run_monitoring_max_runtime_seconds == 12 * 3600
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
        assert limits["dagster/backfill"] + limits[MODE_TAG] < queue.max_concurrent_runs
    for section in ("run_retries", "sensors", "python_logs", "retention", "telemetry"):
        assert config[section] == other[section], section
    assert config["run_coordinator"]["class"] == other["run_coordinator"]["class"]
    assert config["run_monitoring"] | {"start_timeout_seconds": 300} == other["run_monitoring"]


def test_settings_are_documented_and_secrets_come_by_name() -> None:
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    everything = PLAIN | {"settings": PLAIN["settings"] | SETTINGS, "scratch": {"storageClass": "fast"}}
    given = set(one(render(everything), "ConfigMap", "settings")["data"])
    assert len(given) == 11
    assert {name for name in given if name.startswith("REFORMATTERS_")} <= documented
    assert not any(word in name for name in given for word in ("SECRET", "KEY", "TOKEN", "PASSWORD", "WEBHOOK", "DSN"))
    readme = (ROOT / "helm" / "README.md").read_text()
    for secret in ("reformatters", "dagster-postgresql"):
        assert f"create secret generic {secret} " in readme
