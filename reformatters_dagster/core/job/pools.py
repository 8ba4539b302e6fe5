"""Threads of one region job.

In: how many of each kind. Out: pools that end with the job, whichever way it ends.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from reformatters_dagster.core.job.context import JobContext

log = logging.getLogger(__name__)

GRACE = 8.0
"""Seconds for running work to end; Kubernetes kills 30 s after it has asked."""
LOOK_UP = 1.0
"""Seconds after which a wait looks whether a signal has come."""


def result_of[T](future: Future[T]) -> T:
    """The result of a future, or what it raised.

    A signal that arrives just as a wait begins does not end it: Python would see it only when the wait is over, however late.
    """
    while not wait([future], timeout=LOOK_UP).done:
        continue
    return future.result()


def one_ahead[T](pool: ThreadPoolExecutor, steps: Sequence[Callable[[], T]]) -> Iterator[T]:
    """The result of each step in turn; while the caller works on one, the pool makes the next."""
    if not steps:
        return
    ahead = pool.submit(steps[0])
    for following in steps[1:]:
        result = result_of(ahead)
        ahead = pool.submit(following)
        yield result
    yield result_of(ahead)


class OneBehind:
    """Work that a pool does while the caller prepares the next piece of it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._last: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Hand over a piece, once the one before is done."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait for the last piece; raises what it raised."""
        if self._last is not None:
            result_of(self._last)


@dataclass(frozen=True)
class Pools:
    """One pool for each stage that runs at the same time as others."""

    coordinate: ThreadPoolExecutor
    download: ThreadPoolExecutor
    read: ThreadPoolExecutor
    upload: ThreadPoolExecutor
    stop: Event
    """Set when the job ends early: the upstream's own, which ends its waits."""


@contextmanager
def job_pools(context: JobContext) -> Iterator[Pools]:
    """Thread pools of one job.

    On an error or an interrupt queued work is dropped. Running work is told to stop, and waited for `GRACE` seconds: a request
    that an archive or a store does not answer must not outlive the time that a terminated process is given.
    """
    pools = Pools(
        coordinate=ThreadPoolExecutor(1, "coordinate"),
        download=ThreadPoolExecutor(context.download_threads, "download"),
        read=ThreadPoolExecutor(context.cpus, "read"),
        upload=ThreadPoolExecutor(1, "upload"),
        stop=context.upstream.stop,
    )
    pools.stop.clear()
    try:
        yield pools
    except BaseException:
        pools.stop.set()
        _abandon(pools)
        raise
    for pool in _all(pools):
        pool.shutdown()


def _abandon(pools: Pools) -> None:
    closing = [
        Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, name=f"close-{i}", daemon=True)
        for i, pool in enumerate(_all(pools))
    ]
    for thread in closing:
        thread.start()
    ends = time.monotonic() + GRACE
    for thread in closing:
        thread.join(max(ends - time.monotonic(), 0))
    if any(thread.is_alive() for thread in closing):
        log.warning("some requests were not answered within %.0f s and are left to themselves", GRACE)


def _all(pools: Pools) -> tuple[ThreadPoolExecutor, ...]:
    return pools.coordinate, pools.download, pools.read, pools.upload
