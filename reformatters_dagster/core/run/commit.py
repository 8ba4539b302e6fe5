"""The last step of a partition's run: readers see what the region jobs made, and the ledger accounts for it.

In: a plan and the outcome of each of its groups. Out: metadata and ledger entry, or a refusal that leaves both as they were.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry, standing_entry, write_ledger
from reformatters_dagster.core.ledger.lease import hold_lease
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.run.accounting import account_for, ingested_lengths
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.outcomes import CommitReport, GroupOutcome, told_variables
from reformatters_dagster.core.run.plan import PartitionPlan
from reformatters_dagster.core.run.process import region_job
from reformatters_dagster.core.run.standing import entry_before
from reformatters_dagster.core.run.targets import stores_for_partition
from reformatters_dagster.core.run.verdict import Growth, Verdict, grow, judge, settle, weigh
from reformatters_dagster.core.source.files import Results
from reformatters_dagster.core.spec.errors import (
    NothingSucceeded,
    ObjectMoved,
    OutcomeMissing,
    OutcomeOvertaken,
    Retraction,
)
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.wording import spell_count
from reformatters_dagster.core.store.ingested_lengths import merge_ingested_lengths
from reformatters_dagster.core.store.location import Expected, Store
from reformatters_dagster.core.store.metadata import put_template
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

FIRST_WAITS = (
    "is the archive's first; some variables have no file of it, and the dataset publishes a label once all have: "
    "nothing was published"
)


def commit_partition(
    dataset: Declaration,
    workspace: Workspace,
    plan: PartitionPlan,
    outcomes: Sequence[GroupOutcome],
    *,
    run_id: str,
    now: Timestamp,
) -> CommitReport:
    """Account for what the region jobs of a plan made, and publish it where the plan says so.

    In this order: ingested forecast lengths, metadata (update only), ledger. Before each put the lease must be held.

    Raises
    ------
    OutcomeMissing
        When no outcome has a variable of the plan: nobody would look for the hole.
    OutcomeOvertaken
        When another run has committed the partition since the region jobs began, or has begun to upload: the shards may be its
        own. Its entry and its notes stay.
    NothingSucceeded
        When the run is not worth a commit, see `judge`; store and ledger stay as they are.
    Retraction
        When the results reach less far than what readers already see.
    LeaseHeld
        When another run took the partition over meanwhile.
    """
    internal, partition = workspace.stores.internal, partition_key(plan.label)
    holder = plan.request.root_run or run_id
    with hold_lease(internal, partition, holder, attempt=run_id, terms=dataset.lease_terms) as check_lease:
        stores = stores_for_partition(dataset, workspace.stores, plan.label).guarded(check_lease)
        workspace = replace(workspace, stores=stores)
        tracker = UpdateProgressTracker(stores.internal, partition, holder, dataset.region_job.source_file_coord)
        _refuse_other_uploads(f"{dataset.dataset_id} partition {partition}", tracker, outcomes)
        try:
            report = _commit(dataset, workspace, plan, outcomes, run_id=run_id, now=now)
        except Retraction:
            check_lease()  # a faster writer, not the upstream, may be why the results reach less far
            raise
        # While the lease is held: the next writer notes its own uploads.
        tracker.clear(report.told)
    return report


def _commit(
    dataset: Declaration,
    workspace: Workspace,
    plan: PartitionPlan,
    outcomes: Sequence[GroupOutcome],
    *,
    run_id: str,
    now: Timestamp,
) -> CommitReport:
    template, request = dataset.template_config, plan.request
    root_run = request.root_run or run_id
    results: Results = {name: files for outcome in outcomes for name, files in outcome.results.items()}
    stats = sum((outcome.stats for outcome in outcomes), JobStats())
    context = dataset.context(workspace, plan.now)
    before, version = entry_before(
        workspace.stores.internal,
        plan.label,
        lambda: region_job(dataset, context, plan, tuple(template.variables)),
    )
    subject = f"{template.dataset_id} partition {plan.label:%Y-%m-%dT%H:%M}"
    _refuse_missing_outcome(subject, plan, results)
    _refuse_overtaken(subject, root_run, outcomes, before)
    goes_on = any(told_variables(results, stats) & set(outcome.goes_on) for outcome in outcomes)
    worth = weigh(results, before, goes_on=goes_on)
    if judge(worth, request) is Verdict.REFUSE:
        raise NothingSucceeded(_explain_failure(subject, results), awaited=_is_awaited(results))
    request = settle(request, worth)

    job = region_job(dataset, context, plan, plan.variables)
    published = len(published_labels(workspace.stores.primary, job.append_dim))
    growth = grow(
        request,
        is_last=job.region.stop >= max(job.template_ds.sizes[job.append_dim], published),
        kept=bool(stats.kept),
        known=before is not None,
        policy=dataset.publish_policy,
    )
    template_ds = _visible(job, results, stats, growth, published)
    labels = int(template_ds.sizes[job.append_dim])
    if not labels:
        raise NothingSucceeded(f"{subject} {FIRST_WAITS}", awaited=_is_awaited(results))
    entry = account_for(job, results, stats, previous=before, labels=labels, run_id=run_id, now=now)
    entry = entry.model_copy(
        update={
            "root_run": root_run,
            **_done_by(root_run, before, results, stats),
            "upstream": request.upstream if _tried_all(results) and not goes_on else "",
            "published": request.publish,
            "retry": worth.refused or _may_be_had_later(results, stats),
            "known_missing": request.accept_missing and not entry.is_complete,
        }
    )
    _refuse_older_attempt(subject, entry, outcomes, before)
    merge_ingested_lengths(template_ds, workspace, ingested_lengths(template, entry))
    if growth is not Growth.STAYS:
        put_template(template_ds, workspace)
    if not _is_told(entry, before):
        _record(workspace.stores.internal, entry, before, version)
    log.info("dataset=%s partition=%s labels=%d", template.dataset_id, plan.label, labels)
    return CommitReport(plan, results, stats, entry, labels, new_labels=max(labels - published, 0))


def _done_by(
    root_run: str, before: LedgerEntry | None, results: Results, stats: JobStats
) -> dict[str, tuple[str, ...]]:
    """Which variables a chain of retries has tried so far, and which it has made."""
    is_first = before is None or before.root_run != root_run
    ran, made = ((), ()) if before is None or is_first else (before.ran, before.made)
    return {
        "ran": tuple(sorted({*ran, *results})),
        "made": tuple(sorted((set(made) - results.keys()) | told_variables(results, stats))),
    }


def _refuse_missing_outcome(subject: str, plan: PartitionPlan, results: Results) -> None:
    if missing := sorted(set(plan.variables) - results.keys()):
        raise OutcomeMissing(
            f"{subject} was to be committed with {len(plan.variables)} variables; {', '.join(missing)} were not processed: "
            "process them first, or run the whole partition again"
        )


def _refuse_overtaken(
    subject: str, root_run: str, outcomes: Sequence[GroupOutcome], before: LedgerEntry | None
) -> None:
    """Refuse to commit shards that another run may have replaced since they were written."""
    built_on = {outcome.built_on for outcome in outcomes} - {None}
    if before is not None and before.root_run != root_run and built_on - {before.run_id}:
        raise OutcomeOvertaken(
            f"{subject} was to be committed by run {root_run!r}; run {before.run_id!r} has committed it since the shards "
            "were written, and may have replaced them: nothing was published; run the whole partition again"
        )


def _refuse_older_attempt(
    subject: str, entry: LedgerEntry, outcomes: Sequence[GroupOutcome], before: LedgerEntry | None
) -> None:
    """Refuse to commit what an attempt wrote before a later attempt of the same run wrote, and committed, something else."""
    if before is None or before.root_run != entry.root_run or _is_told(entry, before):
        return
    attempts = {outcome.made_by for outcome in outcomes} | {entry.run_id}
    built_on = {outcome.built_on for outcome in outcomes} - {None}
    if None in attempts or before.run_id in attempts or not built_on - {before.run_id}:
        return
    raise OutcomeOvertaken(
        f"{subject} was to be committed by attempt {entry.run_id!r} of run {entry.root_run!r}; attempt {before.run_id!r} of that "
        "run has written its shards and committed them since: that entry stays; run the whole partition again if it lacks files"
    )


def _is_told(entry: LedgerEntry, before: LedgerEntry | None) -> bool:
    """Whether an attempt of the same run has accounted for the same before. Its entry stays."""
    return (
        before is not None
        and before.root_run == entry.root_run
        and all(
            getattr(before, what) == getattr(entry, what) for what in ("variables", "etags", "extent", "ran", "made")
        )
    )


def _refuse_other_uploads(subject: str, tracker: UpdateProgressTracker, outcomes: Sequence[GroupOutcome]) -> None:
    """Refuse to commit shards that another run has begun to replace, and has not committed itself."""
    seen = {name: etag for outcome in outcomes for name, etag in outcome.notes.items()}
    if others := tracker.of_others(seen):
        raise OutcomeOvertaken(
            f"{subject} was to be committed; another run has begun to upload {', '.join(sorted(others))} since the shards were "
            "written, and may have replaced them: nothing was published; run the whole partition again"
        )


def _record(internal: Store, entry: LedgerEntry, before: LedgerEntry | None, version: Expected) -> None:
    """Replace the entry that the commit began with. The lease alone cannot stop a put that stalls once it was checked."""
    try:
        write_ledger(internal, entry, only_if=version)
    except ObjectMoved as error:
        found, version = standing_entry(internal, entry.partition)
        if found is not None and (found.run_id, found.written_at) == (entry.run_id, entry.written_at):
            return  # it has landed, and its answer was another
        if found is None or before is None or found.run_id != before.run_id:
            by = "an unknown run" if found is None else f"run {found.run_id!r}"
            raise OutcomeOvertaken(
                f"{entry.dataset_id} partition {entry.partition} was to be accounted for by run {entry.run_id!r}; {by} has "
                "written the ledger entry meanwhile, and may have replaced the shards: that entry stays; run the whole "
                "partition again"
            ) from error
        # A sensor, which holds no lease, has marked the same entry as known missing.
        write_ledger(internal, entry, only_if=version)


def _visible(job: RegionJob[Any], results: Results, stats: JobStats, growth: Growth, published: int) -> xr.Dataset:
    """The template, cut to what readers see after the commit."""
    if growth in {Growth.STAYS, Growth.TO_PLAN}:
        return job.template_ds
    fresh = {name: files for name, files in results.items() if name not in stats.kept}
    # A variable whose shard was kept holds no other back, even under "all": the ledger tells what it lacks.
    template_ds = job.update_template_with_results(fresh)
    if growth is Growth.TO_RESULTS_OR_BEFORE and template_ds.sizes[job.append_dim] < published:
        return job.template_ds.isel({job.append_dim: slice(0, published)})
    return template_ds


def _tried_all(results: Results) -> bool:
    """Whether every file that is not in the shard was asked for: what was not tried does not count as seen."""
    return all(file.succeeded or file.was_tried for files in results.values() for file in files)


def _may_be_had_later(results: Results, stats: JobStats) -> bool:
    """Whether a variable whose shard was kept lacks a file that some archive has."""
    return any(not file.succeeded and not file.is_absent for name in stats.kept for file in results[name])


def _is_awaited(results: Results) -> bool:
    """Whether the upstream has not got that far; it may as well hand over what cannot be used."""
    return all(file.is_absent for files in results.values() for file in files if not file.succeeded)


def _explain_failure(subject: str, results: Results) -> str:
    wanted = sum(len(files) for files in results.values())
    asked = f"{spell_count(wanted, 'field')} of {spell_count(len(results), 'variable')}"
    told = f"{subject} wanted {asked}; none succeeded, nothing was published"
    reasons = [file.reason or file.status for files in results.values() for file in files if not file.succeeded]
    if not reasons:
        return f"{told}. No file is expected"
    kinds = Counter(reason.partition(":")[0] for reason in reasons)
    kind, count = kinds.most_common(1)[0]
    example = next(reason for reason in reasons if reason.partition(":")[0] == kind)
    return (
        f"{told}. Most frequent kind of error ({'once' if count == 1 else f'{count} times, here the first'}): {example}"
    )
