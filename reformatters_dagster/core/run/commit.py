"""Results of a partition's region jobs to a store that readers see, and to the ledger.

In: a plan and what became of each of its groups. Out: metadata and ledger entry, or a refusal that leaves both as they were.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import xarray as xr

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry, previous_entry, write_ledger
from reformatters_dagster.core.run.accounting import account_for, ingested_lengths
from reformatters_dagster.core.run.plan import CommitReport, GroupOutcome, PartitionPlan
from reformatters_dagster.core.source.files import FileResult, Results
from reformatters_dagster.core.spec.errors import NothingSucceeded, OutcomeMissing, OutcomeOvertaken
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.ingested_lengths import merge_ingested_lengths
from reformatters_dagster.core.store.metadata import put_template
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)


def commit_outcomes(
    job: RegionJob[Any],
    workspace: Workspace,
    plan: PartitionPlan,
    outcomes: Sequence[GroupOutcome],
    *,
    run_id: str,
    now: Timestamp,
) -> CommitReport:
    """Publish what the region jobs of a plan made, where the plan says so: forecast lengths, metadata, then the ledger.

    Parameters
    ----------
    job : RegionJob
        Of the plan's partition and all its variables.

    Raises
    ------
    OutcomeMissing, OutcomeOvertaken, NothingSucceeded, Retraction
        See `DynamicalDataset.commit_partition`, which holds the lease meanwhile.
    """
    template = job.context.template_config
    results: Results = {name: files for outcome in outcomes for name, files in outcome.results.items()}
    standing = previous_entry(workspace.stores.internal, plan.label)
    subject = f"{template.dataset_id} partition {plan.label:%Y-%m-%dT%H:%M}"
    _refuse_missing_outcome(subject, plan, results)
    _refuse_overtaken(subject, plan.root_run or run_id, outcomes, standing)
    stats = sum((outcome.stats for outcome in outcomes), JobStats())
    is_out = any(file.was_refused for own in results.values() for file in own)
    if not _is_worth_a_commit(results, standing) and not (plan.accept_missing and (plan.force or not is_out)):
        raise NothingSucceeded(_explain_failure(subject, results))
    # A partition before the last one fills what is published already; only the last can grow the extent. Another run may have
    # published a later one since the plan was made.
    published = len(published_labels(workspace.stores.primary, job.append_dim))
    grows = plan.publish and job.region.stop >= max(len(job.template_ds.indexes[job.append_dim]), published)
    template_ds = job.template_ds
    if grows and not plan.accept_missing:
        template_ds = _publishable(job, results, stats.kept)
        if plan.force or stats.kept or standing is not None or job.context.publish_policy == "all":
            template_ds = _not_shorter_than(published, job, template_ds)
    labels = int(template_ds.sizes[job.append_dim])
    if not labels:
        raise NothingSucceeded(
            f"{subject} is the archive's first; some variables have no file of it, and the dataset publishes a label once "
            "all have: nothing was published"
        )
    entry = account_for(job, results, stats, previous=standing, labels=labels, run_id=run_id, now=now)
    entry = entry.model_copy(
        update={
            "root_run": plan.root_run or run_id,
            "upstream": plan.upstream,
            "published": plan.publish,
            "retry": is_out or any(_may_be_had_later(results[name]) for name in stats.kept),
            "known_missing": plan.accept_missing and not entry.is_complete,
        }
    )
    merge_ingested_lengths(template_ds, workspace, ingested_lengths(template, entry))
    if grows:
        put_template(template_ds, workspace)
    write_ledger(workspace.stores.internal, entry)
    log.info("dataset=%s partition=%s labels=%d", template.dataset_id, plan.label, labels)
    return CommitReport(plan, results, stats, entry, labels)


def _refuse_missing_outcome(subject: str, plan: PartitionPlan, results: Results) -> None:
    if missing := sorted(set(plan.variables) - results.keys()):
        raise OutcomeMissing(
            f"{subject} was to be committed with {len(plan.variables)} variables; {', '.join(missing)} were not processed: "
            "process them first, or run the whole partition again"
        )


def _refuse_overtaken(
    subject: str, root_run: str, outcomes: Sequence[GroupOutcome], standing: LedgerEntry | None
) -> None:
    """Refuse to commit shards that another run may have replaced since they were written."""
    built_on = {outcome.built_on for outcome in outcomes} - {None}
    if standing is not None and standing.root_run != root_run and built_on - {standing.run_id}:
        raise OutcomeOvertaken(
            f"{subject} was to be committed by run {root_run!r}; run {standing.run_id!r} has committed it since the shards "
            "were written, and may have replaced them: nothing was published; run the whole partition again"
        )


def _publishable(job: RegionJob[Any], results: Results, kept: Collection[str]) -> xr.Dataset:
    """The template cut to what the results allow; a variable whose shards were kept has nothing new to show."""
    if kept and job.context.publish_policy == "all":
        return job.update_template_with_results({})
    return job.update_template_with_results({name: files for name, files in results.items() if name not in kept})


def _not_shorter_than(published: int, job: RegionJob[Any], template_ds: xr.Dataset) -> xr.Dataset:
    """The template, at least as far as readers see: shards were kept or given up, or somebody insists on fewer files.

    Where the ledger knows nothing of the partition, and nothing was kept, none of that explains it: `Retraction` is raised later.
    """
    dim = job.append_dim
    return template_ds if template_ds.sizes[dim] >= published else job.template_ds.isel({dim: slice(0, published)})


def _is_worth_a_commit(results: Results, standing: LedgerEntry | None) -> bool:
    """Whether a file was read; or, where published ones are kept, whether others are not there yet, or as bad as before."""
    files = [file for own in results.values() for file in own]
    if any(file.was_read for file in files):
        return True
    known = standing.variables if standing is not None else {}
    missing = {(name, one.file) for name, coverage in known.items() for one in coverage.missing}
    return any(file.succeeded for file in files) and all(
        file.succeeded
        or file.is_absent
        or not file.was_tried
        or (not file.was_refused and (name, file.coord.key()) in missing)
        for name, own in results.items()
        for file in own
    )


def _may_be_had_later(files: Sequence[FileResult]) -> bool:
    return any(not file.succeeded and not file.is_absent for file in files)


def _explain_failure(subject: str, results: Results) -> str:
    wanted = sum(len(files) for files in results.values())
    told = f"{subject} wanted {wanted} files for {len(results)} variables; none succeeded, nothing was published"
    reasons = [file.reason or file.status for files in results.values() for file in files if not file.succeeded]
    if not reasons:
        return f"{told}. No file is expected"
    kinds = Counter(reason.partition(":")[0] for reason in reasons)
    kind, count = kinds.most_common(1)[0]
    example = next(reason for reason in reasons if reason.partition(":")[0] == kind)
    return (
        f"{told}. Most frequent kind of error ({'once' if count == 1 else f'{count} times, here the first'}): {example}"
    )
