"""A dataset as one partitioned graph asset.

In: a `DynamicalDataset`. Out: plan, one region job per group of variables, commit; a partition is one shard.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.spec.errors import ReformatError, Refused, StoreAccessDenied, StoreUnavailable
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.checks import check_keys
from reformatters_dagster.orchestration.materialization import materialization_metadata
from reformatters_dagster.orchestration.names import (
    FINGERPRINT_TAG,
    K8S_TAG,
    MODE_TAG,
    SMALL_POD,
    UPDATE,
    asset_key,
    k8s_config,
)
from reformatters_dagster.orchestration.pages import Pages, page_of
from reformatters_dagster.orchestration.partitions import partition_label, shard_partitions
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


def build_asset(dataset: DynamicalDataset, settings: Settings, pages: Pages | None = None) -> dg.AssetsDefinition:
    """The dataset as one partitioned graph asset: plan, one region job per variable group, commit."""
    plan, process_region_job, commit = _plan_op(dataset), _process_op(dataset), _commit_op(dataset)

    def map_config(config: dict[str, Any]) -> dict[str, Any]:
        return {plan.name: {"config": config}}

    @dg.graph_asset(
        key=asset_key(dataset),
        partitions_def=shard_partitions(dataset.template_config),
        group_name=dataset.provider,
        **page_of(dataset, settings, pages or Pages()),
        config=dg.ConfigMapping(config_schema=PartitionConfig.to_config_schema(), config_fn=map_config),
    )
    def shards() -> Any:
        return commit(plan().map(process_region_job).collect())

    return shards


def _plan_op(dataset: DynamicalDataset) -> dg.OpDefinition:
    """The op that checks the request and plans the partition: one dynamic output for each group of variables."""

    @dg.op(name=dataset.job_name("plan"), out=dg.DynamicOut(dict), tags={K8S_TAG: SMALL_POD})
    def plan(
        context: dg.OpExecutionContext, config: PartitionConfig, reformatters: Reformatters
    ) -> Iterator[dg.DynamicOutput[JSON]]:
        restate_planned(context.instance, context.run)
        with refusals_not_retried():
            request = config.request(partition_label(context.partition_key), context.run)
            planned = plan_partition(*reformatters.open(dataset), request, utc_now())
        for group in planned.groups:
            job = {"plan": planned.model_dump(mode="json"), "variables": list(group)}
            yield dg.DynamicOutput(job, mapping_key=group[0])

    return plan


def _process_op(dataset: DynamicalDataset) -> dg.OpDefinition:
    """The op that takes one group of variables from download to upload."""

    @dg.op(name=dataset.job_name("process_region_job"), tags={K8S_TAG: k8s_config(dataset)})
    def process_region_job(context: dg.OpExecutionContext, reformatters: Reformatters, job: JSON) -> JSON:
        planned = PartitionPlan.model_validate(job["plan"])
        outcome = _process_group(context, dataset, reformatters, planned, job["variables"])
        return {"plan": job["plan"], "outcome": outcome.to_json()}

    return process_region_job


def _commit_op(dataset: DynamicalDataset) -> dg.OpDefinition:
    """The op that writes metadata and ledger of the partition, and tells Dagster what was made."""

    @dg.op(name=dataset.job_name("commit"), out=dg.Out(dg.Nothing), tags={K8S_TAG: k8s_config(dataset)})
    def commit(context: dg.OpExecutionContext, reformatters: Reformatters, processed: list[JSON]) -> None:
        if not processed:
            raise dg.Failure("no group of variables was processed: execute the whole run again", allow_retries=False)
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
        context.add_output_metadata(materialization_metadata(begun, workspace, report))
        # The materialization would make every earlier result count as out of date.
        restate(context.instance, context.run, check_keys(dataset, has_replicas=bool(reformatters.replicas)))
        try:
            forget_outputs(reformatters.store, context.run, context.instance)
        except ReformatError as error:
            # The partition is committed by now: what is left behind must not fail the run.
            context.log.warning("outputs of steps are left below _runs: %s", error)

    return commit


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
            with refusals_not_retried():
                begun, workspace = reformatters.open(dataset)
                jobs = begun.context(workspace, planned.now, run_id=context.run_id, force=planned.request.force)
                return process_group(begun, jobs, planned, variables)
        except StoreUnavailable as error:
            if attempt == ATTEMPTS or isinstance(error, StoreAccessDenied):
                raise
            context.log.warning("attempt %s of %s failed: %s", attempt, ATTEMPTS, error)
            attempt += 1
