"""How complete a store is, at a glance: a map of characters, and ranges of files that are missing.

In: the document of `status --json`. Out: lines of text that fit a terminal's width.
"""

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reformatters_dagster.core.spec.values import JSON

LEGEND = "# all fields, 9 to 0 tenths of them, . none, ~ all fields but to be mended, - never written, ? unknown"
LONGEST_NAME = 44
LONGEST_RANGE = 3
"""Lines of one range of missing files, unless all are asked for."""
MOST_RANGES = 5
"""Most ranges of missing files that are shown unless all are asked for."""


def heat_map(document: "JSON", width: int) -> Iterator[str]:
    """One line for variables alike, one character for each partition, the newest last; as many as the width has room for."""
    columns: dict[str, str] = {}
    for partition in document["partitions"]:
        for name in partition["variables"]:
            columns[name] = columns.get(name, "") + _character(partition, name)
    alike: dict[str, list[str]] = {}
    for name, cells in columns.items():
        alike.setdefault(cells, []).append(name)
    if not alike:
        return
    titles = {cells: _names(names, columns) for cells, names in alike.items()}
    title_width = min(max(map(len, titles.values())), LONGEST_NAME, width // 2)
    room = max(width - title_width - 2, 1)
    shown = document["partitions"][-room:]
    first, last = shown[0]["partition"], shown[-1]["partition"]
    yield f"completeness of {f'{len(shown)} partitions, {first} to {last}' if shown[1:] else f'partition {last}'}:"
    for cells, title in titles.items():
        yield f"{cut(title, title_width):{title_width}}  {cells[-room:]}"
    yield from textwrap.wrap(LEGEND, width)


def _character(partition: "JSON", name: str) -> str:
    found = partition["variables"][name]
    if partition["unreadable"]:
        return "?"
    if not found["written"]:
        return "-"
    if found["succeeded"] < found["expected"]:
        return str(found["succeeded"] * 10 // found["expected"]) if found["succeeded"] else "."
    lacks_labels = any(name in one["variables"] for one in partition["unwritten_labels"])
    return "~" if found["first_reason"] or found["outdated"] or lacks_labels else "#"


def missing_lines(document: "JSON", width: int, most: int | None = MOST_RANGES) -> Iterator[str]:
    """A text for each range of missing files, the newest partition first.

    Parameters
    ----------
    most : int, optional
        How many ranges, each in a few lines of the width; None for all of them, each whole and in one line.
    """
    from reformatters_dagster.core.spec.wording import spell_count

    partitions = document["partitions"]
    ranges = [(one, lost) for one in reversed(partitions) for lost in one["missing_ranges"]]
    for partition, lost in ranges[:most]:
        span = lost["first"] if lost["files"] == 1 else f"{lost['first']} to {lost['last']}"
        line = (
            f"{partition['partition']} lacks {span}, {spell_count(lost['files'], 'file')}, of "
            f"{_names(lost['variables'], partition['variables'])}: {lost['reason']}"
        )
        yield (
            line
            if most is None
            else textwrap.fill(line, width, subsequent_indent="  ", max_lines=LONGEST_RANGE, placeholder=" …")
        )
    if most is not None and len(ranges) > most:
        yield f"and {len(ranges) - most} more ranges of missing files: --missing shows all"


def ranges_of(files: Sequence[str], used: Collection[str]) -> Iterator[list[str]]:
    """Missing files in runs that no used file interrupts, each in the order of the numbers in their names."""
    lost = set(files)
    current: list[str] = []
    for key in sorted(lost.union(used), key=_natural):
        if key in lost:
            current.append(key)
        elif current:
            yield current
            current = []
    if current:
        yield current


def short_names(files: Sequence[str]) -> tuple[str, str]:
    """The first and the last of some files, without what stands before the words in which they differ."""
    first, last = files[0], files[-1]
    if first == last:
        return (first.rpartition("/")[2],) * 2
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    while same and first[same - 1].isalnum():
        same -= 1
    return first[same:], last[same:]


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def _names(names: Sequence[str], every: Collection[str]) -> str:
    if len(names) == len(every) > 1:
        return "all variables"
    return few_names(names)


def few_names(names: Sequence[str]) -> str:
    """Two names, or one and how many others there are."""
    return ", ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"


def cut(text: str, width: int) -> str:
    """At most so many characters of a text; one that lacks some ends in an ellipsis."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"
