"""Whether Postgres, Kubernetes and the scratch disk are as the platform needs them. Nothing is changed.

In: the folder of `dagster.yaml`, and what datasets ask for. Out: findings, one line each.
"""

import json
import shutil
import tempfile
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster_postgres.run_storage
import kubernetes.client  # type: ignore[import-untyped]
import kubernetes.config  # type: ignore[import-untyped]
import sqlalchemy as sa
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sql import check_alembic_revision
from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_alembic_config, pg_url_from_config
from kubernetes.utils import parse_quantity  # type: ignore[import-untyped]
from sqlalchemy.pool import NullPool

from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.readiness import Finding, failed, found, skipped
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.orchestration.resources import in_cluster

DATABASE, RIGHTS, SCRATCH = "database", "rights", "scratch"
LOOK_PATIENCE = Patience(attempts=2, deadline=20.0, timeout=10.0)
CONNECT_TIMEOUT = 5
GI = 2**30
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount")
OF_RUNS = (
    ("batch", "jobs", "", ("create", "get", "delete")),
    ("batch", "jobs", "status", ("get",)),
    ("", "pods", "", ("list", "delete")),
)
"""What a run with step pods asks of Kubernetes. Other runs ask nothing."""
OF_DAEMON = (*OF_RUNS, ("", "events", "", ("list",)))
"""What daemon and webserver ask."""


def look_at_scratch(tmp: Path, datasets: Sequence[Declaration], scratch_class: str | None = None) -> Finding:
    """Free bytes where tmp stores and downloads go, against the largest budget of some datasets.

    With a storage class each run gets a volume of its own, which nobody sees before.
    """
    if scratch_class is not None:
        return skipped(SCRATCH, f"each run has a volume of class {scratch_class!r}, made when it starts")
    largest = max(datasets, key=lambda dataset: parse_quantity(dataset.resources.ephemeral_storage))
    wanted = largest.resources.ephemeral_storage
    there = next(folder for folder in (tmp.absolute(), *tmp.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return failed(SCRATCH, f"{there} cannot be written: {error}; set REFORMATTERS_TMP to a folder that can")
    has = f"{tmp} has {free / GI:.1f}Gi free"
    if free >= parse_quantity(wanted):
        return found(SCRATCH, f"{has}, {largest.dataset_id} asks for {wanted}")
    fits = [one.dataset_id for one in datasets if parse_quantity(one.resources.ephemeral_storage) <= free]
    return failed(
        SCRATCH,
        f"{has}, {largest.dataset_id} asks for {wanted}: set REFORMATTERS_TMP to a larger disk; it is enough for "
        f"{', '.join(fits) or 'no dataset'}",
    )


def look_at_instance(home: str | None, datasets: Sequence[Declaration], token: Path = TOKEN) -> Iterator[Finding]:
    """Findings about the database and the cluster that an instance uses.

    Parameters
    ----------
    home : str, optional
        Folder of `dagster.yaml`.
    datasets
        That are to run here: some have step pods, which their runs launch.
    token : Path
        The folder that Kubernetes mounts into pods.
    """
    if home is None:
        yield skipped(DATABASE, "DAGSTER_HOME is not set: there is no instance here")
        yield _look_at_rights(None, datasets, token)
        return
    try:
        ref = InstanceRef.from_dir(home)
    except Exception as error:
        yield failed("instance", f"{home}/dagster.yaml cannot be loaded: {_short(error)}; correct it, or DAGSTER_HOME")
        return
    yield _look_at_database(ref.storage_data)
    yield _look_at_rights(ref.run_launcher_data, datasets, token)


def _look_at_database(storage: ConfigurableClassData | None) -> Finding:
    if storage is None or storage.class_name != DagsterPostgresStorage.__name__:
        return skipped(DATABASE, "the instance keeps its runs in files, which is for one machine only")
    try:
        config = _resolved(DagsterPostgresStorage.config_type(), storage)
        url = sa.make_url(pg_url_from_config(config)).set(drivername="postgresql+psycopg2")
    except Exception as error:
        return failed(DATABASE, f"the storage of dagster.yaml cannot be used: {_short(error)}; correct it")
    where = f"{url.host}:{url.port or 5432}/{url.database}"
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT})
    try:
        with engine.connect() as connection:
            return _judge(connection, where, is_local=url.host in {None, "", "localhost", "127.0.0.1", "::1"})
    except sa.exc.SQLAlchemyError as error:
        words = _short(getattr(error, "orig", None) or error)
        return failed(DATABASE, f"{where} does not answer as Postgres: {words}; correct host, user and password secret")


def _judge(connection: sa.Connection, where: str, *, is_local: bool) -> Finding:
    encrypted = connection.scalar(sa.text("select ssl from pg_stat_ssl where pid = pg_backend_pid()"))
    if not encrypted and not is_local:
        return failed(
            DATABASE,
            f"{where} is reached without TLS: set `postgresql.tls.mode: require` in the chart's values, or elsewhere `params: "
            "{sslmode: require}` of the storage in dagster.yaml",
        )
    revision, head = check_alembic_revision(pg_alembic_config(dagster_postgres.run_storage.__file__), connection)
    how = "by TLS" if encrypted else "without TLS, on this machine"
    if revision is None:
        return found(DATABASE, f"{where} answers {how}, and is empty: webserver or daemon create its tables")
    if revision != head:
        return failed(
            DATABASE,
            f"{where} has tables of revision {revision}, this Dagster wants {head}: stop the daemon, and run `dagster instance "
            "migrate`; where the revision is newer, run a newer image",
        )
    return found(DATABASE, f"{where} answers {how}, its tables are of this Dagster")


def _look_at_rights(launcher: ConfigurableClassData | None, datasets: Sequence[Declaration], token: Path) -> Finding:
    account = _account(token)
    if account is None and in_cluster():
        return skipped(
            RIGHTS,
            "this pod has no token of Kubernetes, as that of a code server: ask in the pods of daemon and webserver",
        )
    try:
        opened = _client_of(launcher, token)
    except Exception as error:
        return failed(RIGHTS, f"Kubernetes cannot be asked: {_short(error)}; correct `run_launcher` in dagster.yaml")
    if opened is None:
        return skipped(RIGHTS, "neither a cluster nor a launcher for Kubernetes here")
    client, namespace, of_runs = opened
    name = "the service account" if account is None else f"the service account {account}"
    is_run = account is not None and account == of_runs
    if is_run and not any(dataset.pods == "group" for dataset in datasets):
        return skipped(RIGHTS, f"{name} is that of runs, which need none: no dataset here has step pods")
    with closing(client):
        api = kubernetes.client.AuthorizationV1Api(client)
        try:
            lacking = [right for right in _rights(OF_RUNS if is_run else OF_DAEMON) if not _may(api, namespace, *right)]
        except Exception as error:
            return failed(RIGHTS, f"Kubernetes did not answer what is allowed: {_short(error)}; is the API reachable?")
    what, who = ("steps", "runs with step pods") if is_run else ("runs", "daemon and webserver")
    if lacking:
        names = ", ".join(f"{verb} {resource}{f'/{part}' if part else ''}" for _, resource, part, verb in lacking)
        return failed(
            RIGHTS,
            f"{name} may not {names} in namespace {namespace}: bind it to a Role with these rights if it is that of {who}",
        )
    return found(RIGHTS, f"{name} may launch, watch and end {what} in namespace {namespace}")


def _account(token: Path) -> str | None:
    """The service account of this pod; None where no token is mounted."""
    file = token / "token"
    if not file.exists():
        return None
    claims = file.read_text().split(".")[1]
    subject: str = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    return subject.rpartition(":")[2]


def _client_of(launcher: ConfigurableClassData | None, token: Path) -> tuple[Any, str, str | None] | None:
    """A client of the cluster that runs are launched in, their namespace and account; None where there is no cluster."""
    configuration = kubernetes.client.Configuration()
    configuration.retries = 0
    if launcher is not None and launcher.class_name in {"K8sRunLauncher", "DatasetK8sRunLauncher"}:
        made = launcher.rehydrate(as_type=K8sRunLauncher)
        namespace, of_runs = made.job_namespace, made.service_account_name
        inside, kubeconfig = made.load_incluster_config, made.kubeconfig_file
    elif in_cluster():
        namespace, of_runs, inside, kubeconfig = (token / "namespace").read_text().strip(), None, True, None
    else:
        return None
    if inside:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    else:
        kubernetes.config.load_kube_config(kubeconfig, client_configuration=configuration)
    return kubernetes.client.ApiClient(configuration), namespace, of_runs


def _rights(needed: Sequence[tuple[str, str, str, Sequence[str]]]) -> Iterator[tuple[str, str, str, str]]:
    for group, resource, part, verbs in needed:
        for verb in verbs:
            yield group, resource, part, verb


def _may(api: Any, namespace: str, group: str, resource: str, part: str, verb: str) -> bool:
    attributes = kubernetes.client.V1ResourceAttributes(
        namespace=namespace, group=group, resource=resource, subresource=part or None, verb=verb
    )
    spec = kubernetes.client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    review = kubernetes.client.V1SelfSubjectAccessReview(spec=spec)
    answer = api.create_self_subject_access_review(review, _request_timeout=CONNECT_TIMEOUT)
    return bool(answer.status.allowed)


def _resolved(config_type: Any, data: ConfigurableClassData) -> dict[str, Any]:
    """Configuration with the variables that it names replaced by their values."""
    result = process_config(resolve_to_config_type(config_type), data.config_dict)
    if not result.success:
        raise ValueError("; ".join(error.message for error in result.errors or []))
    return dict(result.value or {})


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
