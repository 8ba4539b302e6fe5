"""A backfill without an orchestrator: which partitions a request means, and one after the other.

In: a request, a dataset, the places of a deployment, and the time it is. Out: a report; the work is that of `DynamicalDataset`.
"""

import pandas as pd

from reformatters_dagster.core.config import Frozen, Time
from reformatters_dagster.core.coverage import previous_entry
from reformatters_dagster.core.dataset import DynamicalDataset
from reformatters_dagster.core.errors import NothingSucceeded
from reformatters_dagster.core.guards import check_overwrite
from reformatters_dagster.core.job_context import OnProgress, ignore_progress
from reformatters_dagster.core.ledger import FOLDER as LEDGER
from reformatters_dagster.core.partition_guards import refuse_other_times
from reformatters_dagster.core.partition_run import RunReport
from reformatters_dagster.core.progress import FOLDER as PROGRESS
from reformatters_dagster.core.publication import refuse_unpublished
from reformatters_dagster.core.published import published_labels
from reformatters_dagster.core.region import filter_regions, refuse_off_grid, shard_regions
from reformatters_dagster.core.settings import Workspace
from reformatters_dagster.core.types import MOMENT, Timestamp


class BackfillRequest(Frozen):
    """What `reformat backfill` is asked for."""

    start: Time | None = None
    end: Time | None = None
    contains: tuple[Time, ...] | None = None
    variables: tuple[str, ...] | None = None
    overwrite_chunks: bool = False
    overwrite_metadata: bool = False
    force: bool = False

    @property
    def has_filters(self) -> bool:
        return any(one is not None for one in (self.start, self.contains, self.variables))


def plan_backfill(
    dataset: DynamicalDataset, workspace: Workspace, request: BackfillRequest, now: Timestamp
) -> tuple[Timestamp, list[Timestamp]]:
    """Decide, without writing, how far the store will reach and which partitions a backfill is going to write.

    Returns
    -------
    end : Timestamp
        The store's metadata covers labels before this.
    partitions : list of Timestamp
        First labels of whole shards, ascending.

    Raises
    ------
    Refused
        A child of it: unknown variable, one the store does not have yet, a time that is no label, options that do not fit
        the store, drift.
    """
    template = dataset.template_config
    axis = template.append_dim
    template.select(request.variables)
    refuse_off_grid(request.contains or (), axis.start, axis.frequency, "--contains")
    exists = workspace.stores.primary.exists("zarr.json")
    check_overwrite(
        store_exists=exists,
        overwrite_chunks=request.overwrite_chunks,
        overwrite_metadata=request.overwrite_metadata,
        end_given=request.end is not None,
        filters_given=request.has_filters,
    )
    dataset.check_stores(workspace)
    if not request.overwrite_metadata:
        refuse_unpublished(template, workspace, request.variables)
    end = request.end or now + MOMENT
    if exists:
        published_end = published_labels(workspace.stores.primary, axis.name)[-1] + axis.frequency
        extends = request.overwrite_chunks and request.overwrite_metadata and request.end is not None
        end = max(end, published_end) if extends else published_end
    if request.overwrite_metadata and not request.overwrite_chunks:
        return end, []
    labels = axis.labels(end)
    regions = filter_regions(
        shard_regions(len(labels), template.shard_length),
        labels,
        start=request.start,
        end=request.end,
        contains=request.contains,
    )
    partitions = [labels[region.start] for region in regions]
    if partitions:
        refuse_other_times(template, partitions[-1], now)
    return end, partitions


def backfill(
    dataset: DynamicalDataset,
    workspace: Workspace,
    request: BackfillRequest,
    *,
    run_id: str,
    now: Timestamp,
    root_run: str = "",
    on_progress: OnProgress = ignore_progress,
) -> RunReport:
    """Write whole shards within the store's extent, in this process; create, refresh or extend its metadata first.

    A partition of which nothing succeeds is reported and does not stop the others.

    Parameters
    ----------
    root_run : str, optional
        Under which progress is kept. That of an earlier run goes on where it ended: the store it has created is not
        refused, and what it has uploaded and committed is not done again.

    Raises
    ------
    Refused
        As `plan_backfill`, before anything is written.
    """
    if root_run not in {"", run_id} and not request.overwrite_metadata and _may_go_on(workspace, root_run):
        request = request.model_copy(update={"overwrite_chunks": True})
    end, partitions = plan_backfill(dataset, workspace, request, now)
    if request.overwrite_metadata or not workspace.stores.primary.exists("zarr.json"):
        dataset.initialise(workspace, end, now)
    report = RunReport(partitions)
    for label in partitions:
        if dataset.was_committed(workspace, label, run_id=run_id, root_run=root_run):
            report.done_before.append(label)
            continue
        plan = dataset.plan_partition(
            workspace,
            label,
            now=now,
            publish=False,
            variables=request.variables,
            force=request.force,
            root_run=root_run,
        )
        try:
            report.commits.append(dataset.run_partition(workspace, plan, run_id=run_id, on_progress=on_progress))
        except NothingSucceeded as error:
            report.failures[label] = str(error)
    return report


def _may_go_on(workspace: Workspace, root_run: str) -> bool:
    """Whether a run has uploaded a variable, or committed a partition, before it ended; or nobody has."""
    internal = workspace.stores.internal
    if any(f"/{root_run}/" in key for key, _ in internal.list(PROGRESS)):
        return True
    partitions = [key.rpartition("/")[2].removesuffix(".json") for key, _ in internal.list(LEDGER)]
    entries = (previous_entry(internal, pd.Timestamp(partition)) for partition in partitions)
    return not partitions or any(entry is not None and entry.root_run == root_run for entry in entries)
