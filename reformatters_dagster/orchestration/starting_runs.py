"""Runs whose worker ended before they had begun: failed at once, and not at the end of the time that they have to start.

In: an instance whose launcher can tell how workers are, as that of Kubernetes can. Out: runs that failed, with the reason.

Dagster's run monitoring asks the launcher about runs that have started. Of one that still starts it watches the time alone, and
that is long, since a pod may wait for a node: a pod that was OOM-killed while it imported, or whose code cannot be imported,
would hold its place in the queue until then. So would a run that was put back into the queue though its Job had been made: the
pod finds it there and does nothing, and the next launch may take the Job for its own while that pod ends. The daemon's process
imports this module, so it must not import the core.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import dagster as dg
from dagster._core.launcher.base import WorkerStatus

log = logging.getLogger(__name__)

STARTING = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])
ENDED = {WorkerStatus.FAILED, WorkerStatus.SUCCESS}
NOTHING_DONE = "its pod ended without an error, as one does that finds the run back in the queue after a refused launch"


def fail_runs_without_worker(instance: dg.DagsterInstance) -> None:
    """Fail each run that still starts and whose worker has ended. Dagster's run retries start it again."""
    for run in instance.get_runs(STARTING):
        try:
            _look_at(instance, run)
        except Exception:
            log.exception("run=%s starts, and its worker could not be looked at", run.run_id)


@contextmanager
def watched_starts(instance: dg.DagsterInstance) -> Iterator[None]:
    """Within it, look as often as run monitoring does, where that is on."""
    if not (instance.run_monitoring_enabled and instance.run_launcher.supports_check_run_worker_health):
        yield
        return
    ends = Event()
    watch = Thread(target=_watch, args=(instance, ends), name="starting-runs", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ends.set()
        watch.join()


def _watch(instance: dg.DagsterInstance, ends: Event) -> None:
    while not ends.wait(instance.run_monitoring_poll_interval_seconds):
        try:
            fail_runs_without_worker(instance)
        except Exception:
            log.exception("runs that start could not be looked at")


def _look_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    health = instance.run_launcher.check_run_worker_health(run)
    if health.status not in ENDED:
        return  # without an answer too: the Job may not have been created yet
    current = instance.get_run_by_id(run.run_id)
    if current is None or current.status is not dg.DagsterRunStatus.STARTING:
        return  # it began between the two looks: run monitoring asks after it
    message = f"The run's worker ended before the run had begun: {health.msg or NOTHING_DONE}"
    log.warning("run=%s %s", run.run_id, message)
    instance.report_run_failed(current, "\n".join(filter(None, (message, _last_words(instance, current)))))


def _last_words(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """What is known of the pod, as run monitoring tells it of a run that did not start in time."""
    try:
        return instance.run_launcher.get_run_worker_debug_info(run)
    except Exception:
        log.exception("run=%s failed, and nothing can be told of its worker", run.run_id)
        return None
