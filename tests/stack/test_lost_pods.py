"""Runs that go wrong in their pods: killed, hung, out of memory."""

import pytest

from reformatters_dagster.core.spec.partition import partition_key
from tests.datasets import VARIABLES
from tests.stack.deployment import Deployment, shards_of
from tests.stack.kubelet import container_of

pytest_plugins = ["tests.datasets", "tests.stores"]
pytestmark = pytest.mark.slow

SHARDS = 2
"""Objects of a variable."""


def test_a_killed_pod_is_replaced_and_goes_on_after_what_was_uploaded(deployment: Deployment) -> None:
    site, stack, s3 = deployment.site("killed"), deployment.stack, deployment.s3
    label = deployment.labels[0]
    chunks = shards_of(site)
    s3.gate(chunks, after=len(VARIABLES) * SHARDS - 1)
    killed = stack.web.launch(site.dataset, "backfill", label)
    stack.wait_for(lambda: s3.at_gate()[0] and deployment.uploaded("killed", label))
    uploaded = deployment.uploaded("killed", label)
    (pod,) = stack.cluster.pods_of(killed)
    stack.cluster.kill(pod)
    s3.open_gate("drop")
    s3.gate(chunks)

    stack.wait_for(lambda: len(stack.web.attempts(killed)) == 2)
    first, again = stack.web.attempts(killed)
    assert first.status == "FAILURE"
    assert stack.wait_for_run(again.run_id).status == "SUCCESS", stack.said(again.run_id)
    deployment.assert_true("killed", label)
    _, put_again = s3.at_gate()
    variables = [path.split("/c/")[0].rpartition("/")[2] for path in put_again]
    assert set(variables) == set(VARIABLES) - uploaded
    assert len(variables) == SHARDS * len(set(variables))
    assert deployment.leases("killed") == set()


def test_a_run_that_hangs_is_ended_and_holds_nothing_afterwards(deployment: Deployment) -> None:
    site, stack, s3 = deployment.site("hung"), deployment.stack, deployment.s3
    label = deployment.labels[0]
    s3.gate(shards_of(site), after=0)
    limits = {"dagster__max_runtime": "20", "dagster__max_retries": "0"}
    hung = stack.web.launch(site.dataset, "backfill", label, **limits)
    stack.wait_for(lambda: s3.at_gate()[0])
    assert deployment.leases("hung") == {partition_key(label)}
    assert stack.wait_for_run(hung).status == "FAILURE", stack.said(hung)
    assert "Exceeded maximum runtime of 20 seconds." in stack.web.said(hung)
    # The store still answers nothing, and the pod would have the rest of its 120 s of grace.
    stack.wait_for(lambda: not deployment.leases("hung"))
    stack.wait_for(lambda: not stack.cluster.pods_of(hung), seconds=45)
    s3.open_gate("drop")


def test_an_oom_killed_run_gets_more_memory_once_and_then_says_what_to_raise(deployment: Deployment) -> None:
    site, stack, s3 = deployment.site("starved"), deployment.stack, deployment.s3
    s3.gate(shards_of(site), after=0)
    root = stack.web.launch(site.dataset, "backfill", deployment.labels[0])
    # The first pod is killed while it imports, the second at work: Dagster's run monitoring sees the second alone.
    (pod,) = stack.wait_for(lambda: stack.cluster.running_pods_of(root))
    assert container_of(pod)["resources"]["limits"]["memory"] == "1Gi"
    stack.cluster.kill(pod, "OOMKilled")
    assert stack.wait_for_run(root).status == "FAILURE"

    stack.wait_for(lambda: s3.at_gate()[0])
    first, last = stack.web.attempts(root)
    (pod,) = stack.cluster.pods_of(last.run_id)
    assert container_of(pod)["resources"]["limits"]["memory"] == "1536Mi"
    stack.cluster.kill(pod, "OOMKilled")
    s3.open_gate("drop")
    assert stack.wait_for_run(last.run_id).status == "FAILURE"
    assert any(
        "ended before the run had begun: OOMKilled" in said and "1Gi" in said for said in stack.web.said(first.run_id)
    )
    (words,) = [said for said in stack.web.said(last.run_id) if "raise `resources=" in said]
    assert "was killed at its memory limit of 1536Mi (it asked for 1536Mi)" in words
    assert 'Resources(memory="2304Mi", …)` in the definition of dataset test-starved-forecast' in words
    (last,) = [run for run in stack.web.attempts(root) if run.run_id == last.run_id]
    assert last.tags["dagster/will_retry"] == "false"
