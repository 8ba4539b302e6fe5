"""Steps in pods of their own, which survive what runs survive: an API that refuses, and one OOM kill.

In: the steps of a run of a dataset whose groups of variables have pods of their own. Out: Jobs of Kubernetes, and for a step
that ran out of memory one retry with more of it, then a failure that names the limit.
"""

from typing import Any, cast

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.plan.objects import StepRetryData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandlerContext,
)
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.launcher import K8sRunLauncher

from reformatters_dagster.orchestration.job_client import open_client
from reformatters_dagster.orchestration.out_of_memory import (
    DEFAULT_MORE,
    dataset_of,
    find_killed,
    raise_of,
    with_more_memory,
)
from reformatters_dagster.orchestration.pods import placement_of
from reformatters_dagster.orchestration.run_launcher import DEFAULT_PATIENCE, DatasetK8sRunLauncher


class DatasetStepHandler(K8sStepHandler):
    """Dagster's step pods, scheduled where their run is, which get more memory where an attempt before was OOM-killed."""

    def __init__(self, launcher: K8sRunLauncher) -> None:
        super().__init__(
            image=None,
            container_context=K8sContainerContext(),
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
        )
        more, patience = DEFAULT_MORE, DEFAULT_PATIENCE
        if isinstance(launcher, DatasetK8sRunLauncher):
            more, patience = launcher.more_memory_after_oom, launcher.refusal_patience_seconds
        self._more = more
        self._api_client = open_client(float(patience))

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        run = step_handler_context.dagster_run
        placed = UserDefinedDagsterK8sConfig(pod_spec_config=placement_of(run.tags))
        context = super()._get_container_context(step_handler_context).merge(K8sContainerContext(run_k8s_config=placed))
        attempts = _attempts_before(step_handler_context, self._get_step_key(step_handler_context))
        return with_more_memory(context, self._more) if attempts else context

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        health = super().check_step_health(step_handler_context)
        if health.is_healthy:
            return health
        name = self._get_k8s_step_job_name(step_handler_context)
        namespace = self._get_container_context(step_handler_context).namespace
        killed = find_killed(self._api_client.get_pods_in_job(name, namespace))
        if killed is None:
            return health
        advice = raise_of(dataset_of(step_handler_context.dagster_run), killed)
        if _attempts_before(step_handler_context, self._get_step_key(step_handler_context)):
            return CheckStepHealthResult.unhealthy(
                f"{killed.text}, {self._more:g} times the memory with which the step was killed before. It is not retried: "
                f"{advice}, deploy, and launch the partition anew"
            )
        return CheckStepHealthResult.unhealthy(
            f"{killed.text}. The step is retried with {self._more:g} times as much. To spare that: {advice}"
        )


class StepPods(StepDelegatingExecutor):
    """Retries a step whose pod was OOM-killed once. A retry policy of the op would swallow termination elsewhere."""

    def log_failure_or_retry_event_after_error(
        self, step_context: Any, err_info: Any, known_state: Any
    ) -> dg.DagsterEvent:
        is_first = not known_state.get_retry_state().get_attempt_count(step_context.step.key)
        if is_first and "OOMKilled" in err_info.message and not step_context.retry_mode.disabled:
            once_more = StepRetryData(err_info)  # type: ignore[no-untyped-call]
            return dg.DagsterEvent.step_retry_event(step_context, once_more)
        return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)


@dg.executor(
    name="step_pods",
    config_schema={"max_concurrent": dg.Field(int, description="Most step pods of one run at a time.")},
    requirements=multiple_process_executor_requirements(),
)
def step_pods_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Each step in a pod of its own. The run launcher of the instance must be that of Kubernetes."""
    launcher = init_context.instance.run_launcher
    if not isinstance(launcher, K8sRunLauncher):
        raise dg.DagsterInvariantViolationError(
            f"steps were to run in pods of their own; the instance launches runs by {type(launcher).__name__}: "
            "configure DatasetK8sRunLauncher as run_launcher in dagster.yaml"
        )
    return StepPods(
        DatasetStepHandler(launcher),
        retries=RetryMode.ENABLED,
        max_concurrent=cast("int", init_context.executor_config["max_concurrent"]),
        should_verify_step=True,
    )


def _attempts_before(context: StepHandlerContext, step_key: str) -> int:
    known = context.execute_step_args.known_state
    return 0 if known is None else known.get_retry_state().get_attempt_count(step_key)
