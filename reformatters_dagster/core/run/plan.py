"""The plan of one partition's run: what is asked for becomes what will be done.

In: a dataset, its places, a request, and the time it is. Out: a `PartitionPlan`, plain enough to travel between pods, or a
refusal before any data is written.
"""

import logging
from uuid import uuid4

from reformatters_dagster.core.job.files import files_of_region
from reformatters_dagster.core.ledger.entries import previous_entry
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.guards import (
    refuse_empty_history,
    refuse_gap,
    refuse_other_times,
    refuse_overwrite,
    refuse_part,
    refuse_too_short,
)
from reformatters_dagster.core.run.mending import mend_replicas
from reformatters_dagster.core.run.targets import check_stores, places_for_metadata
from reformatters_dagster.core.spec.errors import SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import MOMENT, Frozen, Time, Timestamp
from reformatters_dagster.core.store.initialise import create_store
from reformatters_dagster.core.store.reading import is_published, published_labels
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.template_guards import refuse_unpublished

log = logging.getLogger(__name__)


class PartitionRequest(Frozen):
    """What a run of one partition is asked for, by the command line, by a Dagster run config or by a sensor."""

    label: Time
    """First label of the partition's shard."""
    publish: bool
    """True: an operational update, whose commit may grow the published extent. False: a backfill within that extent."""
    variables: tuple[str, ...] = ()
    """Only these; empty means all. An update that publishes new labels needs all."""
    overwrite_chunks: bool = True
    """A backfill may write the partition though the ledger says it was written before."""
    keep_published: bool = False
    """A backfill downloads only what the published shards lack, as an update does. A partition of one label is made anew."""
    force: bool = False
    """Replace shards even by ones made from fewer source files."""
    accept_missing: bool = False
    """Publish the partition as known missing, even if nothing of it can be had. Where archives only refuse a file, that
    needs `force` too."""
    upstream: str = ""
    """Fingerprint of what the upstream listed when the run was launched; empty when nobody looked."""
    root_run: str = ""
    """First of a chain of retries, which share progress and lease; empty where nothing is to be resumed."""


class PartitionPlan(Frozen):
    """What one partition's run is going to do. A retry in another pod carries out the same plan.

    Code that does not know a field of it refuses it, as after a rollback: it would do something else than was planned.
    """

    request: PartitionRequest
    now: Time
    """When the plan was made."""
    end: Time
    """The template of the run covers the append dimension up to here, exclusively."""
    groups: tuple[tuple[str, ...], ...]
    """Variables of each region job."""
    continues: bool = False
    """Keep what the published shard holds, and download only what it lacks."""
    redo: tuple[str, ...] = ()
    """Keys of source files that were published again since the shard was made."""

    @property
    def label(self) -> Timestamp:
        """First label of the partition's shard."""
        return self.request.label

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group)


def plan_partition(
    dataset: Declaration, workspace: Workspace, request: PartitionRequest, now: Timestamp
) -> PartitionPlan:
    """Check that a partition can be made, and cut the work into groups of variables.

    A backfill creates a store that does not exist. An update mends replicas first, where the dataset lets them lag. Where
    the partition wants no file, as when all of them are `known_missing_files`, the plan accepts that nothing can be had.

    Raises
    ------
    Refused
        A child of it says what is wrong: label, variable, drift, a store too short, a gap.
    """
    template, stores = dataset.template_config, workspace.stores
    refuse_other_times(template, request.label, now)
    selected = template.select(request.variables or None)
    groups = dataset.region_job.source_groups(selected)
    if not request.publish and not is_published(stores.primary):
        if not dataset.start_is_chosen:
            refuse_empty_history(template, request.label)
        create_store(template, places_for_metadata(dataset, workspace), now + MOMENT)
    check_stores(dataset, workspace)
    if request.publish:
        if dataset.replicas == "best_effort":
            mend_replicas(stores, request.root_run or uuid4().hex, dataset.lease_terms)
        end = _end_of_update(dataset, workspace, request, now)
    else:
        end = _end_of_backfill(dataset, workspace, request)
    if not _wants_files(dataset, workspace, request, end, now):
        request = request.model_copy(update={"accept_missing": True})
    keeps = (request.publish or request.keep_published) and not request.force
    continues = keeps and template.shard_length > 1
    return PartitionPlan(
        request=request,
        now=now,
        end=end,
        groups=tuple(tuple(data_var.name for data_var in group) for group in groups),
        continues=continues,
        redo=_published_again(dataset, workspace, request.label, now) if continues else (),
    )


def _end_of_update(dataset: Declaration, workspace: Workspace, request: PartitionRequest, now: Timestamp) -> Timestamp:
    """Where readers will see the store end at most: after the partition or now, and never before what they see already."""
    template, label = dataset.template_config, request.label
    published_end = _published_end(dataset, workspace)
    refuse_gap(template, label, published_end)
    end = max(published_end, min(label + template.shard_duration, now + MOMENT))
    if end > published_end:
        refuse_part(template, label, template.select(request.variables or None))
    return end


def _end_of_backfill(dataset: Declaration, workspace: Workspace, request: PartitionRequest) -> Timestamp:
    """Where the store that a backfill writes into ends: the backfill does not move it."""
    template, published_end = dataset.template_config, _published_end(dataset, workspace)
    refuse_unpublished(template, workspace, request.variables or None)
    refuse_too_short(template, request.label, published_end, dataset.job_name)
    if not request.overwrite_chunks:
        refuse_overwrite(template, request.label, workspace.stores.internal)
    return published_end


def _wants_files(
    dataset: Declaration, workspace: Workspace, request: PartitionRequest, end: Timestamp, now: Timestamp
) -> bool:
    """Whether a run of a partition wants any file, up to the end of its plan."""
    template_ds, context = dataset.template_config.get_template(end), dataset.context(workspace, now)
    (job,) = dataset.region_job.get_jobs(
        context, template_ds, contains=[request.label], variables=request.variables or None
    )
    return any(files_of_region(job, group) for group in job.source_groups(job.data_vars))


def _published_end(dataset: Declaration, workspace: Workspace) -> Timestamp:
    """The first label that readers do not see."""
    axis = dataset.template_config.append_dim
    published = published_labels(workspace.stores.primary, axis.name)
    return published[-1] + axis.frequency if len(published) else axis.start


def _published_again(dataset: Declaration, workspace: Workspace, label: Timestamp, now: Timestamp) -> tuple[str, ...]:
    """Keys of files of a partition that the upstream lists in another version than the one the ledger names."""
    entry = previous_entry(workspace.stores.internal, label)
    if entry is None:
        return ()
    try:
        arrivals = find_arrivals(dataset, workspace, label, now, known=entry)
    except SourceFileUnavailable as error:
        log.warning("partition=%s may have files that were published again: %s", partition_key(label), error)
        return ()
    return entry.published_again(arrivals.etags)
