"""How fast the hosts of archives are asked.

In: the requests per minute that a host tolerates. Out: turns, for which threads wait.
"""

from collections.abc import Sequence
from threading import Lock
from urllib.parse import urlsplit

from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive


class RateLimit:
    """Spaces the requests to one host evenly, over all threads that share it."""

    def __init__(self, requests_per_minute: int, patience: Patience) -> None:
        self._interval = 60 / requests_per_minute
        self._patience = patience
        self._next = patience.clock()
        self._lock = Lock()

    def wait(self) -> None:
        """Sleep until it is this request's turn."""
        with self._lock:
            now = self._patience.clock()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._patience.sleep(turn - now)

    def postpone(self, seconds: float) -> None:
        """Let no request begin for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._patience.clock() + seconds)


def host_of(source: SourceArchive) -> str:
    """Host, or bucket, of an archive."""
    return urlsplit(source.url).netloc


def rate_limits(archives: Sequence[SourceArchive], patience: Patience) -> dict[str, RateLimit]:
    """One limit per host, the lowest that any of its archives states."""
    lowest: dict[str, int] = {}
    for source in archives:
        if (stated := source.requests_per_minute) is not None:
            lowest[host_of(source)] = min(stated, lowest.get(host_of(source), stated))
    return {host: RateLimit(per_minute, patience) for host, per_minute in lowest.items()}
