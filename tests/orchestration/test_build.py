"""What a code location holds: names that people and dashboards rely on, tags of every job, and the job that makes stores."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.snap.job_snapshot import JobSnap
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap
from dagster._core.workspace.load_target import WorkspaceFileTarget

from dataset_defs import DATASETS, PROVIDERS, of_provider
from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from reformatters_dagster.core.check.standard import STANDARD_CHECKS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.declaration import Resources
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import K8S_METADATA, K8S_TAG, SMALL_POD, asset_key, k8s_config
from reformatters_dagster.orchestration.resources import Reformatters
from tests.datasets import INIT, SECOND, SOON, THIRD, Site, assert_forecast_true
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gfs() -> dg.Definitions:
    return build_definitions([GFS], Settings())


def job_of(definitions: dg.Definitions, kind: str) -> dg.JobDefinition:
    return definitions.resolve_job_def(GFS.job_name(kind))


def test_names_are_what_they_have_always_been(gfs: dg.Definitions) -> None:
    repository = gfs.get_repository_def()
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
        "noaa/gfs_forecast",
        "noaa/gfs_forecast_published",
        "overview/noaa",
        "upstream/noaa-gfs-bdp-pds",
        "upstream/nomads.ncep.noaa.gov_pub_data_nccf_com_gfs_prod",
    }
    assert jobs == {f"noaa_gfs_forecast__{kind}" for kind in ("backfill", "initialise", "update", "validate")}
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "noaa__overview",
        "noaa_gfs_forecast__heal",
        "noaa_gfs_forecast__upstream",
    }
    assert [schedule.name for schedule in repository.schedule_defs] == ["noaa_gfs_forecast__validate_schedule"]
    ops = {op.name for name in jobs for op in repository.get_job(name).all_node_defs if isinstance(op, dg.OpDefinition)}
    assert ops == {
        f"noaa_gfs_forecast__{name}"
        for name in ("plan", "process_region_job", "commit", "initialise_store", "validators")
    }
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    assert checks == {"current_data", "recent_nans", *(check.name for check in STANDARD_CHECKS)}


def test_the_asset_says_what_it_is(gfs: dg.Definitions) -> None:
    spec = gfs.resolve_assets_def(asset_key(GFS)).get_asset_spec()
    assert (spec.group_name, spec.kinds, spec.tags["provider"]) == (
        "noaa",
        {"grib", "zarr", "noaa"},
        "noaa",
    )
    assert (spec.description or "").startswith(f"{GFS.template_config.attributes.description}\n")
    assert spec.metadata["dataset_id"] == "noaa-gfs-forecast"
    assert spec.metadata[K8S_METADATA] == k8s_config(GFS)


def test_a_start_of_a_dataset_the_provider_does_not_have_breaks_its_code_location_alone() -> None:
    settings = Settings.from_environment({"REFORMATTERS_START": "noaa-gfs-forcast=2026-07-29"})
    with pytest.raises(Refused, match="REFORMATTERS_START names noaa-gfs-forcast; there are noaa-gfs-forecast"):
        build_definitions([GFS], settings, among=PROVIDERS)
    assert build_definitions(of_provider("dwd"), settings, among=PROVIDERS).resolve_all_asset_keys()


def test_a_start_of_a_provider_there_is_not_breaks_every_code_location() -> None:
    settings = Settings.from_environment({"REFORMATTERS_START": "nooa-gfs-forecast=2026-07-29"})
    for provider in PROVIDERS:
        with pytest.raises(Refused, match=r"REFORMATTERS_START names nooa-gfs-forecast; there are .*those of "):
            build_definitions(of_provider(provider), settings, among=PROVIDERS)


def test_every_code_location_knows_all_providers() -> None:
    assert {dataset.provider for dataset in DATASETS} == PROVIDERS
    for provider in PROVIDERS:
        made = Path(str(find_spec(f"dataset_defs.{provider}.definitions").origin)).read_text()  # type: ignore[union-attr]
        assert f'build_definitions(of_provider("{provider}"), among=PROVIDERS)' in made


@pytest.mark.parametrize(
    ("kind", "priority", "exclusive"),
    [("update", 10, True), ("initialise", 0, True), ("validate", 0, False), ("backfill", -10, False)],
)
def test_jobs_carry_their_tags(gfs: dg.Definitions, kind: str, priority: int, exclusive: bool) -> None:
    tags = job_of(gfs, kind).tags
    assert tags["reformatters/dataset"] == "noaa-gfs-forecast"
    assert tags["reformatters/mode"] == kind
    assert int(tags["dagster/priority"]) == priority
    assert tags.get("reformatters/exclusive") == ("noaa-gfs-forecast" if exclusive else None)
    assert json.loads(tags[K8S_TAG]) == (SMALL_POD if kind == "initialise" else k8s_config(GFS))


def test_an_update_publishes_and_a_backfill_does_not(gfs: dg.Definitions) -> None:
    publish = {
        kind: job_of(gfs, kind).get_run_config_for_partition_key("2021-05-01T00:00")["ops"]["noaa__gfs_forecast"]
        for kind in ("update", "backfill")
    }
    assert {kind: config["config"]["publish"] for kind, config in publish.items()} == {
        "update": True,
        "backfill": False,
    }


@pytest.mark.parametrize(
    ("kind", "ops"),
    [
        (
            "backfill",
            {
                "noaa__gfs_forecast": {
                    "variables": [],
                    "overwrite_chunks": True,
                    "keep_published": False,
                    "force": False,
                    "accept_missing": False,
                }
            },
        ),
        ("initialise", {"noaa_gfs_forecast__initialise_store": {"end": ""}}),
    ],
)
def test_the_launchpad_opens_filled_in(gfs: dg.Definitions, kind: str, ops: dict[str, Any]) -> None:
    """As its GraphQL makes the text; a chosen partition adds what the job says of `publish`."""
    snap = JobSnap.from_job_def(job_of(gfs, kind))
    schema, root = snap.config_schema_snapshot, snap.mode_def_snaps[0].root_config_key
    shown = yaml.safe_load(default_values_yaml_from_type_snap(schema, schema.get_config_snap(str(root))))
    assert {name: op["config"] for name, op in shown["ops"].items()} == ops


def test_runs_are_one_process_and_no_op_is_retried_by_dagster(gfs: dg.Definitions) -> None:
    """A retry policy under the in-process executor would swallow a termination."""
    for kind in ("update", "backfill", "initialise", "validate"):
        job = job_of(gfs, kind)
        assert job.executor_def is dg.in_process_executor
        assert not any(node.retry_policy for node in job.nodes)
        assert not any(op.retry_policy for op in job.all_node_defs if isinstance(op, dg.OpDefinition))


def test_validation_is_scheduled_in_utc_whatever_runs(gfs: dg.Definitions) -> None:
    (schedule,) = gfs.get_repository_def().schedule_defs
    assert (schedule.cron_schedule, schedule.execution_timezone) == (GFS.validate_cron, "UTC")
    assert schedule.job_name == "noaa_gfs_forecast__validate"


def test_validation_is_on_where_the_deployment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> dg.DefaultScheduleStatus:
        (schedule,) = build_definitions([GFS], Settings()).get_repository_def().schedule_defs
        return schedule.default_status

    monkeypatch.delenv("REFORMATTERS_VALIDATE", raising=False)
    assert status() is dg.DefaultScheduleStatus.STOPPED
    monkeypatch.setenv("REFORMATTERS_VALIDATE", "true")
    assert status() is dg.DefaultScheduleStatus.RUNNING
    monkeypatch.setenv("REFORMATTERS_VALIDATE", "yes")
    with pytest.raises(Refused, match="REFORMATTERS_VALIDATE is 'yes'; write true or false"):
        status()


def test_validation_that_is_on_for_all_skips_what_nobody_has_begun(deployment: Deployment) -> None:
    def tick(*, validates: bool = True, **settings: str) -> list[str]:
        """What a tick launches, or why it launches nothing."""
        known = Settings(**(deployment.settings.model_dump() | settings))
        definitions = build_definitions([deployment.site.dataset], known, validates=validates)
        (schedule,) = definitions.get_repository_def().schedule_defs
        with dg.build_schedule_context(deployment.instance) as context:
            found = schedule.evaluate_tick(context)
        return [found.skip_message] if found.skip_message else ["run" for _ in found.run_requests or []]

    assert tick() == ["test-gfs-forecast has neither a store nor a ledger: there is nothing to validate"]
    assert tick(validates=False) == ["run"]
    deployment.site.arrive(INIT)
    deployment.run("update", INIT)
    assert tick() == ["run"]
    shutil.rmtree(deployment.site.folder / "primary" / "test-gfs-forecast" / "v0.1.0.zarr")
    assert tick() == ["run"], "the ledger of a lost store stands"


def test_datasets_share_a_code_location(forecast_dataset: DynamicalDataset, analysis_dataset: DynamicalDataset) -> None:
    definitions = build_definitions([forecast_dataset, analysis_dataset], Settings())
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.get_repository_def().asset_graph
    assert graph.materializable_asset_keys == {asset_key(forecast_dataset), asset_key(analysis_dataset)}


def test_every_dataset_loads_together_with_the_others() -> None:
    dg.Definitions.validate_loadable(build_definitions(DATASETS, Settings()))


def test_settings_come_from_the_environment_where_none_are_given(
    forecast_dataset: DynamicalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFORMATTERS_STORE", "s3://bucket/stores")
    monkeypatch.setenv("REFORMATTERS_REPLICAS", "s3://one, s3://other")
    monkeypatch.setenv("REFORMATTERS_START", f"test-gfs-forecast={THIRD.isoformat()}")
    definitions = build_definitions([forecast_dataset])
    resource = (definitions.resources or {})["reformatters"]
    assert isinstance(resource, Reformatters)
    assert (resource.store, resource.replicas) == ("s3://bucket/stores", ["s3://one", "s3://other"])
    partitions = definitions.resolve_assets_def(asset_key(forecast_dataset)).partitions_def
    assert partitions is not None
    assert partitions.get_first_partition_key() == "2026-07-30T06:00"


def test_every_provider_has_a_code_location_that_stands_in_the_workspace() -> None:
    locations = {
        origin.location_name for origin in WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    }
    assert locations == {f"dataset_defs.{dataset.provider}.definitions" for dataset in DATASETS}
    for location in locations:
        graph = import_module(location).defs.get_repository_def().asset_graph
        assert graph.materializable_asset_keys == {
            asset_key(dataset) for dataset in DATASETS if location == f"dataset_defs.{dataset.provider}.definitions"
        }


@pytest.mark.parametrize("module", ["run_coordinator", "compute_logs"])
def test_what_the_instance_names_is_light_enough_for_the_webserver(module: str) -> None:
    """It is imported where no dataset ever runs."""
    loaded = f"import sys, reformatters_dagster.orchestration.{module}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    assert not {"xarray", "zarr", "numba", "pygrib", "kubernetes"} & set(modules)


def test_a_code_location_imports_nothing_that_only_runs_need() -> None:
    """Every run, sensor daemon and webserver loads it, some of them for every tick."""
    loaded = "import sys, dataset_defs.noaa.definitions; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"zarr", "numcodecs", "numba", "pygrib", "imagecodecs", "matplotlib", "pyproj", "requests", "sentry_sdk"}
    assert not heavy & set(modules)


@pytest.mark.parametrize("kind", ["update", "backfill"])
@pytest.mark.parametrize(
    ("pods", "cluster", "executor", "cpu"),
    [
        ("run", False, "in_process", "3"),
        ("run", True, "in_process", "3"),
        ("group", False, "in_process", "3"),
        ("group", True, "step_pods", "250m"),
    ],
)
def test_groups_of_variables_have_pods_of_their_own_where_that_is_wanted_and_there_is_a_cluster(
    forecast_dataset: DynamicalDataset,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    pods: Literal["run", "group"],
    *,
    cluster: bool,
    executor: str,
    cpu: str,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if cluster:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    dataset = replace(forecast_dataset, pods=pods, resources=Resources(cpu="3"))
    definitions = build_definitions([dataset], Settings())
    job = definitions.resolve_job_def(dataset.job_name(kind))
    assert (job.executor_def.name, requests_of(job.tags)["cpu"]) == (executor, cpu)
    # A run from the asset's page has one process, and is told so by what its pod asks for.
    assert definitions.resolve_assets_def(asset_key(dataset)).get_asset_spec().metadata[K8S_METADATA] == k8s_config(
        dataset
    )
    assert definitions.resolve_job_def(dataset.job_name("validate")).executor_def.name == "in_process"


def test_the_largest_datasets_ask_for_a_pod_per_group() -> None:
    assert {dataset.dataset_id for dataset in DATASETS if dataset.pods == "group"} == {
        "noaa-gefs-forecast-35-day",
        "ecmwf-ifs-ens-forecast-15-day-0-25-degree",
    }


@pytest.mark.parametrize("resources", [Resources(), Resources(cpu="500m", memory="24Gi", ephemeral_storage="100Gi")])
def test_every_op_asks_for_what_its_dataset_needs(forecast_dataset: DynamicalDataset, resources: Resources) -> None:
    """Tags of a job do not reach the pods of steps."""
    dataset = replace(forecast_dataset, resources=resources)
    definitions = build_definitions([dataset], Settings())
    wanted = {"cpu": resources.cpu, "memory": resources.memory, "ephemeral-storage": resources.ephemeral_storage}
    for kind in ("update", "backfill", "initialise"):
        job = definitions.resolve_job_def(dataset.job_name(kind))
        for op in (op for op in job.all_node_defs if isinstance(op, dg.OpDefinition)):
            small = requests_of({K8S_TAG: SMALL_POD})
            moves_no_data = op.name.endswith(("__plan", "__initialise_store"))
            assert requests_of(op.tags) == (small if moves_no_data else wanted), op.name


def requests_of(tags: Any) -> dict[str, str]:
    config = tags[K8S_TAG]
    parsed = json.loads(config) if isinstance(config, str) else config
    requests: dict[str, str] = parsed["container_config"]["resources"]["requests"]
    return requests


# The job that creates and extends stores


def test_initialise_creates_extends_and_never_cuts_short(deployment: Deployment) -> None:
    site: Site = deployment.site
    deployment.run("initialise", end=str(SECOND))
    assert list(site.read().indexes["init_time"]) == [INIT]
    result = deployment.run("initialise", end="2026-07-30T12:00")
    assert list(site.read().indexes["init_time"]) == [INIT, SECOND, THIRD]
    (observed,) = result.get_asset_observation_events()
    assert observed.asset_observation_data.asset_observation.metadata["labels_in_store"].value == 3
    op, said = deployment.refused("initialise", end=str(SECOND))
    assert op == "test_gfs_forecast__initialise_store"
    assert said.startswith("Retraction: ")
    assert site.read().sizes["init_time"] == 3


def test_initialise_goes_up_to_now_by_itself(deployment: Deployment) -> None:
    deployment.run("initialise")
    newest = published_labels(deployment.site.stores.primary, "init_time")[-1]
    (job_run,) = deployment.instance.get_run_records(limit=1)
    started = job_run.create_timestamp.replace(tzinfo=None)
    assert 0 <= (started - newest.to_pydatetime()).total_seconds() <= 6 * 3600


def test_initialise_makes_no_store_that_begins_empty(deployment: Deployment) -> None:
    nobody_chose = replace(deployment, site=deployment.site.having(start_is_chosen=False))
    op, said = nobody_chose.refused("initialise", end="2026-07-30T12:00")
    assert op == "test_gfs_forecast__initialise_store"
    assert said.startswith("EmptyHistory: ")
    assert "`REFORMATTERS_START=test-gfs-forecast=2026-07-30T06:00`, for Dagster too" in said
    assert deployment.site.objects() == {}
    nobody_chose.run("initialise", end=str(SECOND))
    nobody_chose.run("initialise", end="2026-07-30T12:00")
    assert deployment.site.read().sizes["init_time"] == 3


def test_runs_find_the_start_that_the_store_remembers(deployment: Deployment) -> None:
    site: Site = deployment.site
    site.arrive(SECOND)
    site.having(template_config=site.dataset.template_config.started_at(SECOND)).backfill(SECOND + SOON)
    nobody_chose = replace(deployment, site=site.having(start_is_chosen=False))
    assert nobody_chose.run("backfill", SECOND).success
    assert_forecast_true(site.read(), SECOND)
    op, said = nobody_chose.refused("backfill", INIT)
    assert (op, said.partition(";")[2]) == ("test_gfs_forecast__plan", " its archive starts at 2026-07-30T00:00")


@pytest.mark.parametrize("end", ["tomorrow morning", "2026-07-29T18:00+02:00"])
def test_initialise_refuses_a_time_it_cannot_read(deployment: Deployment, end: str) -> None:
    _, said = deployment.refused("initialise", end=end)
    assert said.startswith(f"Refused: time {end!r}")
    assert deployment.site.objects() == {}
