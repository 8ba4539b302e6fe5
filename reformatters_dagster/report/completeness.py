"""How complete the partitions of a store are, as a page shows it.

In: the document of `status --json`. Out: rows of a table of cells, and a text for each partition.
"""

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from reformatters_dagster.core.spec.wording import spell_count, spell_variables

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import JSON

GRADES = (
    ("full", "every field"),
    ("most", "90 % and more"),
    ("some", "50 to 90 %"),
    ("few", "under 50 %"),
    ("none", "no field"),
    ("mend", "every field, and some to be made anew"),
    ("never", "never written"),
    ("unknown", "not known: the ledger's entry cannot be read"),
)
"""What a cell may be, by the class that colours it."""
MOST_RANGES, MOST_REMARKS = 40, 20
"""Of one partition on the page, which thus stays of a size that a phone opens."""


@dataclass(frozen=True)
class Cell:
    """One variable of one partition."""

    grade: str
    text: str
    told: str
    partition: str


@dataclass(frozen=True)
class PartitionText:
    """What is known of one partition, in words."""

    key: str
    headline: str
    is_sound: bool
    remarks: tuple[str, ...]
    ranges: tuple["JSON", ...]
    left_out: str
    """How many ranges and remarks it has beside those; empty where all are there."""


def cells_of(document: "JSON") -> dict[str, list[Cell]]:
    """Cells of each variable, the newest partition first: a narrow screen shows what matters."""
    partitions = list(reversed(document["partitions"]))
    names = partitions[0]["variables"] if partitions else {}
    return {name: [_cell(partition, name) for partition in partitions] for name in names}


def _cell(partition: "JSON", name: str) -> Cell:
    found, key = partition["variables"][name], partition["partition"]
    if partition["unreadable"]:
        return Cell("unknown", "?", f"{name}, {key}: {partition['unreadable']}", key)
    if not found["written"]:
        return Cell("never", "", f"{name}, {key}: never written", key)
    expected, succeeded = found["expected"], found["succeeded"]
    told = f"{name}, {key}: {succeeded:,} of {expected:,} fields"
    if succeeded >= expected:
        lacks = any(name in one["variables"] for one in partition["unwritten_labels"])
        if found["first_reason"] or found["outdated"] or lacks:
            return Cell("mend", "~", f"{told}, and some are to be made anew", key)
        return Cell("full", "", told, key)
    share = succeeded / expected
    grade = "most" if share >= 0.9 else "some" if share >= 0.5 else "few" if succeeded else "none"
    return Cell(grade, str(floor(100 * share)), told, key)


def fields_missing(partition: "JSON") -> int:
    """Fields, one of a variable in each file that has it, that a partition lacks."""
    return sum(found["missing"] or 0 for found in partition["variables"].values())


def texts_of(document: "JSON") -> list[PartitionText]:
    """Each partition in words, the newest first."""
    return [_text(partition) for partition in reversed(document["partitions"])]


def _text(partition: "JSON") -> PartitionText:
    variables = partition["variables"]
    never = [name for name, found in variables.items() if not found["written"]]
    remarks = []
    if partition["unreadable"]:
        remarks.append(f"Its ledger entry cannot be read: {partition['unreadable']}")
    elif never:
        remarks.append(f"Never written: {spell_variables(never, len(variables))}")
    if partition["known_missing"]:
        remarks.append("What is missing is given up: it is known not to come.")
    for one in partition["unwritten_labels"]:
        span = f"{one['count']} labels that readers see, {one['first']} to {one['last']}"
        remarks.append(f"Written by no run: {span}, of {spell_variables(one['variables'], len(variables))}")
    remarks += [
        f"Outdated at {one['labels']}, waiting for {one['waits_for']}: {one['reason']}"
        for one in partition["outdated_values"]
    ]
    told_by_files = {name for lost in partition["missing_files"] for name in lost["variables"]}
    for name, found in variables.items():
        if found["first_reason"] and not found["outdated"] and name not in told_by_files:
            remarks.append(f"{name}: {found['first_reason']}")
    files, fields = len(partition["missing_files"]), fields_missing(partition)
    lacking = f"lacks {spell_count(fields, 'field')} of {spell_count(files, 'file')}" if fields else ""
    headline = lacking or ("complete" if not remarks else "to be looked at")
    ranges = partition["missing_ranges"]
    more = ((len(ranges) - MOST_RANGES, "ranges of missing files"), (len(remarks) - MOST_REMARKS, "remarks"))
    return PartitionText(
        key=partition["partition"],
        headline=headline,
        is_sound=not fields and not remarks,
        remarks=tuple(remarks[:MOST_REMARKS]),
        ranges=tuple(ranges[:MOST_RANGES]),
        left_out=" and ".join(f"{number:,} more {what}" for number, what in more if number > 0),
    )
