"""Threads of one region job.

In: how many of each kind. Out: pools that end with the job, whichever way it ends.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from reformatters_dagster.core.job_context import JobContext


@dataclass(frozen=True)
class Pools:
    """One pool for each thing that goes on at the same time."""

    coordinate: ThreadPoolExecutor
    download: ThreadPoolExecutor
    read: ThreadPoolExecutor
    upload: ThreadPoolExecutor
    stop: Event


@contextmanager
def job_pools(context: JobContext) -> Iterator[Pools]:
    """Thread pools of one job; on an error or interrupt queued work is dropped and running work told to stop."""
    pools = Pools(
        coordinate=ThreadPoolExecutor(1, "coordinate"),
        download=ThreadPoolExecutor(context.download_threads, "download"),
        read=ThreadPoolExecutor(context.cpus, "read"),
        upload=ThreadPoolExecutor(1, "upload"),
        stop=Event(),
    )
    try:
        yield pools
    finally:
        pools.stop.set()
        for pool in (pools.coordinate, pools.download, pools.read, pools.upload):
            pool.shutdown(wait=True, cancel_futures=True)
