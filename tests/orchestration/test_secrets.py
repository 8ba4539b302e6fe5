"""Secrets of the environment are in nothing that Dagster stores, shows or hands to Kubernetes."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from benchmarks.postgres import USER, Postgres
from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.orchestration.alerts import Alerts
from reformatters_dagster.orchestration.trouble import failed_run
from tests.datasets import INIT
from tests.orchestration.daemons import daemons
from tests.orchestration.deployments import Deployment
from tests.postgres import PASSWORD
from tests.stores import S3Bucket

pytest_plugins = ["tests.datasets", "tests.stores", "tests.postgres"]

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
    "AWS_SESSION_TOKEN": "planted-aws-token",
    "REFORMATTERS_ALERT_WEBHOOK": "http://127.0.0.1:9/planted-webhook",
    "DAGSTER_PG_PASSWORD": PASSWORD,
}
WORD = "planted"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    assert all(WORD in secret for secret in PLANTED.values())
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return PLANTED


def all_that_is_stored(instance: dg.DagsterInstance) -> str:
    """Every run with its tags and config, and every event with its metadata and errors, as the database has them."""
    runs = instance.get_runs()
    events = [entry for run in runs for entry in instance.all_logs(run.run_id)]
    assert events
    return "\n".join([*map(serialize_value, runs), *map(serialize_value, events)])


def test_a_run_that_succeeds_stores_none(
    deployment: Deployment, secrets: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deployment.site.arrive(INIT)
    deployment.run("backfill", INIT)
    assert deployment.materializations()
    assert WORD not in all_that_is_stored(deployment.instance)
    assert WORD not in caplog.text
    shown = [spec.metadata for spec in deployment.definitions.resolve_all_asset_specs()]
    assert WORD not in str(shown)


def test_a_run_whose_store_denies_it_stores_none(
    deployment: Deployment, s3: S3Bucket, secrets: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Errors of object stores are where credentials could come along."""
    caplog.set_level(logging.DEBUG)
    s3.server.fail({"status": 403, "code": "InvalidAccessKeyId"})
    deployment.site.arrive(INIT)
    away = Deployment(replace(deployment.site, settings={"store": s3.url}), deployment.instance)
    with pytest.raises(StoreUnavailable):
        away.run("backfill", INIT)
    assert "AWS_SECRET_ACCESS_KEY" in away.last_failure()[1]  # its name, to say what to set
    assert WORD not in all_that_is_stored(deployment.instance)
    assert WORD not in caplog.text


def test_an_alert_that_cannot_be_delivered_does_not_log_where_it_was_to_go(
    deployment: Deployment, secrets: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run = deployment.instance.create_run_for_job(deployment.job("update"), status=dg.DagsterRunStatus.FAILURE)
    Alerts(secrets["REFORMATTERS_ALERT_WEBHOOK"], sentry=False).tell(failed_run(deployment.instance, run, "broken"))
    assert "could not be delivered" in caplog.text
    assert WORD not in caplog.text


def test_jobs_of_runs_and_what_is_said_of_them_hold_none(
    tmp_path: Path, postgres: Postgres, secrets: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A Job's command holds the instance: its password stays the name of a variable."""
    caplog.set_level(logging.DEBUG, logger="reformatters_dagster")
    database = {
        "hostname": "127.0.0.1",
        "port": postgres.port,
        "username": USER,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "db_name": "postgres",
    }
    with daemons(tmp_path, storage={"postgres": {"postgres_db": database}}) as daemon:
        try:
            refused = daemon.submit()
            daemon.cluster.refuse(1, 422, "Invalid", "no such quantity")
            daemon.dequeue()
            assert daemon.status(refused) == "FAILURE"
            killed = daemon.begun()
            daemon.kill(killed)
            daemon.retry()
            daemon.dequeue()
            assert len(daemon.cluster.created) == 2
            manifests = json.dumps(daemon.cluster.created)
            assert "DAGSTER_PG_PASSWORD" in manifests
            assert WORD not in manifests
            assert WORD not in all_that_is_stored(daemon.instance)
        finally:
            daemon.instance.wipe()
    assert WORD not in caplog.text
