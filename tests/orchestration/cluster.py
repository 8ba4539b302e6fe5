"""A Kubernetes API that keeps Jobs and runs none: tests say how it answers, and how pods end."""

import json
import re
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helm.rendered import NAMESPACE
from tests.orchestration.chart import write_kubeconfig

LOST = -1
"""Instead of a status: the request is served, and its answer lost."""
_JOB = re.compile(rf"/apis/batch/v1/namespaces/{NAMESPACE}/jobs(?:/([^/]+))?(?:/status)?")


class Cluster(ThreadingHTTPServer):
    """Jobs by name, and the answers to come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.answers: deque[tuple[int, str, str]] = deque()
        """Status, reason and message of the next answers to requests that create a Job."""
        self.allowed: Mapping[str, bool] = {}
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def refuse(self, times: int, status: int, reason: str = "", message: str = "") -> None:
        self.answers.extend([(status, reason, message)] * times)

    def end(self, job: str, reason: str) -> None:
        """The pod of a Job has ended."""
        pod, code = self.pods[job], 0 if reason == "Completed" else 137
        ended = {"terminated": {"exitCode": code, "reason": reason}}
        pod["status"] = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [_status(pod, ended)]}
        self.jobs[job]["status"] = {"failed": 1} if code else {"succeeded": 1}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        name, template = body["metadata"]["name"], body["spec"]["template"]
        labels = {**template["metadata"].get("labels", {}), "job-name": name}
        pod = {"metadata": {"name": f"{name}-x", "labels": labels}, "spec": template["spec"]}
        pod["status"] = {"phase": "Running", "containerStatuses": [_status(pod, {"running": {}})]}
        self.jobs[name], self.pods[name] = body | {"status": {"active": 1}}, pod
        self.created.append(body)
        return self.jobs[name]


def _status(pod: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


class _Api(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        if self.server.down:
            self._cut()
            return
        status, answer = self._route(body)
        if status == LOST:
            self._cut()
            return
        document = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _route(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url, cluster = urlsplit(self.path), self.server
        if url.path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            name = f"{asked['verb']} {asked['resource']}" + (
                f"/{asked['subresource']}" if asked.get("subresource") else ""
            )
            return 201, {**body, "status": {"allowed": cluster.allowed.get(name, True)}}
        if url.path.endswith(("/pods", "/events")):
            selected = dict(one.split("=", 1) for one in parse_qs(url.query).get("labelSelector", []))
            field = dict(one.split("=", 1) for one in parse_qs(url.query).get("fieldSelector", []))
            pods = [pod for job, pod in cluster.pods.items() if selected.get("job-name", job) == job]
            named = [
                pod for pod in pods if field.get("metadata.name", pod["metadata"]["name"]) == pod["metadata"]["name"]
            ]
            return 200, {"items": named if url.path.endswith("/pods") else []}
        found = _JOB.fullmatch(url.path)
        assert found, self.path
        return self._create(body) if self.command == "POST" else self._of_job(found[1])

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reason, message = self.server.answers.popleft() if self.server.answers else (201, "", "")
        if status not in {201, LOST}:
            return status, {"kind": "Status", "code": status, "reason": reason, "message": message}
        if (name := body["metadata"]["name"]) in self.server.jobs:
            return 409, {"kind": "Status", "code": 409, "message": f'jobs.batch "{name}" already exists'}
        return status, self.server.create(body)

    def _of_job(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.server.jobs:
            return 404, {"kind": "Status", "code": 404, "message": f'jobs.batch "{name}" not found'}
        if self.command == "DELETE":
            del self.server.jobs[name], self.server.pods[name]
            return 200, {"kind": "Status", "status": "Success"}
        return 200, self.server.jobs[name]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster, and the file that tells clients of it."""
    with Cluster() as cluster:
        Thread(target=cluster.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        write_kubeconfig(folder / "kubeconfig", cluster.url)
        yield cluster, folder / "kubeconfig"
        cluster.shutdown()
