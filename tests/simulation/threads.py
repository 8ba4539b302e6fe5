"""What stands for the threads of the standard library, and for that of zarr, while a simulation runs.

A pool does its work at once, in the thread that hands it over: its requests are steps of the process like all others. The
heart of a lease is a thread of the process. The event loop of zarr runs where it is asked; it makes no requests.
"""

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures._base import DoneAndNotDoneFutures
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any
from unittest.mock import patch

from zarr.core.sync import sync

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


class Done(Future[Any]):
    """What has become of a call, without the lock of a future that somebody may wait for."""

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value, self._error = value, error

    def result(self, timeout: float | None = None) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._error

    def __repr__(self) -> str:
        return f"Done({self._value!r}, {self._error!r})"

    def done(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False


class InlinePool(Executor):
    """A pool that does its work when it is handed over."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        try:
            return Done(fn(*args, **kwargs))
        except Killed:
            raise
        except BaseException as error:
            return Done(error=error)


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
        for module in ("job.pools", "run.mending"):
            stack.enter_context(patch(f"{CORE}.{module}.wait", _all_done))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Thread", partial(SimulatedThread, scheduler)))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Event", partial(SimulatedEvent, scheduler)))
        stack.enter_context(patch(f"{CORE}.ledger.lease.Lock", partial(SimulatedLock, scheduler)))
        yield


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _at_once[T](work: Coroutine[Any, Any, T], loop: object = None, timeout: float | None = None) -> T:
    """As zarr's `sync`, without its thread."""
    return _loop().run_until_complete(work)


async def _called[T](function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """As `asyncio.to_thread`, without a thread."""
    return function(*args, **kwargs)


@contextmanager
def inline_zarr() -> Iterator[None]:
    """Let zarr work in the thread that asks it: to hand a small array over to another one takes longer than to read it.

    One thread alone may ask it in the block.
    """
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("zarr.") and vars(module).get("sync") is sync:
                stack.enter_context(patch.object(module, "sync", _at_once))
        stack.enter_context(patch("asyncio.to_thread", _called))
        yield
