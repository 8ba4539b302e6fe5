"""A shard that begins while a deployment runs, as Dagster's processes see it, and a year of shards chosen for a backfill.

The location is loaded once, as a webserver and a daemon load it, and the clock goes on.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_graphql.schema import create_schema

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import EARLIER, INIT, RAIN, SECOND, TEMPERATURE, THIRD, Sample, Site, gfs_analysis

pytest_plugins = ["tests.datasets"]
# Dagster uses what it has deprecated itself when it loads a location and launches a backfill.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

LENGTH = Timedelta("9h")
"""As no cron can express it, as it is with 60 days."""
BEGUN, NEW = INIT, INIT + LENGTH
SELECTION = [{"path": ["test", "gfs_analysis"]}]
KEYS = '{assetNodeOrError(assetKey: {path: ["test", "gfs_analysis"]}) {... on AssetNode {partitionKeys}}}'
LAUNCH = """mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PartitionKeysNotFoundError { partitionKeys }
    ... on PythonError { message }
  }
}"""
AT_ONCE = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {
        "module": "dagster._core.run_coordinator.default_run_coordinator",
        "class": "DefaultRunCoordinator",
    },
}
"""Of an instance: runs are executed in this process, as soon as they are launched."""
LOCATION = """\
from pathlib import Path
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from tests.datasets import gfs_analysis
from tests.orchestration.test_growing_shards import SHARDS

dataset = gfs_analysis(Path({templates!r}), **SHARDS)
defs = build_definitions([dataset], Settings(store={store!r}, upstream={upstream!r}, tmp={tmp!r}))
"""
SHARDS: dict[str, Any] = {
    "variables": [RAIN, TEMPERATURE],
    "chunks": {"time": 9, "latitude": 10, "longitude": 9},
    "shards": {"time": 9, "latitude": 20, "longitude": 18},
}


@dataclass(frozen=True)
class Host:
    """What a webserver and a daemon hold of a location that was loaded at some time."""

    context: WorkspaceProcessContext
    instance: dg.DagsterInstance

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answered = create_schema().execute(
            query, context_value=self.context.create_request_context(), variable_values=variables
        )
        assert answered.errors is None, answered.errors
        data: dict[str, Any] = answered.data
        return data

    def keys(self) -> list[str]:
        keys: list[str] = self.ask(KEYS)["assetNodeOrError"]["partitionKeys"]
        return keys

    def launch(self, *labels: Timestamp) -> dict[str, Any]:
        params = {"assetSelection": SELECTION, "partitionNames": [partition_key(label) for label in labels]}
        launched: dict[str, Any] = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        return launched


@pytest.fixture
def grown(tmp_path: Path, gfs_sample: Sample) -> Site:
    """The first shard is published, and the files of the second are there."""
    site = Site(tmp_path, gfs_analysis(tmp_path / "templates", **SHARDS), gfs_sample)
    site.arrive(EARLIER, leads=[6])
    site.arrive(INIT, SECOND, THIRD, leads=range(7))
    site.update(NEW - Timedelta("1h"))
    return site


@contextmanager
def loaded(site: Site, now: Timestamp, **overrides: dict[str, str]) -> Iterator[Host]:
    """A host that has loaded the location at a time, with an instance of its own; runs stay in its queue unless overridden."""
    location = site.folder / "location.py"
    places = {"store": str(site.folder / "primary"), "upstream": str(site.upstream), "tmp": str(site.tmp)}
    location.write_text(LOCATION.format(templates=str(site.folder / "templates"), **places))
    origin = LoadableTargetOrigin(executable_path=sys.executable, python_file=str(location), attribute="defs")
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="growing"))
    with (
        dg.instance_for_test(overrides=overrides) as instance,
        at(now),
        WorkspaceProcessContext(instance, target) as context,
    ):
        yield Host(context, instance)


@contextmanager
def at(now: Timestamp) -> Iterator[None]:
    """Dagster's clock; that of this project goes on, past all of them."""
    with freeze_time(now.tz_localize("UTC").to_pydatetime()):
        yield


def test_the_sensor_and_its_runs_take_up_a_shard_from_its_first_moment(grown: Site) -> None:
    with loaded(grown, NEW - Timedelta("1min"), **AT_ONCE) as host, at(NEW):
        (location,) = host.context.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        sensor = repository.get_sensor(grown.dataset.job_name("upstream"))
        host.instance.start_sensor(sensor)
        list(
            execute_sensor_iteration(
                host.context, logging.getLogger(__name__), threadpool_executor=None, submit_threadpool_executor=None
            )
        )
        (run,) = host.instance.get_runs()
        assert run.tags["dagster/partition"] == partition_key(NEW)
        assert run.status is dg.DagsterRunStatus.SUCCESS
    assert grown.read().indexes["time"][-1] >= NEW


def test_the_webserver_lists_a_new_shard_once_it_has_loaded_the_location_again(grown: Site) -> None:
    """What is said of it in docs/operations.md."""
    with loaded(grown, NEW - Timedelta("1min")) as host:
        assert host.keys() == [partition_key(BEGUN)]
        with at(NEW):
            assert host.keys() == [partition_key(BEGUN)]
            refused = host.launch(NEW)
            assert refused == {"__typename": "PartitionKeysNotFoundError", "partitionKeys": [partition_key(NEW)]}
    with loaded(grown, NEW) as host:
        assert host.keys() == [partition_key(BEGUN), partition_key(NEW)]
        assert host.launch(NEW)["__typename"] == "LaunchBackfillSuccess"


def test_a_choice_of_shards_becomes_one_run_each(grown: Site) -> None:
    later = [INIT + number * LENGTH for number in range(8)]
    with loaded(grown, later[-1]) as host:
        assert host.keys() == [partition_key(label) for label in later]
        launched = host.launch(*later[1:7])
        assert launched["__typename"] == "LaunchBackfillSuccess"
        list(execute_backfill_iteration(host.context, logging.getLogger(__name__)))
        runs = host.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": launched["backfillId"]}))
        assert sorted(run.tags["dagster/partition"] for run in runs) == [partition_key(label) for label in later[1:7]]
