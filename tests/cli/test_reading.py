"""`list`, `status`, `validate` and `store-urls`: what they tell of stores."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import xarray as xr

from dataset_defs import DATASETS
from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.cli.reading import validate_stores
from reformatters_dagster.cli.reports import checks_document, print_checks
from reformatters_dagster.core.check.completeness import CheckPlausibleRates
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.check.validators import CheckResult, Validator
from reformatters_dagster.core.ledger.entries import MissingFile, VariableCoverage, read_ledger, write_ledger
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.core.store.stores import open_store
from tests.cli.deployment import ID, LABEL, VARIABLES, Deployment, answer, assert_fails


def test_status_counts_files_by_variable(published: Deployment) -> None:
    document = answer(published.reformat("status", ID, "--json"))
    assert (document["extent"], document["partition_count"]) == ([LABEL, LABEL], 1)
    assert document["last_complete"] is None
    (partition,) = document["partitions"]
    assert len(partition["variables"]) == VARIABLES
    found = partition["variables"]["temperature_2m"]
    assert (found["expected"], found["succeeded"], found["missing"]) == (209, 1, 208)
    assert "f001" in found["first_reason"]
    assert partition["variables"]["wind_u_10m"] == {
        "written": False,
        "expected": None,
        "succeeded": None,
        "missing": None,
        "outdated": None,
        "first_reason": None,
    }
    assert len(partition["missing_files"]) == 208
    assert partition["missing_files"][0]["file"].endswith("f001")
    assert partition["missing_files"][0]["variables"] == ["temperature_2m"]
    text = published.reformat("status", ID).stdout
    assert f"init_time {LABEL} to {LABEL}, partitions: 1\n" in text
    assert document["coverage"]["temperature_2m"] == {"written": 1, "complete": 0}
    (lagging,) = [
        line for line in text.splitlines() if line.startswith("written in 0 of these partitions, complete in 0: ")
    ]
    assert set(lagging.partition(": ")[2].split(", ")) == set(DATASET.template_config.variables) - {"temperature_2m"}
    assert "never written" in text
    assert any(line.split()[:5] == [LABEL, "temperature_2m", "209", "1", "208"] for line in text.splitlines())


def test_status_names_outdated_values(copied: Deployment) -> None:
    path = copied.store.parent / "_internal/v0.1.0/ledger" / f"{LABEL}.json"
    entry = json.loads(path.read_text())
    value = {"file": "f004", "labels": "lead_time=4h", "reason": "f005 failed", "waits_for": "f005"}
    entry["variables"]["temperature_2m"] |= {"succeeded": 209, "missing": []}
    path.write_text(json.dumps(entry | {"outdated": {"temperature_2m": [value]}}))
    (partition,) = answer(copied.reformat("status", ID, "--json"))["partitions"]
    found = partition["variables"]["temperature_2m"]
    assert (found["missing"], found["outdated"], found["first_reason"]) == (0, 1, "f005 failed")
    assert partition["outdated_values"] == [
        {"labels": "lead_time=4h", "reason": "f005 failed", "waits_for": "f005", "variables": ["temperature_2m"]}
    ]
    text = copied.reformat("status", ID).stdout
    assert any(line.split()[:6] == [LABEL, "temperature_2m", "209", "209", "0", "1"] for line in text.splitlines())


def test_status_shows_the_newest_partitions_unless_asked_for_all(copied: Deployment) -> None:
    extend = ("--overwrite-chunks", "--overwrite-metadata", "--end", "2026-08-12", "--start", "2026-08-11T19")
    assert "No partition was to be written" in copied.reformat("backfill", ID, *extend).stdout
    newest = answer(copied.reformat("status", ID, "--json"))
    assert (newest["partition_count"], len(newest["partitions"])) == (53, 40)
    assert newest["partitions"][-1]["partition"] == "2026-08-11T18:00"
    assert not any(found["written"] for row in newest["partitions"] for found in row["variables"].values())
    every = answer(copied.reformat("status", ID, "--all", "--json"))["partitions"]
    assert [len(every), every[0]["partition"]] == [53, LABEL]
    assert every[0]["variables"]["temperature_2m"]["written"]
    text = copied.reformat("status", ID).stdout
    assert "partitions: 53, of which the newest 40 are shown" in text
    assert any(line.split()[1:] == ["all", "never", "written"] for line in text.splitlines())


def test_status_of_no_store_is_refused(empty: Deployment) -> None:
    assert_fails(empty.reformat("status", ID, "--json"), 2, "StoreMissing", str(empty.store), f"reformat backfill {ID}")


def listed(deployment: Deployment, exit_code: int = 0) -> dict[str, Any]:
    """Row of the dataset in the list of all."""
    rows = answer(deployment.reformat("list", "--json"), exit_code)
    assert [row["dataset_id"] for row in rows] == [dataset.dataset_id for dataset in DATASETS]
    return next(row for row in rows if row["dataset_id"] == ID)


def test_list_shows_stores_that_stand_and_those_that_do_not(published: Deployment, empty: Deployment) -> None:
    row = listed(published)
    assert (row["dataset_id"], row["extent"], row["partitions"]) == (ID, [LABEL, LABEL], 1)
    assert (row["last_complete"], row["error"]) == (None, None)
    assert f"{LABEL} to {LABEL}" in published.reformat("list").stdout
    row = listed(empty)
    assert (row["extent"], row["partitions"], row["error"]) == (None, 0, None)
    assert "no store yet" in empty.reformat("list").stdout


def test_list_names_the_last_complete_partition(copied: Deployment) -> None:
    path = copied.store.parent / "_internal/v0.1.0/ledger" / f"{LABEL}.json"
    entry = json.loads(path.read_text())
    complete = {"expected": 3, "succeeded": 3, "missing": []}
    entry["variables"] = dict.fromkeys(DATASET.template_config.variables, complete)
    entry["known_missing"] = True
    path.write_text(json.dumps(entry))
    assert listed(copied)["last_complete"] == LABEL
    assert f"{LABEL} (given up)" in copied.reformat("status", ID).stdout


def test_list_tells_once_why_all_stores_fail(empty: Deployment) -> None:
    blocked = empty.folder / "a-file"
    blocked.touch()
    result = empty.reformat("list", "--store", str(blocked))
    assert result.exit_code == 1
    assert result.stdout.count("StoreUnavailable") == 1
    others = [dataset.dataset_id for dataset in DATASETS[1:]]
    assert result.stdout.count(f"fails as {DATASETS[0].dataset_id} does") == len(others)
    errors = {row["error"] for row in answer(empty.reformat("list", "--store", str(blocked), "--json"), exit_code=1)}
    assert len(errors) == len(DATASETS)


def test_validate_tells_once_why_checks_broke(capsys: pytest.CaptureFixture[str]) -> None:
    broken = (
        "the check itself broke: StoreUnavailable: '{}' was to be read; 5 attempts failed, the last with status 503"
    )
    checks = [
        CheckResult(name=name, passed=False, message=broken.format(name)) for name in ("recent_nans", "value_range")
    ] + [CheckResult(name=name, passed=False, message="two alike") for name in ("one", "other")]
    print_checks(checks_document(ID, {"s3://bucket": checks}))
    told = capsys.readouterr().out
    assert told.count("status 503") == 1
    assert "fails as recent_nans does" in told
    assert told.count("two alike") == 2


def test_list_tells_of_a_store_that_cannot_be_read(copied: Deployment) -> None:
    (copied.store / "zarr.json").write_text("not JSON")
    row = listed(copied, exit_code=1)
    assert row["error"].startswith("CorruptRoot: ")
    shutil.rmtree(copied.folder / "stores")
    (copied.folder / "stores").touch()
    row = listed(copied, exit_code=1)
    assert row["error"].startswith("StoreUnavailable: ")
    text = copied.reformat("list")
    assert (text.exit_code, "StoreUnavailable" in text.stdout) == (1, True)


def test_store_urls_are_what_xarray_opens(published: Deployment) -> None:
    printed = published.reformat("store-urls", ID).stdout
    assert printed == f"{published.store}\n"
    assert dict(xr.open_zarr(printed.strip(), chunks=None, decode_timedelta=True).sizes)["init_time"] == 1


@pytest.mark.parametrize("from_options", [True, False])
def test_store_urls_follow_options_and_environment(tmp_path: Path, empty: Deployment, from_options: bool) -> None:
    store, replicas = (tmp_path / "a").as_uri(), ["s3://bucket/prefix", "relative"]
    if from_options:
        result = empty.reformat(
            "store-urls", ID, "--store", store, "--replica", replicas[0], "--replica", replicas[1], "--json"
        )
    else:
        environment = {"REFORMATTERS_STORE": store, "REFORMATTERS_REPLICAS": ",".join(replicas)}
        result = empty.reformat("store-urls", ID, "--json", **environment)
    assert answer(result) == {
        "primary": f"{tmp_path}/a/{ID}/v0.1.0.zarr",
        "replicas": [f"s3://bucket/prefix/{ID}/v0.1.0.zarr", f"{Path.cwd()}/relative/{ID}/v0.1.0.zarr"],
    }


def test_validate_fails_when_a_check_fails(published: Deployment) -> None:
    (store,) = answer(published.reformat("validate", ID, "--now", "2026-07-29T20", "--json"), exit_code=1)["stores"]
    assert store["store"] == str(published.store)
    found = {check["name"]: check["passed"] for check in store["checks"]}
    assert found["current_data"]
    assert not found["expected_shards"]


@dataclass(frozen=True)
class Validated:
    """What `validate` tells of a dataset with some validators, and its exit status."""

    deployment: Deployment
    validators: tuple[Validator, ...]
    capsys: pytest.CaptureFixture[str]

    def __call__(self, now: str, *replicas: Path, as_json: bool) -> tuple[int, str]:
        settings = Settings.from_environment(self.deployment.environment)
        settings = settings.model_copy(update={"replicas": tuple(map(str, replicas))})
        exit_code = 0
        self.capsys.readouterr()
        try:
            validate_stores(replace(DATASET, validators=self.validators), settings, pd.Timestamp(now), as_json=as_json)
        except typer.Exit as end:
            exit_code = end.exit_code
        return exit_code, self.capsys.readouterr().out

    def stores(self, now: str, *replicas: Path, exit_code: int = 0) -> Any:
        found, text = self(now, *replicas, as_json=True)
        assert found == exit_code, text
        return json.loads(text)["stores"]


def test_validate_asks_replicas_too(
    published: Deployment, copied: Deployment, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    validated = Validated(published, (CheckCurrentData(max_delay="8h"),), capsys)
    primary, replica = validated.stores("2026-07-29T20", copied.folder / "stores")
    assert [check["passed"] for check in primary["checks"] + replica["checks"]] == [True, True, True]
    primary, replica = validated.stores("2026-07-29T20", tmp_path, exit_code=1)
    assert primary["checks"][0]["passed"]
    assert not replica["checks"][0]["passed"]
    assert replica["checks"][0]["message"].startswith("StoreMissing: ")
    exit_code, text = validated("2026-07-29T20", as_json=False)
    assert (exit_code, "passed   current_data   no init_time is due yet" in text) == (0, True)
    exit_code, text = validated("2026-08-29T20", as_json=False)
    assert (exit_code, "FAILED (ERROR)   current_data   init_time" in text) == (1, True)


def test_validate_goes_by_the_ledger_of_the_primary_for_replicas_too(
    published: Deployment, copied: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    validated = Validated(copied, (CheckExpectedShards(), CheckPlausibleRates()), capsys)
    internal = open_store(str(copied.folder / "stores" / ID), "_internal/v0.1.0")
    entry = read_ledger(internal, LABEL)
    assert entry is not None
    lost = MissingFile(file="f", labels="", reason="SourceFileMissing: never made")
    none = dict.fromkeys(DATASET.template_config.variables, VariableCoverage(expected=1, succeeded=0, missing=(lost,)))
    write_ledger(internal, entry.model_copy(update={"variables": none | entry.variables}))
    primary, replica = validated.stores("2026-08-29T20", published.folder / "stores")
    assert [one["name"] for one in primary["checks"]] == [
        "expected_shards",
        "plausible_rates",
        "replicas_match_primary",
    ]
    (shards,) = replica["checks"]
    assert shards == primary["checks"][0]
    assert "more have no source file" in shards["message"]
    before_given_up = validated.stores("2026-07-30T20", published.folder / "stores", exit_code=1)
    assert [one["checks"][0]["passed"] for one in before_given_up] == [False, False]


@pytest.mark.parametrize("root", ["{}", '{"attributes"', '{"consolidated_metadata": {"metadata": {}}}'])
def test_validate_of_a_damaged_replica_keeps_what_the_primary_says(
    published: Deployment, copied: Deployment, capsys: pytest.CaptureFixture[str], root: str
) -> None:
    (copied.store / "zarr.json").write_text(root)
    validated = Validated(published, (CheckCurrentData(max_delay="8h"),), capsys)
    primary, replica = validated.stores("2026-07-29T20", copied.folder / "stores", exit_code=1)
    current, match = primary["checks"]
    assert (current["name"], current["passed"]) == ("current_data", True)
    assert (match["name"], match["passed"]) == ("replicas_match_primary", False)
    assert str(copied.store) in match["message"]
    (readable,) = replica["checks"]
    assert (readable["name"], readable["passed"]) == ("readable", False)
    assert readable["message"]


def test_validate_of_no_store_is_refused(empty: Deployment) -> None:
    assert_fails(empty.reformat("validate", ID), 2, "StoreMissing", str(empty.store))


def test_validate_of_a_lost_primary_asks_its_replica(published: Deployment, copied: Deployment) -> None:
    (copied.store / "zarr.json").unlink()
    arguments = ("validate", ID, "--now", "2026-07-29T20", "--json")
    document = answer(copied.reformat(*arguments, "--replica", str(published.folder / "stores")), exit_code=1)
    primary, replica = document["stores"]
    assert next((one["name"], one["passed"]) for one in primary["checks"]) == ("readable", False)
    assert primary["checks"][0]["message"].startswith("StoreMissing: ")
    assert "readable" not in [one["name"] for one in replica["checks"]]
    assert_fails(copied.reformat(*arguments), 2, "StoreMissing")
