"""`deploy-check`: what it finds of a deployment, and how it says so."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml  # type: ignore[import-untyped]

from benchmarks.postgres import USER, Postgres
from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.declaration import Resources
from reformatters_dagster.orchestration.deploy_check import look_at_instance, look_at_scratch
from tests.cli.deployment import ARCHIVE, ID, Deployment, answer
from tests.helm.rendered import NAMESPACE
from tests.orchestration.cluster import serving
from tests.postgres import PASSWORD

pytest_plugins = ["tests.postgres"]


def checks(deployment: Deployment, exit_code: int = 0, home: Path | None = None, **environment: str) -> dict[str, Any]:
    """What is found, by subject, as (status, message)."""
    homes = {} if home is None else {"DAGSTER_HOME": str(home)}
    document = answer(deployment.reformat("deploy-check", ID, "--json", **homes, **environment), exit_code)
    assert document["ok"] == (exit_code == 0)
    return {one["subject"]: (one["status"], one["message"]) for one in document["checks"]}


def home_with(folder: Path, **config: Any) -> Path:
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return home


def postgres_at(url: str) -> dict[str, Any]:
    return {"postgres": {"postgres_url": url}}


def test_a_laptop_is_told_line_by_line_and_nothing_stays(empty: Deployment) -> None:
    result = empty.reformat("deploy-check", ID, DAGSTER_HOME="")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    ok, skipped = "ok      ", "skipped "
    assert [line[:8] for line in lines] == [ok] * 5 + [skipped, ok] + [skipped] * 2
    assert lines[5].endswith(" is no folder: the mirror has nothing of this archive"), "NOMADS has no folder there"
    assert lines[0].startswith("ok      store: ")
    assert any(f"upstream {ARCHIVE}: " in line for line in lines)
    assert result.stderr == ""
    assert [name for name in empty.bytes_of_store() if not name.endswith(".lock")] == []


def test_what_is_not_right_is_named_with_what_to_do_and_fails(empty: Deployment) -> None:
    (empty.folder / "stores").write_text("in the way")
    result = empty.reformat("deploy-check", ID, REFORMATTERS_UPSTREAM=str(empty.folder / "nowhere"), DAGSTER_HOME="")
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED  ")]
    assert [line[8:].partition(":")[0] for line in failed] == ["store", "upstream"]
    assert "check REFORMATTERS_UPSTREAM or --upstream" in failed[1]


def test_a_disk_that_is_too_small_names_what_it_is_enough_for(
    empty: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:

    huge = replace(GFS, resources=Resources(ephemeral_storage="1000Ti"))
    small = replace(GFS, resources=Resources(ephemeral_storage="1Mi"))
    found = look_at_scratch(empty.folder / "tmp" / "deep", [small, huge])
    assert found.status == "failed"
    assert "asks for 1000Ti: set REFORMATTERS_TMP to a larger disk; it is enough for " + ID in found.message
    assert look_at_scratch(empty.folder / "tmp" / "deep", [small]).status == "ok"
    assert not (empty.folder / "tmp").exists()
    blocked = empty.folder / "a-file"
    blocked.touch()
    assert "set REFORMATTERS_TMP to a folder that can" in look_at_scratch(blocked / "tmp", [small]).message
    of_its_own = look_at_scratch(empty.folder / "tmp" / "deep", [huge], "fast-ssd")
    assert (of_its_own.status, "volume of class 'fast-ssd'" in of_its_own.message) == ("skipped", True)


# The database


def test_an_empty_postgres_is_ready_and_stays_empty(empty: Deployment, tmp_path: Path, postgres: Postgres) -> None:
    home = home_with(tmp_path, storage=postgres_at(postgres.url()))
    status, message = checks(empty, home=home)["database"]
    assert status == "ok"
    assert message == (
        f"127.0.0.1:{postgres.port}/postgres answers without TLS, on this machine, and is empty: webserver or daemon create its "
        "tables"
    )
    engine = sa.create_engine(postgres.url())
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_tables_of_another_revision_are_told(empty: Deployment, tmp_path: Path, postgres: Postgres) -> None:
    home = home_with(tmp_path, storage=postgres_at(postgres.url()))
    engine = sa.create_engine(postgres.url())
    try:
        with dg.DagsterInstance.from_config(str(home)):
            """It creates the tables."""
        assert checks(empty, home=home)["database"][1].endswith("its tables are of this Dagster")
        with engine.begin() as connection:
            connection.execute(sa.text("update alembic_version set version_num = '7e2f3204cf8e'"))
        status, message = checks(empty, 1, home=home)["database"]
        assert status == "failed"
        assert "has tables of revision 7e2f3204cf8e, this Dagster wants " in message
        assert "`dagster instance migrate`" in message
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("drop schema public cascade"))
            connection.execute(sa.text("create schema public"))
        engine.dispose()


def test_a_postgres_that_does_not_let_in_is_told_without_the_password(
    empty: Deployment, tmp_path: Path, postgres: Postgres
) -> None:
    home = home_with(tmp_path, storage=postgres_at(postgres.url(password=f"not-{PASSWORD}")))
    status, message = checks(empty, 1, home=home)["database"]
    assert status == "failed"
    assert f'password authentication failed for user "{USER}"' in message
    assert "correct host, user and password secret" in message
    assert PASSWORD not in message


def test_a_variable_that_the_instance_names_and_nobody_sets_is_told(empty: Deployment, tmp_path: Path) -> None:
    home = home_with(tmp_path, storage={"postgres": {"postgres_url": {"env": "NO_SUCH_VARIABLE"}}})
    message = checks(empty, 1, home=home)["database"][1]
    assert "NO_SUCH_VARIABLE" in message
    assert message.endswith("; correct it")


def test_an_instance_that_cannot_be_loaded_is_told(empty: Deployment, tmp_path: Path) -> None:
    message = checks(empty, 1, home=home_with(tmp_path, run_monitorin={"enabled": True}))["instance"][1]
    assert "run_monitorin" in message
    assert message.endswith("correct it, or DAGSTER_HOME")


def test_an_instance_in_files_is_for_one_machine(empty: Deployment, tmp_path: Path) -> None:
    assert checks(empty, home=home_with(tmp_path))["database"][0] == "skipped"


# Kubernetes


def launcher(kubeconfig: Path) -> dict[str, Any]:
    return {
        "module": "reformatters_dagster.orchestration.run_launcher",
        "class": "DatasetK8sRunLauncher",
        "config": {
            "job_namespace": NAMESPACE,
            "service_account_name": "runs",
            "instance_config_map": "instance",
            "dagster_home": "/opt/dagster",
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
        },
    }


def test_rights_that_are_lacking_are_named(empty: Deployment, tmp_path: Path) -> None:
    with serving(tmp_path) as (cluster, kubeconfig):
        home = home_with(tmp_path, run_launcher=launcher(kubeconfig))
        assert checks(empty, home=home)["rights"] == (
            "ok",
            "the service account may launch, watch and end runs in namespace dagster",
        )
        cluster.allowed = {"delete jobs": False, "get jobs/status": False}
        status, message = checks(empty, 1, home=home)["rights"]
        assert status == "failed"
        assert "may not delete jobs, get jobs/status in namespace dagster: bind it to a Role" in message
        assert cluster.created == []
        cluster.down = True
        assert "is the API reachable?" in checks(empty, 1, home=home)["rights"][1]


def token_of(account: str, folder: Path) -> Path:
    """A folder as Kubernetes mounts it into the pods of a service account."""
    claims = json.dumps({"sub": f"system:serviceaccount:{NAMESPACE}:{account}"}).encode()
    folder.mkdir()
    (folder / "token").write_text(f"e30.{urlsafe_b64encode(claims).decode().rstrip('=')}.signature")
    return folder


def test_a_run_is_asked_only_for_the_rights_of_its_step_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    whole = replace(GFS, pods="run")
    steps = replace(GFS, pods="group")
    runs, daemon = (token_of(name, tmp_path / name) for name in ("runs", "daemon"))
    with serving(tmp_path) as (cluster, kubeconfig):
        home = str(home_with(tmp_path, run_launcher=launcher(kubeconfig)))

        def rights(dataset: DynamicalDataset, token: Path) -> tuple[str, str]:
            *_, found = look_at_instance(home, [dataset], token)
            return found.status, found.message

        cluster.allowed = {"list events": False}
        may = "the service account runs may launch, watch and end steps in namespace dagster"
        assert rights(steps, runs) == ("ok", may)
        status, message = rights(steps, daemon)
        assert (status, "daemon may not list events" in message) == ("failed", True)
        cluster.allowed = dict.fromkeys(("create jobs", "list pods", "list events"), False)
        assert rights(whole, runs)[0] == "skipped"
        status, message = rights(steps, runs)
        assert status == "failed"
        assert message.startswith(
            "the service account runs may not create jobs, list pods in namespace dagster: bind it"
        )


def test_a_code_server_has_no_rights_and_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    inside = launcher(tmp_path / "none")
    inside["config"] = {
        k: v for k, v in inside["config"].items() if k not in {"load_incluster_config", "kubeconfig_file"}
    }
    home = str(home_with(tmp_path, run_launcher=inside))
    *_, found = look_at_instance(home, [GFS], tmp_path / "nothing-mounted")
    assert found.status == "skipped"
    assert "ask in the pods of daemon and webserver" in found.message


def test_a_launcher_without_its_configuration_is_told(empty: Deployment, tmp_path: Path) -> None:
    home = home_with(tmp_path, run_launcher=launcher(tmp_path / "no-such-file"))
    message = checks(empty, 1, home=home)["rights"][1]
    assert message.startswith("Kubernetes cannot be asked: ")
    assert message.endswith("correct `run_launcher` in dagster.yaml")


def test_no_secret_is_printed(empty: Deployment, tmp_path: Path, postgres: Postgres) -> None:
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "planted-aws",
        "REFORMATTERS_ALERT_WEBHOOK": "https://hook.example/planted-hook",
    }
    with serving(tmp_path) as (cluster, kubeconfig):
        cluster.down = True
        config = {
            "storage": postgres_at(postgres.url(password=f"not-{PASSWORD}")),
            "run_launcher": launcher(kubeconfig),
        }
        home = str(home_with(tmp_path, **config))
        store = {"REFORMATTERS_STORE": "s3://no-such-bucket/base", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
        keys = {"AWS_ACCESS_KEY_ID": "planted-key-id"}
        result = empty.reformat("--debug", "deploy-check", ID, "--json", DAGSTER_HOME=home, **store, **keys, **secrets)
    assert result.exit_code == 1
    failed = {one["subject"] for one in json.loads(result.stdout)["checks"] if one["status"] == "failed"}
    assert failed == {"store", "database", "rights"}
    assert "planted" not in result.output + result.stderr
