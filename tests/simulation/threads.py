"""What stands for the threads of the standard library while a simulation runs.

A pool does its work at once, in the thread that hands it over: its requests are steps of the process like all others. The
heart of a lease is a thread of the process.
"""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures._base import DoneAndNotDoneFutures
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from tests.simulation.scheduler import Fiber, Killed, Scheduler

CORE = "reformatters_dagster.core"
POOLS = (
    "job.pools",
    "store.upload",
    "shard.writer",
    "field.transforms",
    "run.arrivals",
    "run.guards",
    "run.mending",
)
"""Modules that make thread pools."""


class InlinePool(Executor):
    """A pool that does its work when it is handed over."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Killed:
            raise
        except BaseException as error:
            future.set_exception(error)
        return future


class InlineThread:
    """A thread that has done its work when it was started."""

    def __init__(self, *, target: Callable[..., object], kwargs: dict[str, Any] | None = None, **_: object) -> None:
        self._call: Callable[[], object] = partial(target, **(kwargs or {}))

    def start(self) -> None:
        self._call()

    def join(self, timeout: float | None = None) -> None:
        pass

    def is_alive(self) -> bool:
        return False


def _all_done(futures: Collection[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures[Any]:
    """As `concurrent.futures.wait`: an inline pool is never at work."""
    return DoneAndNotDoneFutures(set(futures), set())


def _call(target: Callable[..., object], *args: object) -> None:
    target(*args)


class SimulatedEvent:
    """An event for which the fibers of a scheduler wait."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiters: list[Fiber] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._scheduler.wake(self._waiters)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._scheduler.wait(self._waiters, timeout)
        return self._set


class SimulatedLock:
    """A lock that a fiber may hold from one step to the next."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False
        self._waiters: list[Fiber] = []

    def __enter__(self) -> bool:
        while self._held:
            self._scheduler.wait(self._waiters, None)
        self._held = True
        return True

    def __exit__(self, *_: object) -> None:
        self._held = False
        self._scheduler.wake(self._waiters)


class SimulatedThread:
    """A thread of the process whose turn it is."""

    def __init__(
        self, scheduler: Scheduler, *, target: Callable[..., object], args: tuple[object, ...] = (), **_: object
    ) -> None:
        self._scheduler = scheduler
        self._call = partial(_call, target, *args)
        self._fiber: Fiber | None = None

    def start(self) -> None:
        self._fiber = self._scheduler.spawn(self._scheduler.current.process, self._call)

    def join(self, timeout: float | None = None) -> None:
        if self._fiber is not None and not self._fiber.ended:
            self._scheduler.wait(self._fiber.waiters, timeout)


@contextmanager
def simulated_threads(scheduler: Scheduler) -> Iterator[None]:
    """Put the scheduler in the place of threads, pools and events."""
    with ExitStack() as stack:
        for module in POOLS:
            stack.enter_context(patch(f"{CORE}.{module}.ThreadPoolExecutor", InlinePool))
        stack.enter_context(patch(f"{CORE}.job.pools.Thread", InlineThread))
        stack.enter_context(patch(f"{CORE}.job.pools.wait", _all_done))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Thread", partial(SimulatedThread, scheduler)))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Event", partial(SimulatedEvent, scheduler)))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Lock", partial(SimulatedLock, scheduler)))
        yield
