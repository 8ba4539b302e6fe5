"""Runs that go well: a backfill of several partitions, an update that a sensor launches, steps in pods of their own."""

from collections.abc import Sequence

import pytest

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.store.stores import open_store
from reformatters_dagster.orchestration.resources import utc_now
from tests.stack.datasets import GROUPED
from tests.stack.deployment import Deployment
from tests.stack.kubelet import Manifest, container_of

pytest_plugins = ["tests.datasets", "tests.stores"]
pytestmark = pytest.mark.slow


def test_a_backfill_from_the_webserver_fills_three_partitions_in_a_bucket(deployment: Deployment) -> None:
    site, stack = deployment.site("filled"), deployment.stack
    labels = deployment.labels[:3]
    backfill = stack.web.backfill(site.dataset, labels)
    stack.wait_for(lambda: stack.web.backfill_status(backfill).startswith("COMPLETED"))
    runs = stack.web.runs(dagster__backfill=backfill)
    assert [run.status for run in runs] == ["SUCCESS"] * 3, [stack.said(run.run_id) for run in runs]
    deployment.assert_true("filled", *labels)
    for run in runs:
        (job,) = stack.cluster.jobs_of(run.run_id)
        container = container_of(job["spec"]["template"])
        assert container["image"] == stack.image
        assert container["resources"]["limits"]["memory"] == site.dataset.resources.memory
        assert any(
            key.startswith(f"{run.run_id}/compute_logs/") for key, _ in open_store(deployment.store, "_logs").list()
        )
    assert deployment.leases("filled") == set()


def test_files_that_appear_upstream_are_published_by_the_sensor(deployment: Deployment) -> None:
    site, stack = deployment.site("watched"), deployment.stack
    *published, newest = deployment.labels
    site.update(now=utc_now())
    assert deployment.extent("watched") == published
    sensor = site.dataset.job_name("upstream")
    stack.web.start_sensor(sensor)
    look = stack.wait_for(lambda: stack.web.last_look(sensor))
    assert look["status"] == "SKIPPED", look

    deployment.arrive(newest)
    (run,) = stack.wait_for(lambda: stack.web.runs(reformatters__dataset=site.dataset.dataset_id))
    stack.web.stop_sensor(sensor)
    assert run.tags["dagster/partition"] == partition_key(newest)
    ended = stack.wait_for_run(run.run_id)
    assert ended.status == "SUCCESS", stack.said(run.run_id)
    assert deployment.extent("watched") == deployment.labels
    deployment.assert_true("watched", *deployment.labels)


def test_steps_of_a_dataset_that_asks_for_it_run_in_pods_of_their_own(deployment: Deployment) -> None:
    site, stack = deployment.site("grouped"), deployment.stack
    label = deployment.labels[0]
    run_id = stack.web.launch(site.dataset, "update", label)
    assert stack.wait_for_run(run_id).status == "SUCCESS", stack.said(run_id)
    deployment.assert_true("grouped", label)
    assert deployment.extent("grouped") == [label]
    run_pod, *steps = stack.cluster.jobs_of(run_id)
    assert component(run_pod) == "run_worker"
    assert {component(step) for step in steps} == {"step_worker"}
    ops = sorted(step_key(step).rpartition(".")[2] for step in steps)
    prefix = "test_grouped_forecast__"
    groups = [f"{prefix}process_region_job[{name}]" for name in sorted(GROUPED)]
    assert ops == [f"{prefix}commit", f"{prefix}plan", *groups]
    stack.wait_for(lambda: phases(stack.cluster.pods_of(run_id)) == {"Succeeded"})


def phases(pods: Sequence[Manifest]) -> set[str]:
    return {pod["status"]["phase"] for pod in pods}


def step_key(job: Manifest) -> str:
    environment = container_of(job["spec"]["template"])["env"]
    (found,) = [one["value"] for one in environment if one["name"] == "DAGSTER_RUN_STEP_KEY"]
    return str(found)


def component(job: Manifest) -> str:
    found: str = job["metadata"]["labels"]["app.kubernetes.io/component"]
    return found
