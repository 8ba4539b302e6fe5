"""Whatever put an update is killed or terminated after, readers never notice, and a further run finishes its work.

The update does the one init time again that is published, and appends another.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.children import STORE, digests
from tests.faults.deployment import NOW, PUTS, Deployment, Process, Undisturbed
from tests.faults.rows import after_each_in_turn

pytest_plugins = ["tests.datasets", "tests.stores"]

ENDS = (
    pytest.param(signal.SIGKILL, False, id="killed-a new run"),
    pytest.param(signal.SIGKILL, True, id="killed-resumed"),
    pytest.param(signal.SIGTERM, True, id="terminated-resumed"),
    pytest.param(signal.SIGTERM, False, id="terminated-a new run"),
)
"""How an update ends, and whether the next one resumes it."""


@contextmanager
def watched_by_a_reader(there: Deployment, undisturbed: Undisturbed) -> Iterator[None]:
    """A process that reads throughout, and has seen what was published before or after and nothing else."""
    stop, report = there.folder / "stop", there.folder / "report.json"
    reader = there.start("read_on", there.base, str(stop), str(report))
    try:
        yield
    finally:
        stop.touch()
    assert reader.status == 0, reader.err
    found = json.loads(report.read_text())
    print(f"{found['reads']} reads")  # noqa: T201 asked for by those who run the suite with -s
    assert found["errors"] == []
    assert found["reads"] > 0
    assert [view for view in found["seen"] if view not in undisturbed.views] == []


def end_after(there: Deployment, puts: int, number: signal.Signals) -> Process:
    """An update that is sent a signal when it has put so many objects, before it learns of the last."""
    there.s3.gate(after=puts)
    process = there.start_update(NOW)
    process.wait_for(lambda: there.s3.at_gate()[0])
    process.send(number)
    if number is signal.SIGKILL:
        assert process.status == -signal.SIGKILL
        there.s3.open_gate("drop")
    else:
        there.s3.open_gate("serve")
        assert process.status == 143, process.err
        assert list((there.folder / "tmp").rglob("*")) == []
    return process


def root_is_put(there: Deployment) -> bool:
    return any(path.endswith(f"{STORE}/zarr.json") for path in there.s3.at_gate()[1])


def end_and_go_on(
    there: Deployment, undisturbed: Undisturbed, puts: int, number: signal.Signals, resumed: bool
) -> None:
    with watched_by_a_reader(there, undisturbed):
        ended = end_after(there, puts, number)
        assert digests(there.base) == undisturbed.views[root_is_put(there)]
        further = there.update(NOW, *(["--resume", ended.run_name] if resumed else []))
        assert further.status == 0, further.err
    assert there.objects() == undisturbed.store
    assert there.ledger() == undisturbed.ledger
    assert there.leftovers() == []


@pytest.mark.slow
def test_an_undisturbed_update_puts_so_many_objects(there: Deployment, undisturbed: Undisturbed) -> None:
    there.s3.gate()
    with watched_by_a_reader(there, undisturbed):
        assert there.update(NOW).status == 0
    assert len(there.s3.at_gate()[1]) == PUTS
    assert there.objects() == undisturbed.store


def test_an_update_killed_among_the_puts_of_its_metadata_is_resumed(
    there: Deployment, undisturbed: Undisturbed
) -> None:
    end_and_go_on(there, undisturbed, 26, signal.SIGKILL, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize(("puts", "number", "resumed"), after_each_in_turn(PUTS + 1, ENDS))
def test_an_update_killed_or_terminated_after_any_put_is_finished_by_the_next(
    there: Deployment, undisturbed: Undisturbed, puts: int, number: signal.Signals, resumed: bool
) -> None:
    end_and_go_on(there, undisturbed, puts, number, resumed)
