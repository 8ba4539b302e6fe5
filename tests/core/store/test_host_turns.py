"""A host is asked no faster by many processes than by one, and a store that fails stops nobody."""

import json
import logging
import multiprocessing
import time
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from reformatters_dagster.core.source.rate_limit import RateLimit
from reformatters_dagster.core.spec.errors import ObjectMoved, StoreUnavailable
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.host_turns import FURTHEST, HostTurns
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.core.store.stores import open_store
from tests.core.source.hosts import FakeTime
from tests.stores import FaultStore
from tests.tiny import tiny_template
from tests.upstreams import Answer, FaultServer, Request

PER_SECOND, PROCESSES, EACH = 10, 4, 10
NOON = 1.8e9


@dataclass
class CountingServer(FaultServer):
    """Notes when each request came."""

    times: list[float] = field(default_factory=list)

    def take(self, request: Request) -> Answer | None:
        self.times.append(time.monotonic())
        return super().take(request)


def ask(folder: Path, url: str, together: Barrier) -> None:
    """Ask the host as one process of a deployment does."""
    source = SourceArchive(url=url, folder="host", requests_per_minute=60 * PER_SECOND)
    workspace = Settings(store=str(folder / "stores")).workspace(tiny_template(folder), (source,), wall_clock=time.time)
    (archive,) = workspace.upstream.archives_for(Timestamp("2030-01-01"), Timestamp("2030-01-01"))
    together.wait(60)
    for _ in range(EACH):
        archive.head("file")


def test_four_processes_ask_no_faster_than_one_may(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(PROCESSES)
    with CountingServer({"file": b"data"}) as server:
        asking = [context.Process(target=ask, args=(tmp_path, server.url, together)) for _ in range(PROCESSES)]
        for process in asking:
            process.start()
        for process in asking:
            process.join(120)
    assert [process.exitcode for process in asking] == [0] * PROCESSES
    times = sorted(server.times)
    assert len(times) == PROCESSES * EACH
    most = max(sum(start <= one < start + 1 for one in times) for start in times)
    assert most <= 1.5 * PER_SECOND  # a process that waits for the processor is late, and the next one is not
    assert times[-1] - times[0] >= 0.9 * (len(times) - 1) / PER_SECOND


@pytest.fixture
def internal(tmp_path: Path) -> Store:
    return open_store(str(tmp_path), "_internal/hosts")


def test_turns_are_given_once_each(internal: Store) -> None:
    one, other = (HostTurns(internal, "host.example", clock=lambda: NOON) for _ in range(2))
    assert [one.reserve(4, 0.5), other.reserve(2, 0.5), one.reserve(1, 0.5)] == [0, 2, 3]
    assert [key for key, _ in internal.list()] == ["host.example.json"]


def test_turns_are_taken_from_the_time_on_when_they_are_wanted(internal: Store) -> None:
    turns = HostTurns(internal, "host", clock=lambda: NOON)
    assert [turns.reserve(4, 0.5, after=60), turns.reserve(1, 0.5), turns.reserve(1, 0.5, after=20)] == [60, 62, 62.5]


def test_processes_that_a_host_sent_away_do_not_come_back_all_at_once(internal: Store) -> None:
    time = FakeTime(stands_still=True)
    limits = [
        RateLimit(240, time.patience(), HostTurns(internal, "host", clock=lambda: NOON + time.now).reserve)
        for _ in range(4)
    ]
    for limit in limits:
        limit.postpone(10)
    for _ in range(4):
        for limit in limits:
            limit.wait()
    assert sorted(time.sleeps) == pytest.approx([10 + 0.25 * turn for turn in range(16)])


def test_a_reservation_counts_from_its_call(internal: Store) -> None:
    """The store takes its time to answer, and that is no part of the wait."""
    times = iter([NOON, NOON + 0.4])
    assert HostTurns(internal, "host", clock=lambda: next(times)).reserve(4, 0.5, after=2) == 2
    assert json.loads(internal.get("host.json")[0])["next"] == NOON + 4


def test_turns_nobody_took_are_lost(internal: Store) -> None:
    HostTurns(internal, "host", clock=lambda: NOON).reserve(4, 0.5)
    assert HostTurns(internal, "host", clock=lambda: NOON + 100).reserve(1, 0.5) == 0


def test_two_hosts_have_turns_of_their_own(internal: Store) -> None:
    HostTurns(internal, "one", clock=lambda: NOON).reserve(100, 1)
    assert HostTurns(internal, "other", clock=lambda: NOON).reserve(1, 1) == 0


@pytest.mark.parametrize("content", [b"", b"[]", b'{"next": "soon"}', b'{"next": Infinity}', b'{"next": NaN}'])
def test_an_object_that_says_nothing_is_replaced(internal: Store, content: bytes) -> None:
    internal.put("host.json", content)
    turns = HostTurns(internal, "host", clock=lambda: NOON)
    assert [turns.reserve(2, 1), turns.reserve(1, 1)] == [0, 2]


def test_a_clock_that_is_far_ahead_blocks_nobody(internal: Store) -> None:
    HostTurns(internal, "host", clock=lambda: NOON + 86_400).reserve(1, 1)
    assert HostTurns(internal, "host", clock=lambda: NOON).reserve(1, 1) == 0
    assert json.loads(internal.get("host.json")[0])["next"] <= NOON + FURTHEST


def test_a_store_that_fails_stops_nobody(internal: Store, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: str) -> None:
        raise StoreUnavailable("it is out")

    with caplog.at_level(logging.WARNING):
        assert HostTurns(FaultStore(internal, fail), "host", clock=lambda: NOON).reserve(1, 1) is None
    assert "host=host turns are not shared, this process goes by its own: it is out" in caplog.text


def test_a_store_that_stays_out_is_asked_and_told_of_seldom(internal: Store, caplog: pytest.LogCaptureFixture) -> None:
    time, asked = FakeTime(), list[float]()

    def fail(*_: str) -> None:
        asked.append(time.now)
        if time.now < 150:
            raise StoreUnavailable("it is out")

    turns = HostTurns(FaultStore(internal, fail), "host", clock=lambda: NOON + time.now)
    limit = RateLimit(60, time.patience(), turns.reserve)
    with caplog.at_level(logging.WARNING):
        for _ in range(182):
            limit.wait()
    assert asked == [0, 60, 120, 180]
    assert internal.exists("host.json")
    assert [record.message for record in caplog.records] == [
        "host=host turns are not shared, this process goes by its own: it is out"
    ]


def test_a_process_that_always_loses_goes_by_its_own(internal: Store, caplog: pytest.LogCaptureFixture) -> None:
    def lose(*_: str) -> None:
        raise ObjectMoved("another was first")

    pauses: list[float] = []
    with caplog.at_level(logging.WARNING):
        assert HostTurns(FaultStore(internal, lose), "host", clock=lambda: NOON, sleep=pauses.append).reserve(1, 1) == 0
    assert "turns could not be shared in 20 attempts; this process goes by its own" in caplog.text
    assert 0 < sum(pauses) < 5
