"""What steps hand to each other is removed by the commit, and fails nothing when it cannot be."""

from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from reformatters_dagster.core.store.reading import open_published
from reformatters_dagster.core.store.stores import open_store
from reformatters_dagster.orchestration.resources import RUNS, forget_outputs
from tests.datasets import INIT, TEMPERATURE, Sample, Site, gfs_forecast
from tests.orchestration.deployments import Deployment
from tests.stores import S3Bucket

pytest_plugins = ["tests.datasets", "tests.stores"]


def test_outputs_that_cannot_be_removed_fail_no_run_that_has_committed(
    tmp_path: Path, gfs_sample: Sample, instance: dg.DagsterInstance, s3: S3Bucket
) -> None:
    site = Site(tmp_path, gfs_forecast(tmp_path / "templates", variables=[TEMPERATURE]), gfs_sample, {"store": s3.url})
    site.arrive(INIT)
    deployment = Deployment(site, instance)
    s3.server.fail({"methods": ["DELETE"], "path": "/_runs/", "status": 403, "code": "AccessDenied"})
    deployment.run("update", INIT)
    assert len(deployment.materializations()) == 1
    assert list(open_published(site.stores.primary).indexes["init_time"]) == [INIT]


def test_outputs_of_a_whole_chain_of_runs_are_removed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    store = open_store(str(tmp_path), RUNS)
    runs: list[dg.DagsterRun] = []
    for number in range(4):
        tags = {PARENT_RUN_ID_TAG: runs[-1].run_id, ROOT_RUN_ID_TAG: runs[0].run_id} if number else {}
        root, parent = (runs[0].run_id, runs[-1].run_id) if runs else (None, None)
        run = dg.DagsterRun("update", tags=tags, root_run_id=root, parent_run_id=parent)
        runs.append(instance.run_storage.add_run(run))
        store.put(f"{runs[-1].run_id}/plan/result.json", b"{}")
    store.put("another/plan/result.json", b"{}")
    forget_outputs(str(tmp_path), runs[-1], instance)
    assert [key for key, _ in store.list("")] == ["another/plan/result.json"]
