"""The last real results of checks stand, as Dagster's UI reads them, whatever runs come that do not check."""

import asyncio
import shutil
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.orchestration.names import BACKFILL_TAG, HEAL, MODE_TAG
from reformatters_dagster.orchestration.standing import CHECKED_AT, restate_planned
from tests.datasets import INIT, SECOND, TEMPERATURE, THIRD
from tests.orchestration.deployments import Deployment
from tests.orchestration.watched import FIRST, Watched, only, skipped

pytest_plugins = ["tests.datasets"]

# Dagster's own, where it records a result that it had not planned.
INSERTED = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
CHECKS = ("never_late", "late", "expected_shards")
STANDING = {"never_late": "SUCCEEDED", "late": "FAILED", "expected_shards": "FAILED"}
"""Before anything is written: the shards are missing, and the newest label is old."""


@pytest.fixture
def checked(deployment: Deployment) -> Deployment:
    """A store of three init times, of which the first has arrived, and three validators that have run once."""
    validators = (
        CheckCurrentData(name="never_late", max_delay=Timedelta("36500D")),
        CheckCurrentData(name="late", max_delay=Timedelta("1h")),
        CheckExpectedShards(),
    )
    site = deployment.site.having(validators=validators)
    site.arrive(INIT, SECOND, leads=[0, 1])
    made = replace(deployment, site=site)
    made.run("initialise", end=str(THIRD))
    made.run("validate")
    assert shown(made) == STANDING
    return made


def record_of(deployment: Deployment, check: str) -> AssetCheckExecutionRecord | None:
    key = dg.AssetCheckKey(deployment.key, check)
    return deployment.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)


def shown(deployment: Deployment) -> dict[str, str]:
    """What the asset's page shows of each check: `executionForLatestMaterialization`, and its status."""

    async def ask(record: AssetCheckExecutionRecord | None) -> str:
        context = LoadingContextForTest(deployment.instance)
        if record is None or not await record.targets_latest_materialization(context):
            return "NOT EVALUATED"
        return (await record.resolve_status(context)).value

    return {check: asyncio.run(ask(record_of(deployment, check))) for check in CHECKS}


def from_the_page(
    deployment: Deployment, label: Timestamp, variable: str = TEMPERATURE, **tags: str
) -> dg.ExecuteInProcessResult:
    """A run of one partition as the asset's page launches it, or as a backfill from there does."""
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=deployment.instance,
        run_config=deployment.config("backfill", variables=[variable]),
        partition_key=partition_key(label),
        tags=tags,
        raise_on_error=False,
    )


def test_a_backfill_from_the_page_leaves_them(checked: Deployment) -> None:
    for label in (INIT, SECOND):
        assert from_the_page(checked, label, **{BACKFILL_TAG: "abcdefgh"}).success
        assert shown(checked) == STANDING


@INSERTED
def test_a_backfill_by_its_job_leaves_them(checked: Deployment) -> None:
    checked.run("backfill", INIT, variables=[TEMPERATURE])
    assert shown(checked) == STANDING


@pytest.mark.parametrize("tags", [{}, {BACKFILL_TAG: "abcdefgh"}])
def test_a_refused_run_leaves_them(checked: Deployment, tags: dict[str, str]) -> None:
    assert not from_the_page(checked, INIT, "snow", **tags).success
    assert shown(checked) == STANDING


@pytest.mark.parametrize("tags", [{}, {BACKFILL_TAG: "abcdefgh"}])
def test_a_partition_that_is_left_to_an_update_leaves_them(checked: Deployment, tags: dict[str, str]) -> None:
    assert from_the_page(checked, THIRD, **tags).success
    assert shown(checked) == STANDING


def test_a_refused_update_leaves_them(checked: Deployment) -> None:
    checked.refused("update", THIRD + Timedelta("6h"))
    assert shown(checked) == STANDING


def history(deployment: Deployment, check: str = "late") -> list[str]:
    """Status of every record of a check, newest first, as the tab of its executions shows them."""
    context = LoadingContextForTest(deployment.instance)
    key = dg.AssetCheckKey(deployment.key, check)
    records = deployment.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return [asyncio.run(record.resolve_status(context)).value for record in records]


def test_no_record_says_that_a_check_failed_to_execute(checked: Deployment) -> None:
    from_the_page(checked, INIT, "snow")
    from_the_page(checked, INIT, **{BACKFILL_TAG: "abcdefgh"})
    assert history(checked) == ["FAILED"] * 3


def test_the_time_of_a_result_stays_that_at_which_it_was_found(checked: Deployment) -> None:
    real = record_of(checked, "late")
    for _ in range(2):
        from_the_page(checked, INIT, **{BACKFILL_TAG: "abcdefgh"})
    repeated = record_of(checked, "late")
    assert real is not None
    assert real.evaluation is not None
    assert real.event is not None
    assert repeated is not None
    assert repeated.evaluation is not None
    assert repeated.id != real.id
    assert (repeated.evaluation.description or "").startswith(f"{real.evaluation.description} [found at 20")
    assert (repeated.evaluation.description or "").count("not looked at since") == 1
    assert repeated.evaluation.metadata == {
        **real.evaluation.metadata,
        CHECKED_AT: dg.MetadataValue.timestamp(real.event.timestamp),
    }


@INSERTED
def test_a_result_that_was_found_since_takes_their_place(checked: Deployment) -> None:
    for label in (INIT, SECOND):
        checked.run("backfill", label)
    assert shown(checked) == STANDING
    checked.run("validate")
    since = STANDING | {"expected_shards": "SUCCEEDED"}
    assert shown(checked) == since
    from_the_page(checked, INIT, **{BACKFILL_TAG: "abcdefgh"})
    assert shown(checked) == since


def test_the_validators_run_once_after_heals(watched: Watched) -> None:
    watched = watched.having(validators=(CheckExpectedShards(),))
    watched.publish(FIRST)
    heal = dg.RunRequest(partition_key=partition_key(FIRST), tags={MODE_TAG: HEAL})
    watched.record_run(heal, dg.DagsterRunStatus.FAILURE, "heal")
    assert skipped(watched.tick("heal"))
    healed = watched.record_run(heal, dg.DagsterRunStatus.SUCCESS, "heal")
    request = only(watched.tick("heal"))
    validate = watched.deployment.job("validate")
    assert (request.job_name, request.partition_key) == (validate.name, None)
    assert request.run_key == f"after {healed.run_id}"
    assert request.tags["reformatters/reason"] == f"run {healed.run_id} has filled holes"
    assert only(watched.tick("heal")).run_key == request.run_key  # Dagster launches a key once
    watched.record_run(request, dg.DagsterRunStatus.STARTED, "validate", ago=Timedelta("-2s"))
    assert skipped(watched.tick("heal"))


def test_a_dataset_without_validators_launches_none_after_heals(watched: Watched) -> None:
    watched.publish(FIRST)
    watched.record_run(
        dg.RunRequest(partition_key=partition_key(FIRST), tags={MODE_TAG: HEAL}), dg.DagsterRunStatus.SUCCESS, "heal"
    )
    assert skipped(watched.tick("heal"))


@INSERTED
def test_a_backfill_asks_what_was_never_asked(deployment: Deployment) -> None:
    site = deployment.site.having(validators=(CheckCurrentData(name="late", max_delay=Timedelta("1h")),))
    site.arrive(INIT, leads=[0, 1])
    made = replace(deployment, site=site)
    result = from_the_page(made, INIT, **{BACKFILL_TAG: "abcdefgh"})
    assert [one.check_name for one in result.get_asset_check_evaluations()] == ["late"]
    assert history(made)[0] == "SUCCEEDED"  # its new store reaches up to now


def test_a_run_that_ends_in_the_queue_leaves_them(checked: Deployment) -> None:
    """`DatasetRunCoordinator` restates them on the run's way into the queue."""
    job = checked.definitions.resolve_implicit_global_asset_job_def()
    waiting = checked.instance.create_run_for_job(
        job, tags={"dagster/partition": partition_key(SECOND)}, run_config=checked.config("backfill")
    )
    restate_planned(checked.instance, waiting)
    assert shown(checked) == STANDING
    from_the_page(checked, INIT, **{BACKFILL_TAG: "abcdefgh"})
    assert shown(checked) == STANDING
    checked.instance.report_run_canceled(waiting)
    assert shown(checked) == STANDING


def test_a_store_that_is_gone_is_seen(checked: Deployment) -> None:
    shutil.rmtree(checked.site.folder / "primary")
    checked.run("validate")
    assert set(shown(checked).values()) == {"FAILED"}


def test_a_validation_that_fails_to_execute_is_seen(checked: Deployment) -> None:
    lost = checked.instance.create_run_for_job(checked.job("validate"), run_config=checked.config("validate"))
    checked.instance.report_run_failed(lost)
    assert set(shown(checked).values()) == {"EXECUTION_FAILED"}
