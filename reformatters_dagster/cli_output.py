"""What commands have to say, for people or for programs, and where logs and progress go.

In: reports of the core. Out: on stdout tables or one JSON document, on stderr everything else. Nothing heavy is imported
here, since every `--help` passes through.
"""

import itertools
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

if TYPE_CHECKING:
    from reformatters_dagster.core.check.validators import CheckResult
    from reformatters_dagster.core.job.context import OnProgress
    from reformatters_dagster.core.run.plan import RunReport
    from reformatters_dagster.core.run.status import Overview, PartitionStatus, StatusReport
    from reformatters_dagster.core.spec.values import JSON, Timestamp

PIPED_WIDTH = 160
"""Columns of a table that no terminal shows."""
COUNTED = ("files_expected", "files_succeeded", "files_missing", "bytes_in", "bytes_out")

STDERR = Console(stderr=True, markup=False, emoji=False, highlight=False)
"""Shared by log lines and progress bars, so that neither is written through the other."""


MOST_SHOWN = 40
"""Partitions of a plan that are named one by one to people."""
MOST_NOT_REACHED = 3
"""Partitions after the one at which an update stopped that are named one by one to people."""
LEAST_WIDTH = 16
"""Of a column whose texts wrap: a time fits."""


def tell[Document: JSON | list[JSON]](
    document: Document, for_people: Callable[[Document], None], as_json: bool
) -> None:
    """Write a command's answer to stdout: as one JSON document and nothing else, or for people."""
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        for_people(document)


@contextmanager
def logging_to_stderr(verbose: bool) -> Iterator[None]:
    """Log there: from INFO on where nobody watches, or wants to read it; from WARNING on beside progress bars."""
    handler: logging.Handler
    if STDERR.is_terminal:
        handler = RichHandler(console=STDERR, show_path=False)
    else:
        handler = logging.StreamHandler()
        formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING if STDERR.is_terminal and not verbose else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def errors_alone() -> Iterator[None]:
    """Let no log line but errors through to where logs go: the command tells its own story."""
    levels = {handler: handler.level for handler in logging.getLogger().handlers}
    try:
        for handler in levels:
            handler.setLevel(logging.ERROR)
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


@contextmanager
def progress_bars(console: Console = STDERR) -> Iterator["OnProgress"]:
    """One bar for each kind of stage, gone at the end; none where the console is no terminal."""
    from reformatters_dagster.core.job.context import ignore_progress

    if not console.is_terminal:
        yield ignore_progress
        return
    stage_column = TextColumn("{task.description}", markup=False, table_column=Column(width=40, no_wrap=True))
    columns = (stage_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    lock = Lock()
    with Progress(*columns, console=console, transient=True) as progress:

        def show(stage: str, done: int, total: int) -> None:
            kind = stage.partition(" ")[0]
            with lock:
                if kind not in tasks:
                    tasks[kind] = progress.add_task(stage, total=total)
            progress.update(tasks[kind], description=stage, completed=done, total=total)

        yield show


def overviews_document(overviews: Sequence["Overview"]) -> "list[JSON]":
    """What `list --json` prints."""
    return [
        {
            "dataset_id": overview.dataset_id,
            "store": overview.store,
            "extent": _extent(overview.report) if overview.report else None,
            "partitions": overview.report.partition_count if overview.report else 0,
            "last_complete": overview.report.last_complete if overview.report else None,
            "error": overview.error,
        }
        for overview in overviews
    ]


def print_overviews(document: "list[JSON]") -> None:
    """One line per dataset."""
    rows = []
    for row in document:
        extent = f"{' to '.join(row['extent'])}, partitions: {row['partitions']:,}" if row["extent"] else "no store yet"
        rows.append([row["dataset_id"], row["error"] or extent, row["last_complete"] or "none"])
    _print_table(["dataset", "extent", "last\ncomplete"], rows, wrapping={"extent"})


def status_document(report: "StatusReport") -> "JSON":
    """What `status --json` prints: of each partition its variables, and each missing file once."""
    return {
        "dataset_id": report.dataset_id,
        "store": report.store,
        "append_dim": report.append_dim,
        "extent": _extent(report),
        "partition_count": report.partition_count,
        "last_complete": report.last_complete,
        "coverage": {name: found.model_dump() for name, found in report.coverage.items()},
        "degraded": [one.model_dump() for one in report.degraded],
        "partitions": [_partition_document(partition, report.variables) for partition in report.partitions],
    }


def _partition_document(partition: "PartitionStatus", variables: Sequence[str]) -> "JSON":
    known = partition.entry.variables if partition.entry else {}
    lacking: dict[tuple[str, str, str], list[str]] = {}
    for name, coverage in known.items():
        for missing in coverage.missing:
            lacking.setdefault((missing.file, missing.labels, missing.reason), []).append(name)
    return {
        "partition": partition.partition,
        "written_at": partition.entry.written_at.isoformat(timespec="seconds") if partition.entry else None,
        "run_id": partition.entry.run_id if partition.entry else None,
        "known_missing": partition.entry is not None and partition.entry.known_missing,
        "variables": {
            name: {
                "written": name in known,
                "expected": known[name].expected if name in known else None,
                "succeeded": known[name].succeeded if name in known else None,
                "missing": known[name].expected - known[name].succeeded if name in known else None,
                "first_reason": known[name].missing[0].reason if name in known and known[name].missing else None,
            }
            for name in variables
        },
        "missing_files": [
            {"file": file, "labels": labels, "reason": reason, "variables": names}
            for (file, labels, reason), names in lacking.items()
        ],
    }


def print_status(document: "JSON") -> None:
    """The extent, what replicas lack, the variables that are still being filled, and a line for those that fare alike."""
    first, last = document["extent"]
    shown, count = len(document["partitions"]), document["partition_count"]
    which = "" if shown == count else f", of which the newest {shown} are shown"
    typer.echo(f"{document['dataset_id']} at {document['store']}")
    typer.echo(f"{document['append_dim']} {first} to {last}, partitions: {count}{which}")
    behind: dict[tuple[str, str], list[str]] = {}
    for one in document["degraded"]:
        behind.setdefault((one["replica"], one["reason"]), []).append(one["partition"])
    for (replica, why), partitions in behind.items():
        several = f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"
        typer.echo(f"replica {replica} lacks {several if partitions[1:] else f'partition {partitions[0]}'}: {why}")
    lagging: dict[tuple[int, int], list[str]] = {}
    for name, found in document["coverage"].items():
        if found["written"] < max(other["written"] for other in document["coverage"].values()):
            lagging.setdefault((found["written"], found["complete"]), []).append(name)
    for (begun, complete), names in lagging.items():
        typer.echo(f"written in {begun} of these partitions, complete in {complete}: {', '.join(names)}")
    rows: list[list[object]] = []
    for partition in document["partitions"]:
        alike: dict[tuple[object, ...], list[str]] = {}
        for name, found in partition["variables"].items():
            alike.setdefault(tuple(found.values()), []).append(name)
        for (written, *counts, reason), names in alike.items():
            everything = len(names) == len(partition["variables"])
            cells = [*counts, reason or ""] if written else ["", "", "", "never written"]
            key = f"{partition['partition']} (given up)" if partition["known_missing"] else partition["partition"]
            rows.append([key, "all" if everything else ", ".join(names), *cells])
    headers = ["partition", "variables", "expected", "succeeded", "missing", "first reason"]
    _print_table(headers, rows, wrapping={"partition", "variables", "first reason"})


def plan_document(
    dataset_id: str,
    store: str,
    labels: Sequence["Timestamp"],
    partitions: Sequence["Timestamp"],
    variables: Sequence[str],
) -> "JSON":
    """What `backfill --dry-run --json` prints; `labels` are those the store would have."""
    return {
        "dataset_id": dataset_id,
        "store": store,
        "dry_run": True,
        "extent": [_text(labels[0]), _text(labels[-1])] if len(labels) else None,
        "partitions": [_text(label) for label in partitions],
        "variables": list(variables) if partitions else [],
    }


def print_plan(document: "JSON") -> None:
    """The same for people."""
    extent = " to ".join(document["extent"]) if document["extent"] else "no label"
    typer.echo(
        f"Dry run: {len(document['partitions'])} partitions of {len(document['variables'])} variables would be written to "
        f"{document['store']}, whose metadata would cover {extent}"
    )
    partitions = document["partitions"]
    shown = partitions if len(partitions) <= MOST_SHOWN else [*partitions[: MOST_SHOWN // 2], "…", partitions[-1]]
    typer.echo(f"partitions: {' '.join(shown) or 'none'}")
    typer.echo(f"variables: {' '.join(document['variables']) or 'none'}")


def run_document(
    dataset_id: str, store: str, run_id: str, report: "RunReport", nothing_succeeded: str = "failed"
) -> "JSON":
    """What `backfill --json` and `update --json` print; the last argument names partitions of which nothing succeeded."""
    commits = {commit.plan.label: commit for commit in report.commits}
    partitions: list[JSON] = []
    for label in report.partitions:
        row: JSON = {"partition": _text(label), "status": "not reached", "reason": report.failures.get(label)}
        row |= dict.fromkeys(COUNTED) | {"kept_variables": []}
        if label in report.failures:
            row["status"] = "not read again" if label in report.unread else nothing_succeeded
        elif label in report.done_before:
            row["status"] = "committed before"
        elif label in commits:
            commit = commits[label]
            files = [file for results in commit.results.values() for file in results]
            succeeded = sum(file.succeeded for file in files)
            counts = (len(files), succeeded, len(files) - succeeded, commit.stats.bytes_in, commit.stats.bytes_out)
            row |= dict(zip(COUNTED, counts, strict=True))
            row |= {"status": "committed", "kept_variables": commit.stats.kept}
        partitions.append(row)
    return {"dataset_id": dataset_id, "store": store, "run_id": run_id, "partitions": partitions}


def print_run(document: "JSON", nothing: str = "No partition was to be written", *, stands: bool = True) -> None:
    """One line per partition, then what is to be said of some.

    Parameters
    ----------
    nothing : str
        What is said where there was no partition.
    stands : bool
        Whether there is a store by now.
    """
    counted = [name for name in COUNTED if any(row[name] is not None for row in document["partitions"])]
    rows, remarks = [], []
    for status, alike in itertools.groupby(document["partitions"], lambda row: row["status"]):
        partitions = list(alike)
        if status == "not reached" and len(partitions) > MOST_NOT_REACHED:
            first, last = partitions[0]["partition"], partitions[-1]["partition"]
            remarks.append(f"{first} … {last}: {len(partitions)} not reached")
            continue
        rows += [[row["partition"], status, *(_count(name, row[name]) for name in counted)] for row in partitions]
        remarks += [f"{row['partition']}: {why}" for row in partitions if (why := row["reason"] or _kept(row))]
    if rows:
        headers = [name.replace("_", "\n") for name in counted]
        _print_table(["partition", "status", *headers], rows, right=headers)
    for remark in remarks:
        typer.echo(remark)
    if not document["partitions"]:
        typer.echo(nothing)
    typer.echo(
        f"Store: {document['store']}" if stands else "Store: none yet; the first partition that is there makes it"
    )


def _count(name: str, number: int | None) -> str | int | None:
    """Bytes in the unit that people would use."""
    return decimal(number) if name.startswith("bytes") and number is not None else number


def _kept(row: "JSON") -> str:
    names = row["kept_variables"]
    return f"kept, since made from more files before: {', '.join(names)}" if names else ""


def checks_document(dataset_id: str, checks: "Mapping[str, Sequence[CheckResult]]") -> "JSON":
    """What `validate --json` prints; `checks` are by store."""
    stores = [
        {"store": store, "checks": [result.model_dump(mode="json") for result in results]}
        for store, results in checks.items()
    ]
    return {"dataset_id": dataset_id, "stores": stores}


def print_checks(document: "JSON") -> None:
    """One line per check, those of each store together."""
    for store in document["stores"]:
        typer.echo(store["store"])
        rows = [
            ["passed" if one["passed"] else f"FAILED ({one['severity']})", one["name"], one["message"]]
            for one in store["checks"]
        ]
        _print_table(["", "check", "message"], rows, wrapping={"message"})


def print_urls(document: "JSON") -> None:
    """One URL per line, the primary first."""
    typer.echo("\n".join([document["primary"], *document["replicas"]]))


def _print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    wrapping: Collection[str] = (),
    right: Collection[str] = (),
) -> None:
    """Print a table whose columns keep their texts whole, but for those that may wrap; numbers, and others named, end alike."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    cells = [["" if one is None else f"{one:,}" if isinstance(one, int) else str(one) for one in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [_width(texts) for texts in columns]
    least = [
        min(width, LEAST_WIDTH) if header in wrapping else width for header, width in zip(headers, widths, strict=True)
    ]
    is_tight = sum(least) + 3 * (len(headers) - 1) + 2 > console.width
    console.width = max(console.width, sum(least) + len(headers) + 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if is_tight else 1))
    for position, header in enumerate(headers):
        is_number = header in right or any(isinstance(row[position], int) for row in rows)
        table.add_column(
            header,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=header not in wrapping,
            min_width=least[position],
        )
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _width(texts: Sequence[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))


def _extent(report: "StatusReport") -> list[str]:
    return [_text(label) for label in report.extent]


def _text(time: "Timestamp") -> str:
    return f"{time:%Y-%m-%dT%H:%M}"
