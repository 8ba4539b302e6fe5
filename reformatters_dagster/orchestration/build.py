"""Datasets to Dagster definitions: asset, checks, jobs, sensors and the validation schedule of each.

In: the datasets of one provider. Out: one code location.
"""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import ConfigDict

from reformatters_dagster.core.ledger.entries import ledger_partitions
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.guards import refuse_empty_history
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.values import MOMENT
from reformatters_dagster.core.store.reading import is_published
from reformatters_dagster.core.store.settings import Settings, parse_time
from reformatters_dagster.orchestration.alert_sensors import build_alert_sensors
from reformatters_dagster.orchestration.alerts import Alerts, open_alerts
from reformatters_dagster.orchestration.assets import PartitionConfig, build_asset, refusals_not_retried
from reformatters_dagster.orchestration.checks import build_checks
from reformatters_dagster.orchestration.lineage import archive_specs, published_spec
from reformatters_dagster.orchestration.names import (
    BACKFILL,
    BACKFILL_PRIORITY,
    DATASET_TAG,
    EXCLUSIVE_TAG,
    HEAL,
    K8S_TAG,
    MODE_TAG,
    PRIORITY_TAG,
    SMALL_POD,
    UPDATE,
    UPDATE_PRIORITY,
    asset_key,
)
from reformatters_dagster.orchestration.overview import build_overview_sensor, overview_spec
from reformatters_dagster.orchestration.pages import Pages
from reformatters_dagster.orchestration.pods import Pods
from reformatters_dagster.orchestration.resources import (
    JsonIOManager,
    Reformatters,
    environment_alert_targets,
    environment_pages,
    environment_pods,
    environment_settings,
    environment_validates,
    in_cluster,
    utc_now,
)
from reformatters_dagster.orchestration.sensors import LISTING_PATIENCE, build_heal_sensor, build_upstream_sensor

STEP_PODS_AT_ONCE = 4
"""Most step pods of one run at a time, where each group of variables has its own pod."""


class InitialiseConfig(dg.Config):
    """Run config of the job that creates a store's metadata, or extends it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    end: str | None = ""
    """The store covers labels before this time; empty: every label up to now. The launchpad does not show a null."""


def build_definitions(
    datasets: Sequence[DynamicalDataset],
    settings: Settings | None = None,
    alerts: Alerts | None = None,
    *,
    among: Collection[str] = (),
    pages: Pages | None = None,
    pods: Pods | None = None,
    validates: bool | None = None,
) -> dg.Definitions:
    """Everything that Dagster needs to know of some datasets.

    Parameters
    ----------
    datasets : sequence of DynamicalDataset
        All of one provider, so that one broken import takes down only that provider.
    settings : Settings, optional
        Default: the settings of the environment.
    alerts : Alerts, optional
        Where alerts go. Default: where the environment says, which may be nowhere.
    among : names, optional
        All providers. A start for a dataset of another provider is refused as misspelt.
    pages : Pages, optional
        What the assets' pages say of the deployment. Default: what the environment says.
    pods : Pods, optional
        What pods of runs get beside the needs of their datasets. Default: what the environment says.
    validates : bool, optional
        Whether schedules of validation are on where nobody has switched them. Default: what the environment says.
    """
    settings = settings or environment_settings()
    elsewhere = set(among) - {dataset.provider for dataset in datasets}
    settings.refuse_unknown_starts([dataset.dataset_id for dataset in datasets], elsewhere)
    alerts = open_alerts(*environment_alert_targets()) if alerts is None else alerts
    pages = environment_pages() if pages is None else pages
    pods = environment_pods() if pods is None else pods
    validates = environment_validates() if validates is None else validates
    begun = [dataset.started_by(settings) for dataset in datasets]
    shared = dg.Definitions(
        assets=[*archive_specs(datasets), *(overview_spec(provider) for provider in _providers(datasets))],
        resources={
            "reformatters": Reformatters.from_settings(settings),
            "io_manager": JsonIOManager(base_url=settings.store),
        },
        executor=dg.in_process_executor,
        sensors=[
            *(build_alert_sensors(datasets[0].provider, datasets, alerts) if datasets else []),
            *(
                build_overview_sensor(provider, [one for one in begun if one.provider == provider])
                for provider in _providers(datasets)
            ),
        ],
    )
    own = [_definitions(dataset, settings, pages, pods, validates=validates) for dataset in begun]
    return dg.Definitions.merge(*own, shared)


def _providers(datasets: Sequence[DynamicalDataset]) -> list[str]:
    return sorted({dataset.provider for dataset in datasets})


def _definitions(
    dataset: DynamicalDataset, settings: Settings, pages: Pages, pods: Pods, *, validates: bool
) -> dg.Definitions:
    key = asset_key(dataset)
    asset = build_asset(dataset, settings, pages, pods)
    without_checks = dg.AssetSelection.assets(key).without_checks()

    update = dg.define_asset_job(
        dataset.job_name(UPDATE),
        selection=dg.AssetSelection.assets(key),
        description="One operational update: chunks first, then the grown metadata.",
        tags=_tags(dataset, UPDATE, UPDATE_PRIORITY, _pod(dataset, pods, UPDATE), exclusive=True),
        config=_run_config(key.to_python_identifier(), publish=True),
        executor_def=_executor(dataset),
    )
    backfill = dg.define_asset_job(
        dataset.job_name(BACKFILL),
        selection=without_checks,
        description="Partitions within the store's extent; validators are left out.",
        tags=_tags(dataset, BACKFILL, BACKFILL_PRIORITY, _pod(dataset, pods, BACKFILL)),
        config=_run_config(key.to_python_identifier(), publish=False),
        executor_def=_executor(dataset),
    )
    validate = dg.define_asset_job(
        dataset.job_name("validate"),
        selection=dg.AssetSelection.checks_for_assets(key),
        description="Every validator of the dataset.",
        tags=_tags(dataset, "validate", "0", pods.of(dataset, UPDATE)),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(
        assets=[asset, published_spec(dataset, settings)],
        asset_checks=[build_checks(dataset, has_replicas=bool(settings.replicas), pods=pods)],
        jobs=[update, backfill, _initialise_job(dataset, pods), validate],
        sensors=[
            build_upstream_sensor(dataset, update),
            build_heal_sensor(dataset, backfill, validate, pod=_pod(dataset, pods, HEAL)),
        ],
        schedules=[_validate_schedule(dataset, settings, validate, validates=validates)],
    )


def _validate_schedule(
    dataset: DynamicalDataset, settings: Settings, job: UnresolvedAssetJobDefinition, *, validates: bool
) -> dg.ScheduleDefinition:
    """Runs the validators whatever else runs. Where it is on for every dataset, it skips those that nobody has begun."""

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:  # noqa: ARG001
        if validates and not _is_begun(dataset, settings):
            return dg.SkipReason(f"{dataset.dataset_id} has neither a store nor a ledger: there is nothing to validate")
        return dg.RunRequest()

    return dg.ScheduleDefinition(
        name=dataset.job_name("validate_schedule"),
        job=job,
        cron_schedule=dataset.validate_cron,
        execution_timezone="UTC",
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.RUNNING if validates else dg.DefaultScheduleStatus.STOPPED,
        description="A check that ran only with a materialization could not see that nothing ran.",
    )


def _is_begun(dataset: DynamicalDataset, settings: Settings) -> bool:
    """Whether there is something to validate: a store, or the ledger of a lost one. So is a store that cannot be asked."""
    try:
        stores = settings.stores(dataset.template_config, LISTING_PATIENCE)
        return is_published(stores.primary) or bool(ledger_partitions(stores.internal))
    except ReformatError:
        return True


def _initialise_job(dataset: DynamicalDataset, pods: Pods) -> dg.JobDefinition:
    """A job that creates or extends metadata. Not an asset, or "Materialize all" would publish empty stores."""
    key = asset_key(dataset)

    @dg.op(name=dataset.job_name("initialise_store"), tags={K8S_TAG: SMALL_POD})
    def initialise_store_op(
        context: dg.OpExecutionContext, config: InitialiseConfig, reformatters: Reformatters
    ) -> None:
        with refusals_not_retried():
            end = parse_time(config.end) if config.end else None
            begun, workspace = reformatters.open(dataset)
            now = utc_now()
            if not begun.start_is_chosen and not is_published(workspace.stores.primary):
                newest = begun.template_config.started_at((end or now + MOMENT) - MOMENT).append_dim.start
                refuse_empty_history(begun.template_config, newest)
            labels = begun.initialise(workspace, end, now)
        context.log_event(dg.AssetObservation(key, metadata={"labels_in_store": labels}))

    @dg.job(
        name=dataset.job_name("initialise"),
        description="Create the store's metadata, or extend it; it is never cut short.",
        tags=_tags(dataset, "initialise", "0", pods.small(UPDATE), exclusive=True),
        executor_def=dg.in_process_executor,
    )
    def initialise() -> None:
        initialise_store_op()

    return initialise


def _run_config(asset: str, *, publish: bool) -> dict[str, Any]:
    return {"ops": {asset: {"config": PartitionConfig(publish=publish).model_dump()}}}


def _has_step_pods(dataset: DynamicalDataset) -> bool:
    return dataset.pods == "group" and in_cluster()


def _executor(dataset: DynamicalDataset) -> dg.ExecutorDefinition:
    """Run steps in the process of the run, or, in a cluster and where the dataset asks for it, in pods of their own."""
    if not _has_step_pods(dataset):
        return dg.in_process_executor
    from reformatters_dagster.orchestration.step_pods import step_pods_executor

    return step_pods_executor.configured({"max_concurrent": STEP_PODS_AT_ONCE}, name="step_pods")


def _pod(dataset: DynamicalDataset, pods: Pods, mode: str) -> dict[str, Any]:
    """The pod of a run of a job that has steps: a small one where these have pods of their own."""
    return pods.small(mode) if _has_step_pods(dataset) else pods.of(dataset, mode)


def _tags(
    dataset: DynamicalDataset, mode: str, priority: str, pod: dict[str, Any], *, exclusive: bool = False
) -> dict[str, Any]:
    tags = {DATASET_TAG: dataset.dataset_id, MODE_TAG: mode, PRIORITY_TAG: priority, K8S_TAG: pod}
    return tags | {EXCLUSIVE_TAG: dataset.dataset_id} if exclusive else tags
