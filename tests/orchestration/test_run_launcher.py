"""`DatasetK8sRunLauncher`: launches that Kubernetes refuses, and runs that ran out of memory.

Dagster's own queue, run monitoring and run retries do what they do in the daemon, against an API that refuses on request.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG, PARENT_RUN_ID_TAG

from reformatters_dagster.orchestration.names import OUT_OF_MEMORY_TAG
from reformatters_dagster.orchestration.out_of_memory import multiplied
from reformatters_dagster.orchestration.run_launcher import DatasetK8sRunLauncher
from reformatters_dagster.orchestration.starting_runs import fail_runs_without_worker
from tests.helm.rendered import NAMESPACE
from tests.orchestration.cluster import LOST
from tests.orchestration.daemons import Daemon, daemons

pytestmark = pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with daemons(tmp_path) as made:
        yield made


# Refusals


@pytest.mark.parametrize(("status", "times"), [(503, 1), (500, 2), (429, 3), (401, 1), (502, 2)])
def test_a_short_refusal_leaves_no_trace_in_the_run(daemon: Daemon, status: int, times: int) -> None:
    daemon.cluster.refuse(times, status)
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "STARTING"
    assert daemon.pauses == [1.0, 2.0, 4.0][:times]
    assert len(daemon.cluster.created) == 1
    assert not [event for event in daemon.events(run_id) if "refused" in event]


def test_a_run_waits_in_the_queue_while_the_api_is_down_and_is_launched_once(daemon: Daemon) -> None:
    daemon.cluster.down = True
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "QUEUED"
    assert sum(daemon.pauses) <= 7.0 + 20.0
    (told,) = [event for event in daemon.events(run_id) if "The launch was refused" in event]
    assert f"create the Job dagster-run-{run_id} in namespace {NAMESPACE}; it did not answer" in told
    assert "back in the queue, and is launched again for 60 s more" in told
    daemon.cluster.down = False
    daemon.dequeue()
    assert daemon.status(run_id) == "STARTING"
    assert len(daemon.cluster.created) == 1


def test_one_launch_pauses_for_all_and_longer_each_time(daemon: Daemon) -> None:
    runs = [daemon.submit() for _ in range(3)]
    daemon.cluster.down = True
    in_place = [1.0, 2.0, 4.0]
    for pauses in ([*in_place, 1.0], [2.0], [4.0]):
        daemon.pauses.clear()
        daemon.dequeue()
        daemon.now += 5
        assert daemon.pauses == pauses
        assert [daemon.status(run) for run in runs] == ["QUEUED"] * 3
    daemon.cluster.down = False
    daemon.dequeue()
    assert [daemon.status(run) for run in runs] == ["STARTING"] * 3
    assert len(daemon.cluster.created) == 3
    daemon.cluster.refuse(1, 503)
    daemon.pauses.clear()
    daemon.submit()
    daemon.dequeue()
    assert daemon.pauses == [1.0]


def test_a_refusal_that_does_not_end_fails_the_run_with_its_words_and_dagster_retries_it(daemon: Daemon) -> None:
    run_id = daemon.submit()
    daemon.cluster.refuse(100, 503, "ServiceUnavailable", "etcd has no leader")
    for _ in range(20):
        daemon.dequeue()
        daemon.now += 5
    assert daemon.status(run_id) == "FAILURE"
    assert daemon.events(run_id)[-1].startswith("The launch was refused, for 60 s, and the run has not begun: ")
    assert (
        "it answered 503 Service Unavailable: etcd has no leader; look at the API server" in daemon.events(run_id)[-1]
    )
    (again,) = daemon.retry()
    daemon.cluster.answers.clear()
    daemon.dequeue()
    assert daemon.status(again.run_id) == "STARTING"


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (403, 'User "daemon" cannot create resource "jobs"', "kubectl auth can-i create jobs --namespace dagster"),
        (404, 'namespaces "dagster" not found', "create the namespace, or correct `job_namespace`"),
        (
            422,
            "spec.template.spec.containers[0].resources.requests: Invalid value",
            "correct `resources=` of the dataset",
        ),
    ],
)
def test_what_is_permanent_fails_at_once_and_is_not_retried(
    daemon: Daemon, status: int, message: str, advice: str
) -> None:
    daemon.cluster.refuse(1, status, "Reason", message)
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "FAILURE"
    assert daemon.pauses == []
    last = daemon.events(run_id)[-1]
    assert (
        f"Kubernetes was asked to create the Job dagster-run-{run_id} in namespace dagster; it answered {status} "
        in last
    )
    assert f"{message}; " in last
    assert advice in last
    assert daemon.retry() == []
    assert daemon.cluster.created == []


def test_a_full_quota_is_waited_for(daemon: Daemon) -> None:
    daemon.cluster.refuse(1, 403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: runs')
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "STARTING"


def test_a_job_whose_answer_was_lost_counts_as_launched(daemon: Daemon) -> None:
    daemon.cluster.refuse(1, LOST)
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "STARTING"
    assert list(daemon.cluster.jobs) == [f"dagster-run-{run_id}"]
    assert len(daemon.cluster.created) == 1


def test_a_job_whose_pod_ran_while_its_run_was_queued_is_made_anew(daemon: Daemon) -> None:
    """The pod did nothing: Dagster ignores a process whose run is in the queue."""
    daemon.cluster.refuse(1, LOST)
    daemon.cluster.refuse(10, 503)
    run_id = daemon.submit()
    daemon.dequeue()
    assert daemon.status(run_id) == "QUEUED"
    daemon.cluster.end(f"dagster-run-{run_id}", "Completed")
    daemon.cluster.answers.clear()
    daemon.dequeue()
    assert "the Job of an earlier attempt is being deleted" in daemon.events(run_id)[-2]
    daemon.dequeue()
    assert daemon.status(run_id) == "STARTING"
    assert len(daemon.cluster.created) == 2
    assert daemon.cluster.jobs[f"dagster-run-{run_id}"]["status"] == {"active": 1}


def test_a_job_of_that_name_that_is_another_s_is_no_launch(daemon: Daemon) -> None:
    run_id = daemon.submit()
    name = f"dagster-run-{run_id}"
    other = {"name": name, "labels": {"dagster/run-id": "another"}}
    template = {"metadata": {}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    daemon.cluster.create({"metadata": other, "spec": {"template": template}})
    daemon.dequeue()
    assert daemon.status(run_id) == "FAILURE"
    assert (
        f'jobs.batch "{name}" already exists; find out what made that Job, and delete it' in daemon.events(run_id)[-1]
    )


def test_a_run_that_was_cancelled_meanwhile_is_not_put_back(daemon: Daemon) -> None:
    run_id = daemon.submit()
    daemon.cluster.down = True
    client = daemon.launcher._api_client

    def cancel(seconds: float) -> None:
        daemon.sleep(seconds)
        if daemon.status(run_id) == "STARTING":
            daemon.instance.report_run_canceled(daemon.run(run_id))

    client.sleeper = cancel
    daemon.dequeue()
    assert daemon.status(run_id) == "CANCELED"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"refusal_patience_seconds": -1}, "refusal_patience_seconds is -1; give 0 or more seconds"),
        ({"more_memory_after_oom": 1.0}, "more_memory_after_oom is 1.0; give a factor above 1, such as 1.5"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DatasetK8sRunLauncher(**given)


def test_the_launcher_is_light_enough_for_the_webserver() -> None:
    module = DatasetK8sRunLauncher.__module__
    script = (
        f"import sys, {module}; print(*(name for name in sys.modules if '.core' in name and 'reformatters' in name))"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert found == []


def test_a_run_that_a_person_executes_again_has_its_retries_again(daemon: Daemon) -> None:
    daemon.cluster.refuse(1, 403, "Forbidden")
    refused = daemon.submit()
    daemon.dequeue()
    assert (daemon.status(refused), daemon.run(refused).tags[MAX_RETRIES_TAG]) == ("FAILURE", "0")
    assert daemon.retry() == []
    again = daemon.execute_again(refused)
    assert daemon.run(again).tags[MAX_RETRIES_TAG] == "2"
    daemon.dequeue()
    daemon.start(again)
    daemon.kill(again, "Error")
    (retried,) = daemon.retry()
    assert retried.tags[PARENT_RUN_ID_TAG] == again


# Out of memory


def memory_of(job: dict[str, Any]) -> tuple[str, str, str]:
    """CPU and memory that a Job asks for, and its limit of memory."""
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    return resources["requests"]["cpu"], resources["requests"]["memory"], resources["limits"]["memory"]


def test_a_run_that_ran_out_of_memory_is_retried_once_with_more(daemon: Daemon) -> None:
    first = daemon.begun()
    assert memory_of(daemon.cluster.created[-1]) == ("2", "4Gi", "4Gi")
    daemon.kill(first)
    assert daemon.status(first) == "FAILURE"
    told = daemon.events(first)[-1]
    assert f"OOMKilled: pod dagster-run-{first}-x was killed at its memory limit of 4Gi (it asked for 4Gi)" in told
    assert "The next attempt gets 1.5 times as much" in told
    assert 'raise `resources=Resources(memory="6Gi", …)` in the definition of dataset noaa-gfs-forecast' in told

    (again,) = daemon.retry()
    assert again.tags[PARENT_RUN_ID_TAG] == first
    daemon.dequeue()
    assert memory_of(daemon.cluster.created[-1]) == ("2", "6Gi", "6Gi")

    daemon.start(again.run_id)
    daemon.kill(again.run_id)
    assert daemon.status(again.run_id) == "FAILURE"
    told = daemon.events(again.run_id)[-1]
    assert "was killed at its memory limit of 6Gi (it asked for 6Gi), 1.5 times the memory" in told
    assert f'run {first} was killed before. It is not retried: raise `resources=Resources(memory="9Gi"' in told
    assert "launch the partition anew" in told
    assert daemon.retry() == []


def test_a_run_that_ran_out_of_memory_while_it_started_is_retried_once_with_more(daemon: Daemon) -> None:
    first = daemon.submit()
    daemon.dequeue()
    daemon.cluster.end(f"dagster-run-{first}", "OOMKilled")
    fail_runs_without_worker(daemon.instance)
    assert daemon.status(first) == "FAILURE"
    told = daemon.events(first)[-1]
    assert "ended before the run had begun: OOMKilled: pod" in told
    assert "at its memory limit of 4Gi (it asked for 4Gi). The next attempt gets 1.5 times as much" in told

    (again,) = daemon.retry()
    daemon.dequeue()
    assert memory_of(daemon.cluster.created[-1]) == ("2", "6Gi", "6Gi")
    daemon.cluster.end(f"dagster-run-{again.run_id}", "OOMKilled")
    fail_runs_without_worker(daemon.instance)
    assert 'It is not retried: raise `resources=Resources(memory="9Gi"' in daemon.events(again.run_id)[-1]
    assert daemon.retry() == []


def test_a_run_that_starts_is_left_alone_while_its_pod_may_still_begin(daemon: Daemon) -> None:
    run_id = daemon.submit()
    daemon.dequeue()
    fail_runs_without_worker(daemon.instance)
    assert daemon.status(run_id) == "STARTING"
    daemon.cluster.down = True
    fail_runs_without_worker(daemon.instance)
    assert daemon.status(run_id) == "STARTING"


def test_a_run_is_retried_whose_pod_ended_well_and_did_nothing(daemon: Daemon) -> None:
    daemon.cluster.answers.append((LOST, "", ""))  # the API has made the Job, and its pod finds the run in the queue
    first = daemon.submit()
    daemon.dequeue()
    assert daemon.status(first) == "STARTING"
    daemon.cluster.end(f"dagster-run-{first}", "Completed")
    fail_runs_without_worker(daemon.instance)
    assert "ended before the run had begun: its pod ended without an error" in daemon.events(first)[-1]
    (again,) = daemon.retry()
    daemon.dequeue()
    assert daemon.status(again.run_id) == "STARTING"


def test_a_pod_that_failed_while_its_run_started_is_retried_as_it_was(daemon: Daemon) -> None:
    first = daemon.submit()
    daemon.dequeue()
    daemon.cluster.end(f"dagster-run-{first}", "Error")
    fail_runs_without_worker(daemon.instance)
    (again,) = daemon.retry()
    daemon.dequeue()
    assert memory_of(daemon.cluster.created[-1]) == ("2", "4Gi", "4Gi")
    assert OUT_OF_MEMORY_TAG not in daemon.run(again.run_id).tags


def test_looking_twice_at_the_first_kill_does_not_make_it_the_second(daemon: Daemon) -> None:
    first = daemon.begun()
    daemon.cluster.end(f"dagster-run-{first}", "OOMKilled")
    for _ in range(2):
        health = daemon.launcher.check_run_worker_health(daemon.run(first))
        assert health.status is WorkerStatus.FAILED
        assert "The next attempt gets" in (health.msg or "")
    assert daemon.run(first).tags[OUT_OF_MEMORY_TAG] == first
    assert MAX_RETRIES_TAG not in daemon.run(first).tags


def test_a_pod_that_was_lost_otherwise_is_retried_as_it_was(daemon: Daemon) -> None:
    first = daemon.begun()
    daemon.kill(first, "Error")
    (again,) = daemon.retry()
    daemon.dequeue()
    assert memory_of(daemon.cluster.created[-1]) == ("2", "4Gi", "4Gi")
    assert OUT_OF_MEMORY_TAG not in daemon.run(again.run_id).tags


def test_the_small_pod_of_a_run_with_step_pods_is_told_by_its_own_field(daemon: Daemon) -> None:
    run_id = daemon.begun("with_step_pods")
    daemon.kill(run_id)
    assert "raise SMALL_POD in reformatters_dagster/orchestration/names.py" in daemon.events(run_id)[-1]


@pytest.mark.parametrize(
    ("quantity", "factor", "larger"),
    [("4Gi", 1.5, "6Gi"), ("1500M", 1.5, "2146Mi"), ("1Gi", 1.25, "1280Mi"), ("2147483648", 2, "4Gi")],
)
def test_a_quantity_of_memory_is_multiplied(quantity: str, factor: float, larger: str) -> None:
    assert multiplied(quantity, factor) == larger
