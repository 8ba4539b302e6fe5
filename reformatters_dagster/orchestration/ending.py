"""The end of a process whose run was interrupted.

In: an interrupt, as SIGTERM becomes in Dagster. Out: a process that is gone soon after Dagster has recorded the end of the run.

Python waits at its exit for every thread, and a thread may wait for a request that nobody answers. A region job has left such
requests to themselves by then; without this a pod would stay until its grace period is over.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LEFT = 5.0
"""Seconds that threads get once nothing but them keeps the process."""
INTERRUPTED = 1
"""Exit status: that of a failed run."""


@contextmanager
def gone_soon_after_interrupt() -> Iterator[None]:
    """Where the block is interrupted, let the exit of this process wait no longer than `LEFT` for its threads."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        # atexit is too late: its functions are called once every thread has ended.
        threading._register_atexit(_leave_soon)  # type: ignore[attr-defined]  # noqa: SLF001
        raise


def _leave_soon() -> None:
    threading.Thread(target=_leave, name="leave", daemon=True).start()


def _leave() -> None:
    time.sleep(LEFT)
    if waiting := [one.name for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]:
        log.warning("the run was interrupted, and its process ends without an answer to %s", ", ".join(waiting))
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(INTERRUPTED)
