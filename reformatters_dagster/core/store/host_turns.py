"""The turns of one host, shared by all processes of a deployment that write to one store.

In: how many requests a process is going to make, and how far apart they must be. Out: how long to wait for the first of them.

One small object per host says until when its turns are given. A process that wants some moves that time by compare-and-swap.
Processes compare their clocks, as nothing else here does: a clock that is off by a second costs a second, and a time that lies
further ahead than any queue is taken for a wrong clock. A store that does not answer stops nobody: then each process keeps to
the limit by itself, and asks the store again a minute later.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reformatters_dagster.core.spec.errors import ObjectMoved, ReformatError
from reformatters_dagster.core.store.location import Store

log = logging.getLogger(__name__)

FURTHEST = 600.0
"""Seconds. A next turn further ahead than this was written by a clock that is wrong."""
ATTEMPTS = 20
"""How often the object is swapped before a process goes on without it."""


@dataclass
class HostTurns:
    """The turns of one host.

    Attributes
    ----------
    store : Store
        A location that all processes share.
    host : str
    clock : callable
        Seconds since 1970, the same everywhere.
    sleep : callable
        Waits between two attempts to take turns.
    """

    store: Store
    host: str
    clock: Callable[[], float]
    sleep: Callable[[float], object] = time.sleep
    _is_shared: bool = field(default=True, init=False)

    def reserve(self, turns: int, interval: float, after: float = 0.0) -> float | None:
        """Take the next turns of the host.

        Parameters
        ----------
        turns : int
            How many.
        interval : float
            Seconds from one to the next.
        after : float
            Seconds from now before which the process wants none. Earlier turns that nobody has taken are lost to all.

        Returns
        -------
        float or None
            Seconds from the call until the first of them; `after` where others are faster at every attempt. None where the
            store does not answer: the first time it is warned of.
        """
        called = self.clock()
        try:
            for attempt in range(ATTEMPTS):
                try:
                    first = self._reserve(turns * interval, called + after)
                    self._is_shared = True
                    return first - called
                except ObjectMoved:
                    self.sleep(0.01 * (attempt + 1))
            log.warning(
                "host=%s turns could not be shared in %d attempts; this process goes by its own", self.host, ATTEMPTS
            )
        except ReformatError as error:
            level = logging.WARNING if self._is_shared else logging.DEBUG
            self._is_shared = False
            log.log(level, "host=%s turns are not shared, this process goes by its own: %s", self.host, error)
            return None
        return after

    def _reserve(self, seconds: float, wanted: float) -> float:
        """When the first turn is, from a wanted time on."""
        found = self.store.get_or_none(self._key)
        now = self.clock()
        free = now if found is None else _time_in(found[0])
        first = max(wanted, now, free if free <= now + FURTHEST else now)
        document = json.dumps({"next": round(first + seconds, 3)}).encode()
        self.store.put(self._key, document, only_if="absent" if found is None else found[1])
        return first

    @property
    def _key(self) -> str:
        return f"{self.host.replace('/', '_')}.json"


def _time_in(data: bytes) -> float:
    """When the next turn is free; long ago where the object cannot be read."""
    try:
        found = float(json.loads(data)["next"])
    except (ValueError, LookupError, TypeError):
        return 0.0
    return found if math.isfinite(found) else 0.0
