"""Lineage: archives before a dataset, what readers see after it; and partitions that are left to an update."""

from collections.abc import Iterator

import dagster as dg
import pytest

from dataset_defs import DATASETS
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import BACKFILL_TAG, archive_key, asset_key, published_key
from tests.datasets import INIT, SECOND, TEMPERATURE, THIRD
from tests.orchestration.deployments import Deployment

pytest_plugins = ["tests.datasets"]


def test_datasets_depend_on_their_archives_and_share_them() -> None:
    graph = build_definitions(DATASETS, Settings()).resolve_asset_graph()
    for dataset in DATASETS:
        archives = {archive_key(archive.folder) for archive in dataset.archives}
        assert graph.get(asset_key(dataset)).parent_keys == archives
        assert graph.get(published_key(dataset)).parent_keys == {asset_key(dataset)}
        assert graph.external_asset_keys >= {*archives, published_key(dataset)}
    gfs = {dataset.dataset_id for dataset in DATASETS if "noaa-gfs-bdp-pds" in {one.folder for one in dataset.archives}}
    children = graph.get(dg.AssetKey(["upstream", "noaa-gfs-bdp-pds"])).child_keys
    assert gfs == {"noaa-gfs-forecast", "noaa-gfs-analysis"}
    assert children == {dg.AssetKey(["noaa", "gfs_forecast"]), dg.AssetKey(["noaa", "gfs_analysis"])}


def test_what_readers_see_is_due_again_by_the_soft_deadline() -> None:
    graph = build_definitions(DATASETS, Settings()).resolve_asset_graph()
    for dataset in DATASETS:
        policy = graph.get(published_key(dataset)).freshness_policy_or_from_metadata
        assert isinstance(policy, dg.FreshnessPolicy)
        within = dataset.template_config.append_dim.frequency + dataset.soft_deadline
        assert policy == dg.FreshnessPolicy.time_window(fail_window=within.to_pytimedelta())
        assert graph.get(asset_key(dataset)).freshness_policy_or_from_metadata is None


def published(deployment: Deployment) -> Iterator[dg.AssetMaterialization]:
    """Each time that readers saw more, oldest first."""
    key = published_key(deployment.site.dataset)
    for record in deployment.instance.fetch_materializations(key, limit=10, ascending=True).records:
        assert record.asset_materialization is not None
        yield record.asset_materialization


def test_only_new_labels_make_what_readers_see_fresh(deployment: Deployment) -> None:
    deployment.site.arrive(INIT, SECOND, leads=[0, 1])
    deployment.run("update", INIT)
    deployment.run("update", SECOND)
    told = [(one.metadata["newest"].value, one.metadata["new_labels"].value) for one in published(deployment)]
    assert told == [("2026-07-29T18:00", 1), ("2026-07-30T00:00", 1)]
    deployment.run("backfill", INIT, variables=[TEMPERATURE])
    deployment.run("update", SECOND)
    assert len(list(published(deployment))) == 2


def from_the_page(deployment: Deployment, label: Timestamp, **tags: str) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    config = deployment.config("backfill", variables=[TEMPERATURE])
    return job.execute_in_process(
        config, deployment.instance, partition_key=partition_key(label), tags=tags, raise_on_error=False
    )


@pytest.mark.parametrize("tags", [{}, {BACKFILL_TAG: "abcdefgh"}], ids=["alone", "in a backfill"])
def test_a_partition_past_the_extent_is_left_to_an_update(deployment: Deployment, tags: dict[str, str]) -> None:
    """ "Latest", "Missing" and "All" choose it too."""
    deployment.site.arrive(INIT, SECOND, leads=[0, 1])
    deployment.run("initialise", end=str(SECOND))
    before = deployment.site.objects()
    for label in (SECOND, THIRD):
        result = from_the_page(deployment, label, **tags)
        assert result.success
        logged = [event.user_message for event in deployment.instance.all_logs(result.run_id)]
        (told,) = [message for message in logged if "nothing is made of partition" in message]
        assert f"nothing is made of partition {partition_key(label)}: backfill of test-gfs-forecast" in told
        assert "run 'test_gfs_forecast__update'" in told
        (seen, *_) = deployment.instance.fetch_observations(deployment.key, limit=1).records
        assert seen.partition_key == partition_key(label)
        assert seen.asset_observation is not None
        said = str(seen.asset_observation.metadata["nothing_made"].value)
        assert said.startswith(f"{partition_key(label)} is left to the update that publishes it: ")
    assert deployment.materializations() == []
    assert deployment.site.objects() == before
    assert from_the_page(deployment, INIT, **tags).success
    assert len(deployment.materializations()) == 1
