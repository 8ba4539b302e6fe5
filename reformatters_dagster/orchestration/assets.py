"""A dataset as one partitioned graph asset.

In: a `DynamicalDataset`. Out: plan, one region job per group of variables, commit; a partition is one shard.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import CommitReport, GroupOutcome
from reformatters_dagster.core.run.partition import was_committed
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.errors import (
    BeyondExtent,
    ReformatError,
    Refused,
    StoreAccessDenied,
    StoreUnavailable,
)
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.store.settings import Settings, Workspace
from reformatters_dagster.orchestration.checks import check_keys
from reformatters_dagster.orchestration.ending import gone_soon_after_interrupt
from reformatters_dagster.orchestration.lineage import archive_inputs, publication
from reformatters_dagster.orchestration.materialization import materialization_metadata
from reformatters_dagster.orchestration.names import (
    BACKFILL_TAG,
    FINGERPRINT_TAG,
    IMPLICIT_JOB,
    K8S_TAG,
    MODE_TAG,
    SMALL_POD,
    UPDATE,
    asset_key,
)
from reformatters_dagster.orchestration.pages import Pages, page_of
from reformatters_dagster.orchestration.partitions import is_range, labels_of, shard_partitions
from reformatters_dagster.orchestration.pods import NO_PODS, Pods
from reformatters_dagster.orchestration.resources import Reformatters, forget_outputs, utc_now
from reformatters_dagster.orchestration.standing import restate, restate_planned

ATTEMPTS = 3
"""Attempts of a region job inside its op. With the in-process executor, a Dagster retry policy would swallow termination."""


class PartitionConfig(dg.Config):
    """Run config of a partition, as the launchpad and the backfill dialog show it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    variables: list[str] = Field(default=[])
    """Only these variables; empty means all."""
    publish: bool | None = None
    """Operational update: grow the published extent once the chunks are stored. Empty: only the job `__update` does so."""
    overwrite_chunks: bool = True
    """Backfill: partitions that were written before may be written again."""
    keep_published: bool = False
    """Backfill: where a shard holds many labels, download only what the published shards lack."""
    force: bool = False
    """Replace shards even by shards made from fewer source files."""
    accept_missing: bool = False
    """With publish: publish the partition as known missing if it has no file. With force: even if archives refused the files."""

    def request(self, label: Timestamp, run: dg.DagsterRun) -> PartitionRequest:
        """The request of a run: its config, its tags, and the first of the attempts it belongs to.

        Where `publish` is empty, the job decides. The launchpad shows only defaults until a partition is chosen, so the
        default must fit every job.
        """
        return PartitionRequest(
            label=label,
            publish=run.tags.get(MODE_TAG) == UPDATE if self.publish is None else self.publish,
            variables=tuple(self.variables),
            overwrite_chunks=self.overwrite_chunks,
            keep_published=self.keep_published,
            force=self.force,
            accept_missing=self.accept_missing,
            upstream=run.tags.get(FINGERPRINT_TAG, ""),
            root_run=run.root_run_id or run.run_id,
        )


def launched_config(dataset: DynamicalDataset, request: PartitionRequest) -> dict[str, Any]:
    """The run config of a request that a sensor launches; its fingerprint goes into a tag."""
    config = {
        "publish": request.publish,
        "keep_published": request.keep_published,
        "accept_missing": request.accept_missing,
        "variables": list(request.variables),
    }
    return {"ops": {asset_key(dataset).to_python_identifier(): {"config": config}}}


@contextmanager
def refusals_not_retried() -> Iterator[None]:
    """Fail the step at once where a request is refused, with the refusal's own words. A retry would be refused again."""
    try:
        yield
    except Refused as error:
        raise dg.Failure(description=f"{type(error).__name__}: {error}", allow_retries=False) from error


def build_asset(
    dataset: DynamicalDataset, settings: Settings, pages: Pages | None = None, pods: Pods = NO_PODS
) -> dg.AssetsDefinition:
    """The dataset as one partitioned graph asset: plan, one region job per variable group, commit.

    A run of a backfill may be about a range of partitions. Then each mapped step makes a whole partition, from its plan to its
    commit, and reports it, so that one that fails costs the others nothing.
    """
    plan, process_region_job, commit = _plan_op(dataset), _process_op(dataset, pods), _commit_op(dataset, pods)
    archives = archive_inputs(dataset)

    def map_config(config: dict[str, Any]) -> dict[str, Any]:
        return {plan.name: {"config": config}}

    def shards(**upstream: Any) -> Any:
        return commit(plan(**upstream).map(process_region_job).collect())

    # Dagster reads the names of inputs off the signature: a dataset has one for each of its archives.
    shards.__signature__ = Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in archives])  # type: ignore[attr-defined]
    decorate = dg.graph_asset(
        key=asset_key(dataset),
        ins={name: dg.AssetIn(key, dagster_type=dg.Nothing) for name, key in archives.items()},
        partitions_def=shard_partitions(dataset.template_config),
        group_name=dataset.provider,
        **page_of(dataset, settings, pages or Pages(), pods),
        config=dg.ConfigMapping(config_schema=PartitionConfig.to_config_schema(), config_fn=map_config),
        backfill_policy=_backfill_policy(dataset),
    )
    return decorate(shards)


def _backfill_policy(dataset: DynamicalDataset) -> dg.BackfillPolicy | None:
    """None where a run takes one partition: a policy would make a range of it, which has no map of groups to steps."""
    if dataset.partitions_per_run == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.BackfillPolicy.multi_run(dataset.partitions_per_run)


def _plan_op(dataset: DynamicalDataset) -> dg.OpDefinition:
    """The op that checks the request and plans the partition: one dynamic output for each group of variables.

    Of a range, one for each partition, which is planned when its turn has come.
    """

    ins = {name: dg.In(dg.Nothing) for name in archive_inputs(dataset)}

    @dg.op(name=dataset.job_name("plan"), ins=ins, out=dg.DynamicOut(dict), tags={K8S_TAG: SMALL_POD})
    def plan(
        context: dg.OpExecutionContext, config: PartitionConfig, reformatters: Reformatters
    ) -> Iterator[dg.DynamicOutput[JSON]]:
        restate_planned(context.instance, context.run)
        requests = [config.request(label, context.run) for label in labels_of(context.run, dataset.template_config)]
        if is_range(context.run):
            for request in requests:
                yield dg.DynamicOutput({"request": request.model_dump(mode="json")}, f"{request.label:%Y_%m_%dT%H_%M}")
            return
        with refusals_not_retried():
            planned = _planned(context, dataset, reformatters, requests[0])
        if planned is None:
            yield dg.DynamicOutput({"left_to_update": True}, "left_to_update")
            return
        for group in planned.groups:
            job = {"plan": planned.model_dump(mode="json"), "variables": list(group)}
            yield dg.DynamicOutput(job, mapping_key=group[0])

    return plan


def _process_op(dataset: DynamicalDataset, pods: Pods) -> dg.OpDefinition:
    """The op that takes one group of variables from download to upload; of a range, one partition from plan to commit."""

    @dg.op(name=dataset.job_name("process_region_job"), tags={K8S_TAG: pods.of(dataset)})
    def process_region_job(context: dg.OpExecutionContext, reformatters: Reformatters, job: JSON) -> JSON:
        if "left_to_update" in job:
            return job
        if "request" in job:
            _make_partition(context, dataset, reformatters, PartitionRequest.model_validate(job["request"]))
            return job
        planned = PartitionPlan.model_validate(job["plan"])
        outcome = _process_group(context, dataset, reformatters, planned, job["variables"])
        return {"plan": job["plan"], "outcome": outcome.to_json()}

    return process_region_job


def _commit_op(dataset: DynamicalDataset, pods: Pods) -> dg.OpDefinition:
    """The op that writes metadata and ledger of the partition, and tells Dagster what was made."""

    # Of a range each partition was reported already, and one that is left to an update was not made: an output would report them.
    out = dg.Out(dg.Nothing, is_required=False)

    @dg.op(name=dataset.job_name("commit"), out=out, tags={K8S_TAG: pods.of(dataset)})
    def commit(
        context: dg.OpExecutionContext, reformatters: Reformatters, processed: list[JSON]
    ) -> Iterator[dg.Output[None]]:
        if not processed:
            raise dg.Failure("no group of variables was processed: execute the whole run again", allow_retries=False)
        is_made = "left_to_update" not in processed[0]
        if is_made and "request" in processed[0]:
            _make_left(context, dataset, reformatters, processed)
        elif is_made:
            yield dg.Output(None, metadata=_commit(context, dataset, reformatters, processed))
        if is_made:
            # The materialization would make every earlier result count as out of date.
            restate(context.instance, context.run, check_keys(dataset, has_replicas=bool(reformatters.replicas)))
        try:
            forget_outputs(reformatters.store, context.run, context.instance)
        except ReformatError as error:
            # The partition is committed by now: what is left behind must not fail the run.
            context.log.warning("outputs of steps are left below _runs: %s", error)

    return commit


def _commit(
    context: dg.OpExecutionContext, dataset: DynamicalDataset, reformatters: Reformatters, processed: Sequence[JSON]
) -> Mapping[str, dg.MetadataValue]:
    """Commit the one partition of a run; the metadata of its materialization."""
    planned = PartitionPlan.model_validate(processed[0]["plan"])
    coord = dataset.region_job.source_file_coord
    outcomes = [GroupOutcome.from_json(one["outcome"], coord) for one in processed]
    # When Dagster executes a killed run again from failure, it leaves out mapped steps that had not begun.
    done = {name for outcome in outcomes for name in outcome.results}
    left = [group for group in planned.groups if not done.issuperset(group)]
    outcomes += [_process_group(context, dataset, reformatters, planned, group) for group in left]
    with refusals_not_retried():
        begun, workspace = reformatters.open(dataset)
        report = commit_partition(begun, workspace, planned, outcomes, run_id=context.run_id, now=utc_now())
    return _told(context, begun, workspace, report)


def _told(
    context: dg.OpExecutionContext, dataset: DynamicalDataset, workspace: Workspace, report: CommitReport
) -> Mapping[str, dg.MetadataValue]:
    """Tell Dagster what readers see more of; the metadata of the partition's own materialization."""
    if (published := publication(dataset, report)) is not None:
        context.log_event(published)
    return materialization_metadata(dataset, workspace, report)


def _planned(
    context: dg.OpExecutionContext, dataset: DynamicalDataset, reformatters: Reformatters, request: PartitionRequest
) -> PartitionPlan | None:
    """The plan of a partition; None where it was chosen on the asset's page and readers do not see its labels yet.

    "Latest", "Missing" and "All" include the partition that an update publishes next. It is left to that update, and an
    observation on the partition's page says so.
    """
    try:
        return plan_partition(*reformatters.open(dataset), request, utc_now())
    except BeyondExtent as error:
        if not (context.job_name.startswith(IMPLICIT_JOB) or BACKFILL_TAG in context.run.tags):
            raise
        partition = partition_key(request.label)
        context.log.warning("nothing is made of partition %s: %s", partition, error)
        observed = {"nothing_made": f"{partition} is left to the update that publishes it: {error}"}
        context.log_event(dg.AssetObservation(asset_key(dataset), partition=partition, metadata=observed))
        return None


def _make_left(
    context: dg.OpExecutionContext, dataset: DynamicalDataset, reformatters: Reformatters, processed: Sequence[JSON]
) -> None:
    """Make those partitions of a range whose steps had not begun when an earlier attempt was killed."""
    requests = [PartitionRequest.model_validate(one["request"]) for one in processed]
    done = {request.label for request in requests}
    for label in labels_of(context.run, dataset.template_config):
        if label not in done:
            _make_partition(context, dataset, reformatters, requests[0].model_copy(update={"label": label}))


def _make_partition(
    context: dg.OpExecutionContext, dataset: DynamicalDataset, reformatters: Reformatters, request: PartitionRequest
) -> None:
    """One partition of a range from its plan to its commit, and report it; one that an earlier attempt committed stays."""
    with refusals_not_retried():
        begun, workspace = reformatters.open(dataset)
        wanted = request.variables or tuple(begun.template_config.variables)
        known = was_committed(begun, workspace, request.label, wanted, run_id=context.run_id, root_run=request.root_run)
        planned = None if known else _planned(context, dataset, reformatters, request)
    if planned is None and not known:
        return
    metadata: Mapping[str, dg.MetadataValue] = {}
    if planned is not None:
        outcomes = [_process_group(context, dataset, reformatters, planned, group) for group in planned.groups]
        with refusals_not_retried():
            report = commit_partition(begun, workspace, planned, outcomes, run_id=context.run_id, now=utc_now())
        metadata = _told(context, begun, workspace, report)
    key = asset_key(dataset)
    context.log_event(dg.AssetMaterialization(key, partition=partition_key(request.label), metadata=metadata))


def _process_group(
    context: dg.OpExecutionContext,
    dataset: DynamicalDataset,
    reformatters: Reformatters,
    planned: PartitionPlan,
    variables: Sequence[str],
) -> GroupOutcome:
    """Run one region job of a plan, up to ATTEMPTS times where a store fails."""
    attempt = 1
    while True:
        try:
            with gone_soon_after_interrupt(), refusals_not_retried():
                begun, workspace = reformatters.open(dataset)
                jobs = begun.context(workspace, planned.now, run_id=context.run_id, force=planned.request.force)
                return process_group(begun, jobs, planned, variables)
        except StoreUnavailable as error:
            if attempt == ATTEMPTS or isinstance(error, StoreAccessDenied):
                raise
            context.log.warning("attempt %s of %s failed: %s", attempt, ATTEMPTS, error)
            attempt += 1
