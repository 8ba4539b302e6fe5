"""moto's S3 in a process of its own, safe for puts with a condition, and failing on request.

In: faults as JSON, posted to `FAULTS_PATH`, a gate, posted to `GATE_PATH`, and when what was put off lands, posted to
`LATE_PATH`. Out: the port on standard output, then answers.
"""

import io
import json
import re
import socket
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

FAULTS_PATH = "/__faults"
LATE_PATH = "/__late"
GATE_PATH = "/__gate"
"""POST what `_Gate` takes to set a gate, or `open` (`serve` or `drop`) to open it; GET to look at it."""


class _Gate:
    """Lets so many puts of some paths through and holds the answer to the last of them, and every later put, until opened.

    So whoever is killed meanwhile has put exactly that many objects. Those who sign with another access key pass by.
    """

    def __init__(self, path: str = "", after: int | None = None, signed_by: str = "") -> None:
        self._path = re.compile(path)
        self._signed_by = f"Credential={signed_by}"
        self._after = after
        self._moved = threading.Condition()
        self._opened = ""
        self._admitted = self._served = 0
        self.held = False
        self.puts: list[str] = []

    def open(self, verdict: str) -> None:
        with self._moved:
            self._opened = verdict
            self._moved.notify_all()

    def admit(self, path: str) -> bool:
        """Called before a put is served: whether it is to be."""
        with self._moved:
            if not self._opened and self._after is not None and self._admitted >= self._after:
                self.held |= self._after == 0
                self._moved.wait_for(lambda: self._opened)
            if self._opened == "drop":
                return False
            self._admitted += 1
            self.puts.append(path)
            return True

    def answer(self) -> None:
        """Called after a put was served."""
        with self._moved:
            self._served += 1
            if self._served == self._after and not self._opened:
                self.held = True
                self._moved.wait_for(lambda: self._opened)

    def watches(self, env: dict[str, Any]) -> bool:
        is_put = env["REQUEST_METHOD"] == "PUT"
        is_signed = self._signed_by in env.get("HTTP_AUTHORIZATION", self._signed_by)
        return not self._opened and is_put and is_signed and self._path.search(env["PATH_INFO"]) is not None


class _FaultyApp:
    """A WSGI application around moto's, which by itself looks and writes in two steps when a put has a condition."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._faults: list[dict[str, Any]] = []
        self._gate = _Gate()
        self._late: list[dict[str, Any]] = []
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if env["PATH_INFO"] == FAULTS_PATH:
            self._faults = json.loads(_body(env))
            start("200 OK", [("Content-Length", "0")])
            return [b""]
        if env["PATH_INFO"] == GATE_PATH:
            return self._at_gate(env, start)
        if env["PATH_INFO"] == LATE_PATH:
            return self._land(start)
        gate = self._gate
        if not gate.watches(env):
            return self._serve(env, start)
        body = _body(env)  # who is cut off before it was read would be told of a reset, not of an end
        if not gate.admit(env["PATH_INFO"]):
            env["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("503 Dropped", [("Content-Length", "0")])
            return [b""]
        env["wsgi.input"] = io.BytesIO(body)
        try:
            return self._serve(env, start)
        finally:
            gate.answer()

    def _at_gate(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = json.loads(_body(env) or b"{}")
        if "open" in asked:
            self._gate.open(asked["open"])
        elif asked:
            self._gate.open("serve")
            self._gate = _Gate(**asked)
        answer = json.dumps({"held": self._gate.held, "puts": self._gate.puts}).encode()
        start("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    def _land(self, start: Callable[..., Any]) -> Iterable[bytes]:
        """Serve what was put off, and tell how each ended."""
        statuses: list[str] = []
        for env in self._late:
            list(self._app(env, lambda status, headers, *_: statuses.append(status)))
        self._late = []
        answer = json.dumps([int(status.split()[0]) for status in statuses]).encode()
        start("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    def _serve(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        fault = self._due(env)
        if fault.get("put_off"):
            self._late.append({**env, "wsgi.input": io.BytesIO(_body(env))})
            start("503 Put Off", [("Content-Length", "0")])
            return [b""]
        if "status" in fault:
            _body(env)
            answer = f"<Error><Code>{fault.get('code', '')}</Code><Message>on request</Message></Error>".encode()
            start(f"{fault['status']} On Request", [("Content-Length", str(len(answer)))])
            return [answer]
        with self._lock:
            lock = self._locks[env["PATH_INFO"]]
        with lock:
            served = [bytes(part) for part in self._app(env, start)]
        if fault.get("drop_answer"):
            env["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return _half(b"".join(served), env["werkzeug.socket"]) if fault.get("cut_body") else served

    def _due(self, env: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for fault in self._faults:
                if _matches(fault, env):
                    fault["seen"] = fault.get("seen", 0) + 1
                    position = fault["seen"] - fault.get("after", 0)
                    if 0 < position <= fault.get("times", position):
                        return fault
        return {}


def _half(body: bytes, connection: socket.socket) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_RDWR)


def _matches(fault: dict[str, Any], env: dict[str, Any]) -> bool:
    headers = [f"HTTP_{name.upper().replace('-', '_')}" for name in fault.get("headers", [])]
    return (
        env["REQUEST_METHOD"] in fault.get("methods", [env["REQUEST_METHOD"]])
        and re.search(fault.get("path", ""), env["PATH_INFO"]) is not None
        and all(name in env for name in headers)
        and env.get("HTTP_X_AMZ_SECURITY_TOKEN") == fault.get("token", env.get("HTTP_X_AMZ_SECURITY_TOKEN"))
    )


def _body(env: dict[str, Any]) -> bytes:
    read: bytes = env["wsgi.input"].read(int(env.get("CONTENT_LENGTH") or 0))
    return read


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args: object) -> None:
        """Say nothing."""


def _serve() -> None:
    # With the default of 128 a burst of connections is dropped, and each waits seconds before it is tried again.
    BaseWSGIServer.request_queue_size = 4096
    app = _FaultyApp(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _serve()
