"""Pods: whatever page or sensor a run was launched from, the Job that reaches Kubernetes asks for what the dataset needs.

The instance and the code location are those that the values in `helm/` describe.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.context_creation_job import (
    PlanOrchestrationContextManager,
    orchestration_context_event_generator,
)
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.executor.step_delegating import StepDelegatingExecutor, StepHandlerContext
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._grpc.types import ExecuteStepArgs
from dagster_graphql.schema import create_schema

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.orchestration.names import BACKFILL_TAG, HEAL_PRIORITY, K8S_TAG, PRIORITY_TAG
from reformatters_dagster.orchestration.pods import Pods
from reformatters_dagster.orchestration.run_coordinator import largest_need
from tests.datasets import INIT, TEMPERATURE, gfs_forecast
from tests.helm.rendered import PLAIN, VERSIONS, not_restricted, one, pod_spec, render, validate
from tests.orchestration.chart import instance_config, write_kubeconfig

# Dagster reads a property of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")

MODULE = "tests.orchestration.code_location"
LAUNCH = """mutation Launch($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}"""
IMAGE = "registry.example/reformatters:1.2.3"
FORECAST_NEEDS = {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi"}
ANALYSIS_NEEDS = {"cpu": "500m", "memory": "24Gi", "ephemeral-storage": "1500Mi"}
BOTH_NEED = {"cpu": "2", "memory": "24Gi", "ephemeral-storage": "20Gi"}
SMALL_NEEDS = {"cpu": "250m", "memory": "1Gi", "ephemeral-storage": "1Gi"}
SMALL_LIMITS = {"memory": "2Gi", "ephemeral-storage": "2Gi"}


class _Cluster(HTTPServer):
    """Takes Jobs and runs none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.jobs: list[dict[str, Any]] = []


class _Api(BaseHTTPRequestHandler):
    server: _Cluster

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/apis/batch/v1/namespaces/dagster/jobs", self.path
        self.server.jobs.append(json.loads(body))
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def cluster() -> Iterator[_Cluster]:
    with _Cluster() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@dataclass(frozen=True)
class Production:
    """An instance with our run coordinator and Kubernetes behind it, and our code location in front."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    cluster: _Cluster
    schema: Any = field(default_factory=create_schema)

    def launch(
        self, job: str, *, select: Sequence[str] = (), checks: Sequence[str] = (), tags: Mapping[str, str] | None = None
    ) -> dg.DagsterRun:
        """Launch through the API of the webserver, as its pages do; return the run as it stands in the queue."""
        request = self.workspace.create_request_context()
        (location,) = request.code_locations
        every = {"dagster/partition": partition_key(INIT), **(tags or {})}
        selector: dict[str, Any] = {
            "repositoryName": "__repository__",
            "repositoryLocationName": location.name,
            "pipelineName": job,
        }
        if select:
            selector["assetSelection"] = [{"path": ["test", name]} for name in select]
        if checks:
            selector["assetCheckSelection"] = [
                {"assetKey": {"path": ["test", "gfs_forecast"]}, "name": name} for name in checks
            ]
        execution_tags = [{"key": key, "value": value} for key, value in every.items()]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": execution_tags}}
        answer = asyncio.run(
            self.schema.execute_async(
                LAUNCH,
                context_value=request,
                variable_values={"executionParams": params},
            )
        )
        assert answer.errors is None, answer.errors
        launched = answer.data["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = self.instance.get_run_by_id(launched["run"]["runId"])
        assert run is not None
        assert run.status is dg.DagsterRunStatus.QUEUED
        return run

    def pod_of(self, run: dg.DagsterRun) -> dict[str, Any]:
        """The Job that the daemon's launch of a queued run creates, valid for Kubernetes."""
        self.instance.launch_run(run.run_id, self.workspace.create_request_context())
        return valid(self.cluster.jobs.pop())


@pytest.fixture(scope="module")
def production(cluster: _Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    folder = tmp_path_factory.mktemp("production")
    kubeconfig = folder / "kubeconfig"
    write_kubeconfig(kubeconfig, f"http://127.0.0.1:{cluster.server_port}")
    overrides = instance_config(kubeconfig)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("TEST_TEMPLATES", str(folder / "templates"))
        patch.setenv("REFORMATTERS_STORE", str(folder / "stores"))
        instance = stack.enter_context(dg.DagsterInstance.local_temp(str(folder), overrides=overrides))
        origin = LoadableTargetOrigin(executable_path="python", module_name=MODULE, attribute="defs")
        location = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, container_image=IMAGE))
        workspace = stack.enter_context(WorkspaceProcessContext(instance, location))
        yield Production(instance, workspace, cluster)


def valid(job: dict[str, Any]) -> dict[str, Any]:
    """A Job that every Kubernetes takes, in a namespace that enforces Pod Security "restricted"."""
    for version in VERSIONS:
        validate(job, version)
    assert list(not_restricted(pod_spec(job) or {})) == []
    return job


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    resources: dict[str, Any] = container["resources"]
    return resources


def test_pods_of_runs_have_the_settings_and_secrets_of_their_code_location(production: Production) -> None:
    pod = production.pod_of(production.launch("test_gfs_forecast__update"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": "reformatters-settings"}},
        {"secretRef": {"name": "reformatters"}},
    ]
    password = {"secretKeyRef": {"name": "dagster-postgresql", "key": "postgresql-password"}}
    assert {"name": "DAGSTER_PG_PASSWORD", "valueFrom": password} in container["env"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/opt/dagster/dagster_home", "/tmp"}
    assert all(volume["emptyDir"] == {} for volume in pod["volumes"])
    assert (pod["serviceAccountName"], pod["terminationGracePeriodSeconds"]) == ("reformatters-runs", 120)


def test_pods_of_runs_are_under_the_network_policy_of_runs(production: Production) -> None:
    labels = production.pod_of(production.launch("test_gfs_forecast__update"))["spec"]["template"]["metadata"]["labels"]
    selector = one(render(PLAIN), "NetworkPolicy", "runs")["spec"]["podSelector"]
    assert selector["matchLabels"].items() <= labels.items()
    (expression,) = selector["matchExpressions"]
    assert labels[expression["key"]] in expression["values"]


def assert_asks_for(job: dict[str, Any], needs: Mapping[str, str], limits: Mapping[str, str] | None = None) -> None:
    own = {name: needs[name] for name in ("memory", "ephemeral-storage")}
    assert container_of(job) == {"requests": needs, "limits": own if limits is None else limits}
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_a_run_shows_the_last_results_of_its_checks_from_the_queue_on(production: Production) -> None:
    check = dg.AssetCheckKey(dg.AssetKey(["test", "gfs_forecast"]), "expected_shards")
    found = dg.AssetCheckEvaluation(check.asset_key, check.name, passed=True)
    production.instance.report_runless_asset_event(found)
    run = production.launch("__ASSET_JOB", select=["gfs_forecast"])
    storage = production.instance.event_log_storage
    newest = storage.get_latest_asset_check_execution_by_key([check])[check]
    assert (newest.run_id, newest.status.value) == (run.run_id, "SUCCEEDED")


@pytest.mark.parametrize("kind", ["update", "backfill", "validate"])
@pytest.mark.parametrize(
    ("dataset", "needs"), [("gfs_forecast", FORECAST_NEEDS), ("gfs_analysis", ANALYSIS_NEEDS)], ids=["small", "large"]
)
def test_jobs_bring_their_resources(production: Production, kind: str, dataset: str, needs: Mapping[str, str]) -> None:
    job = production.pod_of(production.launch(f"test_{dataset}__{kind}"))
    assert_asks_for(job, needs)


@pytest.mark.parametrize("dataset", ["gfs_forecast", "gfs_analysis"])
def test_metadata_alone_is_made_by_a_small_pod(production: Production, dataset: str) -> None:
    assert_asks_for(production.pod_of(production.launch(f"test_{dataset}__initialise")), SMALL_NEEDS, SMALL_LIMITS)


@pytest.mark.parametrize(
    ("select", "needs"),
    [
        (["gfs_forecast"], FORECAST_NEEDS),
        (["gfs_analysis"], ANALYSIS_NEEDS),
        (["gfs_forecast", "gfs_analysis"], BOTH_NEED),
    ],
)
def test_runs_of_an_asset_s_page_get_the_largest_need_of_its_assets(
    production: Production, select: list[str], needs: Mapping[str, str]
) -> None:
    run = production.launch("__ASSET_JOB", select=select, tags={"dagster/backfill": "abcdefgh"})
    assert run.tags["dagster/backfill"] == "abcdefgh"
    assert_asks_for(production.pod_of(run), needs)


def test_a_backfill_waits_for_updates_and_heals_whatever_page_it_was_launched_from(production: Production) -> None:
    in_backfill = {BACKFILL_TAG: "abcdefgh"}
    of_the_asset = production.launch("__ASSET_JOB", select=["gfs_forecast"], tags=in_backfill)
    of_the_job = production.launch("test_gfs_forecast__backfill", tags=in_backfill)
    assert priority(of_the_asset) == priority(of_the_job) == -10
    assert K8S_TAG in of_the_asset.tags
    heal = production.launch("test_gfs_forecast__backfill", tags={PRIORITY_TAG: HEAL_PRIORITY})
    update = production.launch("test_gfs_forecast__update", tags=in_backfill)
    assert priority(update) > priority(heal) > priority(of_the_asset)


def test_who_names_a_priority_gets_it_and_one_partition_by_hand_is_no_backfill(production: Production) -> None:
    own = production.launch("__ASSET_JOB", select=["gfs_forecast"], tags={BACKFILL_TAG: "abc", PRIORITY_TAG: "3"})
    assert own.tags[PRIORITY_TAG] == "3"
    assert PRIORITY_TAG not in production.launch("__ASSET_JOB", select=["gfs_forecast"]).tags


def priority(run: dg.DagsterRun) -> int:
    return int(run.tags[PRIORITY_TAG])


def test_checks_asked_from_the_asset_s_page_get_it_too(production: Production) -> None:
    run = production.launch("__ASSET_JOB", checks=["expected_shards"])
    assert not run.asset_selection
    assert_asks_for(production.pod_of(run), FORECAST_NEEDS)


def test_a_run_s_own_tag_wins(production: Production) -> None:
    mine = {"container_config": {"resources": {"requests": {"cpu": "7"}}}}
    run = production.launch("__ASSET_JOB", select=["gfs_forecast"], tags={K8S_TAG: json.dumps(mine)})
    assert container_of(production.pod_of(run)) == {"requests": {**SMALL_NEEDS, "cpu": "7"}, "limits": SMALL_LIMITS}


def test_our_queue_is_still_a_queue_with_limits(production: Production) -> None:
    assert production.instance.get_concurrency_config().run_queue_config is not None
    assert production.instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 20  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("op", "needs", "limits"),
    [
        ("plan", SMALL_NEEDS, SMALL_LIMITS),
        ("process_region_job", ANALYSIS_NEEDS, None),
        ("commit", ANALYSIS_NEEDS, None),
    ],
)
def test_pods_of_steps_ask_for_the_same_but_for_plans(
    production: Production, op: str, needs: Mapping[str, str], limits: Mapping[str, str] | None
) -> None:
    """Tags of a job do not reach them; tags of ops do. A plan moves no data."""
    assert_asks_for(step_pod(production, production.launch("step_pods"), op), needs, limits)


def step_pod(production: Production, run: dg.DagsterRun, op: str) -> dict[str, Any]:
    """The Job of one step of a run, valid for Kubernetes."""
    from tests.orchestration import code_location

    job = dg.reconstructable(code_location.step_pods_job)
    graph = "test__gfs_analysis.test_gfs_analysis__"
    planned = KnownExecutionState(dynamic_mappings={f"{graph}plan": {"result": [TEMPERATURE]}})
    plan = create_execution_plan(job, known_state=planned)
    key = f"{graph}{op}" + (f"[{TEMPERATURE}]" if op == "process_region_job" else "")
    step = plan.get_step_by_key(key)
    assert isinstance(step, ExecutionStep)
    orchestration = PlanOrchestrationContextManager(
        orchestration_context_event_generator, job, plan, {}, run, production.instance, raise_on_error=True
    )
    assert list(orchestration.prepare_context()) == []
    context = orchestration.get_context()
    assert isinstance(context.executor, StepDelegatingExecutor)
    assert run.job_code_origin is not None
    args = ExecuteStepArgs(run.job_code_origin, run.run_id, [key], production.instance.get_ref(), known_state=planned)
    launched = StepHandlerContext(production.instance, context, [step], args, run)
    assert [event.event_type_value for event in context.executor._step_handler.launch_step(launched)]
    return valid(production.cluster.jobs.pop())


PLACE = {"priority_class_name": "high", "tolerations": [{"key": "spot", "operator": "Exists"}]}
ON_VOLUMES = Pods(scratch_class="fast", scratch_path="/tmp/reformatters", by_mode={"update": PLACE})


def test_a_volume_is_mounted_into_the_tmp_folder_that_every_pod_has(production: Production, tmp_path: Path) -> None:
    config = json.dumps(ON_VOLUMES.of(gfs_forecast(tmp_path), "update"))
    job = production.pod_of(production.launch("test_gfs_forecast__update", tags={K8S_TAG: config}))
    pod = job["spec"]["template"]["spec"]
    assert {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {
        "/opt/dagster/dagster_home": "home",
        "/tmp": "tmp",
        "/tmp/reformatters": "scratch",
    }
    (claim,) = (
        volume["ephemeral"]["volumeClaimTemplate"]["spec"] for volume in pod["volumes"] if "ephemeral" in volume
    )
    assert (claim["storageClassName"], claim["resources"]) == ("fast", {"requests": {"storage": "20Gi"}})
    little = {"ephemeral-storage": "1Gi"}
    assert_asks_for(job, FORECAST_NEEDS | little, {"memory": "4Gi", "ephemeral-storage": "2Gi"})
    assert pod["securityContext"]["fsGroup"] == 1000
    assert (pod["priorityClassName"], pod["tolerations"]) == ("high", PLACE["tolerations"])


def test_steps_are_scheduled_where_their_run_is(production: Production) -> None:
    run = production.launch("step_pods", tags={K8S_TAG: json.dumps(ON_VOLUMES.small("update"))})
    for op in ("plan", "process_region_job"):
        pod = step_pod(production, run, op)["spec"]["template"]["spec"]
        assert (pod["priorityClassName"], pod["tolerations"]) == ("high", PLACE["tolerations"])


def test_the_largest_of_each_quantity_is_taken_whatever_its_suffix() -> None:
    def need(**quantities: str) -> dict[str, Any]:
        return {"container_config": {"resources": {"requests": quantities}}, "job_spec_config": {"x": 1}}

    one, other = need(cpu="1500m", memory="1Gi"), need(cpu="1", memory="2000M", storage="1Ki")
    assert largest_need([one]) == one
    assert largest_need([one, other]) == need(cpu="1500m", memory="2000M", storage="1Ki")
    assert largest_need([other, one]) == need(cpu="1500m", memory="2000M", storage="1Ki")
    assert one == need(cpu="1500m", memory="1Gi")
