"""How fast the hosts of archives are asked.

In: the requests per minute that a host tolerates, and who gives turns to other processes. Out: turns, for which threads wait.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from urllib.parse import urlsplit

from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive

type Reserve = Callable[[int, float, float], float | None]
"""Takes so many turns, so many seconds apart, none before so many seconds from now, from those that processes share; returns
the seconds from the call until the first, or None where turns cannot be shared."""

SHARED_AT_ONCE = 1.0
"""Seconds whose turns a process takes from the others at once. Those it does not use are lost."""
ALONE_FOR = 60.0
"""Seconds for which a process goes by its own when turns cannot be shared: a store that hangs costs its timeout each time."""


class RateLimit:
    """Spaces the requests to one host evenly, over all threads that share it.

    Parameters
    ----------
    reserve : callable, optional
        Takes turns that other processes leave; without it the limit holds in this process alone.
    """

    def __init__(self, requests_per_minute: int, patience: Patience, reserve: Reserve | None = None) -> None:
        self._interval = 60 / requests_per_minute
        self._patience = patience
        self._next = patience.clock()
        self._lock = Lock()
        self._reserve = reserve
        self._reserved = 0
        self._ends = self._alone_until = patience.clock()

    def wait(self) -> None:
        """Sleep until it is this request's turn."""
        with self._lock:
            now = self._patience.clock()
            turn = max(self._next, now)
            if self._reserve is not None:
                turn = self._shared_turn(self._reserve, turn)
                now = self._patience.clock()
            self._next = turn + self._interval
        if turn > now:
            self._patience.sleep(turn - now)

    def _shared_turn(self, reserve: Reserve, turn: float) -> float:
        """The first turn from a time on that is this process's own, or the time itself where turns cannot be shared."""
        if not self._reserved or turn >= self._ends:
            self._reserved, asked = 0, self._patience.clock()
            if asked < self._alone_until:
                return turn
            turns = max(1, round(SHARED_AT_ONCE / self._interval))
            seconds = reserve(turns, self._interval, max(0.0, turn - asked))
            now = self._patience.clock()
            if seconds is None:
                self._alone_until = now + ALONE_FOR
                return max(turn, now)
            first = asked + seconds
            self._reserved, self._ends = turns, first + turns * self._interval
            turn = max(turn, first, now)
        self._reserved -= 1
        return turn

    def postpone(self, seconds: float) -> None:
        """Let no request begin for so many seconds."""
        with self._lock:
            self._next = max(self._next, self._patience.clock() + seconds)


def host_of(source: SourceArchive) -> str:
    """Host, or bucket, of an archive."""
    return urlsplit(source.url).netloc


def rate_limits(
    archives: Sequence[SourceArchive], patience: Patience, share: Callable[[str], Reserve] | None = None
) -> dict[str, RateLimit]:
    """One limit per host, the lowest that any of its archives states.

    Parameters
    ----------
    share : callable, optional
        Takes a host, returns who gives its turns to the processes of a deployment.
    """
    lowest: dict[str, int] = {}
    for source in archives:
        if (stated := source.requests_per_minute) is not None:
            lowest[host_of(source)] = min(stated, lowest.get(host_of(source), stated))
    return {host: RateLimit(per_minute, patience, share and share(host)) for host, per_minute in lowest.items()}
