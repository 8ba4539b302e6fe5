"""A partition has one writer at a time, and a dead one is replaced."""

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS, LeaseTerms, Sign, hold_lease, sweep_leases
from reformatters_dagster.core.spec.errors import LeaseHeld, StoreUnavailable
from reformatters_dagster.core.spec.retries import STORE_PATIENCE
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import open_store
from tests.stores import FaultStore

PARTITION = "2026-07-29T18:00"
KEY = f"lease/{PARTITION}.json"
QUICK = LeaseTerms(time_to_live=0.3, heartbeat=0.02, look_again=0.02)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def terms(self) -> LeaseTerms:
        return LeaseTerms(time_to_live=60, heartbeat=1000, look_again=5, sleep=self.sleep, clock=lambda: self.now)


def heart_stopped(name: str) -> bool:
    """Whether a lease's heart stops by itself; it does when its object is another's."""
    hearts = [thread for thread in threading.enumerate() if thread.name == name]
    for heart in hearts:
        heart.join(timeout=10)
    return not any(heart.is_alive() for heart in hearts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path), "internal")


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(store: Store) -> None:
    with hold_lease(store, PARTITION, "one", terms=QUICK):
        assert b'"one"' in store.get(KEY)[0]
    assert not store.exists(KEY)


def test_an_error_ends_a_lease_that_would_have_been_kept(store: Store) -> None:
    with pytest.raises(RuntimeError, match="no"), hold_lease(store, PARTITION, "one", keep=True, terms=QUICK):
        raise RuntimeError("no")
    assert not store.exists(KEY)


def test_the_next_step_of_the_same_run_takes_over_at_once(store: Store) -> None:
    clock = Clock()
    with hold_lease(store, PARTITION, "one", keep=True, terms=clock.terms()):
        pass
    with hold_lease(store, PARTITION, "one", terms=clock.terms()):
        assert clock.now == 0
    assert not store.exists(KEY)


def test_a_second_writer_is_refused_while_the_first_lives(store: Store) -> None:
    refused = r"to be written by 'two'; 'one' is writing it: wait for that run, or end it"
    with hold_lease(store, PARTITION, "one", terms=QUICK) as still_held:
        with pytest.raises(LeaseHeld, match=refused), hold_lease(store, PARTITION, "two", terms=QUICK):
            pytest.fail("two writers hold one partition")
        still_held()


def test_other_partitions_are_free(store: Store) -> None:
    with hold_lease(store, PARTITION, "one", terms=QUICK), hold_lease(store, "2026-07-30T00:00", "two", terms=QUICK):
        assert store.exists(KEY)


def test_a_dead_holder_is_replaced_after_its_time_to_live(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with hold_lease(store, PARTITION, "killed", keep=True, terms=clock.terms()):
        pass
    with hold_lease(store, PARTITION, "two", terms=clock.terms()):
        assert 60 <= clock.now < 70
        assert b'"two"' in store.get(KEY)[0]
    assert caplog.messages == [
        f"partition={PARTITION} another run, killed, is writing this partition; waiting up to 60 s for a sign of life of it: "
        "this run gives way to one that lives, and takes over from one that does not",
        f"partition={PARTITION} lease of killed shows no sign of life and is taken over",
    ]


@pytest.mark.parametrize("document", [b"", b'{"holder"', b"[]", b"{}"])
def test_a_lease_that_cannot_be_read_ends_like_that_of_a_dead_holder(store: Store, document: bytes) -> None:
    """A power cut leaves an object without content."""
    clock = Clock()
    store.put(KEY, document)
    with hold_lease(store, PARTITION, "one", terms=clock.terms()):
        assert 60 <= clock.now < 70
        assert b'"one"' in store.get(KEY)[0]


def test_a_lease_that_cannot_be_read_is_no_longer_held(store: Store) -> None:
    with hold_lease(store, PARTITION, "one", terms=QUICK) as still_held:
        store.put(KEY, b"")
        assert heart_stopped(f"lease-{PARTITION}")
        with pytest.raises(LeaseHeld, match="another writer took it"):
            still_held()
    assert store.get(KEY)[0] == b""


def test_a_store_that_fails_where_steps_of_one_run_meet_does_not_stop_the_heart(store: Store) -> None:
    renewed, tried, failed = threading.Event(), threading.Event(), threading.Event()

    def note(*_: str) -> None:
        if renewed.is_set():
            tried.set()  # it is refused: the object has moved

    def fail_once(_: str) -> None:
        if tried.is_set() and not failed.is_set():
            failed.set()
            raise StoreUnavailable("out of order")

    with hold_lease(FaultStore(store, note, before_get=fail_once), PARTITION, "run", terms=QUICK):
        # As another step of the same run does.
        store.put(KEY, b'{"holder": "run", "attempt": "", "beats": 1000}')
        renewed.set()
        assert failed.wait(10)
        met = store.get(KEY)
        assert any(store.get(KEY) != met for _ in range(500) if not threading.Event().wait(0.02))


def test_a_holder_learns_that_it_was_replaced(store: Store) -> None:
    with hold_lease(store, PARTITION, "one", terms=QUICK) as still_held:
        store.put(KEY, b'{"holder": "two", "beats": 1}')
        assert heart_stopped(f"lease-{PARTITION}")
        with pytest.raises(LeaseHeld, match="another writer took it"):
            still_held()
    assert b'"two"' in store.get(KEY)[0], "the other's lease was taken away"


def test_a_later_attempt_of_the_same_run_takes_over_at_once_and_the_earlier_one_learns_it(store: Store) -> None:
    clock = Clock()
    with hold_lease(store, PARTITION, "root", attempt="first", terms=QUICK) as still_held:
        with hold_lease(store, PARTITION, "root", attempt="second", keep=True, terms=clock.terms()):
            assert clock.now == 0
        assert heart_stopped(f"lease-{PARTITION}")
        with pytest.raises(LeaseHeld, match="another writer took it"):
            still_held()
    assert b'"second"' in store.get(KEY)[0]


@pytest.mark.parametrize("beside", [False, True])
def test_a_step_that_fails_leaves_the_lease_to_steps_beside_it(store: Store, *, beside: bool) -> None:
    steps: dict[str, Any] = {"holder": "run", "attempt": "first", "keep": True, "terms": QUICK}
    with hold_lease(store, PARTITION, **steps) as still_held:
        with pytest.raises(ZeroDivisionError), hold_lease(store, PARTITION, **steps, keep_on_error=beside):
            raise ZeroDivisionError
        assert (store.get_or_none(KEY) is not None) is beside
        if beside:
            still_held()


def test_of_many_that_ask_at_once_one_gets_it(store: Store) -> None:
    held, refused, start = [], [], threading.Barrier(8)

    def ask(number: int) -> None:
        start.wait()
        try:
            with hold_lease(store, PARTITION, f"writer {number}", terms=QUICK):
                held.append(number)
                threading.Event().wait(0.6)
        except LeaseHeld:
            refused.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 7


def test_a_lease_lives_longer_than_a_put_takes_to_land() -> None:
    assert DEFAULT_TERMS.covered == STORE_PATIENCE.timeout
    assert DEFAULT_TERMS.time_to_live - DEFAULT_TERMS.heartbeat >= DEFAULT_TERMS.covered
    assert LeaseTerms(time_to_live=DEFAULT_TERMS.put_timeout).covered == 0


@pytest.mark.parametrize(("waited", "renewed"), [(30.0, False), (30.5, True), (119.0, True), (1000.0, True)])
def test_before_a_put_a_lease_that_would_not_outlast_it_is_renewed(
    store: Store, waited: float, *, renewed: bool
) -> None:
    clock = Clock()
    terms = LeaseTerms(time_to_live=120, put_timeout=90, heartbeat=1000, sleep=clock.sleep, clock=lambda: clock.now)
    with hold_lease(store, PARTITION, "one", terms=terms) as check_lease:
        before = store.get(KEY)
        clock.now += waited
        check_lease()
        assert (store.get(KEY) != before) == renewed
        check_lease()


def test_steps_that_share_a_lease_renew_it_by_turns(store: Store) -> None:
    clock = Clock()
    terms = LeaseTerms(time_to_live=120, put_timeout=90, heartbeat=1000, sleep=clock.sleep, clock=lambda: clock.now)
    with (
        hold_lease(store, PARTITION, "run", keep=True, terms=terms) as first,
        hold_lease(store, PARTITION, "run", keep=True, terms=terms) as second,
    ):
        for _ in range(4):
            clock.now += 60
            first()
            second()


def test_a_lease_whose_renewal_takes_too_long_is_not_held(store: Store) -> None:
    clock, seconds = Clock(), 0.0

    def wait(*_: str) -> None:
        clock.now += seconds

    terms = LeaseTerms(time_to_live=120, put_timeout=90, heartbeat=1000, sleep=clock.sleep, clock=lambda: clock.now)
    with hold_lease(FaultStore(store, wait), PARTITION, "one", terms=terms) as check_lease:
        clock.now += 60
        seconds = 31
        with pytest.raises(
            LeaseHeld, match=r"not be renewed for the 90 s in which a put may land, .* run the partition again"
        ):
            check_lease()


def test_each_sign_of_life_is_another_object(store: Store) -> None:
    """Where ETags are digests, as on S3, equal ones would be no sign; a run of many short steps gives no other."""
    seen: list[bytes] = []
    for _ in range(3):
        with hold_lease(store, PARTITION, "run", attempt="run", keep=True, terms=QUICK):
            seen.append(store.get(KEY)[0])
    assert len(set(seen)) == 3


NOW, MINUTE = pd.Timestamp("2026-07-30T05:00"), pd.Timedelta("1min")


def test_a_lease_that_stands_still_is_swept_by_its_age(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """By that of the one who looks: what its first look found is as old as that look."""
    with hold_lease(store, PARTITION, "killed", keep=True, terms=QUICK):
        """It was killed here."""
    seen: dict[str, Sign] = {}
    for minutes in (0, 5, 18, 29):
        seen = sweep_leases(store, seen, NOW + minutes * MINUTE)
        assert (seen[PARTITION].since, store.exists(KEY)) == (NOW, True)
    assert sweep_leases(store, seen, NOW + 30 * MINUTE) == {}
    assert not store.exists(KEY)
    assert caplog.messages[-1] == f"partition={PARTITION} lease is swept: it has not changed since 2026-07-30T05:00"


def test_a_lease_that_is_alive_is_not_swept(store: Store) -> None:
    """However the clock of the one who looks jumps."""
    terms = LeaseTerms(time_to_live=120, put_timeout=90, heartbeat=1000)
    seen: dict[str, Sign] = {}
    for days in range(3):
        with hold_lease(store, PARTITION, "run", attempt=f"{days}", keep=True, terms=terms):
            seen = sweep_leases(store, seen, NOW + days * pd.Timedelta("1D"))
            assert store.exists(KEY)


@pytest.mark.parametrize("minutes", [31, -31], ids=["nobody looked", "the clock was put right"])
def test_two_looks_far_apart_say_nothing_of_what_lies_between(store: Store, minutes: int) -> None:
    """The store was out, say: its holder lives, and renews the lease as soon as it can."""
    with hold_lease(store, PARTITION, "run", keep=True, terms=QUICK):
        """It goes on."""
    seen = sweep_leases(store, {}, NOW)
    then = NOW + minutes * MINUTE
    seen = sweep_leases(store, seen, then)
    assert seen[PARTITION].since == then
    for later in (10, 20):
        seen = sweep_leases(store, seen, then + later * MINUTE)
        assert store.exists(KEY)
    assert sweep_leases(store, seen, then + 30 * MINUTE) == {}


def test_a_holder_who_wakes_while_its_lease_is_swept_keeps_it(store: Store) -> None:
    with hold_lease(store, PARTITION, "run", keep=True, terms=QUICK):
        """It stalls."""
    seen: dict[str, Sign] = {}
    for minutes in (0, 15, 29):
        seen = sweep_leases(store, seen, NOW + minutes * MINUTE)

    def wake(_: str, key: str) -> None:
        store.put(key, b'{"holder": "run", "attempt": "", "beats": 99}')

    sweep_leases(FaultStore(store, wake), seen, NOW + 40 * MINUTE)
    assert b"99" in store.get(KEY)[0]
