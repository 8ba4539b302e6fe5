"""What commands answer: each report as one JSON document, and the same document for people.

In: reports of the core. Out: documents, and text on stdout.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.filesize import decimal

from reformatters_dagster.cli.completeness import cut, few_names, heat_map, missing_lines, ranges_of, short_names
from reformatters_dagster.cli.terminal import columns_of, print_table

if TYPE_CHECKING:
    from reformatters_dagster.core.check.validators import CheckResult
    from reformatters_dagster.core.run.anew import Emptied
    from reformatters_dagster.core.run.outcomes import RunReport
    from reformatters_dagster.core.run.status import Overview, PartitionStatus, StatusReport
    from reformatters_dagster.core.spec.values import JSON, Timestamp

COUNTED = ("files_expected", "files_succeeded", "files_missing", "bytes_in", "bytes_out")
BROKEN = "the check itself broke: "
"""How the message of a check begins that could not be made."""
IN_TABLE = 3
"""Partitions in the table of `status`, the newest; the map shows more."""
LONGEST_REASON = 60
MOST_SHOWN = 40
"""Most partitions of a plan that are shown to people one by one."""
MOST_NOT_REACHED = 3
"""Most partitions after the one at which an update stopped that are shown one by one."""


_ADDRESS = re.compile(r"'[^']*'|\S*/\S*|[\d.]+[µmn]?s\b")


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


def anew_document(dataset_id: str, emptied: "Sequence[Emptied]", *, dry_run: bool) -> "JSON":
    """What `begin-anew --json` prints."""
    return {
        "dataset_id": dataset_id,
        "dry_run": dry_run,
        "locations": [{"url": one.store.url, "objects": len(one.keys), "bytes": one.bytes} for one in emptied],
    }


def print_anew(document: "JSON") -> None:
    """One line per location, and the command that comes next."""
    verb = "would be deleted" if document["dry_run"] else "deleted"
    for place in document["locations"]:
        typer.echo(
            f"{verb}: {place['objects']:,} objects, {decimal(place['bytes'])}, none of them data, at {place['url']}"
        )
    typer.echo(f"Next: reformat backfill {document['dataset_id']} --archive-start T creates the store, beginning at T")


def print_overviews(document: "list[JSON]") -> None:
    """One line per dataset; an error that several stores share is told once."""
    rows = []
    errors = _told_once([(row["error"] or "", row["dataset_id"]) for row in document])
    for row, error in zip(document, errors, strict=True):
        extent = f"{' to '.join(row['extent'])}, partitions: {row['partitions']:,}" if row["extent"] else "no store yet"
        rows.append([row["dataset_id"], error or extent, row["last_complete"] or "none"])
    print_table(["dataset", "extent", "last\ncomplete"], rows, wrapping={"extent"})


def _told_once(errors: Sequence[tuple[str, str]]) -> list[str]:
    """The messages, each written out once: one that is like an earlier one names whom that was about.

    Parameters
    ----------
    errors : sequence of (message, name of what met the error)
        An empty message is no error.
    """
    first_of: dict[str, str] = {}
    told = []
    for message, name in errors:
        # Requests that fail alike differ in names, addresses and times.
        kind = _ADDRESS.sub("", message)
        first = first_of.setdefault(kind, name) if message else name
        told.append(message if first == name else f"fails as {first} does")
    return told


def status_document(report: "StatusReport", variables: Sequence[str]) -> "JSON":
    """What `status --json` prints of some variables: each partition with them, each missing file and outdated value once."""
    report = report.model_copy(update={"variables": tuple(variables)})
    return {
        "dataset_id": report.dataset_id,
        "store": report.store,
        "append_dim": report.append_dim,
        "extent": _extent(report),
        "partition_count": report.partition_count,
        "last_complete": report.last_complete,
        "coverage": {name: found.model_dump() for name, found in report.coverage.items()},
        "abandoned": list(report.abandoned),
        "degraded": [one.model_dump() for one in report.degraded],
        "partitions": [_partition_document(partition, report.variables) for partition in report.partitions],
    }


def _partition_document(partition: "PartitionStatus", variables: Sequence[str]) -> "JSON":
    entry = partition.entry
    known = {name: one for name, one in entry.variables.items() if name in variables} if entry else {}
    lacking: dict[tuple[str, str, str], list[str]] = {}
    outdated: dict[tuple[str, str, str], list[str]] = {}
    for name, coverage in known.items():
        for missing in coverage.missing:
            lacking.setdefault((missing.file, missing.labels, missing.reason), []).append(name)
        for value in coverage.outdated:
            outdated.setdefault((value.labels, value.reason, value.waits_for), []).append(name)
    return {
        "partition": partition.partition,
        "written_at": partition.entry.written_at.isoformat(timespec="seconds") if partition.entry else None,
        "run_id": partition.entry.run_id if partition.entry else None,
        "unreadable": partition.unreadable or None,
        "known_missing": partition.entry is not None and partition.entry.known_missing,
        "variables": {
            name: {
                "written": name in known,
                "expected": known[name].expected if name in known else None,
                "succeeded": known[name].succeeded if name in known else None,
                "missing": known[name].expected - known[name].succeeded if name in known else None,
                "outdated": len(known[name].outdated) if name in known else None,
                "first_reason": known[name].first_reason if name in known else None,
            }
            for name in variables
        },
        "unwritten_labels": [
            {"first": _text(one.first), "last": _text(one.last), "count": one.count, "variables": names}
            for one in partition.unwritten
            if (names := [name for name in one.variables if name in variables])
        ],
        "missing_ranges": list(_missing_ranges(lacking, entry.etags if entry else ())),
        "missing_files": [
            {"file": file, "labels": labels, "reason": reason, "variables": names}
            for (file, labels, reason), names in lacking.items()
        ],
        "outdated_values": [
            {"labels": labels, "reason": reason, "waits_for": waits_for, "variables": names}
            for (labels, reason, waits_for), names in outdated.items()
        ],
    }


def _missing_ranges(lacking: "Mapping[tuple[str, str, str], Sequence[str]]", used: Collection[str]) -> "Iterator[JSON]":
    """Missing files of the same variables, in ranges that no used file interrupts.

    Their reasons differ in numbers alone, such as the lead time; the one of a range's first file is told.
    """
    alike: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for (file, _, reason), names in lacking.items():
        told = reason.replace(f"'{file}'", "the file").replace(file, "…")
        alike.setdefault((re.sub(r"\d+", "#", told), tuple(names)), {})[file] = told
    for (_, names), files in alike.items():
        for found in ranges_of([*files], used):
            first, last = short_names(found)
            row = {"first": first, "last": last, "files": len(found), "reason": files[found[0]]}
            yield {**row, "variables": list(names)}


def print_missing(document: "JSON") -> None:
    """Every range of missing files, one line each."""
    lines = list(missing_lines(document, columns_of(), most=None))
    typer.echo("\n".join(lines) if lines else "no file is missing")


def print_status(document: "JSON", *, every: bool = False) -> None:
    """The extent, what replicas lack, which variables are still being filled, how complete each is, and what is missing.

    Parameters
    ----------
    every : bool
        Show the table of all partitions, not of the newest ones alone.
    """
    first, last = document["extent"]
    shown, count = len(document["partitions"]), document["partition_count"]
    which = "" if shown == count else f", of which the newest {shown} are shown"
    typer.echo(f"{document['dataset_id']} at {document['store']}")
    typer.echo(f"{document['append_dim']} {first} to {last}, partitions: {count}{which}")
    shown_lines = (remarks(document), heat_map(document, columns_of()), missing_lines(document, columns_of()))
    for line in itertools.chain(*shown_lines):
        typer.echo(line)
    rows = [row for one in document["partitions"][0 if every else -IN_TABLE :] for row in _rows(one)]
    headers = ["partition", "variables", "expected", "used", "missing", "outdated", "first reason"]
    print_table(headers, rows, wrapping={"partition", "variables", "first reason"})


def remarks(document: "JSON") -> Iterator[str]:
    """What stands out of a store as a whole: what replicas lack, variables that lag, what the ledger does not tell of."""
    behind: dict[tuple[str, str], list[str]] = {}
    for one in document["degraded"]:
        behind.setdefault((one["replica"], one["reason"]), []).append(one["partition"])
    for (replica, why), partitions in behind.items():
        several = f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"
        yield f"replica {replica} lacks {several if partitions[1:] else f'partition {partitions[0]}'}: {why}"
    yield from _lagging_lines(document)
    yield from _unaccounted_lines(document)


def _lagging_lines(document: "JSON") -> Iterator[str]:
    """Variables that were written in fewer partitions than others."""
    lagging: dict[tuple[int, int], list[str]] = {}
    for name, found in document["coverage"].items():
        if found["written"] < max(other["written"] for other in document["coverage"].values()):
            lagging.setdefault((found["written"], found["complete"]), []).append(name)
    for (begun, complete), names in lagging.items():
        yield f"written in {begun} of these partitions, complete in {complete}: {', '.join(names)}"


def _rows(partition: "JSON") -> Iterator[list[object]]:
    """One row of the table of `status` for variables of a partition that are alike."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for name, found in partition["variables"].items():
        *counts, reason = found.values()
        alike.setdefault((*counts, cut(reason or "", LONGEST_REASON)), []).append(name)
    never = ["", "", "", "", partition["unreadable"] or "never written"]
    for (written, *counts), names in alike.items():
        cells = counts if written else never
        key = f"{partition['partition']} (given up)" if partition["known_missing"] else partition["partition"]
        yield [key, "all" if len(names) == len(partition["variables"]) else few_names(names), *cells]


def _unaccounted_lines(document: "JSON") -> Iterator[str]:
    """What readers see and the ledger does not tell of: uploads of ended runs, and labels that no run has written."""
    for partition in document.get("abandoned", ()):
        yield f"{partition}: a run ended after it had begun to upload, and before its commit; run the partition again"
    for partition in document["partitions"]:
        for found in partition["unwritten_labels"]:
            everything = len(found["variables"]) == len(partition["variables"])
            names = "all variables" if everything else ", ".join(found["variables"])
            span = f"{found['count']} labels that readers see, {found['first']} to {found['last']}"
            yield f"{partition['partition']}: {span}, were written by no run: {names}"


def plan_document(
    dataset_id: str,
    store: str,
    labels: Sequence["Timestamp"],
    partitions: Sequence["Timestamp"],
    variables: Sequence[str],
) -> "JSON":
    """What `backfill --dry-run --json` prints; `labels` are those that the store would have."""
    return {
        "dataset_id": dataset_id,
        "store": store,
        "dry_run": True,
        "extent": [_text(labels[0]), _text(labels[-1])] if len(labels) else None,
        "partitions": [_text(label) for label in partitions],
        "variables": list(variables) if partitions else [],
    }


def print_plan(document: "JSON") -> None:
    """A plan for people."""
    extent = " to ".join(document["extent"]) if document["extent"] else "no label"
    typer.echo(
        f"Dry run: {len(document['partitions'])} partitions of {len(document['variables'])} variables would be written to "
        f"{document['store']}, whose metadata would cover {extent}"
    )
    partitions = document["partitions"]
    shown = partitions if len(partitions) <= MOST_SHOWN else [*partitions[: MOST_SHOWN // 2], "…", partitions[-1]]
    typer.echo(f"partitions: {' '.join(shown) or 'none'}")
    typer.echo(f"variables: {' '.join(document['variables']) or 'none'}")


def run_document(dataset_id: str, store: str, run_id: str, report: "RunReport") -> "JSON":
    """What `backfill --json` and `update --json` print."""
    commits = {commit.plan.label: commit for commit in report.commits}
    partitions: list[JSON] = []
    for label in report.partitions:
        row: JSON = {"partition": _text(label), "status": "not reached", "reason": report.failures.get(label)}
        row |= dict.fromkeys(COUNTED) | {"kept_variables": []}
        if label in report.failures:
            row["status"] = _why_not(report, label)
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


def _why_not(report: "RunReport", label: "Timestamp") -> str:
    """The status of a partition of which no file could be used."""
    if label in report.unread:
        return "not read again"
    return "not there yet" if label in report.awaited else "failed"


def print_run(document: "JSON", nothing: str = "No partition was to be written", *, stands: bool = True) -> None:
    """One line per partition, then remarks.

    Parameters
    ----------
    nothing : str
        Said where there was no partition.
    stands : bool
        Whether the store exists by now.
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
        # The names that programs read say files; a file is counted once for each variable that is read from it.
        headers = [name.replace("files", "fields").replace("_", "\n") for name in counted]
        print_table(["partition", "status", *headers], rows, right=headers)
    for remark in remarks:
        typer.echo(remark)
    if not document["partitions"]:
        typer.echo(nothing)
    typer.echo(
        f"Store: {document['store']}" if stands else "Store: none yet; the first partition that is there makes it"
    )


def _count(name: str, number: int | None) -> str | int | None:
    """A count as people read it: bytes in a suitable unit."""
    return decimal(number) if name.startswith("bytes") and number is not None else number


def _kept(row: "JSON") -> str:
    names = row["kept_variables"]
    return f"kept, since made from more files before: {', '.join(names)}" if names else ""


def checks_document(dataset_id: str, checks: "Mapping[str, Sequence[CheckResult]]") -> "JSON":
    """What `validate --json` prints; `checks` maps the URL of a store to its results."""
    stores = [
        {"store": store, "checks": [result.model_dump(mode="json") for result in results]}
        for store, results in checks.items()
    ]
    return {"dataset_id": dataset_id, "stores": stores}


def print_checks(document: "JSON") -> None:
    """One line per check, store by store."""
    for store in document["stores"]:
        typer.echo(store["store"])
        checks = store["checks"]
        broken = [one["message"] if one["message"].startswith(BROKEN) else "" for one in checks]
        told = _told_once([(error, one["name"]) for error, one in zip(broken, checks, strict=True)])
        rows = [
            ["passed" if one["passed"] else f"FAILED ({one['severity']})", one["name"], error or one["message"]]
            for error, one in zip(told, checks, strict=True)
        ]
        print_table(["", "check", "message"], rows, wrapping={"message"})


def print_urls(document: "JSON") -> None:
    """One URL per line, the primary first."""
    typer.echo("\n".join([document["primary"], *document["replicas"]]))


def _extent(report: "StatusReport") -> list[str]:
    return [_text(label) for label in report.extent]


def _text(time: "Timestamp") -> str:
    return f"{time:%Y-%m-%dT%H:%M}"
