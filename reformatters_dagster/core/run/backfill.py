"""A backfill without an orchestrator: which partitions a request means, and one after the other.

In: a request, a dataset, the places of a deployment, and the time it is. Out: a report; the work is that of `DynamicalDataset`.
"""

from typing import NamedTuple

from reformatters_dagster.core.job.context import OnProgress, ignore_progress
from reformatters_dagster.core.ledger.entries import ledger_partitions
from reformatters_dagster.core.ledger.progress import unfinished_runs
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.guards import refuse_other_times, refuse_unknown_run
from reformatters_dagster.core.run.plan import RunReport
from reformatters_dagster.core.spec.errors import NoPartition, NothingSucceeded
from reformatters_dagster.core.spec.region import filter_regions, refuse_off_grid, shard_regions
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import MOMENT, Frozen, Time, Timestamp
from reformatters_dagster.core.spec.zarr_documents import chunks_prefix
from reformatters_dagster.core.store.guards import check_overwrite
from reformatters_dagster.core.store.initialise import refuse_early_end
from reformatters_dagster.core.store.reading import is_published, published_labels
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.stores import StoreSet
from reformatters_dagster.core.store.template_guards import refuse_unpublished

CLI_RUN = "cli-"
"""How names of runs begin that `--resume` is for; those of Dagster are gone on with by Dagster."""


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
    dataset: DynamicalDataset, workspace: Workspace, request: BackfillRequest, now: Timestamp, *, resumes: str = ""
) -> tuple[Timestamp, list[Timestamp]]:
    """Decide, without writing, how far the store will reach and which partitions a backfill is going to write.

    A store that stands and holds metadata alone, as a backfill of which nothing succeeded leaves it, is filled as if it were
    to be created.

    Parameters
    ----------
    resumes : str, optional
        The earlier run that is gone on with.

    Returns
    -------
    end : Timestamp
        The store's metadata covers labels before this.
    partitions : list of Timestamp
        First labels of whole shards, ascending.

    Raises
    ------
    Refused
        A child of it: unknown variable, one the store does not have yet, a time that is no label, times that hold no
        partition, a run that is unknown, options that do not fit the store, drift.
    """
    plan = _plan(dataset, workspace, request, now, resumes)
    return plan.end, plan.partitions


class _Plan(NamedTuple):
    end: Timestamp
    partitions: list[Timestamp]
    writes_metadata: bool
    """Whether the store's metadata is to be created, refreshed or extended first."""


def _plan(
    dataset: DynamicalDataset, workspace: Workspace, request: BackfillRequest, now: Timestamp, resumes: str
) -> _Plan:
    template = dataset.template_config
    axis = template.append_dim
    template.select(request.variables)
    refuse_off_grid(request.contains or (), axis.start, axis.frequency, "--contains")
    _refuse_reversed(request)
    stores = workspace.stores
    exists = is_published(stores.primary)
    if resumes:
        _refuse_unknown(template, stores, resumes)
        if not request.overwrite_metadata:
            request = request.model_copy(update={"overwrite_chunks": True})
    overwrites = request.overwrite_chunks or request.overwrite_metadata
    creates = not exists or (not overwrites and _is_blank(template, stores))
    all_unfinished = [] if creates or overwrites else unfinished_runs(stores.internal)
    check_overwrite(
        store_exists=not creates,
        overwrite_chunks=request.overwrite_chunks,
        overwrite_metadata=request.overwrite_metadata,
        end_given=request.end is not None,
        filters_given=request.has_filters,
        unfinished=[run for run in all_unfinished if run.startswith(CLI_RUN)],
    )
    dataset.check_stores(workspace)
    if not request.overwrite_metadata and not creates:
        refuse_unpublished(template, workspace, request.variables)
    end = request.end or now + MOMENT
    if creates:
        refuse_early_end(template, end)
    if exists:
        published_end = published_labels(stores.primary, axis.name)[-1] + axis.frequency
        extends = request.overwrite_chunks and request.overwrite_metadata and request.end is not None
        end = max(end, published_end) if extends or creates else published_end
    if request.overwrite_metadata and not request.overwrite_chunks:
        return _Plan(end, [], writes_metadata=True)
    partitions = _choose(template, request, end, until=request.end or (now + MOMENT if creates else None))
    if partitions:
        refuse_other_times(template, partitions[-1], now)
    elif not request.overwrite_metadata:
        raise NoPartition(_explain_no_partition(template, request, end, creates=creates))
    return _Plan(end, partitions, writes_metadata=creates or request.overwrite_metadata)


def _choose(
    template: TemplateConfig, request: BackfillRequest, end: Timestamp, until: Timestamp | None
) -> list[Timestamp]:
    """First labels of the shards that a request means, of an archive that ends before `end`."""
    labels = template.append_dim.labels(end)
    regions = filter_regions(
        shard_regions(len(labels), template.shard_length),
        labels,
        start=request.start,
        end=until,
        contains=request.contains,
    )
    return [labels[region.start] for region in regions]


def _refuse_reversed(request: BackfillRequest) -> None:
    if request.start is not None and request.end is not None and request.end <= request.start:
        raise NoPartition(
            f"partitions from --start {_text(request.start)} to before --end {_text(request.end)} were asked for; --start "
            f"{_text(request.start)} is not before --end {_text(request.end)}: correct one of them"
        )


def _explain_no_partition(template: TemplateConfig, request: BackfillRequest, end: Timestamp, *, creates: bool) -> str:
    given = {"start": request.start, "end": request.end}
    told = [f"--{name} {_text(time)}" for name, time in given.items() if time is not None]
    told += [f"--contains {_text(time)}" for time in request.contains or ()]
    extent = f"from {_text(template.append_dim.start)} to before {_text(end)}"
    return (
        f"partitions of {template.dataset_id} with {' '.join(told) or 'no --contains'} were asked for; the store "
        f"{'would have' if creates else 'has'} labels {extent}, none of which is chosen: correct the times"
        f"{'' if creates else ', or extend the store by --overwrite-chunks --overwrite-metadata --end'}"
    )


def _refuse_unknown(template: TemplateConfig, stores: StoreSet, root_run: str) -> None:
    """As `refuse_unknown_run`, but where all that stands are shards of a run that ended within its first variable.

    It has left no name, and nobody else has anything to lose.
    """
    anonymous = is_published(stores.primary) and not ledger_partitions(stores.internal)
    if not anonymous or _is_blank(template, stores):
        refuse_unknown_run(template, stores.internal, root_run)


def _is_blank(template: TemplateConfig, stores: StoreSet) -> bool:
    """Whether a standing store holds metadata alone: nobody has committed a partition of it, and no shard is there."""
    if ledger_partitions(stores.internal):
        return False
    return not any(stores.primary.list(chunks_prefix(name)) for name in template.variables)


def _text(time: Timestamp) -> str:
    return f"{time:%Y-%m-%dT%H:%M}"


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
    end, partitions, writes_metadata = _plan(
        dataset, workspace, request, now, resumes="" if root_run == run_id else root_run
    )
    if writes_metadata:
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
