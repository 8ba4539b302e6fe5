"""No host is asked faster than it tolerates."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.rate_limit import ALONE_FOR, RateLimit
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import SourceFileUnavailable
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp
from tests.core.source.hosts import KEY, FakeTime, source
from tests.upstreams import FaultServer, Status


def test_the_rate_limit_gives_each_thread_its_own_turn(time: FakeTime) -> None:
    time.stands_still = True
    limit = RateLimit(100, time.patience())
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            pool.submit(limit.wait)
    assert sorted(time.sleeps) == pytest.approx([0.6 * turn for turn in range(1, 50)])


def test_an_idle_host_saves_up_no_burst(time: FakeTime) -> None:
    limit = RateLimit(60, time.patience())
    limit.wait()
    time.now += 3600
    for _ in range(3):
        limit.wait()
    assert time.sleeps == [1.0, 1.0]


def open_at(server: FaultServer, time: FakeTime, *sources: SourceArchive) -> list[Archive]:
    """Archives at the server as if it were their real host."""
    real = [one.model_copy(update={"url": f"{server.url}/noaa"}) for one in sources]
    return Upstream(real, patience=time.patience()).archives_for(Timestamp("2026-07-29"), Timestamp("2026-07-29"))


def test_archives_of_one_host_share_the_lowest_of_their_limits(server: FaultServer, time: FakeTime) -> None:
    archives = open_at(
        server, time, source(requests_per_minute=600), source(requests_per_minute=60), source(requests_per_minute=None)
    )
    for archive in archives:
        archive.head(KEY)
        archive.get_ranges(KEY, [(0, 1), (5, 9)])
    assert len(server.requests) == 9
    assert time.sleeps == [1.0] * 8


def test_a_mirror_is_not_rate_limited(server: FaultServer, time: FakeTime) -> None:
    upstream = Upstream([source(requests_per_minute=1)], mirror=server.url, patience=time.patience())
    (archive,) = upstream.archives_for(Timestamp("2026-07-29"), Timestamp("2026-07-29"))
    for _ in range(5):
        archive.head(KEY)
    assert time.sleeps == []


def test_a_throttled_host_is_left_alone_by_all_its_archives(server: FaultServer, time: FakeTime) -> None:
    server.script(f"noaa/{KEY}", *[Status(429)] * 9)
    limited = source(requests_per_minute=60_000)
    first, second = open_at(server, time, limited, limited)
    time.stands_still = True
    with pytest.raises(SourceFileUnavailable, match="throttled"):
        first.head(KEY)
    server.reset()
    time.sleeps.clear()
    second.head(KEY)
    assert time.sleeps == [pytest.approx(20.5, abs=0.01)]


def test_turns_are_taken_from_other_processes_a_second_at_a_time(time: FakeTime) -> None:
    asked: list[tuple[int, float]] = []

    def reserve(turns: int, interval: float, _: float) -> float:
        asked.append((turns, interval))
        return 3.0  # others come first

    limit = RateLimit(240, time.patience(), reserve)
    for _ in range(8):
        limit.wait()
    assert asked == [(4, 0.25)] * 2
    assert time.sleeps == [3.0, 0.25, 0.25, 0.25] * 2


def test_turns_that_have_passed_are_not_used_later(time: FakeTime) -> None:
    asked: list[tuple[int, float]] = []

    def reserve(turns: int, _: float, after: float) -> float:
        asked.append((turns, after))
        return after

    limit = RateLimit(240, time.patience(), reserve)
    limit.wait()
    limit.postpone(60)
    limit.wait()
    time.now += 100
    limit.wait()
    assert asked == [(4, 0), (4, 60), (4, 0)]
    assert time.sleeps == [60.0]


def test_a_turn_that_begins_where_the_own_ones_end_is_another_process_s(time: FakeTime) -> None:
    asked: list[float] = []

    def reserve(_: int, __: float, after: float) -> float:
        asked.append(after)
        return after

    limit = RateLimit(240, time.patience(), reserve)
    limit.wait()
    limit.postpone(1)
    limit.wait()
    assert asked == [0, 1]


def test_the_time_that_a_reservation_takes_delays_no_later_turn(time: FakeTime) -> None:
    def reserve(_: int, __: float, after: float) -> float:
        time.now += 0.1  # the store answers
        return after

    limit, turns = RateLimit(240, time.patience(), reserve), []
    for _ in range(12):
        limit.wait()
        turns.append(time.now)
    assert turns == pytest.approx([0.1, *(0.1 + 0.25 * turn for turn in range(1, 12))])


def test_a_process_goes_alone_for_a_minute_where_turns_cannot_be_shared(time: FakeTime) -> None:
    """A store that hangs costs its timeout once a minute, not once a second."""
    asked: list[float] = []

    def reserve(_: int, __: float, ___: float) -> float | None:
        asked.append(time.now)
        time.now += 10.0
        return None

    limit, turns = RateLimit(60, time.patience(), reserve), []
    for _ in range(150):
        limit.wait()
        turns.append(time.now)
    assert asked == [0, 70, 140]
    assert turns[:3] == [10, 11, 12]
    assert min(later - earlier for earlier, later in pairwise(turns)) >= 1


def test_a_process_shares_turns_again_when_it_can(time: FakeTime) -> None:
    answers = iter([None, 7.0])
    limit = RateLimit(60, time.patience(), lambda *_: next(answers))
    limit.wait()
    time.now = ALONE_FOR
    limit.wait()
    assert time.sleeps == [7.0]


def test_a_slow_host_gets_one_turn_at_a_time(time: FakeTime) -> None:
    asked: list[int] = []

    def reserve(turns: int, _: float, after: float) -> float:
        asked.append(turns)
        return after

    limit = RateLimit(6, time.patience(), reserve)
    limit.wait()
    limit.wait()
    assert asked == [1, 1]
    assert time.sleeps == [10.0]
