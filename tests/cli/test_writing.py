"""`backfill`, `update` and `demo`: what they write, refuse and tell."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import Result

from tests.cli.deployment import (
    ARCHIVE,
    ID,
    KEY,
    LABEL,
    ONE_PARTITION,
    TMP_2M,
    VARIABLES,
    Deployment,
    answer,
    assert_fails,
)
from tests.upstreams import FaultServer, Slow


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


RECENT = ("--start", "2026-07-29T18", "--variables", "temperature_2m")
NO_START = {"REFORMATTERS_START": ""}


def test_a_first_backfill_of_recent_times_must_say_where_the_archive_starts(empty: Deployment) -> None:
    words = (
        "starts at 2021-05-01T00:00",
        "`--archive-start 2026-07-29T18:00` to `reformat backfill noaa-gfs-forecast`",
    )
    for options in (RECENT, (*RECENT, "--dry-run"), ("--contains", "2026-07-29T18")):
        assert_fails(empty.reformat("backfill", ID, *options, **NO_START), 2, "EmptyHistory", *words)
    assert not (empty.folder / "stores").exists()


def test_a_store_remembers_the_start_that_an_option_said(published: Deployment, tmp_path: Path) -> None:
    upstream = ("--upstream", str(published.folder / "upstream"))
    other = Deployment(tmp_path)
    created = other.reformat(
        "backfill", ID, *ONE_PARTITION, "--archive-start", "2026-07-29T20", *upstream, "--json", **NO_START
    )
    assert [row["status"] for row in answer(created)["partitions"]] == ["committed"]
    again = other.reformat("backfill", ID, "--overwrite-chunks", "--dry-run", *upstream, "--json", **NO_START)
    assert answer(again)["extent"] == [LABEL, LABEL]
    updated = other.reformat("update", ID, "--now", "2026-07-29T20", *upstream, "--json", **NO_START)
    assert [row["partition"] for row in answer(updated)["partitions"]] == [LABEL]
    checks = other.reformat("validate", ID, "--now", "2026-07-29T20", "--json", **NO_START)
    assert "starts at" not in checks.stdout
    elsewhere = other.reformat(
        "backfill", ID, "--overwrite-chunks", "--archive-start", "2026-07-29", *upstream, **NO_START
    )
    assert_fails(elsewhere, 2, "TemplateDrift", "start at 2026-07-29T00:00", "starts at 2026-07-29T18:00")


def test_a_store_begun_by_mistake_is_begun_anew_if_it_holds_nothing(empty: Deployment, published: Deployment) -> None:
    assert empty.reformat("backfill", ID, *ONE_PARTITION).exit_code == 1
    before = empty.bytes_of_store()
    would = answer(empty.reformat("begin-anew", ID, "--dry-run", "--json"))
    assert (would["dataset_id"], would["dry_run"], empty.bytes_of_store()) == (ID, True, before)
    assert would["locations"][0]["url"] == str(empty.store)
    told = empty.reformat("begin-anew", ID).stdout
    objects = would["locations"][0]["objects"]
    assert f"deleted: {objects} objects" in told
    assert f"none of them data, at {empty.store}\n" in told
    assert f"Next: reformat backfill {ID} --archive-start T" in told
    assert [
        name for name in empty.bytes_of_store() if not name.endswith(".lock") and "_internal/hosts" not in name
    ] == []
    assert_fails(empty.reformat("begin-anew", ID), 2, "StoreMissing", "nothing stands there")
    held = published.bytes_of_store()
    assert_fails(published.reformat("begin-anew", ID), 2, "StoreExists", "says that 1 partitions of it are written")
    assert published.bytes_of_store() == held


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


def test_an_update_that_can_use_no_file_fails(empty: Deployment) -> None:
    """It does not wait for what is there: a mirror that answers every request with a page, say."""
    path = empty.folder / "upstream" / ARCHIVE / KEY
    path.parent.mkdir(parents=True)
    for name in (path.name, f"{path.name}.idx"):
        path.with_name(name).write_text("<html>maintenance</html>\n" * 10)
    result = empty.reformat("update", ID, "--now", "2026-07-29T20", "--json")
    assert [row["status"] for row in answer(result, exit_code=1)["partitions"]] == ["failed"]


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


def test_a_run_that_fails_in_an_upload_says_how_to_resume_it(empty: Deployment, published: Deployment) -> None:
    assert empty.reformat("backfill", ID, *ONE_PARTITION).exit_code == 1
    in_the_way = empty.store / "temperature_2m" / "c"
    in_the_way.touch()
    upstream = ("--upstream", str(published.folder / "upstream"))
    failed = empty.reformat("backfill", ID, *ONE_PARTITION, *upstream, "--json")
    assert_fails(failed, 1, "StoreUnavailable", "temperature_2m")
    told = re.search(r"the same command with (--resume) (cli-\w+) goes on", failed.stderr)
    assert told is not None, failed.stderr
    in_the_way.unlink()
    resumed = empty.reformat("backfill", ID, *ONE_PARTITION, *upstream, *told.groups(), "--json")
    assert [row["status"] for row in answer(resumed)["partitions"]] == ["committed"]


@pytest.mark.parametrize("command", ["backfill", "update"])
def test_a_run_that_met_no_store_tells_of_nothing_to_resume(empty: Deployment, command: str) -> None:
    blocked = empty.folder / "a-file"
    blocked.touch()
    result = empty.reformat(command, ID, "--store", str(blocked))
    assert_fails(result, 1, "StoreUnavailable", str(blocked))
    assert "--resume" not in result.stderr


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
    assert b"The run ended before its first upload; the same command begins it again" in error
    assert b"--resume" not in error


@pytest.mark.slow
def test_demo_leaves_a_folder_that_is_no_demo_alone(empty: Deployment) -> None:
    (empty.folder / "letter").touch()
    result = empty.reformat("demo", "--folder", str(empty.folder))
    assert_fails(result, 1, "ReformatError", str(empty.folder), "holds other files", "--folder")
