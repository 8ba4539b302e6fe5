"""Launches while something else goes wrong or changes: the API is out, two daemons run, code servers are upgraded."""

import time

import pytest

from reformatters_dagster.core.spec.partition import partition_key
from tests.stack.deployment import Deployment, shards_of
from tests.stack.kubelet import container_of
from tests.stack.stack import NEXT_TAG

pytest_plugins = ["tests.datasets", "tests.stores"]
pytestmark = pytest.mark.slow

OUTAGE = 30.0
WAITS = "another daemon is at work on this database"


def test_a_launch_that_the_api_refuses_for_half_a_minute_is_not_lost(deployment: Deployment) -> None:
    site, stack = deployment.site("refused"), deployment.stack
    label = deployment.labels[0]
    with stack.cluster.outage():
        run_id = stack.web.launch(site.dataset, "backfill", label)
        stack.wait_for(lambda: stack.cluster.turned_away)
        time.sleep(OUTAGE)
        assert not stack.web.run(run_id).is_over, stack.said(run_id)
    assert stack.wait_for_run(run_id).status == "SUCCESS", stack.said(run_id)
    assert len(stack.cluster.jobs_of(run_id)) == len(stack.web.attempts(run_id)) == 1
    deployment.assert_true("refused", label)


def test_two_daemons_launch_each_run_once_and_one_takes_the_place_of_the_other(deployment: Deployment) -> None:
    site, stack = deployment.site("twins"), deployment.stack
    *labels, following = deployment.labels[:3]
    stack.end("daemon")
    backfill = stack.web.backfill(site.dataset, labels)
    stack.start_daemon("one")
    stack.start_daemon("other")
    waiting = stack.wait_for(lambda: [name for name in ("one", "other") if WAITS in stack.log(name)])
    stack.wait_for(lambda: stack.web.backfill_status(backfill).startswith("COMPLETED"))
    runs = stack.web.runs(dagster__backfill=backfill)
    assert sorted(run.tags["dagster/partition"] for run in runs) == [partition_key(label) for label in labels]
    assert [run.status for run in runs] == ["SUCCESS"] * 2, [stack.said(run.run_id) for run in runs]
    assert [len(stack.cluster.jobs_of(run.run_id)) for run in runs] == [1] * 2

    (standby,) = waiting
    (at_work,) = {"one", "other"} - {standby}
    stack.kill(at_work)
    run_id = stack.web.launch(site.dataset, "backfill", following)
    assert stack.wait_for_run(run_id).status == "SUCCESS", stack.said(run_id)
    deployment.assert_true("twins", *labels, following)


def test_a_run_outlives_the_upgrade_of_its_code_server_and_the_next_uses_the_new_one(deployment: Deployment) -> None:
    site, stack, s3 = deployment.site("upgraded"), deployment.stack, deployment.s3
    label, following = deployment.labels[:2]
    before = stack.image
    s3.gate(shards_of(site), after=0)
    run_id = stack.web.launch(site.dataset, "backfill", label)
    stack.wait_for(lambda: s3.at_gate()[0])
    stack.end("code")
    stack.upgrade(NEXT_TAG)
    stack.start_code_server()
    stack.wait_for(lambda: stack.web.loaded_image() == stack.image)
    s3.open_gate("serve")
    assert stack.wait_for_run(run_id).status == "SUCCESS", stack.said(run_id)

    backfill = stack.web.backfill(site.dataset, [following])
    stack.wait_for(lambda: stack.web.backfill_status(backfill).startswith("COMPLETED"))
    (after,) = stack.web.runs(dagster__backfill=backfill)
    assert after.status == "SUCCESS", stack.said(after.run_id)
    images = [container_of(pod)["image"] for run in (run_id, after.run_id) for pod in stack.cluster.pods_of(run)]
    assert images == [before, stack.image]
    deployment.assert_true("upgraded", label, following)
