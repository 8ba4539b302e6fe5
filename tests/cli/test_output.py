"""Tables and plans, as people see them."""

from typing import Any

import pytest

import dataset_defs
from reformatters_dagster.cli.reports import COUNTED, print_overviews, print_plan, print_run, print_status
from tests.cli.deployment import ID, LABEL


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
    assert ("fields" in told, "files" in told) == (True, False)
    print_run({"store": "s", "partitions": rows + [run_row(number, "not reached") for number in range(2, 5)]})
    assert capsys.readouterr().out.count("not reached") == 3


def test_tables_break_no_word_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "dumb", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
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


def test_status_tells_partitions_that_a_replica_lacks_together(capsys: pytest.CaptureFixture[str]) -> None:
    marks = [("one", "2026-07-29T18:00", "copied to"), ("one", "2026-07-30T00:00", "copied to"), ("one", LABEL, "down")]
    degraded = [dict(zip(("replica", "partition", "reason"), mark, strict=True)) for mark in marks]
    document = {"dataset_id": ID, "store": "s", "append_dim": "init_time", "extent": [LABEL, LABEL]}
    print_status(document | {"partitions": [], "partition_count": 0, "degraded": degraded, "coverage": {}})
    told = capsys.readouterr().out
    assert "replica one lacks 2 partitions, 2026-07-29T18:00 to 2026-07-30T00:00: copied to\n" in told
    assert f"replica one lacks partition {LABEL}: down\n" in told
