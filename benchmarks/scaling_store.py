"""A store that answers some requests with 503, as S3 does above its rate, and what becomes of a run's uploads, in virtual time.

In: the share of requests that is refused. Out: how much longer uploads take, and how many runs fail. The code that asks again is
that of runs: `ask_patiently` with their policy; only the clock stands in.
"""

import heapq
from dataclasses import dataclass, replace
from random import Random

from reformatters_dagster.core.spec.errors import StoreUnavailable
from reformatters_dagster.core.spec.failures import Failure
from reformatters_dagster.core.spec.retries import STORE_PATIENCE, ask_patiently
from reformatters_dagster.orchestration.assets import ATTEMPTS

REQUEST = 0.1
"""Seconds of a put of one part: an assumption."""
THREADS = 8
"""Puts of a job at a time, as `publish_chunks` has it."""
PREFIX_PUTS = 3_500
"""Puts a second that S3 documents for one prefix before it may answer 503."""


@dataclass(frozen=True)
class Throttled:
    """What became of runs that met a store like this."""

    refused: float
    """Share of its requests that the store refuses."""
    longer: float
    """How many times the usual an upload took."""
    failed: float
    """Share of runs that failed after all attempts of their region jobs."""


def throttle(refused: float, variables: int, puts: int, runs: int = 200) -> Throttled:
    """Let runs upload to a store that refuses a share of all requests, at random but always the same.

    Parameters
    ----------
    puts : int
        Requests of one variable.
    """
    random = Random(503)
    found = [_upload(random, refused, variables, puts) for _ in range(runs)]
    usual = variables * -(-puts // THREADS) * REQUEST
    done = [seconds for seconds, ended_well in found if ended_well]
    longer = sum(done) / len(done) / usual if done else float("inf")
    return Throttled(refused, longer, 1 - len(done) / runs)


def _upload(random: Random, refused: float, variables: int, puts: int) -> tuple[float, bool]:
    """Seconds, and whether the run ended well. An attempt continues with the variable that failed the last one."""
    seconds, left = 0.0, variables
    for _ in range(ATTEMPTS):
        while left:
            took, given_up = _variable(random, refused, puts)
            seconds += took
            if given_up:
                break
            left -= 1
        if not left:
            return seconds, True
    return seconds, False


def _variable(random: Random, refused: float, puts: int) -> tuple[float, bool]:
    """Puts in turn by several threads: seconds until the last is done, or until one is given up."""
    free: list[float] = [0.0] * THREADS
    for _ in range(puts):
        began = heapq.heappop(free)
        ended, given_up = _put(random, refused, began)
        heapq.heappush(free, ended)
        if given_up:
            return ended, True
    return max(free), False


def _put(random: Random, refused: float, now: float) -> tuple[float, bool]:
    clock = [now]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    def request() -> None:
        clock[0] += REQUEST
        if random.random() < refused:
            raise OSError("503 Slow Down")

    patience = replace(STORE_PATIENCE, sleep=sleep, clock=lambda: clock[0], jitter=random.uniform)
    try:
        ask_patiently(
            request,
            patience,
            judge=lambda error: Failure(verdict="throttled", found=str(error)),
            give_up=lambda failure, attempts: StoreUnavailable(f"{failure.found} after {attempts} attempts"),
            before_pause=lambda failure, attempt, pause: None,  # noqa: ARG005 the shape of the seam
        )
    except StoreUnavailable:
        return clock[0], True
    return clock[0], False
