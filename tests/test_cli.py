import importlib.metadata
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from typer.testing import CliRunner, Result

import dataset_defs
from dataset_defs.noaa.gfs.forecast import DATASET
from reformatters_dagster.cli import app
from reformatters_dagster.cli_output import COUNTED, print_overviews, print_plan, print_run, print_status, progress_bars
from reformatters_dagster.core.check.completeness import CheckPlausibleRates
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.job.context import ignore_progress
from reformatters_dagster.core.ledger.entries import MissingFile, VariableCoverage, read_ledger, write_ledger
from reformatters_dagster.core.store.location import open_store
from tests.upstreams import FaultServer, Slow

ID = "noaa-gfs-forecast"
ARCHIVE = "noaa-gfs-bdp-pds"
KEY = "gfs.20260729/18/atmos/gfs.t18z.pgrb2.0p25.f000"
TMP_2M = "FahrenheitResearch__arwen--s3-raw-tmp2m-20260729t18z-f000.grib2"
LABEL = "2026-07-29T18:00"
VARIABLES = len(DATASET.template_config.variables)
ONE_PARTITION = ("--start", "2026-07-29T18", "--end", "2026-07-30", "--variables", "temperature_2m")
COMMANDS = ("list", "update-template", "backfill", "update", "validate", "status", "store-urls", "new-dataset", "demo")


@dataclass(frozen=True)
class Deployment:
    """Folders of one deployment whose archive starts at the one real file."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "REFORMATTERS_STORE": str(self.folder / "stores"),
            "REFORMATTERS_UPSTREAM": str(self.folder / "upstream"),
            "REFORMATTERS_TMP": str(self.folder / "tmp"),
            "REFORMATTERS_START": "2026-07-29T18",
        }

    @property
    def store(self) -> Path:
        return self.folder / "stores" / ID / "v0.1.0.zarr"

    def reformat(self, *args: str, **environment: str) -> Result:
        without = {"REFORMATTERS_REPLICAS": None}
        return CliRunner().invoke(app, args, env=without | self.environment | environment)

    def bytes_of_store(self) -> Mapping[str, bytes]:
        files = (path for path in (self.folder / "stores").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def mirror(folder: Path, message: bytes) -> None:
    path = folder / "upstream" / ARCHIVE / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(message)
    path.with_name(f"{path.name}.idx").write_text("1:0:d=2026072918:TMP:2 m above ground:anl:\n")


@pytest.fixture(scope="session")
def backfilled(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Deployment, Result]:
    """One partition with one real message, and what the command said. Read it only."""
    deployment = Deployment(tmp_path_factory.mktemp("deployment"))
    mirror(deployment.folder, (shared_data / "gfs" / TMP_2M).read_bytes())
    return deployment, deployment.reformat("backfill", ID, *ONE_PARTITION, "--json")


@pytest.fixture
def published(backfilled: tuple[Deployment, Result]) -> Deployment:
    """Read it only."""
    return backfilled[0]


@pytest.fixture
def copied(published: Deployment, tmp_path: Path) -> Deployment:
    """A copy to change."""
    return Deployment(Path(shutil.copytree(published.folder, tmp_path / "copy")))


@pytest.fixture
def empty(tmp_path: Path) -> Deployment:
    """No store, and an upstream without a file."""
    (tmp_path / "upstream" / ARCHIVE).mkdir(parents=True)
    return Deployment(tmp_path)


def answer(result: Result, exit_code: int = 0) -> Any:
    """The one JSON document on stdout."""
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def assert_fails(result: Result, exit_code: int, error: str, *words: str) -> None:
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{error}: ")
    assert [word for word in words if word not in last] == []
    assert "Traceback" not in result.stderr


def test_backfill_tells_what_it_wrote_and_a_reader_finds_it(
    backfilled: tuple[Deployment, Result], shared_data: Path
) -> None:
    deployment, result = backfilled
    document = answer(result)
    (partition,) = document["partitions"]
    assert (document["dataset_id"], document["store"]) == (ID, str(deployment.store))
    assert partition["partition"] == LABEL
    assert partition["status"] == "committed"
    assert (partition["files_expected"], partition["files_succeeded"], partition["files_missing"]) == (209, 1, 208)
    assert partition["bytes_in"] == (shared_data / "gfs" / TMP_2M).stat().st_size
    assert "variable=temperature_2m" in result.stderr
    assert list((deployment.folder / "tmp").iterdir()) == []

    field = xr.open_zarr(deployment.store, decode_timedelta=True, chunks=None)["temperature_2m"].isel(
        init_time=0, lead_time=0
    )
    (message,) = json.loads((shared_data / "gfs" / f"{TMP_2M}.expected.json").read_text())["messages"]
    for point in message["points"]:
        found = field.sel(latitude=point["lat"], longitude=(point["lon"] + 180) % 360 - 180)
        np.testing.assert_allclose(found, point["value"] - 273.15, rtol=2**-8)


def test_dry_run_tells_what_would_be_written_and_writes_nothing(empty: Deployment) -> None:
    document = answer(empty.reformat("backfill", ID, *ONE_PARTITION, "--dry-run", "--json"))
    assert document == {
        "dataset_id": ID,
        "store": str(empty.store),
        "dry_run": True,
        "extent": [LABEL, LABEL],
        "partitions": [LABEL],
        "variables": ["temperature_2m"],
    }
    assert not (empty.folder / "stores").exists()
    text = empty.reformat("backfill", ID, *ONE_PARTITION, "--dry-run").stdout
    assert f"partitions: {LABEL}\n" in text
    assert "variables: temperature_2m\n" in text


def test_dry_run_over_a_store_leaves_its_bytes(published: Deployment) -> None:
    before = published.bytes_of_store()
    rewrite = published.reformat("backfill", ID, "--overwrite-chunks", "--dry-run", "--json")
    assert answer(rewrite)["partitions"] == [LABEL]
    assert len(answer(rewrite)["variables"]) == VARIABLES
    extend = published.reformat(
        "backfill", ID, "--overwrite-chunks", "--overwrite-metadata", "--end", "2026-07-30T12", "--dry-run", "--json"
    )
    assert answer(extend)["extent"] == [LABEL, "2026-07-30T06:00"]
    assert answer(extend)["partitions"] == [LABEL, "2026-07-30T00:00", "2026-07-30T06:00"]
    without_end = published.reformat(
        "backfill", ID, "--overwrite-chunks", "--overwrite-metadata", "--dry-run", "--json"
    )
    assert answer(without_end)["extent"] == [LABEL, LABEL]
    assert published.bytes_of_store() == before


def test_refreshed_metadata_leave_the_data(copied: Deployment) -> None:
    before = copied.bytes_of_store()
    document = answer(copied.reformat("backfill", ID, "--overwrite-metadata", "--json"))
    assert document["partitions"] == []
    assert copied.bytes_of_store() == before


@pytest.mark.parametrize("overwrite", ["--overwrite-chunks", "--overwrite-metadata"])
def test_there_must_be_something_to_overwrite(empty: Deployment, overwrite: str) -> None:
    result = empty.reformat("backfill", ID, overwrite, "--json")
    assert_fails(result, 2, "StoreMissing", "there is no store", "leave out --overwrite-chunks")
    assert not (empty.folder / "stores").exists()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ((), "StoreExists", ("one stands already", "--overwrite-chunks", "--overwrite-metadata")),
        (("--overwrite-metadata", "--end", "2026-07-30"), "Refused", ("touches no data", "--overwrite-chunks")),
        (("--overwrite-metadata", "--start", "2026-07-30"), "Refused", ("touches no data",)),
        (("--overwrite-metadata", "--contains", "2026-07-29T18"), "Refused", ("touches no data",)),
        (("--overwrite-metadata", "--variables", "temperature_2m"), "Refused", ("touches no data",)),
        (("--overwrite-chunks", "--variables", "wind,temperature_2m"), "UnknownVariable", ("['wind']", "wind_u_10m")),
        (("--overwrite-chunks", "--variables", " ,"), "Refused", ("--variables ' ,' names none",)),
        (
            ("--overwrite-chunks", "--contains", "2026-07-29T19"),
            "TimeNotOnGrid",
            ("2026-07-29T18:00 and 2026-07-30T00",),
        ),
        (
            ("--overwrite-chunks", "--contains", "2026-07-29T12"),
            "TimeNotOnGrid",
            ("the archive starts at 2026-07-29T18",),
        ),
        (("--start", "noon"), "Refused", ("time 'noon' cannot be read", "2026-07-29T18:00")),
        (("--end", ""), "Refused", ("time ''", "2026-07-29T18:00")),
        (("--contains", "2026-07-29T18+02:00"), "Refused", ("is not UTC",)),
        (("--upstream", "no/such/folder"), "UpstreamMissing", ("'no/such/folder' is no folder", "--upstream")),
        (("--store", "ftp://host"), "Refused", ("'ftp://host'", "s3://")),
    ],
)
def test_backfill_refuses(published: Deployment, options: tuple[str, ...], error: str, words: tuple[str, ...]) -> None:
    before = published.bytes_of_store()
    assert_fails(published.reformat("backfill", ID, *options, "--json"), 2, error, *words)
    assert published.bytes_of_store() == before


def test_a_store_that_drifted_is_refused(copied: Deployment) -> None:
    root = json.loads((copied.store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["temperature_2m"]["data_type"] = "float64"
    (copied.store / "zarr.json").write_text(json.dumps(root))
    result = copied.reformat("backfill", ID, "--overwrite-chunks")
    assert_fails(
        result, 2, "TemplateDrift", "temperature_2m: dtype 'float64' in the store", "'float32' in the template"
    )


def test_a_store_begun_elsewhere_is_refused(published: Deployment) -> None:
    result = published.reformat("backfill", ID, "--overwrite-chunks", REFORMATTERS_START="2026-07-29T12")
    assert_fails(result, 2, "TemplateDrift", "start at 2026-07-29T12:00", "starts at 2026-07-29T18:00")


def test_settings_that_cannot_be_read_are_refused(published: Deployment) -> None:
    result = published.reformat("status", ID, REFORMATTERS_START="soon")
    assert_fails(result, 2, "Refused", "REFORMATTERS_START='soon'", "dataset-id=time")


def test_a_store_that_cannot_be_read_does_not_count_as_absent(empty: Deployment) -> None:
    blocked = empty.folder / "a-file"
    blocked.touch()
    result = empty.reformat("backfill", ID, "--store", str(blocked), "--json")
    assert_fails(result, 1, "StoreUnavailable", str(blocked), "whether the object is there is not known")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (("--end", "2021-01-01"), "TimeNotOnGrid", ("before 2021-01-01T00:00", "starts at 2026-07-29T18:00")),
        (
            ("--start", "2026-07-30", "--end", "2026-07-29T18"),
            "NoPartition",
            ("--start 2026-07-30T00:00 is not before --end 2026-07-29T18:00",),
        ),
        (("--start", "2026-07-30T01", "--end", "2026-07-30T06"), "NoPartition", ("none of which is chosen",)),
        (("--contains", "2099-01-01"), "NoPartition", ("--contains 2099-01-01T00:00", "none of which is chosen")),
        (("--resume", "foo"), "UnknownRun", ("no unfinished run 'foo'", "leave out --resume")),
        (("--resume", " "), "Refused", ("--resume ' ' names no run",)),
    ],
)
def test_a_backfill_that_cannot_write_makes_no_store(
    empty: Deployment, options: tuple[str, ...], error: str, words: tuple[str, ...], dry: tuple[str, ...]
) -> None:
    assert_fails(empty.reformat("backfill", ID, *options, *dry), 2, error, *words)
    assert not (empty.folder / "stores").exists()


def test_a_backfill_is_repeated_after_one_of_which_nothing_succeeded(empty: Deployment, published: Deployment) -> None:
    assert empty.reformat("backfill", ID, *ONE_PARTITION).exit_code == 1
    again = empty.reformat("backfill", ID, *ONE_PARTITION, "--upstream", str(published.folder / "upstream"), "--json")
    assert [row["status"] for row in answer(again)["partitions"]] == ["committed"]
    once_more = empty.reformat("backfill", ID, *ONE_PARTITION)
    assert_fails(once_more, 2, "StoreExists", "--overwrite-chunks to fill or redo partitions of it")


def test_an_update_goes_on_with_no_run_that_never_was(copied: Deployment) -> None:
    before = copied.bytes_of_store()
    result = copied.reformat("update", ID, "--now", "2026-07-29T20", "--resume", "foo")
    assert_fails(result, 2, "UnknownRun", "no unfinished run 'foo'", "leave out --resume")
    assert copied.bytes_of_store() == before


def test_an_update_goes_on_with_a_run_that_ended_before_it_left_anything(empty: Deployment) -> None:
    result = empty.reformat("update", ID, "--now", "2026-07-29T20", "--resume", "cli-0123456789ab", "--json")
    assert [row["status"] for row in answer(result)["partitions"]] == ["not there yet"]


def test_an_update_with_nothing_to_do_names_no_store_that_is_not_there(empty: Deployment) -> None:
    early = empty.reformat("update", ID, "--now", "2026-07-01")
    assert (early.exit_code, early.stdout) == (
        0,
        "Nothing to do yet: it is 2026-07-01T00:00, and the archive starts at 2026-07-29T18:00\n"
        "Store: none yet; the first partition that is there makes it\n",
    )
    assert answer(empty.reformat("update", ID, "--now", "2026-07-01", "--json"))["store"] == str(empty.store)
    absent = empty.reformat("update", ID, "--now", "2026-07-29T20").stdout
    assert f"{LABEL}: {ID} partition {LABEL} wanted" in absent
    assert str(empty.store) not in absent


def test_a_backfill_of_which_nothing_succeeds_fails(empty: Deployment) -> None:
    (partition,) = answer(empty.reformat("backfill", ID, *ONE_PARTITION, "--json"), exit_code=1)["partitions"]
    assert (partition["partition"], partition["status"], partition["files_expected"]) == (LABEL, "failed", None)
    assert "none succeeded, nothing was published" in partition["reason"]
    assert "SourceFileMissing" in partition["reason"]


def test_an_update_without_upstream_changes_nothing(copied: Deployment) -> None:
    shutil.rmtree(copied.folder / "upstream" / ARCHIVE / "gfs.20260729")
    before = copied.bytes_of_store()
    result = copied.reformat("update", ID, "--now", "2026-07-29T20", "--json")
    assert_fails(result, 1, "NothingSucceeded", f"partition {LABEL}", "nothing was published")
    assert copied.bytes_of_store() == before


@pytest.mark.slow
def test_an_update_redoes_the_last_shard_and_tells_of_one_that_has_not_come(copied: Deployment) -> None:
    before = copied.bytes_of_store()
    document = answer(copied.reformat("update", ID, "--now", "2026-07-30T01", "--json"))
    assert [(row["partition"], row["status"]) for row in document["partitions"]] == [
        (LABEL, "committed"),
        ("2026-07-30T00:00", "not there yet"),
    ]
    assert document["partitions"][0]["files_succeeded"] == 1
    after = copied.bytes_of_store()
    assert [name for name in before if "_internal" not in name and after[name] != before[name]] == []
    assert (
        answer(copied.reformat("update", ID, "--now", "2026-07-29T20", "--json"))["partitions"][0]["status"]
        == "committed"
    )


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
    assert [row["dataset_id"] for row in rows] == [dataset.dataset_id for dataset in dataset_defs.DATASETS]
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


def test_tables_show_square_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"dataset_id": "a-b", "extent": None, "partitions": 1, "last_complete": None, "error": "[red]x[/red] :cat:"}
    print_overviews([row])
    assert "[red]x[/red] :cat:" in capsys.readouterr().out


def run_row(number: int, status: str, reason: str | None = None, files: int | None = None) -> dict[str, Any]:
    """A partition of what `update --json` prints."""
    counts = dict.fromkeys(COUNTED, None if files is None else files * 10**6)
    partition = f"2026-07-{1 + number // 4:02}T{number % 4 * 6:02}:00"
    return {"partition": partition, "status": status, "reason": reason, "kept_variables": []} | counts


def test_partitions_that_were_not_reached_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [run_row(0, "committed", files=1), run_row(1, "not there yet", "no file yet")]
    print_run({"store": "s", "partitions": rows + [run_row(number, "not reached") for number in range(2, 102)]})
    told = capsys.readouterr().out
    assert "2026-07-01T06:00: no file yet\n2026-07-01T12:00 … 2026-07-26T06:00: 100 not reached\nStore: s\n" in told
    assert told.count("not reached") == 1
    print_run({"store": "s", "partitions": rows + [run_row(number, "not reached") for number in range(2, 5)]})
    assert capsys.readouterr().out.count("not reached") == 3


def test_tables_break_no_word_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reformatters_dagster.cli_output.PIPED_WIDTH", 80)
    rows = [run_row(0, "committed before"), run_row(1, "committed", files=12_345), run_row(2, "not there yet", "why")]
    print_run({"store": "s", "partitions": rows})
    told = capsys.readouterr().out
    assert "committed before" in told
    assert any(line.split()[:3] == ["2026-07-01T06:00", "committed", "12,345,000,000"] for line in told.splitlines())
    extent, ids = [LABEL, "2026-07-30T00:00"], [dataset.dataset_id for dataset in dataset_defs.DATASETS]
    print_overviews(
        [
            {"dataset_id": name, "extent": extent, "partitions": 12_345, "last_complete": LABEL, "error": None}
            for name in ids
        ]
    )
    told = capsys.readouterr().out
    assert [name for name in ids if name not in told] == []
    assert max(map(len, told.splitlines())) <= 80
    assert "partitions:" in told
    assert "12,345" in told


def test_a_plan_of_a_whole_archive_fits_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [f"partition-{number}" for number in range(8000)]
    print_plan({"store": "s", "extent": ["a", "b"], "partitions": labels, "variables": ["v"]})
    told = capsys.readouterr().out
    assert told.startswith("Dry run: 8000 partitions of 1 variables")
    assert "partition-0 partition-1 " in told
    assert "partition-19 … partition-7999\n" in told


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


def test_validate_asks_replicas_too(
    published: Deployment, copied: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    current = replace(DATASET, validators=(CheckCurrentData(max_delay="8h"),))
    monkeypatch.setattr(dataset_defs, "DATASETS", (current,))
    arguments = ("validate", ID, "--now", "2026-07-29T20", "--json", "--replica")
    primary, replica = answer(published.reformat(*arguments, str(copied.folder / "stores")))["stores"]
    assert [check["passed"] for check in primary["checks"] + replica["checks"]] == [True, True, True]
    primary, replica = answer(published.reformat(*arguments, str(tmp_path)), exit_code=1)["stores"]
    assert primary["checks"][0]["passed"]
    assert not replica["checks"][0]["passed"]
    assert replica["checks"][0]["message"].startswith("StoreMissing: ")
    text = published.reformat("validate", ID, "--now", "2026-07-29T20").stdout
    assert "passed   current_data   no init_time is due yet" in text
    text = published.reformat("validate", ID, "--now", "2026-08-29T20").stdout
    assert "FAILED (ERROR)   current_data   init_time" in text


def test_validate_goes_by_the_ledger_of_the_primary_for_replicas_too(
    published: Deployment, copied: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = (CheckExpectedShards(), CheckPlausibleRates())
    monkeypatch.setattr(dataset_defs, "DATASETS", (replace(DATASET, validators=checks),))
    internal = open_store(str(copied.folder / "stores" / ID), "_internal/v0.1.0")
    entry = read_ledger(internal, LABEL)
    assert entry is not None
    lost = MissingFile(file="f", labels="", reason="SourceFileMissing: never made")
    none = dict.fromkeys(DATASET.template_config.variables, VariableCoverage(expected=1, succeeded=0, missing=(lost,)))
    write_ledger(internal, entry.model_copy(update={"variables": none | entry.variables}))
    arguments = ("validate", ID, "--now", "2026-08-29T20", "--json", "--replica", str(published.folder / "stores"))
    primary, replica = answer(copied.reformat(*arguments))["stores"]
    assert [one["name"] for one in primary["checks"]] == [
        "expected_shards",
        "plausible_rates",
        "replicas_match_primary",
    ]
    (shards,) = replica["checks"]
    assert shards == primary["checks"][0]
    assert "more have no source file" in shards["message"]
    before_given_up = answer(copied.reformat(*arguments[:3], "2026-07-30T20", *arguments[4:]), exit_code=1)["stores"]
    assert [one["checks"][0]["passed"] for one in before_given_up] == [False, False]


@pytest.mark.parametrize("root", ["{}", '{"attributes"', '{"consolidated_metadata": {"metadata": {}}}'])
def test_validate_of_a_damaged_replica_keeps_what_the_primary_says(
    published: Deployment, copied: Deployment, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(dataset_defs, "DATASETS", (replace(DATASET, validators=(CheckCurrentData(max_delay="8h"),)),))
    (copied.store / "zarr.json").write_text(root)
    arguments = ("validate", ID, "--now", "2026-07-29T20", "--json", "--replica", str(copied.folder / "stores"))
    primary, replica = answer(published.reformat(*arguments), exit_code=1)["stores"]
    current, match = primary["checks"]
    assert (current["name"], current["passed"]) == ("current_data", True)
    assert (match["name"], match["passed"]) == ("replicas_match_primary", False)
    assert str(copied.store) in match["message"]
    (readable,) = replica["checks"]
    assert (readable["name"], readable["passed"]) == ("readable", False)
    assert readable["message"]


def test_status_tells_partitions_that_a_replica_lacks_together(capsys: pytest.CaptureFixture[str]) -> None:
    marks = [("one", "2026-07-29T18:00", "copied to"), ("one", "2026-07-30T00:00", "copied to"), ("one", LABEL, "down")]
    degraded = [dict(zip(("replica", "partition", "reason"), mark, strict=True)) for mark in marks]
    document = {"dataset_id": ID, "store": "s", "append_dim": "init_time", "extent": [LABEL, LABEL]}
    print_status(document | {"partitions": [], "partition_count": 0, "degraded": degraded, "coverage": {}})
    told = capsys.readouterr().out
    assert "replica one lacks 2 partitions, 2026-07-29T18:00 to 2026-07-30T00:00: copied to\n" in told
    assert f"replica one lacks partition {LABEL}: down\n" in told


def test_validate_of_no_store_is_refused(empty: Deployment) -> None:
    assert_fails(empty.reformat("validate", ID), 2, "StoreMissing", str(empty.store))


def test_committed_templates_are_in_sync() -> None:
    result = CliRunner().invoke(app, ["update-template", "--all", "--check"])
    told = "".join(f"{dataset.dataset_id}: in sync\n" for dataset in dataset_defs.DATASETS)
    assert (result.exit_code, result.stdout) == (0, told)


def test_update_template_writes_what_check_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reformatters_dagster.core.spec.template.TEMPLATES", tmp_path)
    runner = CliRunner()
    missing = runner.invoke(app, ["update-template", ID, "--check"])
    assert missing.exit_code == 1
    assert f"run `reformat update-template {ID}`" in missing.stdout
    assert list(tmp_path.iterdir()) == []
    assert runner.invoke(app, ["update-template", ID]).stdout == f"{ID}: wrote {tmp_path / ID / 'latest.zarr'}\n"
    assert runner.invoke(app, ["update-template", ID, "--check"]).exit_code == 0
    (tmp_path / ID / "latest.zarr/temperature_2m/zarr.json").write_text("{}")
    differing = runner.invoke(app, ["update-template", "--all", "--check"])
    assert differing.exit_code == 1
    assert "differs in temperature_2m/zarr.json" in differing.stdout


@pytest.mark.parametrize("arguments", [(), (ID, "--all")])
def test_update_template_takes_one_or_all(arguments: tuple[str, ...]) -> None:
    assert_fails(CliRunner().invoke(app, ["update-template", *arguments]), 2, "Refused", "ID of a dataset or --all")


@pytest.mark.parametrize("command", ["update-template", "backfill", "update", "validate", "status", "store-urls"])
def test_an_unknown_dataset_is_refused_with_the_known_ones(empty: Deployment, command: str) -> None:
    assert_fails(empty.reformat(command, "noaa-gfs"), 2, "UnknownDataset", "'noaa-gfs'", ID, f"did you mean {ID!r}?")


@pytest.mark.parametrize("command", ["list", "status", "store-urls", "validate"])
def test_every_command_takes_the_common_options(published: Deployment, command: str) -> None:
    places = ("--store", str(published.folder / "stores"), "--upstream", str(published.folder / "upstream"))
    given = [] if command == "list" else [ID]
    result = published.reformat(command, *given, *places, "--replica", str(published.folder / "copy"), "--json")
    assert result.exit_code in {0, 1}, result.stderr  # a check may fail, the options may not
    assert str(published.store) in result.stdout


def test_a_start_of_a_dataset_that_there_is_not_is_refused(empty: Deployment) -> None:
    result = empty.reformat("backfill", ID, "--dry-run", REFORMATTERS_START="noaa-gfs-forcast=2026-07-29T18")
    assert_fails(result, 2, "Refused", "REFORMATTERS_START names noaa-gfs-forcast; there are", ID)


def test_a_tmp_folder_that_cannot_be_made_fails_without_a_traceback(empty: Deployment) -> None:
    blocked = empty.folder / "a-file"
    blocked.touch()
    result = empty.reformat("backfill", ID, *ONE_PARTITION, REFORMATTERS_TMP=str(blocked / "tmp"))
    assert_fails(result, 1, "NotADirectoryError", str(blocked))
    assert not (empty.folder / "stores").exists()


def test_bad_usage_is_refused(empty: Deployment) -> None:
    result = empty.reformat("backfill", ID, "--no-such-option")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--no-such-option" in result.stderr


def test_the_version_is_that_of_the_package(empty: Deployment) -> None:
    result = empty.reformat("--version")
    assert (result.exit_code, result.stdout) == (0, f"reformat {importlib.metadata.version('reformatters-dagster')}\n")


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_every_command_helps_in_short(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "-h"])
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    if not command:
        assert "Show INFO log lines also where stderr is a terminal." in " ".join(
            result.stdout.replace("│", " ").split()
        )


def test_debug_prints_a_traceback(empty: Deployment) -> None:
    result = empty.reformat("--debug", "status", "noaa-gfs")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("UnknownDataset: ")


def test_a_command_leaves_logging_and_signals_as_they_were(empty: Deployment) -> None:
    before = (list(logging.getLogger().handlers), logging.getLogger().level, signal.getsignal(signal.SIGTERM))
    empty.reformat("list")
    assert before == (list(logging.getLogger().handlers), logging.getLogger().level, signal.getsignal(signal.SIGTERM))


def test_help_answers_without_the_heavy_libraries() -> None:
    code = """
import sys
from reformatters_dagster.cli import app
for arguments in (["--help"], ["backfill", "--help"]):
    try:
        app(arguments)
    except SystemExit as end:
        print(end.code, sorted({"dagster", "numba", "pandas", "xarray", "zarr"} & set(sys.modules)))
"""
    helped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert helped.count("\n0 []\n") == 2
    assert [command for command in (*COMMANDS, "--force") if command not in helped] == []


def test_progress_shows_one_bar_for_each_kind_of_stage() -> None:
    screen = StringIO()
    with progress_bars(Console(file=screen, force_terminal=True, width=120)) as on_progress:
        on_progress("download temperature_2m,wind_u_10m", 3, 209)
        on_progress("read temperature_2m", 1, 209)
        on_progress("read wind_u_10m", 209, 209)
    shown = screen.getvalue()
    assert "download temperature_2m" in shown
    assert "3/209" in shown
    assert "read wind_u_10m" in shown


def test_no_progress_is_drawn_where_no_terminal_is() -> None:
    screen = StringIO()
    with progress_bars(Console(file=screen)) as on_progress:
        assert on_progress is ignore_progress
    assert screen.getvalue() == ""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_stopped_backfill_cleans_up_and_says_so(
    number: signal.Signals, status: int, empty: Deployment, shared_data: Path
) -> None:
    message = (shared_data / "gfs" / TMP_2M).read_bytes()
    reformat = str(Path(sys.executable).with_name("reformat"))
    with FaultServer({f"{ARCHIVE}/{KEY}": message}) as upstream:
        upstream.script(f"{ARCHIVE}/{KEY}", Slow(3))
        arguments = [reformat, "backfill", ID, *ONE_PARTITION, "--upstream", upstream.url]
        environment = os.environ | empty.environment | {"NO_PROXY": "127.0.0.1"}
        with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                give_up = time.monotonic() + 60
                while not any(request.path.endswith(KEY) for request in upstream.requests):
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < give_up
                    time.sleep(0.05)
                assert list((empty.folder / "tmp").iterdir()) != []
                process.send_signal(number)
                out, error = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == status, error
    assert out == b""
    assert list((empty.folder / "tmp").iterdir()) == []
    assert list((empty.folder / "stores").rglob("lease/*")) == []


@pytest.mark.slow
def test_demo_leaves_a_folder_that_is_no_demo_alone(empty: Deployment) -> None:
    (empty.folder / "letter").touch()
    result = empty.reformat("demo", "--folder", str(empty.folder))
    assert_fails(result, 1, "ReformatError", str(empty.folder), "holds other files", "--folder")
