"""Dagster's daemons over a small code location and a Kubernetes API that refuses on request, a look at a time."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from reformatters_dagster.orchestration.run_launcher import DatasetK8sRunLauncher
from tests.helm.rendered import NAMESPACE
from tests.orchestration.cluster import Cluster, serving

MODULE = "tests.orchestration.small_location"
LOG = logging.getLogger("test")
PATIENCE = 60


@dataclass
class Daemon:
    """An instance, its cluster, and the daemons of Dagster, a look at a time; pauses take no time, and are kept."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    cluster: Cluster
    pauses: list[float] = field(default_factory=list)
    now: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        client = self.launcher._api_client
        client.sleeper, client.timer = self.sleep, lambda: self.now

    @property
    def launcher(self) -> DatasetK8sRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, DatasetK8sRunLauncher)
        return launcher

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def submit(self, job: str = "update") -> str:
        """A run in the queue, as a sensor's request makes it."""
        request = self.workspace.create_request_context()
        (location,) = request.code_locations
        (repository,) = location.get_repositories().values()
        remote = repository.get_full_job(job)
        plan = location.get_execution_plan(remote, {}, None, None)
        made = self.instance.create_run(
            job_name=job,
            run_id=None,
            run_config={},
            resolved_op_selection=None,
            step_keys_to_execute=None,
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags=dict(remote.tags),
            root_run_id=None,
            parent_run_id=None,
            job_snapshot=remote.job_snapshot,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            parent_job_snapshot=remote.parent_job_snapshot,
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
            asset_selection=None,
            asset_check_selection=None,
            op_selection=None,
            asset_graph=request.asset_graph,
        )
        self.instance.submit_run(made.run_id, request)
        return made.run_id

    def dequeue(self) -> None:
        list(QueuedRunCoordinatorDaemon(5).run_iteration(self.workspace))

    def monitor(self) -> None:
        assert not any(execute_run_monitoring_iteration(self.workspace, LOG))

    def retry(self) -> list[dg.DagsterRun]:
        """The runs that Dagster's run retries begin."""
        before = {run.run_id for run in self.instance.get_runs()}
        failed = self.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        list(consume_new_runs_for_automatic_reexecution(self.workspace, failed, LOG))
        return [run for run in self.instance.get_runs() if run.run_id not in before]

    def execute_again(self, run_id: str) -> str:
        """A person executes a run again, as its page does: with its tags."""
        request = self.workspace.create_request_context()
        (location,) = request.code_locations
        (repository,) = location.get_repositories().values()
        parent = self.run(run_id)
        made = self.instance.create_reexecuted_run(
            parent_run=parent,
            request_context=request,
            code_location=location,
            remote_job=repository.get_full_job(parent.job_name),
            strategy=ReexecutionStrategy.ALL_STEPS,
            use_parent_run_tags=True,
        )
        self.instance.submit_run(made.run_id, request)
        return made.run_id

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def status(self, run_id: str) -> str:
        return self.run(run_id).status.value

    def events(self, run_id: str) -> list[str]:
        return [
            entry.get_dagster_event().message or ""
            for entry in self.instance.all_logs(run_id)
            if entry.is_dagster_event
        ]

    def start(self, run_id: str) -> None:
        """What the run's own process reports first."""
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, self.run(run_id).job_name)
        self.instance.report_dagster_event(event, run_id)

    def begun(self, job: str = "update") -> str:
        run_id = self.submit(job)
        self.dequeue()
        self.start(run_id)
        return run_id

    def kill(self, run_id: str, reason: str = "OOMKilled") -> None:
        """The run's pod ends, and run monitoring looks."""
        self.cluster.end(f"dagster-run-{run_id}", reason)
        self.monitor()


@contextmanager
def daemons(folder: Path, **config: Any) -> Iterator[Daemon]:
    """An instance whose launcher and queue are ours, and more of `dagster.yaml`."""
    with serving(folder) as (cluster, kubeconfig):
        launcher = {
            "job_namespace": NAMESPACE,
            "service_account_name": "runs",
            "instance_config_map": "instance",
            "dagster_home": "/opt/dagster/dagster_home",
            "job_image": "registry.example/reformatters:1",
            "load_incluster_config": False,
            "kubeconfig_file": str(kubeconfig),
            "refusal_patience_seconds": PATIENCE,
        }
        overrides = {
            "run_coordinator": {
                "module": "reformatters_dagster.orchestration.run_coordinator",
                "class": "DatasetRunCoordinator",
                "config": {"max_concurrent_runs": 10},
            },
            "run_launcher": {
                "module": "reformatters_dagster.orchestration.run_launcher",
                "class": "DatasetK8sRunLauncher",
                "config": launcher,
            },
            "run_monitoring": {"enabled": True, "max_resume_run_attempts": 0},
            "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
            **config,
        }
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(executable_path="python", module_name=MODULE, attribute="defs")
        )
        with (
            dg.DagsterInstance.local_temp(str(folder), overrides=overrides) as instance,
            WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
        ):
            yield Daemon(instance, workspace, cluster)
