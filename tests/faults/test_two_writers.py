"""Two writers of one partition: whatever the first has put when the second comes, one is refused or both agree.

The first update is held, or stopped as a machine that stalls would be, after each of its puts but those of its lease.
"""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.datasets import INIT
from tests.faults.children import digests
from tests.faults.deployment import NOW, PUTS, Deployment, Process, Undisturbed
from tests.faults.rows import after_each_in_turn

pytest_plugins = ["tests.datasets", "tests.stores"]

LEASES = 4
"""Puts of an undisturbed update to its leases: two for each init time."""
OTHER_PUTS = PUTS - LEASES
NOT_A_LEASE = r"^(?!.*/lease/)"
ALIVE, STALLED = "5,0.1,0.05", "0.4,0.1,0.05"
"""Seconds a lease lives, between heartbeats, and between looks."""


def update(there: Deployment) -> Process:
    return there.update(NOW)


def backfill_of_the_tail(there: Deployment) -> Process:
    return there.reformat("backfill", "--contains", f"{INIT:%Y-%m-%dT%H:%M}", "--overwrite-chunks")


def held_after(there: Deployment, puts: int) -> Process:
    there.s3.gate(NOT_A_LEASE, puts, signed_by="test")
    first = there.start_update(NOW)
    first.wait_for(lambda: there.s3.at_gate()[0])
    return first


def intrude_on_one_alive(
    there: Deployment, undisturbed: Undisturbed, puts: int, second: Callable[[Deployment], Process]
) -> None:
    """The second is refused where the first is at work, and works where the first is done."""
    there = there.having(TEST_LEASE=ALIVE)
    first = held_after(there, puts)
    is_past_the_tail = any("/ledger/2026-07-29T18:00.json" in path for path in there.s3.at_gate()[1][:-1])
    intruder = second(there.having(AWS_ACCESS_KEY_ID="second"))
    there.s3.open_gate("serve")
    assert first.status == 0, first.err
    if second is backfill_of_the_tail and is_past_the_tail:
        assert intruder.status == 0, intruder.err
    else:
        assert intruder.status == 2, intruder.err
        last = intruder.err.splitlines()[-1]
        assert last.startswith("LeaseHeld: partition 2026-07-"), last
        assert f"{first.run_name!r} is writing it: wait for that run, or end it" in last
    assert_as_undisturbed(there, undisturbed)
    assert there.leftovers() == []


def intrude_on_one_that_stalls(
    there: Deployment, undisturbed: Undisturbed, puts: int, second: Callable[[Deployment], Process]
) -> None:
    """The second takes over; the first, when it wakes, agrees with what it finds or says what it has lost."""
    there = there.having(TEST_LEASE=STALLED)
    first = held_after(there, puts)
    first.send(signal.SIGSTOP)
    intruder = second(there.having(AWS_ACCESS_KEY_ID="second"))
    assert intruder.status == 0, intruder.err
    there.s3.open_gate("serve")
    first.send(signal.SIGCONT)
    if first.status != 0:
        assert first.err.splitlines()[-1].startswith(("LeaseHeld: ", "CommitConflict: ")), first.err
        assert there.update(NOW).status == 0
    assert_as_undisturbed(there, undisturbed)
    assert [kept for kept in there.leftovers() if "progress/" not in kept] == []


def assert_as_undisturbed(there: Deployment, undisturbed: Undisturbed) -> None:
    """How far readers saw the store at a commit depends on which writer was the later."""
    assert digests(there.base) == undisturbed.views[1]
    assert there.objects() == undisturbed.store
    assert without_extent(there.ledger()) == without_extent(undisturbed.ledger)


def without_extent(ledger: dict[str, Any]) -> dict[str, Any]:
    return {key: {name: entry[name] for name in entry.keys() - {"extent"}} for key, entry in ledger.items()}


def test_a_second_writer_while_the_first_is_alive(there: Deployment, undisturbed: Undisturbed) -> None:
    intrude_on_one_alive(there, undisturbed, 4, update)


@pytest.mark.slow
def test_a_second_writer_while_the_first_stalls(there: Deployment, undisturbed: Undisturbed) -> None:
    intrude_on_one_that_stalls(there, undisturbed, 4, update)


MEETINGS = (
    pytest.param(intrude_on_one_alive, update, id="alive-update"),
    pytest.param(intrude_on_one_alive, backfill_of_the_tail, id="alive-backfill_of_the_tail"),
    pytest.param(intrude_on_one_that_stalls, backfill_of_the_tail, id="stalls-backfill_of_the_tail"),
    pytest.param(intrude_on_one_that_stalls, update, id="stalls-update"),
)
"""What becomes of the first, and what the second does."""


@pytest.mark.slow
@pytest.mark.parametrize(("puts", "intrude", "second"), after_each_in_turn(OTHER_PUTS + 1, MEETINGS))
def test_a_second_writer_after_any_put_of_the_first(
    there: Deployment,
    undisturbed: Undisturbed,
    puts: int,
    intrude: Callable[[Deployment, Undisturbed, int, Callable[[Deployment], Process]], None],
    second: Callable[[Deployment], Process],
) -> None:
    intrude(there, undisturbed, puts, second)
