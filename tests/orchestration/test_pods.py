"""What a deployment adds to the pods of its runs: a volume to work on, and a place by the mode of the run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest

from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.declaration import Resources
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import (
    BACKFILL,
    HEAL,
    K8S_METADATA,
    K8S_TAG,
    SMALL_POD,
    UPDATE,
    asset_key,
    k8s_config,
)
from reformatters_dagster.orchestration.pods import NO_PODS, Pods, placement_of
from reformatters_dagster.orchestration.run_coordinator import largest_need
from tests.datasets import Site
from tests.orchestration.watched import FIRST, watch

pytest_plugins = ["tests.datasets"]

PLACES: dict[str, Any] = {
    UPDATE: {"priority_class_name": "high", "node_selector": {"kind": "on-demand"}},
    HEAL: {"priority_class_name": "middle"},
    BACKFILL: {"priority_class_name": "low", "tolerations": [{"key": "spot", "operator": "Exists"}]},
}
ON_VOLUMES = Pods(scratch_class="fast", scratch_path="/tmp/work", by_mode=PLACES)


@pytest.fixture
def dataset(site: Site) -> DynamicalDataset:
    return replace(site.dataset, resources=Resources(cpu="3", memory="8Gi", ephemeral_storage="90Gi"))


def test_without_a_class_the_disk_of_the_node_is_asked_for_and_limited(dataset: DynamicalDataset) -> None:
    resources = NO_PODS.of(dataset, UPDATE)["container_config"]["resources"]
    assert resources["requests"] == {"cpu": "3", "memory": "8Gi", "ephemeral-storage": "90Gi"}
    assert resources["limits"] == {"memory": "8Gi", "ephemeral-storage": "90Gi"}
    assert NO_PODS.of(dataset, UPDATE) == k8s_config(dataset)
    assert NO_PODS.small(UPDATE) == SMALL_POD


def test_with_a_class_each_pod_has_a_volume_of_the_dataset_s_size(dataset: DynamicalDataset) -> None:
    pod = Pods(scratch_class="fast", scratch_path="/tmp/work").of(dataset)
    assert pod["container_config"]["volume_mounts"] == [{"name": "scratch", "mount_path": "/tmp/work"}]
    (volume,) = pod["pod_spec_config"]["volumes"]
    claim = volume["ephemeral"]["volume_claim_template"]["spec"]
    assert (claim["storage_class_name"], claim["resources"]) == ("fast", {"requests": {"storage": "90Gi"}})
    resources = pod["container_config"]["resources"]
    assert resources["requests"] == {"cpu": "3", "memory": "8Gi", "ephemeral-storage": "1Gi"}
    assert resources["limits"] == {"memory": "8Gi", "ephemeral-storage": "2Gi"}


@pytest.mark.parametrize("pods", ["run", "group"])
def test_each_mode_of_run_gets_its_place(
    dataset: DynamicalDataset, monkeypatch: pytest.MonkeyPatch, pods: Literal["run", "group"]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    dataset = replace(dataset, pods=pods)
    definitions = build_definitions([dataset], Settings(), pods=ON_VOLUMES)
    for kind, place in ((UPDATE, UPDATE), (BACKFILL, BACKFILL), ("initialise", UPDATE), ("validate", UPDATE)):
        config = json.loads(definitions.resolve_job_def(dataset.job_name(kind)).tags[K8S_TAG])
        assert PLACES[place].items() <= config["pod_spec_config"].items(), kind
        moves_data = {"validate"} if pods == "group" else {"validate", UPDATE, BACKFILL}
        assert ("volumes" in config["pod_spec_config"]) == (kind in moves_data), kind
    metadata = definitions.resolve_assets_def(asset_key(dataset)).get_asset_spec().metadata[K8S_METADATA]
    assert metadata == ON_VOLUMES.of(dataset, BACKFILL)


def test_steps_have_the_volume_and_no_place_of_their_own(dataset: DynamicalDataset) -> None:
    """Their ops serve runs of every mode."""
    dataset = replace(dataset, validators=(CheckExpectedShards(),))
    definitions = build_definitions([dataset], Settings(), pods=ON_VOLUMES)
    job = definitions.resolve_job_def(dataset.job_name(UPDATE))
    parsed = {op.name: json.loads(op.tags[K8S_TAG]) for op in job.all_node_defs if isinstance(op, dg.OpDefinition)}
    for step in ("process_region_job", "commit", "validators"):
        assert parsed[dataset.job_name(step)] == ON_VOLUMES.of(dataset)
    assert parsed[dataset.job_name("plan")] == SMALL_POD


def test_one_run_of_several_assets_gets_the_largest_volume(dataset: DynamicalDataset) -> None:
    small = ON_VOLUMES.of(replace(dataset, resources=Resources(cpu="7", ephemeral_storage="900Mi")), BACKFILL)
    large = ON_VOLUMES.of(dataset, BACKFILL)
    for needs in ([small, large], [large, small]):
        both = largest_need(needs)
        assert both["pod_spec_config"] == large["pod_spec_config"]
        assert both["container_config"]["volume_mounts"] == large["container_config"]["volume_mounts"]
        assert both["container_config"]["resources"]["requests"]["cpu"] == "7"


def test_the_environment_says_it(monkeypatch: pytest.MonkeyPatch, dataset: DynamicalDataset) -> None:
    monkeypatch.setenv("REFORMATTERS_SCRATCH_CLASS", "fast")
    monkeypatch.setenv("REFORMATTERS_TMP", "/tmp/work")
    monkeypatch.setenv("REFORMATTERS_PODS", json.dumps(PLACES))
    definitions = build_definitions([dataset], Settings())
    tags = definitions.resolve_job_def(dataset.job_name(UPDATE)).tags
    assert json.loads(tags[K8S_TAG]) == ON_VOLUMES.of(dataset, UPDATE)


def test_a_heal_has_a_place_of_its_own_though_its_job_is_that_of_backfills(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFORMATTERS_PODS", json.dumps(PLACES))
    watched = watch(tmp_path, instance, FIRST)
    watched.publish(FIRST)
    watched.announce(FIRST)
    (heal,) = watched.tick("heal").run_requests or ()
    assert json.loads(heal.tags[K8S_TAG])["pod_spec_config"] == PLACES[HEAL]
    assert json.loads(watched.deployment.job(BACKFILL).tags[K8S_TAG])["pod_spec_config"] == PLACES[BACKFILL]
    assert placement_of(heal.tags) == PLACES[HEAL]
    assert placement_of({}) == {}


@pytest.mark.parametrize(
    ("scratch_class", "tmp", "by_mode", "message"),
    [
        ("fast", "", "", "REFORMATTERS_SCRATCH_CLASS is 'fast' and REFORMATTERS_TMP is not set: set it to the folder"),
        ("", "", "{", "REFORMATTERS_PODS is '{'; write a JSON object of pod specs by mode"),
        ("", "", "[]", r"REFORMATTERS_PODS is '\[\]'; write a JSON object"),
        ("", "", '{"updates": {}}', "REFORMATTERS_PODS names the modes updates; there are update, heal, backfill"),
        ("", "", '{"heal": {"volumes": []}}', "REFORMATTERS_PODS says volumes; a mode may say affinity, node_selector"),
    ],
)
def test_what_cannot_be_read_is_refused(scratch_class: str, tmp: str, by_mode: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Pods.parse(scratch_class, tmp, by_mode)


def test_nothing_said_is_nothing_added() -> None:
    assert Pods.parse(None, " ", None) == Pods.parse("", "", "") == NO_PODS
