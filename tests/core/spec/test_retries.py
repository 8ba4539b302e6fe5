"""A request is repeated as often as its policy says, and not when that cannot help."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

import reformatters_dagster
from reformatters_dagster.core.spec import retries
from reformatters_dagster.core.spec.errors import SourceFileUnavailable, StoreUnavailable
from reformatters_dagster.core.spec.failures import Failure, store_failure
from reformatters_dagster.core.spec.retries import (
    STORE_PATIENCE,
    UPSTREAM_PATIENCE,
    Patience,
    a_second_longer,
    ask_patiently,
    twice_as_long,
)

RETRY, THROTTLED = Failure(verdict="retry", found=""), Failure(verdict="throttled", found="")
BUSY = "Server returned non-2xx status code: 503 Service Unavailable"


@dataclass
class Host:
    """Fails as told, then answers; time passes by sleeping alone."""

    failures: list[Exception]
    now: float = 0.0
    asked: int = 0
    pauses: list[float] = field(default_factory=list)

    def request(self) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def ask(self, patience: Patience = STORE_PATIENCE, renew: Callable[[], bool] = lambda: False) -> str:
        own = replace(patience, sleep=self.sleep, clock=lambda: self.now, jitter=lambda _, high: high)
        return ask_patiently(
            self.request,
            own,
            judge=lambda error: store_failure(error, remote=True),
            give_up=lambda failure, attempts: StoreUnavailable(f"{failure.verdict} after {attempts}"),
            before_pause=lambda *_: None,
            renew=renew,
            ends=own.asked_for,
        )


def test_waits_vary_so_that_many_jobs_do_not_return_at_once() -> None:
    waits = {Patience().pause_after(6, RETRY) for _ in range(20)}
    assert len(waits) > 1
    assert all(4.1 <= wait <= 6.1 for wait in waits)


def test_pauses_grow() -> None:
    assert [round(a_second_longer(n, lambda _, high: high), 1) for n in range(1, 5)] == [0.1, 1.3, 2.5, 3.7]
    assert [twice_as_long(n, lambda _, high: high) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    assert twice_as_long(3, lambda low, _: low) == 1


def test_archives_that_throttle_are_left_alone_for_longer_and_stores_are_not() -> None:
    pauses = [
        [replace(patience, jitter=lambda _, high: high).pause_after(2, failure) for failure in (RETRY, THROTTLED)]
        for patience in (UPSTREAM_PATIENCE, STORE_PATIENCE)
    ]
    assert pauses == [[1.3, 6.5], [1, 1]]


def test_an_answer_ends_the_call() -> None:
    host = Host([GenericError(BUSY), GenericError("error sending request")])
    assert host.ask() == "answer"
    assert (host.asked, host.pauses) == (3, [0.5, 1])


@pytest.mark.parametrize(
    ("patience", "asked"),
    [({"attempts": 3}, 3), ({"deadline": 4.0}, 4), ({"asked_for": 3.0}, 4), ({"asked_for": 0.0}, 1)],
)
def test_no_policy_is_exceeded(patience: dict[str, Any], asked: int) -> None:
    host = Host([GenericError(BUSY) for _ in range(9)])
    with pytest.raises(StoreUnavailable, match=f"throttled after {asked}"):
        host.ask(replace(STORE_PATIENCE, **patience))
    assert host.asked == asked


def test_what_does_not_pass_is_asked_once() -> None:
    for error in (FileNotFoundError("not found"), GenericError("non-2xx status code: 400"), NotImplementedError("")):
        host = Host([error])
        with pytest.raises(StoreUnavailable, match="after 1"):
            host.ask()
        assert host.pauses == []


def test_an_error_of_ours_ends_the_call_as_it_is() -> None:
    host = Host([SourceFileUnavailable("stopped")])
    with pytest.raises(SourceFileUnavailable, match="stopped"):
        host.ask()
    assert host.asked == 1


def test_credentials_are_renewed_once_in_a_call() -> None:
    denied = PermissionDeniedError("denied")
    once, twice, never = Host([denied]), Host([denied, denied]), Host([denied])
    assert once.ask(renew=lambda: True) == "answer"
    assert (once.asked, once.pauses) == (2, [])
    for host, renew, asked in ((twice, True, 2), (never, False, 1)):
        with pytest.raises(StoreUnavailable, match=f"denied after {asked}"):
            host.ask(renew=lambda renew=renew: renew)  # type: ignore[misc]


def test_clients_that_retry_by_themselves_do_so_as_often_unless_time_is_short() -> None:
    assert STORE_PATIENCE.client_retries() == {"max_retries": 5}
    assert replace(STORE_PATIENCE, asked_for=30.0).client_retries() == {"max_retries": 0}


def test_the_page_lists_every_policy() -> None:
    (root,) = reformatters_dagster.__path__
    sources = [path.read_text() for path in Path(root).rglob("*.py")]
    policies = {
        name for text in sources for name in re.findall(r"^([A-Z_]+) = (?:Patience|replace)\(", text, re.MULTILINE)
    }
    made_inside = [text for text in sources if re.search(r"^ .*(?<!class )\bPatience\(", text, re.MULTILINE)]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", retries.__doc__ or "", re.MULTILINE)) == policies
    assert made_inside == []
