"""How often and how long a host is asked again after a failure: policies, and the one loop that keeps to them.

In: a request, and a `Patience`. Out: what the request returns, or the error to give up with. `failures` says what a status such
as 503 means. Both modules lie on the lowest floor because two rooms need them: `source` and `store`.

| policy | lies in | for |
|---|---|---|
| `UPSTREAM_PATIENCE` | here | archives, as runs ask them; `source.upstream` hands it out |
| `STORE_PATIENCE` | here | stores, as runs ask them; `store.stores` hands it out |
| `LISTING_PATIENCE` | `orchestration.sensors` | archives, as sensors list them; `Settings.stores` shortens their stores by it |
| `CROSSCHECK_PATIENCE` | `run.crosscheck` | archives, as a check compares published values with them |
| `LOOK_PATIENCE` | `orchestration.deploy_check` | stores and archives, as a check of a deployment asks them |
| `TURNS_PATIENCE` | `store.settings` | the turns of rate-limited hosts, which a process can do without |
| `READ_PATIENCE` | `store.reading` | whole reads of values, which meet updates |

Each part of an upload, and each request of a reader, is also repeated by the client of obstore itself, by its own pauses of at
most 15 s and for 180 s at most: as many attempts as the store's policy has, see `Patience.client_retries`.
"""

import itertools
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.failures import FAILURES, Failure

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

type Jitter = Callable[[float, float], float]
type Pause = Callable[[int, Jitter], float]
"""Seconds to wait after an attempt, the first being 1."""

ASKED_AGAIN = frozenset({"retry", "throttled", "conflict"})
"""Verdicts after which another attempt may help."""

NO_RETRIES: "RetryConfig" = {"max_retries": 0}
"""For clients of obstore: by itself it would repeat a 429 within 0.1 s, and a conditional put that had succeeded."""


def a_second_longer(attempt: int, jitter: Jitter) -> float:
    """0.1 s after the first attempt, and about a second longer after each further one."""
    return (attempt - 1) * jitter(0.8, 1.2) + 0.1


def twice_as_long(attempt: int, jitter: Jitter) -> float:
    """At most 0.5 s after the first attempt, then twice as long each time, up to 20 s; at least half of that."""
    longest = min(20.0, 0.5 * 2 ** (attempt - 1))
    return jitter(longest / 2, longest)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often and how long a host is asked. Times in seconds; defaults are those for upstream archives."""

    attempts: int = 6
    """At most, for one call."""
    deadline: float = 300.0
    """After the start of a call, from which on no further attempt begins."""
    asked_for: float = math.inf
    """After a host was opened, from which on nothing new is asked of it."""
    connect_timeout: float | None = 4.0
    """For one connection; None leaves it to obstore."""
    timeout: float = 120.0
    """For one request, its body included."""
    pause: Pause = a_second_longer
    throttled_factor: float = 5.0
    """How much longer than usual the pause is when the host throttles."""
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Jitter = random.uniform

    def pause_after(self, attempt: int, failure: Failure) -> float:
        """Seconds to wait after an attempt, the first being 1."""
        pause = self.pause(attempt, self.jitter)
        return pause * self.throttled_factor if failure.verdict == "throttled" else pause

    def client_options(self) -> "ClientConfig":
        """The timeouts, as clients of obstore take them."""
        options: ClientConfig = {"timeout": timedelta(seconds=self.timeout)}
        if self.connect_timeout is not None:
            options["connect_timeout"] = timedelta(seconds=self.connect_timeout)
        return options

    def client_retries(self) -> "RetryConfig":
        """The attempts, for a client of obstore that repeats requests by itself: parts of an upload, and what zarr reads.

        None where `asked_for` is limited: nobody sees these retries, so nobody could end them in time.
        """
        return {"max_retries": self.attempts - 1} if math.isinf(self.asked_for) else NO_RETRIES


UPSTREAM_PATIENCE = Patience()
STORE_PATIENCE = Patience(
    deadline=math.inf, connect_timeout=None, timeout=90.0, pause=twice_as_long, throttled_factor=1.0
)


def ask_patiently[T](
    request: Callable[[], T],
    patience: Patience,
    *,
    judge: Callable[[Exception], Failure],
    give_up: Callable[[Failure, int], Exception],
    before_pause: Callable[[Failure, int, float], object],
    renew: Callable[[], bool] = lambda: False,
    ends: float = math.inf,
) -> T:
    """What a request returns. It is repeated as long as the policy allows and another attempt may help.

    Parameters
    ----------
    request : callable
        One attempt. An error of this project (`ReformatError`) ends the call as it is.
    judge : callable
        Says what an error means.
    give_up : callable
        Takes the last failure and the number of attempts, and returns the error to raise.
    before_pause : callable
        Takes a failure, the number of its attempt, and the seconds of the pause that follows.
    renew : callable, optional
        Reads credentials anew. Called once, when they are denied; if it returns True, the request is repeated at once.
    ends : float
        On the policy's clock: a failure from then on is the last one.
    """
    started, renewed = patience.clock(), False
    for attempt in itertools.count(1):
        try:
            return request()
        except ReformatError:
            raise
        except FAILURES as error:
            failure = judge(error)
            if failure.verdict == "denied" and not renewed and renew():
                renewed = True
                continue
            pause, now = patience.pause_after(attempt, failure), patience.clock()
            is_last = attempt >= patience.attempts or now - started + pause > patience.deadline or now >= ends
            if is_last or failure.verdict not in ASKED_AGAIN:
                raise give_up(failure, attempt) from error
        before_pause(failure, attempt, pause)
        patience.sleep(pause)
    raise AssertionError("unreachable")
