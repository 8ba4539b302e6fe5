"""The virtual clock: whose turn it is, and what a process that was killed can still do."""

import threading
from typing import Any, ClassVar, override

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from tests.simulation.scheduler import Killed, Process, Scheduler
from tests.simulation.threads import InlinePool, SimulatedEvent, SimulatedLock, SimulatedThread, inline_zarr


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


def test_processes_take_turns_in_the_order_of_their_times(scheduler: Scheduler) -> None:
    seen: list[tuple[str, float]] = []

    def work(name: str, pause: float) -> None:
        for _ in range(3):
            scheduler.sleep(pause)
            seen.append((name, scheduler.now))

    scheduler.spawn(Process("a"), lambda: work("a", 2.0))
    scheduler.spawn(Process("b"), lambda: work("b", 3.0))
    scheduler.run(5.0)
    assert seen == [("a", 2.0), ("b", 3.0), ("a", 4.0)]
    scheduler.run(100.0)
    assert [at for _, at in seen[3:]] == [6.0, 6.0, 9.0]
    assert scheduler.now == 100.0


def test_a_process_that_is_killed_ends_at_its_next_step(scheduler: Scheduler) -> None:
    process, seen = Process("a"), list[str]()

    def work() -> None:
        try:
            scheduler.sleep(1.0)
            process.dead = True
            scheduler.sleep(1.0)
            seen.append("lived on")
        finally:
            seen.append("finally")
            with pytest.raises(Killed):
                scheduler.sleep(1.0)

    scheduler.spawn(process, work)
    scheduler.run(10.0)
    assert seen == ["finally"]


def test_a_process_that_stands_still_goes_on_later(scheduler: Scheduler) -> None:
    process, seen = Process("a", stalled_until=50.0), list[float]()

    def work() -> None:
        scheduler.sleep(1.0)
        seen.append(scheduler.now)

    scheduler.spawn(process, work)
    scheduler.run(100.0)
    assert seen == [51.0]


def test_an_event_wakes_who_waits_for_it(scheduler: Scheduler) -> None:
    event, seen = SimulatedEvent(scheduler), list[tuple[bool, float]]()

    def wait(timeout: float) -> None:
        seen.append((event.wait(timeout), scheduler.now))

    def work() -> None:
        threads = [SimulatedThread(scheduler, target=wait, args=(seconds,)) for seconds in (1.0, 20.0)]
        for thread in threads:
            thread.start()
        scheduler.sleep(5.0)
        event.set()
        for thread in threads:
            thread.join()

    scheduler.spawn(Process("a"), work)
    scheduler.run(100.0)
    assert seen == [(False, 1.0), (True, 5.0)]


class Watched(MemoryStore):
    """A store that notes which threads ask it."""

    threads: ClassVar[set[int]] = set()

    @override
    async def get(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.add(threading.get_ident())
        return await super().get(*args, **kwargs)


def test_zarr_works_in_the_thread_that_asks_it() -> None:
    Watched.threads.clear()
    store, values = Watched(), np.arange(6.0).reshape(2, 3)
    with inline_zarr():
        zarr.create_array(store, shape=(2, 3), chunks=(1, 3), shards=(2, 3), dtype="float64")[...] = values
        np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], values)
        with pytest.raises(FileNotFoundError):
            zarr.open_array(MemoryStore(), mode="r")
    assert Watched.threads == {threading.get_ident()}
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], values)
    assert len(Watched.threads) == 2, "zarr has its own thread again"


def test_a_pool_tells_what_became_of_its_calls() -> None:
    with InlinePool() as pool:
        good, bad = pool.submit(int, "1"), pool.submit(int, "x")
        assert list(pool.map(int, ("1", "2"))) == [1, 2]
    assert (good.done(), good.result(), good.exception(), good.cancelled()) == (True, 1, None, False)
    assert isinstance(bad.exception(), ValueError)
    with pytest.raises(ValueError, match="invalid literal"):
        bad.result()


def test_a_lock_is_held_over_steps(scheduler: Scheduler) -> None:
    lock, seen = SimulatedLock(scheduler), list[tuple[str, float]]()

    def work(name: str) -> None:
        with lock:
            scheduler.sleep(5.0)
            seen.append((name, scheduler.now))

    for name in "ab":
        scheduler.spawn(Process(name), lambda name=name: work(name))  # type: ignore[misc]
    scheduler.run(100.0)
    assert seen == [("a", 5.0), ("b", 10.0)]
