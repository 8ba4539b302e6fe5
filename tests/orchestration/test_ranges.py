"""Runs of a backfill that make several partitions one after another, for datasets that declare it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from reformatters_dagster.core.ledger.lease import hold_lease
from reformatters_dagster.core.run.arrivals import Arrivals
from reformatters_dagster.core.run.plan import PartitionRequest
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.errors import NothingSucceeded
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.orchestration.lost_runs import LOST_AFTER, end_lost_runs
from reformatters_dagster.orchestration.names import DATASET_TAG, asset_key
from reformatters_dagster.orchestration.partitions import is_about, labels_of
from reformatters_dagster.orchestration.resources import utc_now
from reformatters_dagster.orchestration.sensors import Attempts as Attempted
from reformatters_dagster.orchestration.sensors import _why_wait
from tests.datasets import (
    INIT,
    SECOND,
    SOON,
    TEMPERATURE,
    THIRD,
    VARIABLES,
    Sample,
    Site,
    assert_forecast_true,
    gfs_forecast,
)
from tests.orchestration.deployments import QUIET, Deployment, metadata_of, step_outputs

pytest_plugins = ["tests.datasets"]

ROOT = Path(__file__).parents[2]
KEYS = [partition_key(label) for label in (INIT, SECOND, THIRD)]


def tags_of(first: Timestamp, last: Timestamp) -> dict[str, str]:
    return {
        ASSET_PARTITION_RANGE_START_TAG: partition_key(first),
        ASSET_PARTITION_RANGE_END_TAG: partition_key(last),
    }


@pytest.fixture
def several(site: Site, instance: dg.DagsterInstance) -> Deployment:
    """A forecast whose backfills take three partitions a run; metadata covers three, of which the second has no files."""
    changed = Deployment(site.having(partitions_per_run=3), instance)
    site.arrive(INIT, THIRD)
    site.dataset.initialise(site.workspace, THIRD + SOON, THIRD + SOON)
    return changed


def backfill(deployment: Deployment, *, well: bool = True, **config: object) -> dg.ExecuteInProcessResult:
    """All three in one run, as the daemon tags it."""
    return deployment.job("backfill").execute_in_process(
        deployment.config("backfill", **config),
        instance=deployment.instance,
        tags=tags_of(INIT, THIRD),
        raise_on_error=well,
    )


def status_of(deployment: Deployment, run_id: str) -> dg.DagsterRunStatus:
    run = deployment.instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_one_run_makes_every_partition_and_reports_each_once(several: Deployment) -> None:
    several.site.arrive(SECOND)
    done = backfill(several)
    assert status_of(several, done.run_id) is dg.DagsterRunStatus.SUCCESS
    told = several.materializations()
    assert [one.partition for one in told] == KEYS
    assert {metadata_of(one)["fields_missing"] for one in told} == {0}
    assert len({str(metadata_of(one)["map"]) for one in told}) == 3  # each tells of its own
    ds = several.site.read()
    for label in (INIT, SECOND, THIRD):
        assert_forecast_true(ds, label)
        entry = several.site.ledger(label)
        assert entry is not None
        assert (entry.run_id, entry.is_complete) == (done.run_id, True)
    assert step_outputs(several.site.folder / "primary") == {}
    assert not several.site.stores.internal.list("lease")


def test_a_partition_that_fails_costs_the_others_nothing(several: Deployment) -> None:
    failed = backfill(several, well=False)
    assert status_of(several, failed.run_id) is dg.DagsterRunStatus.FAILURE
    assert several.instance.get_materialized_partitions(several.key) == {KEYS[0], KEYS[2]}
    name, words = several.last_failure()
    assert (name, NothingSucceeded.__name__ in words, KEYS[1][:10] in words) == (
        several.site.dataset.job_name("process_region_job"),
        True,
        True,
    )


@dataclass(frozen=True)
class Attempts:
    """A run of all three partitions that can be executed again, at a site of its own."""

    site: Site
    instance: dg.DagsterInstance

    def run(self, options: dg.ReexecutionOptions | None = None) -> dg.JobExecutionResult:
        from tests.orchestration import several_location

        job = dg.reconstructable(several_location.backfill_job)
        config = QUIET | {"ops": {"test__gfs_forecast": {"config": {"publish": False}}}}
        return dg.execute_job(
            job, self.instance, run_config=config, tags=tags_of(INIT, THIRD), reexecution_options=options
        )

    def materialized(self) -> set[str]:
        return self.instance.get_materialized_partitions(asset_key(self.site.dataset))


@pytest.fixture
def attempts(
    tmp_path: Path, gfs_sample: Sample, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Attempts]:
    """As `several`, where the second partition has no files."""
    for name in ("store", "upstream", "tmp"):
        monkeypatch.setenv(f"REFORMATTERS_{name.upper()}", str(tmp_path / ("primary" if name == "store" else name)))
    monkeypatch.setenv("TEST_TEMPLATES", str(tmp_path / "templates"))
    site = Site(tmp_path, gfs_forecast(tmp_path / "templates"), gfs_sample)
    site.arrive(INIT, THIRD)
    site.dataset.initialise(site.workspace, None, THIRD)
    yield Attempts(site, instance)
    sys.modules.pop("tests.orchestration.several_location", None)
    # Dagster keeps the last job that it has reconstructed, which is that of this test's folder.
    ReconstructableJob.get_repository_definition.cache_clear()
    ReconstructableJob.get_definition.cache_clear()


def test_an_attempt_from_the_failure_makes_only_what_failed(attempts: Attempts) -> None:
    failed = attempts.run()
    assert (failed.success, attempts.materialized()) == (False, {KEYS[0], KEYS[2]})
    attempts.site.arrive(SECOND)
    before = [attempts.site.ledger(label) for label in (INIT, THIRD)]
    again = attempts.run(dg.ReexecutionOptions.from_failure(failed.run_id, attempts.instance))
    assert (again.success, attempts.materialized()) == (True, set(KEYS))
    ran = [event.step_key for event in again.all_events if event.is_step_success]
    assert [key for key in ran if key and "process" in key] == [
        "test__gfs_forecast.test_gfs_forecast__process_region_job[2026_07_30T00_00]"
    ]
    assert [attempts.site.ledger(label) for label in (INIT, THIRD)] == before
    assert_forecast_true(attempts.site.read(), SECOND)


def test_an_attempt_at_everything_leaves_what_was_committed(attempts: Attempts) -> None:
    failed = attempts.run()
    before = [attempts.site.ledger(label) for label in (INIT, THIRD)]
    attempts.site.arrive(SECOND)
    again = attempts.run(dg.ReexecutionOptions(parent_run_id=failed.run_id))
    assert (again.success, attempts.materialized()) == (True, set(KEYS))
    assert [attempts.site.ledger(label) for label in (INIT, THIRD)] == before


@pytest.mark.slow
def test_partitions_whose_steps_a_killed_run_had_not_begun_are_made_by_the_next(attempts: Attempts) -> None:
    site, home = attempts.site, attempts.site.folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    site.arrive(SECOND)
    code = f"from tests.orchestration.several_location import run; run({KEYS[0]!r}, {KEYS[2]!r})"
    command, environment = [sys.executable, "-c", code], os.environ | {"DAGSTER_HOME": str(home)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        while site.ledger(INIT) is None:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert site.ledger(THIRD) is None
    again = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, check=False)
    assert again.returncode == 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(asset_key(site.dataset)) == set(KEYS)
    for label in (INIT, SECOND, THIRD):
        assert_forecast_true(site.read(), label)


def test_the_heal_sensor_leaves_partitions_alone_that_a_range_is_writing(several: Deployment) -> None:
    site = several.site
    running = several.instance.create_run_for_job(
        several.job("backfill"),
        tags=tags_of(INIT, SECOND) | {DATASET_TAG: site.dataset.dataset_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    arrivals = Arrivals(label=SECOND, expected=1, present=1, newest=None, fingerprint="")
    launch = Launch(PartitionRequest(label=SECOND, publish=False), arrivals, reason="missing files have appeared")
    fresh = Attempted(0, 0, None)
    assert _why_wait(several.instance, site.dataset, launch, fresh) == "is being written"
    several.instance.report_run_failed(running)
    assert _why_wait(several.instance, site.dataset, launch, fresh) is None


def test_variables_and_options_hold_for_every_partition(several: Deployment) -> None:
    several.site.arrive(SECOND)
    backfill(several, variables=[TEMPERATURE])
    for label in (INIT, SECOND, THIRD):
        entry = several.site.ledger(label)
        assert entry is not None
        assert set(entry.variables) == {TEMPERATURE} < set(VARIABLES)


def test_a_backfill_is_cut_into_runs_of_so_many_partitions(several: Deployment, site: Site) -> None:
    wanted = [AssetKeyPartitionKey(several.key, key) for key in [*KEYS, partition_key(THIRD + (THIRD - SECOND))]]

    def ranges_of(made: Deployment) -> list[tuple[str | None, ...]]:
        graph = made.definitions.resolve_asset_graph()
        requests = build_run_requests_with_backfill_policies(wanted, graph, dynamic_partitions_store=made.instance)
        found = [(one.partition_key, *(one.tags.get(tag) for tag in tags_of(INIT, INIT))) for one in requests]
        return sorted(found, key=str)

    assert ranges_of(several) == [(None, KEYS[0], KEYS[2]), (None, *2 * (wanted[3].partition_key,))]
    assert [one[0] for one in ranges_of(Deployment(site, several.instance))] == [
        one.partition_key for one in wanted
    ]  # unless it is declared


def test_a_range_holds_its_partitions_and_no_other(several: Deployment) -> None:
    run = several.instance.create_run_for_job(several.job("backfill"), tags=tags_of(SECOND, THIRD))
    assert labels_of(run, several.site.dataset.template_config) == [SECOND, THIRD]
    assert [is_about(run, key) for key in KEYS] == [False, True, True]
    without = several.instance.create_run_for_job(several.job("validate"))
    assert (labels_of(without, several.site.dataset.template_config), is_about(without, KEYS[0])) == ([], False)


def test_groups_with_pods_of_their_own_take_one_partition_a_run(site: Site) -> None:
    for wrong in ({"partitions_per_run": 0}, {"partitions_per_run": 2, "pods": "group"}):
        with pytest.raises(
            ValueError, match=r"declares partitions_per_run=\d and pods='\w+'; a run takes one .* correct"
        ):
            site.having(**wrong)


def test_a_lost_run_of_a_range_is_found_by_the_lease_of_any_of_its_partitions(several: Deployment) -> None:
    site, internal = several.site, several.site.stores.internal
    run = several.instance.create_run_for_job(
        several.job("backfill"),
        tags=tags_of(INIT, THIRD) | {DATASET_TAG: site.dataset.dataset_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    now = utc_now()
    with hold_lease(internal, KEYS[1], run.run_id, attempt=run.run_id, keep=True, terms=site.dataset.lease_terms):
        signs = end_lost_runs(several.instance, site.dataset, internal, {}, now)
    assert run.run_id in signs[run.run_id].lease
    looks = signs
    for minute in range(1, 12):
        looks = end_lost_runs(several.instance, site.dataset, internal, looks, now + minute * (LOST_AFTER / 10))
    assert status_of(several, run.run_id) is dg.DagsterRunStatus.FAILURE
