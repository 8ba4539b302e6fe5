"""moto's S3 in a process of its own, safe for puts with a condition, and failing on request.

In: faults as JSON, posted to `FAULTS_PATH`. Out: the port on standard output, then answers.
"""

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


class _FaultyApp:
    """A WSGI application around moto's, which by itself looks and writes in two steps when a put has a condition."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._faults: list[dict[str, Any]] = []
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def __call__(self, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if env["PATH_INFO"] == FAULTS_PATH:
            self._faults = json.loads(_body(env))
            start("200 OK", [("Content-Length", "0")])
            return [b""]
        fault = self._due(env)
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
