"""Old runs go, and no page shows less of any partition, check or job than before."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from dataset_defs import DATASETS
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.orchestration import pruning
from reformatters_dagster.orchestration.names import BACKFILL_TAG
from reformatters_dagster.orchestration.pruning import LEAST_AGE, refuse_young
from tests.orchestration.history import CHECK, DAY, KEY, History

pytest_plugins = ["tests.postgres"]
# Dagster records results of checks by a function of Python that is going away.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")


@pytest.fixture(params=["sqlite", "postgres"])
def instance(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    config: dict[str, Any] = {}
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres")
        config = {"storage": {"postgres": {"postgres_url": postgres.url()}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made
        made.wipe()


def test_no_dataset_is_tried_for_longer_than_runs_are_kept() -> None:
    """Sensors count the runs of a partition for twice its give-up age."""
    assert 2 * max(dataset.give_up_age for dataset in DATASETS) <= LEAST_AGE


@pytest.fixture
def history(instance: dg.DagsterInstance) -> History:
    return History(instance)


FAILED = dg.DagsterEventType.RUN_FAILURE


def test_a_partition_keeps_the_run_that_made_it_and_loses_the_older_ones(history: History) -> None:
    older = [history.run(days, partition="a") for days in (100, 99)]
    newest = history.run(98, partition="a")
    other = history.run(97, partition="b")
    history.run(1, job="update")
    before = history.instance.get_materialized_partitions(KEY)
    pruned = history.prune()
    assert pruned.deleted == older
    assert pruned.kept == {pruning.NEWEST_OF_PARTITION: 2}
    assert {newest, other} < history.left()
    assert history.instance.get_materialized_partitions(KEY) == before == {"a", "b"}
    assert history.instance.all_logs(older[0]) == []
    assert history.instance.all_logs(newest) != []


def test_runs_that_go_on_or_wait_stay_whatever_their_age(history: History) -> None:
    going = history.run(400, result=None)
    created = datetime.fromtimestamp(time.time() - 400 * DAY, UTC)
    waiting = {
        history.instance.run_storage.add_historical_run(dg.DagsterRun(job_name="update", status=status), created).run_id
        for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING)
    }
    slow = history.run(31, result=FAILED, hours=24 * 2)
    assert history.prune().deleted == []
    assert history.left() == {going, *waiting, slow}


def test_a_partition_that_failed_keeps_its_last_attempt(history: History) -> None:
    first = history.run(100, partition="a", materializes=False, result=FAILED)
    last = history.run(99, partition="a", materializes=False, result=FAILED)
    pruned = history.prune()
    assert (pruned.deleted, pruned.kept) == ([first], {pruning.NEWEST_ATTEMPT: 1})
    assert history.left() == {last}


def test_a_check_keeps_its_last_result_and_a_job_its_last_success(history: History) -> None:
    old = history.run(101, checks=True, job="validate", result=FAILED)
    checked = history.run(100, checks=True, job="validate", result=FAILED)
    succeeded = history.run(99, job="initialise")
    pruned = history.prune()
    assert pruned.deleted == [old]
    assert pruned.kept == {pruning.NEWEST_CHECK: 1, pruning.NEWEST_SUCCESS: 1}
    latest = history.instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])
    assert latest[CHECK].run_id == checked
    assert history.left() == {checked, succeeded}


def test_a_run_that_a_younger_one_continues_stays(history: History) -> None:
    root = history.run(100, result=FAILED)
    history.run(1, result=FAILED, tags={ROOT_RUN_ID_TAG: root, PARENT_RUN_ID_TAG: root})
    pruned = history.prune()
    assert (pruned.deleted, pruned.kept) == ([], {pruning.FOLLOWED: 1})


def test_a_backfill_that_goes_on_keeps_its_runs(history: History) -> None:
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    for name, status in (("on", BulkActionStatus.REQUESTED), ("done", BulkActionStatus.COMPLETED_SUCCESS)):
        backfill = PartitionBackfill(name, status, from_failure=False, tags={}, backfill_timestamp=time.time())
        history.instance.add_backfill(backfill)
    kept = history.run(100, result=FAILED, tags={BACKFILL_TAG: "on"})
    gone = history.run(100, result=FAILED, tags={BACKFILL_TAG: "done"})
    assert history.prune().deleted == [gone]
    assert kept in history.left()


def test_a_dry_run_tells_the_same_and_deletes_nothing(history: History) -> None:
    for days in range(110, 100, -1):
        history.run(days, partition="a")
    seen: list[tuple[int, int]] = []
    told = history.prune(dry_run=True, batch=4, on_batch=lambda *counts: seen.append(counts))
    assert (len(told.deleted), len(history.left())) == (9, 10)
    assert seen == [(4, 4), (8, 8), (10, 9)]
    assert history.prune(batch=4).deleted == told.deleted
    assert len(history.left()) == 1


def test_an_age_at_which_sensors_still_go_by_runs_is_refused() -> None:
    with pytest.raises(Refused, match=r"older than 13 days .* give 14D or more"):
        refuse_young(Timedelta("13D"))
    refuse_young(Timedelta("14D"))
