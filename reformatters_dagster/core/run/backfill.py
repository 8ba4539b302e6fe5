"""A backfill without an orchestrator: which partitions a request means, and then one after the other.

In: a request, a dataset, the places of a deployment, and the time it is. Out: a report.
"""

from typing import NamedTuple

from reformatters_dagster.core.job.context import OnProgress, ignore_progress
from reformatters_dagster.core.job.folder import refuse_small_disk, sweep_job_folders
from reformatters_dagster.core.ledger.progress import unfinished_runs
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.guards import refuse_empty_history, refuse_other_times, refuse_unknown_run
from reformatters_dagster.core.run.outcomes import RunReport
from reformatters_dagster.core.run.overwrite import CREATE, REWRITE, State, case_of, state_of
from reformatters_dagster.core.run.partition import run_partition, was_committed
from reformatters_dagster.core.run.plan import PartitionRequest, plan_partition
from reformatters_dagster.core.run.targets import check_stores
from reformatters_dagster.core.spec.errors import NoPartition, NothingSucceeded
from reformatters_dagster.core.spec.region import filter_regions, refuse_off_grid, shard_regions
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import MOMENT, Frozen, Time, Timestamp
from reformatters_dagster.core.store.initialise import refuse_early_end
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.template_guards import refuse_unpublished

CLI_RUN = "cli-"
"""How names of runs begin that `--resume` takes. Dagster resumes its own."""


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
    def chooses(self) -> bool:
        """Whether an end, or a choice of shards or variables, is asked for."""
        return any(one is not None for one in (self.start, self.end, self.contains, self.variables))

    def partition(self, label: Timestamp, root_run: str) -> PartitionRequest:
        """What is asked for of one partition."""
        return PartitionRequest(
            label=label, publish=False, variables=self.variables or (), force=self.force, root_run=root_run
        )


class BackfillPlan(NamedTuple):
    """What a backfill is going to write."""

    end: Timestamp
    """The store's metadata covers labels before this."""
    partitions: list[Timestamp]
    """First labels of whole shards, ascending."""
    writes_metadata: bool
    """The store's metadata is created, refreshed or extended first."""


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

    A partition without a single usable file is reported and does not stop the others.

    Parameters
    ----------
    root_run : str, optional
        The name under which progress is kept. With that of an earlier run this one continues where the earlier one ended:
        it does not refuse the store that one created, nor repeat what was uploaded and committed. A partition is done again
        if it is asked for with other variables than earlier attempts have committed.

    Raises
    ------
    Refused
        As `plan_backfill`, before anything is written.
    TmpDiskFull
        When the tmp disk has too little room: before a store is created.
    """
    resumes = "" if root_run == run_id else root_run
    plan = plan_backfill(dataset, workspace, request, now, resumes=resumes)
    if plan.writes_metadata:
        _refuse_small_disk(dataset, workspace, plan, now)
        dataset.initialise(workspace, plan.end, now)
    report, variables = RunReport(plan.partitions), request.variables or tuple(dataset.template_config.variables)
    for at, label in enumerate(plan.partitions):
        on_progress("partitions", at, len(plan.partitions))
        if was_committed(dataset, workspace, label, variables, run_id=run_id, root_run=root_run):
            report.done_before.append(label)
            continue
        partition = plan_partition(dataset, workspace, request.partition(label, root_run), now)
        try:
            commit = run_partition(dataset, workspace, partition, run_id=run_id, on_progress=on_progress)
        except NothingSucceeded as error:
            report.failures[label] = str(error)
        else:
            report.commits.append(commit)
    return report


def plan_backfill(
    dataset: DynamicalDataset, workspace: Workspace, request: BackfillRequest, now: Timestamp, *, resumes: str = ""
) -> BackfillPlan:
    """Decide, without writing, how far the store will reach and which partitions a backfill is going to write.

    What it does with the store it finds is the table of `overwrite`.

    Parameters
    ----------
    resumes : str, optional
        The earlier run that is continued.

    Raises
    ------
    Refused
        A child of it: unknown variable, one the store does not have yet, a time that is no label, times that hold no
        partition, a run that is unknown, options that do not fit the store, drift, a new store that would begin empty.
    """
    template, stores = dataset.template_config, workspace.stores
    axis = template.append_dim
    template.select(request.variables)
    refuse_off_grid(request.contains or (), axis.start, axis.frequency, "--contains")
    _refuse_reversed(request)
    state = state_of(template, stores)
    if resumes and state is not State.UNCOMMITTED:  # the run that left those shards left no name
        refuse_unknown_run(template, stores.internal, resumes)
    case = case_of(
        state,
        chunks=request.overwrite_chunks or (bool(resumes) and not request.overwrite_metadata),
        metadata=request.overwrite_metadata,
        chooses=request.chooses,
        unfinished=lambda: [run for run in unfinished_runs(stores.internal) if run.startswith(CLI_RUN)],
    )
    check_stores(dataset, workspace)
    if case is REWRITE:
        refuse_unpublished(template, workspace, request.variables)
    until = request.end or (now + MOMENT if case.until_now else None)
    if case is CREATE and until is not None:
        refuse_early_end(template, until)
    ends = [until] if case.extends and until is not None else []
    if state is not State.ABSENT:
        ends.append(published_labels(stores.primary, axis.name)[-1] + axis.frequency)
    end = max(ends)
    partitions = _choose(template, request, end, until) if case.shards else []
    if partitions:
        refuse_other_times(template, partitions[-1], now)
        if state is State.ABSENT and not dataset.start_is_chosen:
            refuse_empty_history(template, partitions[0])
    elif case in {CREATE, REWRITE}:
        raise NoPartition(_explain_no_partition(template, request, end, creates=case is CREATE))
    return BackfillPlan(end, partitions, case.metadata)


def _refuse_small_disk(dataset: DynamicalDataset, workspace: Workspace, plan: BackfillPlan, now: Timestamp) -> None:
    """Refuse a tmp disk on which the first partition cannot be made, once what killed jobs have left there is gone."""
    context, template_ds = dataset.context(workspace, now), dataset.template_config.get_template(plan.end)
    workspace.tmp.mkdir(parents=True, exist_ok=True)
    for job in dataset.region_job.get_jobs(context, template_ds, contains=plan.partitions[:1]):
        sweep_job_folders(job)
        refuse_small_disk(job)


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


def _text(time: Timestamp) -> str:
    return f"{time:%Y-%m-%dT%H:%M}"
