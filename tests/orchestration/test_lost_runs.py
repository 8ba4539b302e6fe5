"""A run that is killed with everything that watched it is failed by its silent lease, and begun again; one that lives never."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.storage.tags import WILL_RETRY_TAG

from reformatters_dagster.core.ledger.lease import Sign, hold_lease
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import open_store
from reformatters_dagster.orchestration.lost_runs import end_lost_runs
from reformatters_dagster.orchestration.names import BACKFILL_TAG, DATASET_TAG, EXCLUSIVE_TAG, asset_key
from tests.datasets import INIT

pytest_plugins = ["tests.datasets"]

NOW = pd.Timestamp("2026-07-30T05:00")
MINUTE = Timedelta("1min")
PARTITION = {"dagster/partition": partition_key(INIT)}

type Look = Callable[[Timestamp], None]


@pytest.fixture
def internal(tmp_path: Path) -> Store:
    return open_store(str(tmp_path), "internal")


@pytest.fixture
def retrying(tmp_path: Path) -> dg.DagsterInstance:
    """One that begins lost runs again, as docs/dagster.yaml says."""
    retries = {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    return dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_retries": retries})


@pytest.fixture
def look(retrying: dg.DagsterInstance, forecast_dataset: DynamicalDataset, internal: Store) -> Look:
    """A sensor's look at the runs, which remembers the one before."""
    seen: dict[str, Sign] = {}

    def again(now: Timestamp) -> None:
        signs = end_lost_runs(retrying, forecast_dataset, internal, dict(seen), now)
        seen.clear()
        seen.update(signs)

    return again


def started(instance: dg.DagsterInstance, tags: dict[str, str], *selected: dg.AssetKey) -> str:
    assets = frozenset(selected) or None
    run = dg.DagsterRun("update", tags=tags, status=dg.DagsterRunStatus.STARTED, asset_selection=assets)
    return instance.run_storage.add_run(run).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_lease_stands_still_is_failed_and_begun_again(
    retrying: dg.DagsterInstance, look: Look, internal: Store, forecast_dataset: DynamicalDataset
) -> None:
    tags = {DATASET_TAG: forecast_dataset.dataset_id, EXCLUSIVE_TAG: forecast_dataset.dataset_id, **PARTITION}
    run_id = started(retrying, tags)
    with hold_lease(internal, partition_key(INIT), run_id, attempt=run_id, keep=True):
        """It was killed here, as far as the lease tells."""
    for minutes in range(10):
        look(NOW + minutes * MINUTE)
        assert status_of(retrying, run_id) is dg.DagsterRunStatus.STARTED
    look(NOW + 10 * MINUTE)
    run = retrying.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags[WILL_RETRY_TAG] == "true"
    (entry,) = retrying.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "process is lost: its lease has not changed since 2026-07-30T05:00" in str(entry.get_dagster_event().message)


def test_a_run_that_renews_its_lease_lives(
    retrying: dg.DagsterInstance, look: Look, internal: Store, forecast_dataset: DynamicalDataset
) -> None:
    run_id = started(retrying, {DATASET_TAG: forecast_dataset.dataset_id, **PARTITION})
    for hours in range(5):
        with hold_lease(internal, partition_key(INIT), run_id, attempt=f"{hours}", keep=True):
            look(NOW + hours * Timedelta("1h"))
    assert status_of(retrying, run_id) is dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("minutes", [11, -11], ids=["nobody looked", "the clock was put right"])
def test_two_looks_far_apart_end_no_run(
    retrying: dg.DagsterInstance, look: Look, internal: Store, forecast_dataset: DynamicalDataset, minutes: int
) -> None:
    """The store was out meanwhile: the run lives, and renews its lease as soon as it can. One that does not is ended then."""
    run_id = started(retrying, {DATASET_TAG: forecast_dataset.dataset_id, **PARTITION})
    with hold_lease(internal, partition_key(INIT), run_id, attempt=run_id, keep=True):
        """It goes on."""
    look(NOW)
    then = NOW + minutes * MINUTE
    for later in (0, 4, 8):
        look(then + later * MINUTE)
        assert status_of(retrying, run_id) is dg.DagsterRunStatus.STARTED
    look(then + 10 * MINUTE)
    assert status_of(retrying, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_lease_of_no_text_is_no_lease(
    retrying: dg.DagsterInstance, look: Look, internal: Store, forecast_dataset: DynamicalDataset
) -> None:
    run_id = started(retrying, {DATASET_TAG: forecast_dataset.dataset_id, **PARTITION})
    internal.put(f"lease/{partition_key(INIT)}.json", b"\xff\xfe\x00")
    look(NOW)
    assert status_of(retrying, run_id) is dg.DagsterRunStatus.STARTED


def test_a_run_without_a_lease_has_longer(
    retrying: dg.DagsterInstance, look: Look, internal: Store, forecast_dataset: DynamicalDataset
) -> None:
    """It plans, or validates; the lease of another run says nothing of it. A backfill of the asset's page has no tag."""
    run_id = started(retrying, {BACKFILL_TAG: "abcdefgh", **PARTITION}, asset_key(forecast_dataset))
    for minutes in range(60):
        with hold_lease(internal, partition_key(INIT), "another"):
            look(NOW + minutes * MINUTE)
    assert status_of(retrying, run_id) is dg.DagsterRunStatus.STARTED
    look(NOW + 60 * MINUTE)
    assert status_of(retrying, run_id) is dg.DagsterRunStatus.FAILURE


def test_runs_that_write_nothing_and_those_of_others_are_left_alone(
    retrying: dg.DagsterInstance, look: Look, forecast_dataset: DynamicalDataset
) -> None:
    validation = started(retrying, {DATASET_TAG: forecast_dataset.dataset_id})
    other = started(retrying, {DATASET_TAG: "test-other", **PARTITION})
    unknown = started(retrying, PARTITION)
    both = started(retrying, PARTITION, asset_key(forecast_dataset), dg.AssetKey("other"))
    look(NOW)
    look(NOW + Timedelta("9h"))
    assert {status_of(retrying, one) for one in (validation, other, unknown, both)} == {dg.DagsterRunStatus.STARTED}
