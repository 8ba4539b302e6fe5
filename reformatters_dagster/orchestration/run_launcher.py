"""Runs to Kubernetes Jobs: a launch that the API refuses is not lost, and a run that ran out of memory gets more of it once.

In: runs that the queue hands over. Out: Jobs; runs that are back in the queue; runs that failed, with the reason in their events.
`dagster.yaml` names `DatasetK8sRunLauncher`. Webserver and daemon import this module, so it must not import the core.

**Refusals.** Dagster's launcher asks an API that cannot answer three times in 30 s, and Dagster then fails the run. Here the run
goes back into the queue. Waiting inside the launch would be simpler, and worse: the queue's daemon begins no further launch until
every launch of its last look has returned; run monitoring fails a run that stays in STARTING too long; and a daemon that is
restarted forgets it. A run in the queue costs no place among the concurrent runs, keeps its priority, and may be cancelled.
Only one launch of a look pauses, 20 s at most, so that the queue does not ask in vain every few seconds.

**Out of memory.** Run monitoring asks `check_run_worker_health` of a run whose pod has ended. Where the pod was OOM-killed the
run is marked with a tag that Dagster's run retries hand on to the next attempt, and a marked attempt gets more memory. Where
that one is killed too, `dagster/max_retries` is set to 0: `DatasetRunCoordinator` undoes that where a person executes it again.
"""

import logging
from collections.abc import Mapping
from threading import Lock
from typing import Any, Self

import dagster as dg
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import get_job_name_from_run_id

from reformatters_dagster.orchestration.job_client import FIRST_PAUSE, LONGEST_PAUSE, JobRefused, open_client
from reformatters_dagster.orchestration.names import OUT_OF_MEMORY_TAG, RETRIES_BEFORE_TAG
from reformatters_dagster.orchestration.out_of_memory import (
    DEFAULT_MORE,
    Killed,
    find_killed,
    what_to_raise,
    with_more_memory,
)

log = logging.getLogger(__name__)

DEFAULT_PATIENCE = 300
IN_PLACE = 7.0
"""Seconds for which a launch itself asks again: most refusals are over by then, and leave no trace in the run."""
REFUSED = "The launch was refused"
"""How an event tells of a refusal."""
SAME_LOOK = 1.0
"""Seconds after a pause within which another refusal belongs to the same look at the queue."""


class DatasetK8sRunLauncher(K8sRunLauncher):
    """Dagster's launcher for Kubernetes, for an API that is down at times and datasets that need more memory than was thought.

    Parameters
    ----------
    refusal_patience_seconds : int
        How long a launch is tried again that the API refuses or does not answer. Each retry of a run has this time anew.
    more_memory_after_oom : float
        How many times as much memory the retry of an OOM-killed run asks for, and is limited to.
    config
        As `K8sRunLauncher` takes it.
    """

    def __init__(
        self,
        refusal_patience_seconds: int = DEFAULT_PATIENCE,
        more_memory_after_oom: float = DEFAULT_MORE,
        inst_data: ConfigurableClassData | None = None,
        **config: Any,
    ) -> None:
        if refusal_patience_seconds < 0:
            raise ValueError(f"refusal_patience_seconds is {refusal_patience_seconds}; give 0 or more seconds")
        if more_memory_after_oom <= 1:
            raise ValueError(f"more_memory_after_oom is {more_memory_after_oom}; give a factor above 1, such as 1.5")
        super().__init__(inst_data=inst_data, **config)
        self.refusal_patience_seconds = refusal_patience_seconds
        self.more_memory_after_oom = more_memory_after_oom
        # Run monitoring resumes runs with this patience; it has nothing to do while the API is down.
        self._api_client = open_client(float(refusal_patience_seconds))
        self._refusals, self._resumes, self._lock = 0, 0.0, Lock()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        patience = dg.Field(
            dg.IntSource,
            is_required=False,
            default_value=DEFAULT_PATIENCE,
            description="Seconds for which a launch is tried again that the Kubernetes API refuses or does not answer.",
        )
        more = dg.Field(
            float,
            is_required=False,
            default_value=DEFAULT_MORE,
            description="How many times as much memory the retry of an OOM-killed run gets.",
        )
        return {
            **super().config_type(),  # type: ignore[no-untyped-call]
            "refusal_patience_seconds": patience,
            "more_memory_after_oom": more,
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    # Refusals

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        is_queued = isinstance(self._instance.run_coordinator, QueuedRunCoordinator)
        patience = float(self.refusal_patience_seconds)
        try:
            with self._api_client.asked_only_for(self._in_place(patience) if is_queued else patience):
                super().launch_run(context)
        except JobRefused as refusal:
            if refusal.may_pass and is_queued and (left := patience - self._refused_for(run)) > 0:
                self._put_back(run, refusal, left)
                self._pause()
                return
            self._fail(run, refusal)
            raise
        self._refusals = 0

    def _in_place(self, patience: float) -> float:
        """Seconds for which a launch of the queue asks again: none while other launches are refused."""
        return 0.0 if self._refusals else min(IN_PLACE, patience)

    def _refused_for(self, run: dg.DagsterRun) -> float:
        """Seconds since a launch of this run was refused first. Its events tell: the daemon may have been restarted."""
        events = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        first = next((entry.timestamp for entry in events if REFUSED in _message(entry)), None)
        return 0.0 if first is None else self._api_client.timer() - first

    def _put_back(self, run: dg.DagsterRun, refusal: JobRefused, left: float) -> None:
        """Back into the queue, as Dagster does where a code server cannot be reached."""
        current = self._instance.get_run_by_id(run.run_id)
        if current is None or current.status is not dg.DagsterRunStatus.STARTING:
            return
        words = f"{REFUSED}: {refusal}. The run is back in the queue, and is launched again for {left:.0f} s more"
        log.warning("run=%s %s", run.run_id, words)
        self._instance.report_engine_event(words, run, cls=type(self))
        self._instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run_id=run.run_id)

    def _pause(self) -> None:
        """Hold up the queue's next look for a while, unless another launch does so."""
        with self._lock:
            now = self._api_client.timer()
            if now < self._resumes + SAME_LOOK:
                return
            seconds = min(FIRST_PAUSE * 2**self._refusals, LONGEST_PAUSE)
            self._refusals, self._resumes = self._refusals + 1, now + seconds
        self._api_client.sleeper(seconds)

    def _fail(self, run: dg.DagsterRun, refusal: JobRefused) -> None:
        """Fail the run with the refusal's words. Dagster's own retries follow where the same request may succeed later."""
        tried = f", for {self.refusal_patience_seconds} s," if refusal.may_pass else ""
        if not refusal.may_pass:
            self._exclude_from_retries(run)
        self._instance.report_run_failed(run, f"{REFUSED}{tried} and the run has not begun: {refusal}")

    def _exclude_from_retries(self, run: dg.DagsterRun) -> None:
        if RETRIES_BEFORE_TAG not in run.tags:
            before = {RETRIES_BEFORE_TAG: run.tags.get(MAX_RETRIES_TAG, "")}
            self._instance.add_run_tags(run.run_id, before)
        self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})

    # Out of memory

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        context = super().get_container_context_for_run(dagster_run)
        return with_more_memory(context, self.more_memory_after_oom) if _follows_a_kill(dagster_run) else context

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        health: CheckRunHealthResult = super().check_run_worker_health(run)
        if health.status is not WorkerStatus.FAILED or (killed := self._killed(run)) is None:
            return health
        return CheckRunHealthResult(WorkerStatus.FAILED, self._out_of_memory(run, killed))

    def _killed(self, run: dg.DagsterRun) -> Killed | None:
        name = get_job_name_from_run_id(run.run_id, resume_attempt_number=self._get_resume_attempt_number(run))
        namespace = self.get_container_context_for_run(run).namespace
        try:
            return find_killed(self._api_client.get_pods_in_job(name, namespace))
        except Exception:
            log.warning("run=%s failed, and its pods could not be looked at", run.run_id, exc_info=True)
            return None

    def _out_of_memory(self, run: dg.DagsterRun, killed: Killed) -> str:
        """Decide whether the run is tried once more, and say so."""
        advice = what_to_raise(run, killed)
        if _follows_a_kill(run):
            self._exclude_from_retries(run)
            return (
                f"{killed.text}, {self.more_memory_after_oom:g} times the memory with which run "
                f"{run.tags[OUT_OF_MEMORY_TAG]} was killed before. It is not retried: {advice}, deploy, and launch the "
                "partition anew, since a re-execution keeps the memory of this run"
            )
        self._instance.add_run_tags(run.run_id, {OUT_OF_MEMORY_TAG: run.run_id})
        retried = self._instance.run_retries_enabled and self._instance.run_retries_max_retries > 0
        follows = (
            f"The next attempt gets {self.more_memory_after_oom:g} times as much" if retried else "Retries are off"
        )
        return f"{killed.text}. {follows}. To spare that: {advice}"


def _follows_a_kill(run: dg.DagsterRun) -> bool:
    """Whether an earlier attempt of a run was OOM-killed, so that this one has more memory."""
    return run.tags.get(OUT_OF_MEMORY_TAG, run.run_id) != run.run_id


def _message(entry: dg.EventLogEntry) -> str:
    return entry.get_dagster_event().message or ""
