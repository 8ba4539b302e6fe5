"""Validators as asset checks: what they find is recorded beside the asset, and backfills do not ask them."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.nans import CheckRecentNans
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.pictures import NOT_DRAWN
from tests.datasets import INIT, SECOND, TEMPERATURE, VARIABLES
from tests.orchestration.deployments import QUIET, Deployment

pytest_plugins = ["tests.datasets"]

NEVER_LATE = CheckCurrentData(name="never_late", max_delay=Timedelta("36500D"))
LATE = CheckCurrentData(name="late", max_delay=Timedelta("1h"))
SHARDS = CheckExpectedShards()


@pytest.fixture
def checked(deployment: Deployment) -> Deployment:
    """A store of one init time, of one variable, for which one of three validators fails for its age."""
    site = deployment.site.having(validators=(NEVER_LATE, LATE, SHARDS))
    site.arrive(INIT, leads=[0, 1])
    made = replace(deployment, site=site)
    made.run("initialise", end=str(SECOND))
    return made


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_checks_run_with_an_update_and_fail_without_failing_it(checked: Deployment) -> None:
    result = checked.run("update", INIT)
    found = evaluations(result)
    assert {name: check.passed for name, check in found.items()} == {
        "never_late": True,
        "late": False,
        "expected_shards": True,
    }
    late = found["late"]
    assert late.severity is dg.AssetCheckSeverity.ERROR
    assert late.asset_key == checked.key
    assert "is due, the newest published is 2026-07-29T18:00" in (late.description or "")
    assert late.metadata["newest"].value == "2026-07-29T18:00"
    steps = late.metadata["steps_late"].value
    assert isinstance(steps, int)
    assert steps > 400
    assert result.success
    assert len(checked.materializations()) == 1


def test_what_was_never_written_is_found_without_a_materialization(checked: Deployment) -> None:
    result = checked.run("validate")
    shards = evaluations(result)["expected_shards"]
    assert not shards.passed
    assert shards.metadata["shards_missing"].value == 2 * len(VARIABLES)
    assert "reformat backfill test-gfs-forecast" in (shards.description or "")
    assert checked.materializations() == []


def test_one_check_can_be_asked_alone(checked: Deployment) -> None:
    job = checked.definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(checked.key, "late")
    subset = job.get_subset(asset_check_selection={key}, asset_selection=set())
    result = subset.execute_in_process(instance=checked.instance, run_config=QUIET)
    assert evaluations(result).keys() == {"late"}


@pytest.mark.parametrize("root", ["{}", '{"attributes"', '{"consolidated_metadata": {"metadata": {}}}'])
def test_a_damaged_replica_is_a_failed_check_and_hides_no_other(
    deployment: Deployment, tmp_path: Path, root: str
) -> None:
    site = replace(deployment.site.having(validators=(NEVER_LATE,)), settings={"replicas": (str(tmp_path / "copy"),)})
    checked = replace(deployment, site=site)
    checked.run("initialise", end=str(SECOND))
    assert all(one.passed for one in evaluations(checked.run("validate")).values())
    (tmp_path / "copy/test-gfs-forecast/v0.1.0.zarr/zarr.json").write_text(root)
    result = checked.run("validate")
    assert result.success
    assert {name: check.passed for name, check in evaluations(result).items()} == {
        "never_late": True,
        "replicas_match_primary": False,
    }
    assert f"{tmp_path}/copy/test-gfs-forecast" in (evaluations(result)["replicas_match_primary"].description or "")


def test_a_partition_of_a_backfill_skips_them(checked: Deployment) -> None:
    checked.run("validate")
    job = checked.definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=checked.instance,
        run_config=checked.config("backfill", variables=[TEMPERATURE]),
        partition_key=partition_key(INIT),
        tags={"dagster/backfill": "abcdefgh"},
    )
    assert result.success
    assert evaluations(result) == {}
    assert len(checked.materializations()) == 1


def test_the_backfill_job_has_none(checked: Deployment) -> None:
    assert [node.name for node in checked.job("backfill").nodes] == ["test__gfs_forecast"]
    assert {node.name for node in checked.job("update").nodes} == {
        "test__gfs_forecast",
        "test_gfs_forecast__validators",
    }


def test_without_a_store_each_check_says_so(deployment: Deployment) -> None:
    checked = replace(deployment, site=deployment.site.having(validators=(LATE, SHARDS)))
    found = evaluations(checked.run("validate"))
    assert {name: check.passed for name, check in found.items()} == {"late": False, "expected_shards": False}
    for check in found.values():
        assert "was to be opened and could not be: StoreMissing: " in (check.description or "")
        assert "there is none: `reformat backfill` with `--archive-start T` creates it" in (check.description or "")


def test_of_a_store_that_cannot_be_read_each_check_says_so(checked: Deployment) -> None:
    root = checked.site.folder / "primary/test-gfs-forecast/v0.1.0.zarr/zarr.json"
    root.write_text("{")
    found = evaluations(checked.run("validate"))
    assert {name: check.passed for name, check in found.items()} == dict.fromkeys(
        ("never_late", "late", "expected_shards"), False
    )
    assert all("CorruptRoot" in (check.description or "") for check in found.values())


def test_the_checks_page_says_what_each_is_about(checked: Deployment) -> None:
    (checks,) = [one for one in checked.definitions.asset_checks or [] if isinstance(one, dg.AssetChecksDefinition)]
    described = {spec.name: spec.description for spec in checks.check_specs}
    assert described == {
        "never_late": "The newest label due by now is published.",
        "late": "The newest label due by now is published.",
        "expected_shards": "Every shard of the published extent is stored.",
    }
    assert not any(spec.blocking for spec in checks.check_specs)


def test_a_check_of_values_shows_a_map_of_the_field(deployment: Deployment) -> None:
    """All of a new store is NaN, at each lead time and in both chunks that are read, of which the first is told."""
    checked = replace(deployment, site=deployment.site.having(validators=(CheckRecentNans(),)))
    checked.run("initialise", end=str(SECOND))
    found = evaluations(checked.run("validate"))["recent_nans"]
    assert found.metadata["where_box"].value == "everywhere"
    assert found.metadata["where_lead_times"].value == "0 h to 9 h"
    picture = found.metadata["map"].value
    assert isinstance(picture, str)
    assert picture.startswith("![")
    assert "data:image/png;base64," in picture


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:dagster")
def test_without_matplotlib_metadata_says_why_there_is_no_map(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The container image leaves it out."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    checked = replace(deployment, site=deployment.site.having(validators=(CheckRecentNans(),)))
    checked.site.arrive(INIT, leads=[0, 1])
    found = evaluations(checked.run("update", INIT))["recent_nans"]
    (materialization,) = checked.materializations()
    assert (found.passed, found.metadata["map"].value) == (False, NOT_DRAWN)
    assert materialization.metadata["map"].value == NOT_DRAWN
    completeness = materialization.metadata["completeness"].value
    assert isinstance(completeness, str)
    assert completeness.startswith("| variable")
    words = ("matplotlib", "drawn", "shown")
    assert [
        one.getMessage()
        for one in caplog.records
        if one.levelno >= logging.WARNING and any(word in one.getMessage() for word in words)
    ] == []
