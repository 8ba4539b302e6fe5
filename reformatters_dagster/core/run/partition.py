"""One partition from its plan to its commit, in this process, and what an earlier attempt at it has done.

In: a plan. Out: the report of its commit.
"""

from collections.abc import Collection

from reformatters_dagster.core.job.context import OnProgress, ignore_progress
from reformatters_dagster.core.ledger.entries import previous_entry
from reformatters_dagster.core.ledger.lease import hold_lease
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.outcomes import CommitReport
from reformatters_dagster.core.run.plan import PartitionPlan
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Workspace


def run_partition(
    dataset: Declaration,
    workspace: Workspace,
    plan: PartitionPlan,
    *,
    run_id: str,
    on_progress: OnProgress = ignore_progress,
) -> CommitReport:
    """Process all groups of a plan as one, then commit; raises what `process_group` and `commit_partition` raise."""
    context = dataset.context(workspace, plan.now, run_id=run_id, force=plan.request.force, on_progress=on_progress)
    outcome = process_group(dataset, context, plan, plan.variables)
    return commit_partition(dataset, workspace, plan, [outcome], run_id=run_id, now=plan.now)


def was_committed(
    dataset: Declaration,
    workspace: Workspace,
    label: Timestamp,
    variables: Collection[str],
    *,
    run_id: str,
    root_run: str,
) -> bool:
    """Whether earlier attempts at this run have committed some variables of a partition.

    Such an attempt may have been killed between its commit and its end: its lease is removed here, and its notes of variables
    of which the entry tells. Another note stays: it tells of shards that the entry does not account for.
    """
    internal, partition = workspace.stores.internal, partition_key(label)
    entry = None if root_run in {"", run_id} else previous_entry(internal, label)
    if entry is None or entry.root_run != root_run or not set(variables) <= set(entry.ran):
        return False
    with hold_lease(internal, partition, root_run, attempt=run_id, terms=dataset.lease_terms):
        tracker = UpdateProgressTracker(internal, partition, root_run, dataset.region_job.source_file_coord)
        own = {name for name, upload in tracker.uploads().items() if tracker.is_own(upload)}
        tracker.clear(own & set(entry.made))
    return True
