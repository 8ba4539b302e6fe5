"""The Kubernetes API of the stack, asked by the client that dagster-k8s uses: what it refuses, and what pods get."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import kubernetes.client as k8s  # type: ignore[import-untyped]
import pytest
from kubernetes.client.rest import ApiException  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError

from tests.stack.cluster import Cluster
from tests.stack.kubelet import Holdings

IMAGE = "registry.example/tools:1"
NAMESPACE = "weather"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    holdings = Holdings(
        images={IMAGE: {"PATH": "/usr/bin:/bin"}},
        config_maps={"settings": {"STORE": "s3://weather"}},
        secrets={"keys": {"password": "made up"}},
    )
    with Cluster(tmp_path, holdings, NAMESPACE).serving() as serving:
        yield serving


@pytest.fixture
def client(cluster: Cluster) -> k8s.ApiClient:
    configuration = k8s.Configuration(host=cluster.url)
    configuration.retries = 0
    return k8s.ApiClient(configuration)


def job(name: str, *command: str, backoff: int = 0, grace: int = 30, **container: Any) -> dict[str, Any]:
    own = {"name": "main", "image": IMAGE, "command": list(command), **container}
    pod = {"containers": [own], "restartPolicy": "Never", "terminationGracePeriodSeconds": grace}
    template = {"metadata": {"labels": {"dagster/run-id": name}}, "spec": pod}
    metadata = {"name": name, "labels": {"dagster/run-id": name}}
    spec = {"backoffLimit": backoff, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def create(client: k8s.ApiClient, body: dict[str, Any], namespace: str = NAMESPACE) -> None:
    k8s.BatchV1Api(client).create_namespaced_job(namespace, body)


def status(client: k8s.ApiClient, name: str) -> Any:
    return k8s.BatchV1Api(client).read_namespaced_job_status(name, NAMESPACE).status


def pods(client: k8s.ApiClient, name: str) -> list[Any]:
    found: list[Any] = k8s.CoreV1Api(client).list_namespaced_pod(NAMESPACE, label_selector=f"job-name={name}").items
    return found


def state(client: k8s.ApiClient, name: str) -> Any:
    """Of the container of a Job's only pod."""
    (pod,) = pods(client, name)
    return pod.status.container_statuses[0].state


def has_failed(client: k8s.ApiClient, name: str, times: int) -> bool:
    return bool(status(client, name).failed == times)


def eventually[T](condition: Callable[[], T]) -> T:
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_a_process_finds_what_a_kubelet_gives_and_nothing_else(
    cluster: Cluster, client: k8s.ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_MACHINE", "seen")
    password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}}
    absent = {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "a", "optional": True}}}
    where = {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    settings = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "none", "optional": True}}]
    create(client, job("looks", "env", env=[password, absent, where], envFrom=settings))
    eventually(lambda: status(client, "looks").succeeded)
    (pod,) = pods(client, "looks")
    api = k8s.CoreV1Api(client)
    log = api.read_namespaced_pod_log(pod.metadata.name, NAMESPACE, _preload_content=False).data.decode()
    found = dict(line.split("=", 1) for line in log.splitlines())
    # Sentry's SDK, once another test has begun it in this process, adds variables of its own to every child.
    found = {name: text for name, text in found.items() if not name.startswith("SUBPROCESS_")}
    folder = found.pop("HOME")
    assert found == {
        "PATH": "/usr/bin:/bin",
        "TMPDIR": folder,
        "HOSTNAME": pod.metadata.name,
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": cluster.url.rpartition(":")[2],
        "STORE": "s3://weather",
        "PASSWORD": "made up",
        "WHERE": NAMESPACE,
    }
    assert state(client, "looks").terminated.reason == "Completed"
    assert pod.status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("container", "reason", "message"),
    [
        ({"image": "other"}, "ErrImagePull", "failed to pull image 'other': not found"),
        ({"envFrom": [{"secretRef": {"name": "none"}}]}, "CreateContainerConfigError", 'secret "none" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "b"}}}]},
            "CreateContainerConfigError",
            "couldn't find key b in configmap settings",
        ),
    ],
)
def test_a_container_that_cannot_start_waits_and_an_event_says_why(
    client: k8s.ApiClient, container: dict[str, Any], reason: str, message: str
) -> None:
    create(client, job("waits", "true", **container))
    eventually(lambda: state(client, "waits").waiting.reason != "ContainerCreating")
    waiting = state(client, "waits").waiting
    assert (waiting.reason, waiting.message) == (reason, message)
    (pod,) = pods(client, "waits")
    about = f"involvedObject.name={pod.metadata.name}"
    (event,) = k8s.CoreV1Api(client).list_namespaced_event(NAMESPACE, field_selector=about).items
    assert (event.type, event.message) == ("Warning", message)
    assert status(client, "waits").active == 1


def test_what_a_cluster_refuses_is_refused(client: k8s.ApiClient) -> None:
    create(client, job("once", "true"))
    misspelt = job("misspelt", "true", imagePullPolici="Always")
    misplaced = job("elsewhere", "true")
    for body, namespace, code in ((job("once", "true"), NAMESPACE, 409), (misspelt, NAMESPACE, 422)):
        with pytest.raises(ApiException) as caught:
            create(client, body, namespace)
        assert caught.value.status == code
    with pytest.raises(ApiException, match="Forbidden"):
        create(client, misplaced, "other")
    with pytest.raises(ApiException, match="this API selects by equality alone"):
        k8s.CoreV1Api(client).list_namespaced_pod(NAMESPACE, label_selector="a!=b")


def test_an_outage_refuses_everything_or_cuts_connections(cluster: Cluster, client: k8s.ApiClient) -> None:
    with cluster.outage(), pytest.raises(ApiException, match="the API server is out"):
        pods(client, "any")
    with cluster.outage(status=0), pytest.raises(HTTPError):
        pods(client, "any")
    assert cluster.turned_away == 2
    assert pods(client, "any") == []


def test_a_killed_pod_says_what_killed_it_and_a_job_with_backoff_gets_another(
    cluster: Cluster, client: k8s.ApiClient
) -> None:
    create(client, job("hungry", "sleep", "60", backoff=1))
    for failed in (1, 2):
        eventually(lambda: any(pod.status.phase == "Running" for pod in pods(client, "hungry")))
        cluster.kill(cluster.pods_of("hungry")[-1], "OOMKilled")
        eventually(partial(has_failed, client, "hungry", failed))
    ends = [pod.status.container_statuses[0].state.terminated for pod in pods(client, "hungry")]
    assert [(end.exit_code, end.reason) for end in ends] == [(137, "OOMKilled")] * 2
    (condition,) = status(client, "hungry").conditions
    assert (condition.type, condition.reason) == ("Failed", "BackoffLimitExceeded")


def test_a_deleted_job_leaves_its_pods_and_a_deleted_pod_ends_within_its_grace(
    cluster: Cluster, client: k8s.ApiClient
) -> None:
    deaf = job("deaf", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done", grace=1)
    create(client, deaf)
    eventually(lambda: cluster.pods_of("deaf") and "up" in cluster.log_of(cluster.pods_of("deaf")[0]))
    k8s.BatchV1Api(client).delete_namespaced_job("deaf", NAMESPACE)
    (pod,) = pods(client, "deaf")
    assert pod.status.phase == "Running"
    begun = time.monotonic()
    k8s.CoreV1Api(client).delete_namespaced_pod(pod.metadata.name, NAMESPACE)
    eventually(lambda: not pods(client, "deaf"))
    assert time.monotonic() - begun > 1
    assert [made["metadata"]["name"] for made in cluster.created] == ["deaf"]
