"""What the tests of shards that stand share: looks at a store and its ledger, and runs that end early."""

from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.lease import LeaseTerms
from reformatters_dagster.core.run.launches import Budget, survey_incomplete
from reformatters_dagster.core.run.outcomes import CommitReport
from reformatters_dagster.core.run.partition import run_partition
from reformatters_dagster.core.run.plan import PartitionPlan, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import (
    INIT,
    TEMPERATURE,
    Site,
    gfs_key,
)

HOUR = Timedelta("1h")
LATE = Timedelta("7h")
AT_ONCE = LeaseTerms(time_to_live=0.0, heartbeat=60, look_again=0.0)


def key(lead: int, init_time: Timestamp = INIT) -> str:
    return gfs_key(init_time, lead)


def holes(site: Site, variable: str = TEMPERATURE, dim: str = "lead_time") -> list[int]:
    """Positions at which readers see nothing but NaN."""
    field = site.read()[variable]
    others = [one for one in field.dims if one != dim]
    return [int(at) for at in field.isnull().all(others).to_numpy().nonzero()[0]]


def entry_of(site: Site, label: Timestamp = INIT) -> LedgerEntry:
    entry = site.ledger(label)
    assert entry is not None
    return entry


def heal_at(site: Site, now: Timestamp) -> list[Launch]:
    return survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches


def healed(site: Site, launch: Launch, now: Timestamp) -> CommitReport:
    plan = plan_partition(site.dataset, site.workspace, launch.request, now)
    return run_partition(site.dataset, site.workspace, plan, run_id="heal")


def killed_before_its_commit(site: Site, plan: PartitionPlan, root_run: str) -> None:
    """All shards are up; the lease is gone, as after its time to live."""
    context = site.dataset.context(site.workspace, plan.now, run_id=root_run, force=plan.request.force)
    for group in plan.groups:
        process_group(site.dataset, context, plan, group)
    for stored, _ in site.stores.internal.list("lease"):
        site.stores.internal.delete(stored)
