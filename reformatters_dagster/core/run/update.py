"""One operational update: which partitions are due, each committed before the next, and when a hole is given up.

In: a dataset, its places, the time it is. Out: a `RunReport`; readers see more, or what they saw before.
"""

import logging
from collections.abc import Sequence

from reformatters_dagster.core.job.context import OnProgress, ignore_progress
from reformatters_dagster.core.ledger.entries import was_recorded
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.outcomes import CommitReport, RunReport
from reformatters_dagster.core.run.partition import run_partition, was_committed
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.spec.errors import NothingSucceeded, SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

LOOK_AHEAD = 4
"""Later partitions that are listed, to see whether the upstream has gone on after one that never came."""


def update_store(
    dataset: Declaration,
    workspace: Workspace,
    *,
    run_id: str,
    now: Timestamp,
    root_run: str = "",
    on_progress: OnProgress = ignore_progress,
) -> RunReport:
    """Make the last published partition again, then every later one, and commit each before the next.

    A partition without usable files stops the update, unless it is wholly published: readers keep what they see of it. So
    does one that could not be published to its end.

    Raises
    ------
    NothingSucceeded
        When partitions that were written before could not be read again, and nothing was committed: the upstream is out.
    """
    template = dataset.template_config
    published = published_labels(workspace.stores.primary, template.append_dim.name)
    jobs = dataset.region_job.operational_update_jobs(dataset.context(workspace, now), published, end=now + MOMENT)
    report = RunReport([job.label for job in jobs])
    outage: NothingSucceeded | None = None
    for i, label in enumerate(report.partitions):
        on_progress("partitions", i, len(report.partitions))
        is_published = len(published) > 0 and label <= published[-1]
        is_whole = is_published and _last_label(dataset, label) <= published[-1]
        if is_whole and was_committed(
            dataset, workspace, label, tuple(template.variables), run_id=run_id, root_run=root_run
        ):
            report.done_before.append(label)
            continue
        request = PartitionRequest(label=label, publish=True, root_run=root_run)
        plan = plan_partition(dataset, workspace, request, now)
        later = [] if is_published else report.partitions[i + 1 :]
        try:
            commit = _run(dataset, workspace, plan, later, run_id=run_id, on_progress=on_progress)
        except NothingSucceeded as error:
            report.failures[label] = str(error)
            if error.awaited:
                report.awaited.append(label)
            if is_published and was_recorded(workspace.stores.internal, label):
                outage = outage or error
                report.unread.append(label)
            if is_whole:
                continue
            break
        report.commits.append(commit)
        if not _reaches_its_end(dataset, commit):
            break
    if outage is not None and not report.commits:
        raise outage
    return report


def _run(
    dataset: Declaration,
    workspace: Workspace,
    plan: PartitionPlan,
    later: Sequence[Timestamp],
    *,
    run_id: str,
    on_progress: OnProgress,
) -> CommitReport:
    """Carry out a plan. Past the give-up age carry it out again, accepting what is missing.

    ====================================  =============================================================
    past the give-up age, the first try   the second
    ====================================  =============================================================
    commits the partition to its end      is not made
    commits less                          gives up the rest, unless archives merely refuse it
    has no usable file                    gives up the partition, once one of the `later` ones arrives
    ====================================  =============================================================
    """
    is_old = plan.now - _last_label(dataset, plan.label) >= dataset.give_up_age
    giving_up = plan.model_copy(update={"request": plan.request.model_copy(update={"accept_missing": True})})
    try:
        commit = run_partition(dataset, workspace, plan, run_id=run_id, on_progress=on_progress)
    except NothingSucceeded:
        if not is_old or not _has_any_arrived(dataset, workspace, later[:LOOK_AHEAD], plan.now):
            raise
        return run_partition(dataset, workspace, giving_up, run_id=run_id, on_progress=on_progress)
    if is_old and not _reaches_its_end(dataset, commit):
        try:
            return run_partition(dataset, workspace, giving_up, run_id=run_id, on_progress=on_progress)
        except NothingSucceeded as error:
            log.warning("partition=%s is not given up yet: %s", partition_key(plan.label), error)
    return commit


def _last_label(dataset: Declaration, label: Timestamp) -> Timestamp:
    """Last label of the shard that starts at a label."""
    template = dataset.template_config
    return label + template.shard_duration - template.append_dim.frequency


def _reaches_its_end(dataset: Declaration, commit: CommitReport) -> bool:
    """Whether readers see a partition to its end after its commit."""
    axis = dataset.template_config.append_dim
    newest = axis.start + (commit.labels - 1) * axis.frequency
    return bool(newest >= _last_label(dataset, commit.plan.label))


def _has_any_arrived(dataset: Declaration, workspace: Workspace, labels: Sequence[Timestamp], now: Timestamp) -> bool:
    try:
        return any(find_arrivals(dataset, workspace, label, now).present for label in labels)
    except SourceFileUnavailable as error:
        log.warning("arrivals of later partitions could not be listed: %s", error)
        return False
