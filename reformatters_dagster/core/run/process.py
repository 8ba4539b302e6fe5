"""The work of a plan: one region job for each group of variables, under the partition's lease.

In: a plan and one of its groups. Out: shards in the final stores, where only a commit lets readers see new labels, and a
`GroupOutcome`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reformatters_dagster.core.job.context import JobContext
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.changes import PublishedShard
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.lease import hold_lease
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.guards import refuse_outdated
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.plan import PartitionPlan
from reformatters_dagster.core.run.standing import entry_before
from reformatters_dagster.core.run.targets import stores_for_partition
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import MOMENT


def process_group(
    dataset: Declaration, context: JobContext, plan: PartitionPlan, variables: Sequence[str]
) -> GroupOutcome:
    """Run one region job of a plan, holding the partition's lease: see `RegionJob.process`.

    The lease stays when the job ends well, for the commit of the same run.

    Raises
    ------
    LeaseHeld
        When another run is writing the partition.
    PlanOutdated
        When labels of the shard that the plan does not know were published since: the job would blank them.
    """
    internal, partition = context.stores.internal, partition_key(plan.label)
    holder = plan.request.root_run or context.run_id
    beside = dataset.pods == "group" and set(variables) != set(plan.variables)
    with hold_lease(
        internal, partition, holder, attempt=context.run_id, keep=True, keep_on_error=beside, terms=dataset.lease_terms
    ) as check_lease:
        stores = stores_for_partition(dataset, context.stores, plan.label).guarded(check_lease)
        tracker = UpdateProgressTracker(stores.internal, partition, holder, dataset.region_job.source_file_coord)
        refuse_outdated(dataset.template_config, plan.label, plan.end, stores.primary)
        # Under the lease no other run replaces the entry.
        entry, _ = entry_before(
            internal, plan.label, lambda: region_job(dataset, context, plan, tuple(dataset.template_config.variables))
        )
        uploads = tracker.uploads()
        context = replace(
            context,
            stores=stores,
            entry=entry,
            published=_published_shard(dataset, plan, entry) if plan.continues else None,
            tracker=tracker,
            uploads=uploads,
            check_writer=check_lease,
        )
        job = region_job(dataset, context, plan, variables)
        results = job.process()
        check_lease()
    return GroupOutcome(
        results,
        job.stats,
        built_on="" if entry is None else entry.run_id,
        notes={name: uploads[name].version if name in uploads else "" for name in variables},
        made_by=context.run_id,
        goes_on=tuple(name for name in variables if name in uploads and tracker.goes_on(uploads[name])),
    )


def region_job(
    dataset: Declaration, context: JobContext, plan: PartitionPlan, variables: Sequence[str]
) -> RegionJob[Any]:
    """The region job of some variables of a plan."""
    template_ds = dataset.template_config.get_template(plan.end)
    (job,) = dataset.region_job.get_jobs(context, template_ds, contains=[plan.label], variables=variables)
    return job


def _published_shard(dataset: Declaration, plan: PartitionPlan, entry: LedgerEntry | None) -> PublishedShard | None:
    """What the ledger says of the shard; None where it says nothing of this version of the dataset."""
    if entry is None or entry.version != dataset.template_config.dataset_version:
        return None
    # A backfill fills holes of any age. An update does not try those of a shard that is given up.
    last = plan.label + dataset.template_config.shard_duration - dataset.template_config.append_dim.frequency
    is_old = plan.request.publish and plan.now - last >= dataset.give_up_age
    return PublishedShard(entry, frozenset(plan.redo), last + MOMENT if is_old else None)
