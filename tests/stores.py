"""Stores for tests: an S3 server on this machine that fails on request, and a store that stops at a chosen put.

A test module that asks for the fixtures says `pytest_plugins = ["tests.stores"]`; it has imported this one by then,
hence PYTEST_DONT_REWRITE.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest

from reformatters_dagster.core.store.location import Etag, Expected, Store
from reformatters_dagster.core.store.stores import StoreSet

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrStore

FAULTS_PATH, GATE_PATH, LATE_PATH = "/__faults", "/__gate", "/__late"
KEYS_PER_PAGE = 100
"""Of a list; a real S3 gives 1000."""


class Stopped(BaseException):
    """The process ended here, as far as the code under test can tell."""


@dataclass
class Journal:
    """Every put in order, as (store URL, key); after `stop_after` of them, each further one raises `Stopped`."""

    stop_after: int | None = None
    puts: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, url: str, key: str) -> None:
        with self.lock:
            if self.stop_after is not None and len(self.puts) >= self.stop_after:
                raise Stopped(f"before put {len(self.puts)}: {url}/{key}")
            self.puts.append((url, key))


class Turns:
    """Lets several writers put in a given order, one put at a time."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._moved = threading.Condition()

    def writer(self, number: int) -> Callable[[str, str], None]:
        """What one writer calls before each put."""

        def wait(url: str, key: str) -> None:
            with self._moved:
                in_time = self._moved.wait_for(lambda: not self._order or self._order[0] == number, timeout=30)
                assert in_time, f"writer {number} never got its turn for {url}/{key}"
                if self._order:
                    self._order.pop(0)
                self._moved.notify_all()

        return wait

    def leave(self, number: int) -> None:
        """Give a writer that has ended no more turns."""
        with self._moved:
            self._order = [turn for turn in self._order if turn != number]
            self._moved.notify_all()


def _ask_nothing(*_: str) -> None:
    """What a store asks that has no faults."""


class FaultStore(Store):
    """A store that asks before it puts, gets or lists; what is asked may record, wait or raise."""

    def __init__(
        self,
        inner: Store,
        before_put: Callable[[str, str], None] = _ask_nothing,
        *,
        before_get: Callable[[str], None] = _ask_nothing,
        before_list: Callable[[str], None] = _ask_nothing,
    ) -> None:
        self.inner = inner
        self.url = inner.url
        self.before_put = before_put
        self.before_get = before_get
        self.before_list = before_list

    @property
    def backend(self) -> Any:
        return self.inner.backend

    def reader(self) -> "ZarrStore":
        return self.inner.reader()

    def guarded(self, check_writer: Callable[[], None] | None) -> Self:
        guarded = copy(self)
        guarded.inner = self.inner.guarded(check_writer)
        return guarded

    def put(self, key: str, data: bytes | Path, *, only_if: Expected | None = None) -> Etag:
        self.before_put(self.url, key)
        return self.inner.put(key, data, only_if=only_if)

    def put_over(self, key: str, data: bytes | Path, found: Etag | None) -> Etag:
        self.before_put(self.url, key)
        return self.inner.put_over(key, data, found)

    def get(self, key: str) -> tuple[bytes, Etag]:
        self.before_get(key)
        return self.inner.get(key)

    def get_buffer(self, key: str) -> memoryview | None:
        self.before_get(key)
        return self.inner.get_buffer(key)

    def head(self, key: str) -> tuple[int, Etag]:
        return self.inner.head(key)

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        self.before_list(prefix)
        return self.inner.list(prefix)

    def etags(self, prefix: str) -> dict[str, Etag]:
        self.before_list(prefix)
        return self.inner.etags(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)


def watched(stores: StoreSet, before_put: Callable[[str, str], None]) -> StoreSet:
    """The same stores, each asking before it puts."""
    return StoreSet(
        primary=FaultStore(stores.primary, before_put),
        replicas=tuple(FaultStore(replica, before_put) for replica in stores.replicas),
        internal=FaultStore(stores.internal, before_put),
    )


@dataclass
class S3Server:
    """A server process; faults reach it through one path that no bucket has."""

    endpoint: str

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self._send("PUT", f"/{name}", b"")
        return name

    def fail(self, *faults: dict[str, object]) -> None:
        """Set the faults of the requests to come; none heals the server.

        Each has any of `methods`, `path` (a regular expression), `headers` (names that must be there), `token` (the session
        token that must have come along), `after` and `times` (let so many matching requests through, then hit so many),
        and one of `status` with `code`, `drop_answer` (the request is served and the connection cut), `cut_body` (half the
        body is sent), `put_off` (answered with 503, and carried out when `land` is called).
        """
        self._send("POST", FAULTS_PATH, json.dumps(faults).encode())

    def land(self) -> list[int]:
        """Carry out what was put off; the status of each request."""
        statuses: list[int] = json.loads(self._send("POST", LATE_PATH, b""))
        return statuses

    def gate(self, path: str = "", after: int | None = None, signed_by: str = "") -> None:
        """Let so many puts of matching paths through, and hold what follows until the gate is opened; None holds nothing.

        With an access key, those who sign with another are not held.
        """
        self._send("POST", GATE_PATH, json.dumps({"path": path, "after": after, "signed_by": signed_by}).encode())

    def unfinished_uploads(self, url: str) -> int:
        """Uploads in parts to a bucket that were begun, and neither completed nor aborted."""
        return self._send("GET", f"/{url.removeprefix('s3://')}?uploads", b"").count(b"<UploadId>")

    def at_gate(self) -> tuple[bool, list[str]]:
        """Whether the gate holds somebody, all it let through having been served; and paths it let through."""
        state = json.loads(self._send("GET", GATE_PATH, b""))
        return state["held"], state["puts"]

    def open_gate(self, verdict: Literal["serve", "drop"]) -> None:
        """Serve what was held, and all that follows; or cut it off unserved."""
        self._send("POST", GATE_PATH, json.dumps({"open": verdict}).encode())

    def _send(self, method: str, path: str, body: bytes) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.endpoint + path, body, method=method), timeout=30) as answer:
            read: bytes = answer.read()
        return read


@dataclass
class S3Bucket:
    """An empty bucket of a server without faults, with the environment set to reach it."""

    url: str
    server: S3Server


@dataclass
class Silence:
    """A bucket whose server takes connections and never answers, with the environment set to reach it."""

    url: str


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    """Nobody takes what the system has accepted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        _point_at(f"http://127.0.0.1:{server.getsockname()[1]}", monkeypatch)
        yield Silence("s3://silence")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the whole session."""
    command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
    environment = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": str(KEYS_PER_PAGE)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield S3Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A new bucket; credentials are made up, and none of the machine's own are seen."""
    _point_at(s3_server.endpoint, monkeypatch)
    yield S3Bucket(f"s3://{s3_server.new_bucket()}", s3_server)
    s3_server.fail()


def _point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    made_up = {
        "ACCESS_KEY_ID": "test",
        "SECRET_ACCESS_KEY": "test",
        "REGION": "us-east-1",
        "ENDPOINT_URL": endpoint,
    }
    for name, value in made_up.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
