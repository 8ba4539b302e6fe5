"""A small HTTP host of files that can be told to misbehave, one answer at a time.

In: files by path, and scripted answers. Out: a URL, and every request that was made to it.
"""

import re
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Lock, Thread
from types import TracebackType
from typing import Self
from urllib.parse import unquote

LAST_MODIFIED = "Wed, 29 Jul 2026 18:00:00 GMT"


@dataclass(frozen=True)
class Status:
    """Answer with a status and a page of HTML; a redirect leads to `location`."""

    code: int
    location: str | None = None


@dataclass(frozen=True)
class Cut:
    """Announce the whole answer and close the connection after so many bytes of it."""

    after: int


@dataclass(frozen=True)
class Whole:
    """Answer 200 with the whole file, whatever range was asked for."""


@dataclass(frozen=True)
class Short:
    """Answer 206, the announced range right, the body and its length short of its last byte."""


@dataclass(frozen=True)
class Slow:
    """Answer rightly after so many seconds."""

    seconds: float


type Answer = Status | Cut | Whole | Short | Slow


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None


@dataclass
class FaultServer:
    """Serve files under `url`, each request by the next scripted answer of its path, and rightly when none is left.

    Use as a context manager. Paths begin without a slash. `requests` grows in the order of arrival. Good enough an S3
    endpoint for reading objects, not for listing them.
    """

    files: Mapping[str, bytes]
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    server: str = ""
    """Which of several behind one name it is: ETags tell it."""
    _scripts: dict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    _lock: Lock = field(default_factory=Lock)

    def script(self, path: str, *answers: Answer) -> None:
        """Queue answers for the coming requests of a path."""
        self._scripts[path].extend(answers)

    def reset(self) -> None:
        """Forget requests and scripts."""
        self.requests.clear()
        self._scripts.clear()

    def take(self, request: Request) -> Answer | None:
        """Note a request; return its scripted answer."""
        with self._lock:
            self.requests.append(request)
            script = self._scripts[request.path]
            return script.popleft() if script else None

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    upstream: FaultServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet; two would each wait 40 ms for the other's acknowledgement
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def do_CONNECT(self) -> None:
        self.server.upstream.take(Request("CONNECT", self.path, None))
        self._send(502, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, asked = unquote(self.path.lstrip("/")), self.headers.get("Range")
        answer = self.server.upstream.take(Request(self.command, path, asked))
        data = self.server.upstream.files.get(path)
        if isinstance(answer, Slow):
            time.sleep(answer.seconds)
        if isinstance(answer, Status):
            self._send(answer.code, b"<html>no</html>", location=answer.location)
        elif data is None:
            self._send(404, b"<html>no such file</html>")
        elif asked is None or isinstance(answer, Whole):
            self._send(200, data, cut=answer.after if isinstance(answer, Cut) else None)
        else:
            self._send_range(data, asked, answer)

    def _send_range(self, data: bytes, asked: str, answer: Answer | None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        assert match is not None, asked
        start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else len(data), len(data))
        if start >= len(data):
            self._send(416, b"")
            return
        body = data[start : stop - 1 if isinstance(answer, Short) else stop]
        cut = answer.after if isinstance(answer, Cut) else None
        self._send(206, body, content_range=f"bytes {start}-{stop - 1}/{len(data)}", cut=cut)

    def _send(
        self,
        code: int,
        body: bytes,
        *,
        location: str | None = None,
        content_range: str | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(code)
        is_page = code not in (200, 206) or self.path.endswith(".html")
        kind = "text/html" if is_page else "application/octet-stream"
        headers = {"Location": location, "Content-Range": content_range, "Content-Type": kind}
        headers |= {
            "Content-Length": str(len(body)),
            "Last-Modified": LAST_MODIFIED,
            "ETag": f'"{len(body)}{self.server.upstream.server}"',
        }
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(SHUT_RDWR)
            self.close_connection = True
