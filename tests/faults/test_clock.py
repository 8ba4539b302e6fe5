"""Time zones and cycle boundaries: all times are UTC, whatever the machine believes."""

import json

import pandas as pd
import pytest

from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.sample_upstream import write_sample_upstream
from tests.datasets import INIT, SECOND, SOON, STEP
from tests.faults.children import VARIABLES, digests
from tests.faults.deployment import Deployment, Undisturbed

pytest_plugins = ["tests.datasets", "tests.stores"]

pytestmark = pytest.mark.slow

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
CHANGES = [
    pytest.param(BERLIN, "2026-10-25T00", id="Berlin in autumn"),
    pytest.param(BERLIN, "2026-03-29T00", id="Berlin in spring"),
    pytest.param(NEW_YORK, "2026-03-08T06", id="New York in spring"),
    pytest.param(NEW_YORK, "2026-11-01T06", id="New York in autumn"),
]
"""A zone, and the cycle within which its clocks change."""
LEADS = range(3)


@pytest.mark.parametrize(("zone", "cycle"), CHANGES)
def test_a_change_of_the_clocks_changes_no_byte(in_folder: Deployment, zone: str, cycle: str) -> None:
    first = pd.Timestamp(cycle)
    second = first + Timedelta("6h")
    write_sample_upstream(in_folder.upstream, [first, second], LEADS, variables=VARIABLES, step=STEP)
    made = {}
    for name in ("UTC", zone):
        there = in_folder.at(f"{in_folder.base}-{name.partition('/')[2]}").having(TZ=name, REFORMATTERS_START=cycle)
        for now in (first + SOON, second, second + SOON):
            update = there.update(now)
            assert update.status == 0, update.err
        made[name] = (there.objects(), there.ledger())
        assert list(digests(there.base)) == [str(first), str(second)]
        assert sorted(there.ledger()) == [f"ledger/{label:%Y-%m-%dT%H:%M}.json" for label in (first, second)]
    assert made["UTC"] == made[zone]


@pytest.mark.parametrize(("now", "labels"), [(SECOND - Timedelta("1min"), [INIT]), (SECOND, [INIT, SECOND])])
def test_a_partition_begins_with_its_cycle(
    in_folder: Deployment, undisturbed: Undisturbed, now: Timestamp, labels: list[Timestamp]
) -> None:
    there = in_folder.having(REFORMATTERS_UPSTREAM=str(undisturbed.upstream), TZ=NEW_YORK)
    update = there.update(now, "--json")
    assert update.status == 0, update.err
    partitions = json.loads(update.out)["partitions"]
    assert [(one["partition"], one["status"]) for one in partitions] == [
        (f"{label:%Y-%m-%dT%H:%M}", "committed") for label in labels
    ]
