"""Step pods that ran out of memory, and Jobs of steps that Kubernetes refuses."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
from dagster._core.executor.step_delegating import CheckStepHealthResult
from dagster._core.executor.step_delegating.step_handler.base import StepHandlerContext
from dagster._grpc.types import ExecuteStepArgs
from dagster_shared.error import SerializableErrorInfo

from reformatters_dagster.orchestration.step_pods import StepPods, step_pods_executor
from tests.orchestration import small_location
from tests.orchestration.daemons import Daemon, daemons

pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")


@dataclass
class Step:
    """The one step of a run with step pods, as its executor handles it after so many attempts."""

    daemon: Daemon
    executor: StepPods
    handled: StepHandlerContext
    known: KnownExecutionState

    @property
    def job(self) -> str:
        return str(self.executor._step_handler._get_k8s_step_job_name(self.handled))  # type: ignore[attr-defined]

    def launch(self) -> dict[str, Any]:
        """The Job that is created."""
        assert list(self.executor._step_handler.launch_step(self.handled))
        return self.daemon.cluster.created[-1]

    def health(self, reason: str) -> CheckStepHealthResult:
        """What is found once its pod has ended."""
        self.daemon.cluster.end(self.job, reason)
        return self.executor._step_handler.check_step_health(self.handled)

    def answer(self, health: CheckStepHealthResult) -> str:
        """What the executor makes of it."""
        error = SerializableErrorInfo(health.unhealthy_reason or "", [], None)
        context = self.handled.get_step_context("work")
        event = self.executor.log_failure_or_retry_event_after_error(context, error, self.known)
        return event.event_type_value


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with daemons(tmp_path) as made:
        yield made


def step(daemon: Daemon, attempts: int) -> Step:
    run = daemon.run(daemon.begun("with_step_pods"))
    job = dg.reconstructable(small_location.step_pods_job)
    known = KnownExecutionState(previous_retry_attempts={"work": attempts} if attempts else None)
    plan = create_execution_plan(job, known_state=known)
    found = plan.get_step_by_key("work")
    assert isinstance(found, ExecutionStep)
    orchestration = PlanOrchestrationContextManager(
        orchestration_context_event_generator, job, plan, {}, run, daemon.instance, raise_on_error=True
    )
    list(orchestration.prepare_context())
    context = orchestration.get_context()
    assert isinstance(context.executor, StepPods)
    assert run.job_code_origin is not None
    args = ExecuteStepArgs(run.job_code_origin, run.run_id, ["work"], daemon.instance.get_ref(), known_state=known)
    handled = StepHandlerContext(daemon.instance, context, [found], args, run)
    return Step(daemon, context.executor, handled, known)


def memory_of(job: dict[str, Any]) -> tuple[str, str]:
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    return resources["requests"]["memory"], resources["limits"]["memory"]


def test_a_step_that_ran_out_of_memory_is_retried_once_with_more(daemon: Daemon) -> None:
    first = step(daemon, attempts=0)
    assert memory_of(first.launch()) == ("4Gi", "4Gi")
    health = first.health("OOMKilled")
    assert health.unhealthy_reason == (
        f"OOMKilled: pod {first.job}-x was killed at its memory limit of 4Gi (it asked for 4Gi). The step is retried with 1.5 "
        'times as much. To spare that: raise `resources=Resources(memory="6Gi", …)` in the definition of dataset '
        "noaa-gfs-forecast"
    )
    assert first.answer(health) == "STEP_UP_FOR_RETRY"

    again = step(daemon, attempts=1)
    assert again.job.endswith("-1")
    assert memory_of(again.launch()) == ("6Gi", "6Gi")
    health = again.health("OOMKilled")
    assert "at its memory limit of 6Gi (it asked for 6Gi), 1.5 times the memory" in (health.unhealthy_reason or "")
    assert 'It is not retried: raise `resources=Resources(memory="9Gi"' in (health.unhealthy_reason or "")
    assert again.answer(health) == "STEP_FAILURE"


def test_a_step_whose_pod_was_lost_otherwise_fails_as_before(daemon: Daemon) -> None:
    lost = step(daemon, attempts=0)
    lost.launch()
    health = lost.health("Error")
    assert health.unhealthy_reason == f"Discovered failed Kubernetes job {lost.job} for step work."
    assert lost.answer(health) == "STEP_FAILURE"


def test_the_job_of_a_step_is_asked_for_again_while_the_api_refuses(daemon: Daemon) -> None:
    refused = step(daemon, attempts=0)
    client = refused.executor._step_handler._api_client  # type: ignore[attr-defined]
    client.sleeper, client.timer = daemon.sleep, lambda: daemon.now
    daemon.cluster.refuse(5, 503)
    refused.launch()
    assert daemon.pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_step_pods_without_kubernetes_are_refused_with_what_to_configure() -> None:
    job = dg.reconstructable(small_location.step_pods_job)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.InitExecutorContext(job, step_pods_executor, {"max_concurrent": 1}, instance)
        create = step_pods_executor.executor_creation_fn
        assert create is not None
        with pytest.raises(
            dg.DagsterInvariantViolationError, match=r"launches runs by .*: configure DatasetK8sRunLauncher"
        ):
            create(context)
