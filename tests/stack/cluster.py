"""A Kubernetes API on loopback that runs Jobs: each Job gets a pod, each pod's container becomes a process.

In: what the launcher and the executor of dagster-k8s ask, and a test's outages and kills. Out: Jobs, pods, logs and events as
a cluster shows them. It has no watches, volumes, init containers or rights.
"""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kubernetes_validate  # type: ignore[import-untyped]

from tests.stack.kubelet import KILLED, Container, Holdings, Manifest, Unstartable, container_of, environment_of

VERSION = "1.34"
PATHS = re.compile(
    r"/(?:api/v1|apis/batch/v1)/namespaces/(?P<namespace>[^/]+)/(?P<kind>jobs|pods|events)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>status|log))?"
)
LISTS = {"jobs": ("batch/v1", "JobList"), "pods": ("v1", "PodList"), "events": ("v1", "EventList")}


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def utc_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """The objects of one namespace's workloads, and the processes behind them."""

    def __init__(self, folder: Path, holdings: Holdings, namespace: str) -> None:
        self.holdings = holdings
        self.namespace = namespace
        self.created: list[Manifest] = []
        """Every Job that was ever created, deleted ones too, first to last."""
        self.turned_away = 0
        """Requests that an outage refused."""
        self._folder = folder
        self._objects: dict[str, dict[str, Manifest]] = {"jobs": {}, "pods": {}, "events": {}}
        self._containers: dict[str, Container] = {}
        self._outage: int | None = None
        self._lock = threading.RLock()
        self._server = _Server(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def given(self) -> dict[str, str]:
        """What every container of the cluster finds in its environment."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self._server.server_port)}

    @contextmanager
    def serving(self) -> Iterator["Cluster"]:
        """Answer while the block runs; kill what still runs after it."""
        server = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        server.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            for container in self._containers.values():
                container.kill("Error")

    # What a test does to it

    @contextmanager
    def outage(self, status: int = 503) -> Iterator[None]:
        """Refuse every request with a status; 0 cuts the connection."""
        self._outage = status
        try:
            yield
        finally:
            self._outage = None

    def pods_of(self, run_id: str) -> list[Manifest]:
        """Pods of one run, the pods of its steps included, oldest first."""
        with self._lock:
            pods = self._objects["pods"].values()
            return [pod for pod in pods if pod["metadata"]["labels"].get("dagster/run-id") == run_id]

    def running_pods_of(self, run_id: str) -> list[Manifest]:
        """Those whose container has begun."""
        return [pod for pod in self.pods_of(run_id) if pod["status"]["phase"] == "Running"]

    def jobs_of(self, run_id: str) -> list[Manifest]:
        """Jobs that were created for one run, oldest first."""
        return [job for job in self.created if job["metadata"]["labels"].get("dagster/run-id") == run_id]

    def kill(self, pod: Manifest, reason: str = "Error") -> None:
        """SIGKILL to the processes of a pod: `Error`, or `OOMKilled` as the kernel does it."""
        self._containers[pod["metadata"]["name"]].kill(reason)

    def log_of(self, pod: Manifest) -> str:
        file = self._log_file(pod)
        return file.read_text(errors="replace") if file.exists() else ""

    # The API

    def answer(self, method: str, url: str, body: Manifest) -> tuple[int, Manifest | str]:
        """The status and the document of one request."""
        if self._outage is not None:
            self.turned_away += 1
            raise ApiError(self._outage, "ServiceUnavailable", "the API server is out")
        parts, query = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
        match = PATHS.fullmatch(parts.path)
        if match is None:
            raise ApiError(404, "NotFound", f"no such path: {parts.path}")
        kind, name = match["kind"], match["name"]
        if match["namespace"] != self.namespace:
            raise ApiError(403, "Forbidden", f"{kind} is forbidden in the namespace {match['namespace']!r}")
        with self._lock:
            if method == "POST" and kind == "jobs" and name is None:
                return 201, deepcopy(self._create_job(body))
            if method == "GET" and name is None:
                return 200, self._list(kind, query)
            found = self._objects[kind].get(name or "")
            if found is None:
                raise ApiError(404, "NotFound", f'{kind} "{name}" not found')
            if method == "GET" and match["part"] == "log":
                lines = self.log_of(found).splitlines(keepends=True)
                return 200, "".join(lines[-int(query.get("tailLines", len(lines))) :])
            if method == "GET":
                return 200, deepcopy(found)
            if method == "DELETE":
                policy = query.get("propagationPolicy") or body.get("propagationPolicy") or "Orphan"
                self._delete(kind, found, policy)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise ApiError(405, "MethodNotAllowed", f"{method} {parts.path}")

    def _list(self, kind: str, query: dict[str, str]) -> Manifest:
        version, name = LISTS[kind]
        selectors = [*_pairs(query.get("labelSelector", ""), "metadata.labels")]
        selectors += [*_pairs(query.get("fieldSelector", ""))]
        items = [
            deepcopy(one)
            for one in self._objects[kind].values()
            if all(_at(one, path) == value for path, value in selectors)
        ]
        return {"apiVersion": version, "kind": name, "metadata": {}, "items": items}

    def _create_job(self, job: Manifest) -> Manifest:
        try:
            kubernetes_validate.validate(job, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise ApiError(422, "Invalid", f"Job is invalid: {error}") from error
        name = job["metadata"]["name"]
        if name in self._objects["jobs"]:
            raise ApiError(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        if job["spec"]["template"]["spec"].get("initContainers"):
            raise ApiError(422, "Invalid", "this API runs no init containers")
        job["metadata"] |= self._identity(name)
        job["status"] = {"startTime": utc_text(), "active": 0, "succeeded": 0, "failed": 0}
        self._objects["jobs"][name] = job
        self.created.append(job)
        self._create_pod(job)
        return job

    def _delete(self, kind: str, found: Manifest, policy: str) -> None:
        name = found["metadata"]["name"]
        if kind == "jobs":
            del self._objects["jobs"][name]
            if policy == "Orphan":
                return
            pods = [pod for pod in self._objects["pods"].values() if pod["metadata"]["labels"]["job-name"] == name]
        else:
            pods = [found]
        for pod in pods:
            pod["metadata"]["deletionTimestamp"] = utc_text()
            self._tell(pod, "Normal", "Killing", f"Stopping container {container_of(pod)['name']}")
            container = self._containers.get(pod["metadata"]["name"])
            if container is None:
                self._objects["pods"].pop(pod["metadata"]["name"], None)
            else:
                container.stop()

    def _identity(self, name: str) -> Manifest:
        return {"name": name, "namespace": self.namespace, "uid": str(uuid.uuid4()), "creationTimestamp": utc_text()}

    # What the controllers and the kubelet do

    def _create_pod(self, job: Manifest) -> None:
        template, name = deepcopy(job["spec"]["template"]), job["metadata"]["name"]
        identity = self._identity(f"{name[:57]}-{uuid.uuid4().hex[:5]}")
        owned = {"job-name": name, "batch.kubernetes.io/job-name": name}
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "status": {"phase": "Pending"}}
        metadata = template.get("metadata") or {}
        pod["metadata"] = metadata | identity | {"labels": (metadata.get("labels") or {}) | owned}
        _set_state(pod, "waiting", reason="ContainerCreating")
        self._objects["pods"][identity["name"]] = pod
        job["status"]["active"] = 1
        threading.Thread(target=self._run, args=(job, pod), daemon=True).start()

    def _run(self, job: Manifest, pod: Manifest) -> None:
        """The life of one pod."""
        try:
            environment = environment_of(pod, self.holdings, self.given)
        except Unstartable as error:
            with self._lock:
                _set_state(pod, "waiting", reason=error.reason, message=error.message)
                self._tell(pod, "Warning", "Failed", error.message)
            return
        with self._lock:
            if "deletionTimestamp" in pod["metadata"]:
                return
            folder = self._folder / pod["metadata"]["name"]
            container = Container(pod, environment, folder, self._log_file(pod))
            self._containers[pod["metadata"]["name"]] = container
            pod["status"]["phase"] = "Running"
            _set_state(pod, "running", startedAt=utc_text())
            self._tell(pod, "Normal", "Started", f"Started container {container_of(pod)['name']}")
        code = container.wait()
        with self._lock:
            self._end(job, pod, code, container.killed_for)

    def _end(self, job: Manifest, pod: Manifest, code: int, killed_for: str) -> None:
        reason = "Completed" if code == 0 else (killed_for if code == KILLED and killed_for else "Error")
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        pod["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
        _set_state(pod, "terminated", exitCode=code, reason=reason, startedAt=started, finishedAt=utc_text())
        if "deletionTimestamp" in pod["metadata"]:
            self._objects["pods"].pop(pod["metadata"]["name"], None)
        status = job["status"]
        status["active"] = 0
        status["succeeded" if code == 0 else "failed"] += 1
        if code == 0:
            status |= {"completionTime": utc_text(), "conditions": [{"type": "Complete", "status": "True"}]}
        elif status["failed"] > job["spec"].get("backoffLimit", 6):
            status["conditions"] = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
        elif job["metadata"]["name"] in self._objects["jobs"]:
            self._create_pod(job)

    def _tell(self, pod: Manifest, kind: str, reason: str, message: str) -> None:
        identity = self._identity(f"{pod['metadata']['name']}.{uuid.uuid4().hex[:8]}")
        about = {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": self.namespace}
        said = {"type": kind, "reason": reason, "message": message, "count": 1}
        self._objects["events"][identity["name"]] = {"metadata": identity, "involvedObject": about} | said

    def _log_file(self, pod: Manifest) -> Path:
        return self._folder / f"{pod['metadata']['name']}.log"


def _set_state(pod: Manifest, state: str, **facts: Any) -> None:
    container = container_of(pod)
    is_running = state == "running"
    one = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
    pod["status"]["containerStatuses"] = [one | {"ready": is_running, "started": is_running, "state": {state: facts}}]


def _pairs(selector: str, under: str = "") -> Iterator[tuple[list[str], str]]:
    """Paths into an object and the values there, from a selector that asks for equality alone."""
    for part in filter(None, selector.split(",")):
        name, equals, value = part.replace("==", "=").partition("=")
        if not equals or name.endswith("!"):
            raise ApiError(400, "BadRequest", f"this API selects by equality alone: {part!r}")
        yield ([*under.split("."), name] if under else name.split(".")), value


def _at(one: Manifest, path: list[str]) -> Any:
    found: Any = one
    for name in path:
        found = found.get(name, {})
    return found


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = cluster


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            code, answer = self.server.cluster.answer(self.command, self.path, json.loads(body or b"{}"))
        except ApiError as error:
            if error.code == 0:
                self.close_connection = True
                return
            code = error.code
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
            answer |= {"reason": error.reason, "message": error.message}
        is_text = isinstance(answer, str)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_DELETE = do_GET  # noqa: N815
