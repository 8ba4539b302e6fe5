"""A backfill that was killed goes on where it ended, and is told from one that would write over what others made."""

import json
import shutil
import signal

import pytest

from tests.datasets import INIT, SECOND
from tests.faults.deployment import Deployment

pytest_plugins = ["tests.datasets", "tests.stores"]

TWO = ("--end", f"{SECOND:%Y-%m-%dT%H}:01", "--json")
pytestmark = pytest.mark.slow


def test_a_killed_backfill_goes_on_where_it_ended(in_bucket: Deployment) -> None:
    there = in_bucket
    there.arrive(INIT, SECOND)
    undisturbed = there.at(f"{there.base}/undisturbed")
    assert undisturbed.reformat("backfill", *TWO).status == 0
    there = there.at(f"{there.base}/killed")
    there.s3.gate("/killed/.*/progress/2026-07-30", after=3)
    killed = there.start("reformat", "backfill", "test-gfs-forecast", *TWO)
    killed.wait_for(lambda: there.s3.at_gate()[0])
    killed.send(signal.SIGKILL)
    assert killed.status == -signal.SIGKILL
    there.s3.open_gate("drop")
    again = there.reformat("backfill", *TWO)
    assert again.status == 2
    assert again.err.splitlines()[-1].startswith("StoreExists: ")
    other = there.reformat("backfill", *TWO, "--resume", "cli-of-somebody-else")
    assert other.status == 2
    for lead in range(10):
        shutil.move(there.file(lead, INIT), there.folder / f"no-{lead}")
    resumed = there.reformat("backfill", *TWO, "--resume", killed.run_name)
    assert resumed.status == 0, resumed.err
    partitions = json.loads(resumed.out)["partitions"]
    assert [one["status"] for one in partitions] == ["committed before", "committed"]
    assert there.objects() == undisturbed.objects()
    assert there.ledger() == undisturbed.ledger()
    assert [kept for kept in there.leftovers() if "/tmp/" not in kept] == []
