"""The virtual clock: whose turn it is, and what a process that was killed can still do."""

import pytest

from tests.simulation.scheduler import Killed, Process, Scheduler
from tests.simulation.threads import SimulatedEvent, SimulatedLock, SimulatedThread


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
