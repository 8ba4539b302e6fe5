"""`DynamicalDataset`: one dataset's template, region job, archives and validators, bound together.

Three steps make a partition wherever they run: `plan_partition`, `process_group` for each group of variables,
`commit_partition`. Dagster runs them as ops; `run_partition` one after the other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self
from uuid import uuid4

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.validators import CheckResult, Validator, run_validators
from reformatters_dagster.core.job.context import FOUR_DAYS, JobContext, JobStats, OnProgress, ignore_progress
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.changes import PublishedShard
from reformatters_dagster.core.ledger.entries import LedgerEntry, LedgerView, VariableCoverage, previous_entry
from reformatters_dagster.core.ledger.lease import DEFAULT_TERMS, LeaseTerms, hold_lease
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker
from reformatters_dagster.core.run.arrivals import Arrivals, find_arrivals
from reformatters_dagster.core.run.commit import commit_outcomes
from reformatters_dagster.core.run.guards import (
    refuse_gap,
    refuse_other_times,
    refuse_outdated,
    refuse_overwrite,
    refuse_part,
    refuse_too_short,
)
from reformatters_dagster.core.run.plan import CommitReport, GroupOutcome, PartitionPlan, RunReport
from reformatters_dagster.core.run.replicas import mend_replicas, tolerant
from reformatters_dagster.core.source.files import Results, load_result
from reformatters_dagster.core.spec.errors import NothingSucceeded, Retraction, SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import JSON, MOMENT, Frozen, Names, Timedelta, Timestamp
from reformatters_dagster.core.store.initialise import create_store, initialise_store
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import is_published, published_labels
from reformatters_dagster.core.store.replica_guards import refuse_lagging_replicas
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.core.store.stores import StoreSet
from reformatters_dagster.core.store.template_guards import check_store, refuse_unpublished

log = logging.getLogger(__name__)


class Resources(Frozen):
    """What one run needs on Kubernetes."""

    cpu: str = "2"
    memory: str = "4Gi"
    ephemeral_storage: str = "20Gi"


DEFAULT_RESOURCES = Resources()
SIX_HOURS, TEN_MINUTES, THIRTY_MINUTES = Timedelta("6h"), Timedelta("10min"), Timedelta("30min")
LOOK_AHEAD = 4
"""Partitions that are listed to see whether the upstream has gone on after one of which nothing came."""


@dataclass(frozen=True, kw_only=True)
class DynamicalDataset:
    """One dataset: what it is, how it is made, where it comes from, how it is checked."""

    template_config: TemplateConfig
    region_job: type[RegionJob[Any]]
    archives: tuple[SourceArchive, ...]
    validators: tuple[Validator, ...] = ()
    publish_policy: Literal["any", "all"] = "any"
    """Publish up to the newest label of `any` variable, or only to where `all` have one."""
    replicas: Literal["required", "best_effort"] = "required"
    """Whether a replica that is down stops an update before the primary moves, or is marked as degraded and mended later."""
    soft_deadline: Timedelta = SIX_HOURS
    """After an append label, an update starts with whatever has arrived."""
    quiet: Timedelta = TEN_MINUTES
    """A shard of many labels is continued when no file of it has arrived for so long: they come in bunches."""
    heal_cool_down: Timedelta = THIRTY_MINUTES
    """Least time between two runs that fill holes of one partition."""
    give_up_age: Timedelta = FOUR_DAYS
    """After an append label, files that are missing are known to be, and no longer waited for."""
    buffer_bytes: int = 2 * 2**30
    """Most memory for the values of one variable; larger ones are kept on the tmp disk and worked on in pieces."""
    lease_terms: LeaseTerms = DEFAULT_TERMS
    validate_cron: str = "30 */6 * * *"
    """When validators run by themselves, UTC: after an update is due."""
    resources: Resources = DEFAULT_RESOURCES
    """Of each pod."""
    pods: Literal["run", "group"] = "run"
    """On Kubernetes, whether a run of one of the dataset's jobs is one pod, or each group of variables has its own."""

    @property
    def dataset_id(self) -> str:
        return self.template_config.dataset_id

    @property
    def provider(self) -> str:
        return self.dataset_id.split("-")[0]

    @property
    def name(self) -> str:
        """The id within its provider, as an identifier."""
        return self.dataset_id.split("-", 1)[1].replace("-", "_")

    def started_by(self, settings: Settings) -> Self:
        """The dataset with its archive starting where a deployment wants it to."""
        return replace(self, template_config=settings.start_of(self.template_config))

    def workspace(self, settings: Settings, patience: Patience | None = None) -> Workspace:
        """Open the stores and archives of this dataset; `patience` says how long archives are waited for."""
        return settings.workspace(self.template_config, self.archives, patience)

    def context(
        self,
        workspace: Workspace,
        now: Timestamp,
        *,
        run_id: str | None = None,
        force: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> JobContext:
        """What the jobs of one run share; it knows what the ledger says of published shards."""

        def coverage(label: Timestamp, variable: str) -> VariableCoverage | None:
            entry = previous_entry(workspace.stores.internal, label)
            return entry.variables.get(variable) if entry else None

        return JobContext(
            template_config=self.template_config,
            stores=workspace.stores,
            upstream=workspace.upstream,
            tmp=workspace.tmp,
            now=now,
            run_id=run_id or uuid4().hex,
            publish_policy=self.publish_policy,
            coverage=coverage,
            buffer_bytes=self.buffer_bytes,
            give_up_age=self.give_up_age,
            force=force,
            on_progress=on_progress,
        )

    def plan_partition(
        self,
        workspace: Workspace,
        label: Timestamp,
        *,
        now: Timestamp,
        publish: bool,
        variables: Names | None = None,
        overwrite_chunks: bool = True,
        force: bool = False,
        keep_published: bool = False,
        accept_missing: bool = False,
        upstream: str = "",
        root_run: str = "",
    ) -> PartitionPlan:
        """Check that a partition can be made, create the store where a backfill may, and cut the work into groups.

        Parameters
        ----------
        label : Timestamp
            First label of the partition's shard.
        publish : bool
            An operational update, whose commit grows the metadata; otherwise a backfill of what the metadata covers.
        overwrite_chunks : bool
            Whether a backfill may rewrite a partition that the ledger knows.
        keep_published : bool
            Whether a backfill downloads only what the published shards lack, as an update does; in a partition of one label
            that is everything.
        variables : names, optional
            Default: all; an update of new labels is of all.
        force, accept_missing, upstream, root_run
            As in the `PartitionPlan` they become part of.

        Raises
        ------
        Refused
            A child of it says what is wrong: label, variable, drift, a store too short, a gap.
        """
        template = self.template_config
        refuse_other_times(template, label, now)
        selected = template.select(variables or None)
        groups = tuple(tuple(v.name for v in group) for group in self.region_job.source_groups(selected))
        if not publish and not is_published(workspace.stores.primary):
            create_store(template, self._for_metadata(workspace), now + MOMENT)
        self.check_stores(workspace)
        if publish and self.replicas == "best_effort":
            mend_replicas(workspace.stores, root_run or uuid4().hex, self.lease_terms)
        published = published_labels(workspace.stores.primary, template.append_dim.name)
        published_end = published[-1] + template.append_dim.frequency if len(published) else template.append_dim.start
        if publish:
            refuse_gap(template, label, published_end)
            end = max(published_end, min(label + template.shard_duration, now + MOMENT))
            if end > published_end:
                refuse_part(template, label, selected)
        else:
            refuse_unpublished(template, workspace, variables or None)
            refuse_too_short(template, label, published_end, self.job_name)
            if not overwrite_chunks:
                refuse_overwrite(template, label, workspace.stores.internal)
            end = published_end
        continues = (publish or keep_published) and not force and template.shard_length > 1
        return PartitionPlan(
            label=label,
            end=end,
            publish=publish,
            groups=groups,
            now=now,
            force=force,
            accept_missing=accept_missing,
            upstream=upstream,
            root_run=root_run,
            continues=continues,
            redo=self._published_again(workspace, label, now) if continues else (),
        )

    def check_stores(self, workspace: Workspace) -> None:
        """Refuse a store that the template does not describe, and a required replica that lacks what the primary has.

        Raises
        ------
        TemplateDrift, StoreMissing, StoreTooShort
            See `check_store` and `refuse_lagging_replicas`.
        """
        check_store(self.template_config, workspace)
        if self.replicas == "required":
            refuse_lagging_replicas(self.template_config, workspace)

    def _for_metadata(self, workspace: Workspace) -> Workspace:
        """The places to write metadata to, all of which have what the primary has."""
        if self.replicas == "required":
            refuse_lagging_replicas(self.template_config, workspace)
        if self.replicas == "required" or not workspace.stores.replicas:
            return workspace
        return replace(workspace, stores=tolerant(workspace.stores, self.template_config))

    def _published_again(self, workspace: Workspace, label: Timestamp, now: Timestamp) -> tuple[str, ...]:
        """Keys of files of a partition that the upstream lists in another version than the ledger."""
        entry = previous_entry(workspace.stores.internal, label)
        if entry is None:
            return ()
        try:
            arrivals = self.arrivals(workspace, label, now, entry)
        except SourceFileUnavailable as error:
            log.warning("partition=%s may have files that were published again: %s", partition_key(label), error)
            return ()
        return entry.published_again(arrivals.etags)

    def arrivals(
        self, workspace: Workspace, label: Timestamp, now: Timestamp, entry: LedgerEntry | None = None
    ) -> Arrivals:
        """What has arrived upstream for a partition; files past the give-up age are as its ledger entry has them."""
        context = self.context(workspace, now)
        # By whole days, so that what is listed, and its fingerprint, do not change with every hour.
        settled_before = (now - self.give_up_age).floor("1D")
        return find_arrivals(self.region_job, context, label, known=entry, settled_before=settled_before)

    def job_name(self, kind: str) -> str:
        """Name of one of the dataset's Dagster jobs."""
        return f"{self.provider}_{self.name}__{kind}"

    def job(self, context: JobContext, plan: PartitionPlan, variables: Sequence[str]) -> RegionJob[Any]:
        """The region job of one group of a plan."""
        template_ds = self.template_config.get_template(plan.end)
        (job,) = self.region_job.get_jobs(context, template_ds, contains=[plan.label], variables=variables)
        return job

    def process_group(self, context: JobContext, plan: PartitionPlan, variables: Sequence[str]) -> GroupOutcome:
        """Run one region job of a plan, holding the partition's lease: see `RegionJob.process`.

        The lease stays when the job ends well, for the commit of the same run.

        Raises
        ------
        LeaseHeld
            When another run is writing the partition.
        PlanOutdated
            When labels of the shard have been published since that the plan does not know: it would blank them.
        """
        internal, partition = context.stores.internal, partition_key(plan.label)
        terms, holder = self.lease_terms, plan.root_run or context.run_id
        tracker = UpdateProgressTracker(internal, partition, holder, self.region_job.source_file_coord)
        beside = self.pods == "group" and set(variables) != set(plan.variables)
        with hold_lease(
            internal, partition, holder, attempt=context.run_id, keep=True, keep_on_error=beside, terms=terms
        ) as check_lease:
            context = replace(context, stores=self._writable(context.stores, plan))
            refuse_outdated(self.template_config, plan, context.stores.primary)
            standing = previous_entry(internal, plan.label)  # nobody else moves it now
            published = self._published_shard(standing, plan) if plan.continues else None
            context = replace(
                context, published=published, tracker=tracker, uploads=tracker.uploads(), check_writer=check_lease
            )
            job = self.job(context, plan, variables)
            results = job.process()
            check_lease()
        return GroupOutcome(results, job.stats, "" if standing is None else standing.run_id)

    def _writable(self, stores: StoreSet, plan: PartitionPlan) -> StoreSet:
        """The stores to write a partition to; see `replicas`."""
        if self.replicas == "required" or not stores.replicas:
            return stores
        shard = (plan.label - self.template_config.append_dim.start) // self.template_config.shard_duration
        return tolerant(stores, self.template_config, partition_key(plan.label), int(shard))

    def _published_shard(self, entry: LedgerEntry | None, plan: PartitionPlan) -> PublishedShard | None:
        """What the ledger tells of the shard; None where that is of another version."""
        if entry is None or entry.version != self.template_config.dataset_version:
            return None
        # Somebody who backfills wants holes filled whatever their age; updates come by again and again.
        since = plan.now - self.give_up_age if plan.publish else None
        return PublishedShard(entry, frozenset(plan.redo), since)

    def read_outcome(self, dumped: JSON) -> GroupOutcome:
        """The inverse of `GroupOutcome.to_json`."""
        results: Results = {
            name: [load_result(self.region_job.source_file_coord, result) for result in found]
            for name, found in dumped["results"].items()
        }
        return GroupOutcome(results, JobStats.from_json(dumped["stats"]), dumped.get("built_on"))

    def commit_partition(
        self,
        workspace: Workspace,
        plan: PartitionPlan,
        outcomes: Sequence[GroupOutcome],
        *,
        run_id: str,
        now: Timestamp,
    ) -> CommitReport:
        """Account for what the region jobs of a plan made, and publish it where the plan says so.

        Ingested forecast lengths, then metadata (update only), then the ledger.

        Raises
        ------
        OutcomeMissing
            When a variable of the plan is in no outcome: it would be a hole nobody looks for.
        OutcomeOvertaken
            When another run has committed the partition since the region jobs began: the shards may be its own.
        NothingSucceeded
            When no file of any variable could be used, unless that was accepted; store and ledger stay as they are.
        Retraction
            When the results reach less far than what readers already see.
        LeaseHeld
            When another run took the partition over meanwhile.
        """
        internal, partition = workspace.stores.internal, partition_key(plan.label)
        holder = plan.root_run or run_id
        with hold_lease(internal, partition, holder, attempt=run_id, terms=self.lease_terms) as check_lease:
            workspace = replace(workspace, stores=self._writable(workspace.stores, plan))
            try:
                job = self.job(self.context(workspace, plan.now), plan, plan.variables)
                report = commit_outcomes(job, workspace, plan, outcomes, run_id=run_id, now=now)
            except Retraction:
                check_lease()  # it is not the upstream that went back, if another writer was faster
                raise
            # Before the lease goes: the next writer notes its own uploads.
            UpdateProgressTracker(internal, partition, holder, self.region_job.source_file_coord).clear(report.told)
        return report

    def run_partition(
        self, workspace: Workspace, plan: PartitionPlan, *, run_id: str, on_progress: OnProgress = ignore_progress
    ) -> CommitReport:
        """Carry out a plan in this process; raises what `process_group` and `commit_partition` raise."""
        context = self.context(workspace, plan.now, run_id=run_id, force=plan.force, on_progress=on_progress)
        outcome = self.process_group(context, plan, plan.variables)
        return self.commit_partition(workspace, plan, [outcome], run_id=run_id, now=plan.now)

    def was_committed(self, workspace: Workspace, label: Timestamp, *, run_id: str, root_run: str) -> bool:
        """Whether an earlier attempt of a run has committed a partition; what it left of lease and progress goes.

        It may have been killed between its commit and its end.
        """
        internal, partition = workspace.stores.internal, partition_key(label)
        entry = None if root_run in {"", run_id} else previous_entry(internal, label)
        if entry is None or entry.root_run != root_run:
            return False
        with hold_lease(internal, partition, root_run, attempt=run_id, terms=self.lease_terms):
            tracker = UpdateProgressTracker(internal, partition, root_run, self.region_job.source_file_coord)
            tracker.clear([name for name, upload in tracker.uploads().items() if tracker.is_own(upload)])
        return True

    def reformat_operational_update(
        self,
        workspace: Workspace,
        *,
        run_id: str,
        now: Timestamp,
        root_run: str = "",
        on_progress: OnProgress = ignore_progress,
    ) -> RunReport:
        """One operational update: the last published shard again, then every one since, each committed before the next.

        It stops at the first partition beyond the published extent of which nothing is there yet, or that could not be
        published to its end. Past the give-up age what lacks its end is published as known missing, and so is one of which
        nothing came while a later one has begun to arrive.

        Parameters
        ----------
        root_run : str, optional
            Under which progress is kept. That of an earlier run goes on where it ended: what it has uploaded and committed
            is not done again.

        Raises
        ------
        NothingSucceeded
            When a partition that was written before could not be read again, and nothing of later ones either: the upstream is
            out, and nothing was touched.
        Refused
            As `plan_partition`.
        """
        axis, length = self.template_config.append_dim, self.template_config.shard_duration
        published = published_labels(workspace.stores.primary, axis.name)
        jobs = self.region_job.operational_update_jobs(self.context(workspace, now), published, end=now + MOMENT)
        report = RunReport([job.label for job in jobs])
        outage: NothingSucceeded | None = None
        for i, label in enumerate(report.partitions):
            is_published = len(published) > 0 and label <= published[-1]
            is_whole = len(published) > 0 and label + length <= published[-1] + axis.frequency
            if is_whole and self.was_committed(workspace, label, run_id=run_id, root_run=root_run):
                report.done_before.append(label)
                continue
            plan = self.plan_partition(workspace, label, now=now, publish=True, root_run=root_run)
            later = [] if is_published else report.partitions[i + 1 :]
            try:
                commit = self._update_partition(workspace, plan, later, run_id=run_id, on_progress=on_progress)
            except NothingSucceeded as error:
                report.failures[label] = str(error)
                if is_published and previous_entry(workspace.stores.internal, label) is not None:
                    outage = outage or error
                    report.unread.append(label)
                if is_whole:
                    continue
                break
            report.commits.append(commit)
            if axis.start + commit.labels * axis.frequency < label + length:
                break
        if outage is not None and not report.commits:
            raise outage
        return report

    def _update_partition(
        self,
        workspace: Workspace,
        plan: PartitionPlan,
        later: Sequence[Timestamp],
        *,
        run_id: str,
        on_progress: OnProgress,
    ) -> CommitReport:
        """Carry out a plan; what nobody makes any more is given up past its age, unless archives merely refuse it.

        A shard's end is, and so is all of a partition, where nothing came, once one of those `later` has begun to arrive.
        """
        axis, ends = self.template_config.append_dim, plan.label + self.template_config.shard_duration
        is_old = plan.now - (ends - axis.frequency) >= self.give_up_age
        giving_up = plan.model_copy(update={"accept_missing": True})
        try:
            commit = self.run_partition(workspace, plan, run_id=run_id, on_progress=on_progress)
        except NothingSucceeded:
            if not is_old or not self._has_any_arrived(workspace, later[:LOOK_AHEAD], plan.now):
                raise
            return self.run_partition(workspace, giving_up, run_id=run_id, on_progress=on_progress)
        if is_old and axis.start + commit.labels * axis.frequency < ends:
            try:
                return self.run_partition(workspace, giving_up, run_id=run_id, on_progress=on_progress)
            except NothingSucceeded as error:
                log.warning("partition=%s is not given up yet: %s", partition_key(plan.label), error)
        return commit

    def _has_any_arrived(self, workspace: Workspace, labels: Sequence[Timestamp], now: Timestamp) -> bool:
        try:
            return any(self.arrivals(workspace, label, now).present for label in labels)
        except SourceFileUnavailable as error:
            log.warning("what has arrived of later partitions could not be listed: %s", error)
            return False

    def initialise(self, workspace: Workspace, end: Timestamp | None, now: Timestamp) -> int:
        """Create or extend the store's metadata to labels before `end` (default: up to now); return how many it covers."""
        return initialise_store(self.template_config, self._for_metadata(workspace), end or now + MOMENT, now)

    def validate(
        self,
        store: Store,
        now: Timestamp,
        validators: Sequence[Validator] | None = None,
        *,
        internal: Store | None = None,
    ) -> list[CheckResult]:
        """Ask validators (default: all) of one store as its readers see it.

        Parameters
        ----------
        internal : Store, optional
            Where the ledger of this store is; without it validators that need one are left out.
        """
        ledger = None
        if internal is not None:
            ledger = LedgerView(partial(previous_entry, internal), self.soft_deadline, self.give_up_age)
        opened = OpenedStore.of(store, self.template_config, ledger)
        return run_validators(self.validators if validators is None else validators, opened, now)
