"""A run of Dagster that is killed after some put is executed again from its failure, and downloads nothing twice."""

import signal

import pytest

from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import PRIMARY, SECOND
from tests.faults.children import digests
from tests.faults.deployment import Deployment, Undisturbed
from tests.faults.rows import after_each

pytest_plugins = ["tests.datasets", "tests.stores"]

PUTS, UPLOADED = 27, 13
"""Of a run that appends one init time, with what its steps hand to each other; and until all its variables are noted."""

pytestmark = pytest.mark.slow


@pytest.fixture
def dagster(there: Deployment) -> Deployment:
    """With an instance of Dagster in a folder."""
    home = there.folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return there.having(DAGSTER_HOME=str(home))


@pytest.mark.parametrize("puts", after_each(PUTS))
def test_a_run_killed_after_any_put_is_executed_again_from_its_failure(
    dagster: Deployment, undisturbed: Undisturbed, puts: int
) -> None:
    dagster.s3.gate(after=puts)
    killed = dagster.start("materialize", partition_key(SECOND))
    killed.wait_for(lambda: dagster.s3.at_gate()[0])
    killed.send(signal.SIGKILL)
    assert killed.status == -signal.SIGKILL
    dagster.s3.open_gate("drop")
    assert digests(dagster.base) in undisturbed.views
    if puts >= UPLOADED:
        (dagster.folder / "nothing" / PRIMARY).mkdir(parents=True)
        dagster = dagster.having(REFORMATTERS_UPSTREAM=str(dagster.folder / "nothing"))
    again = dagster.start("materialize", partition_key(SECOND))
    assert again.status == 0, again.err
    assert dagster.objects() == undisturbed.store
    assert dagster.ledger() == undisturbed.ledger
    assert [kept for kept in dagster.leftovers() if "/tmp/" not in kept] == []
    assert [key for key in dagster.all_objects() if key.startswith("_runs/")] == []
