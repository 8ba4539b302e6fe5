"""Entries of an index file to byte ranges.

In: where an index says that messages lie in a file. Out: groups of messages, each fetched as one range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reformatters_dagster.core.spec.values import Timestamp


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of an index: where a message lies in its file, and what the index says it is.

    >>> entry = IndexEntry(
    ...     number=1,
    ...     start=0,
    ...     stop=1024,
    ...     reference_time=pd.Timestamp("2026-01-01T00"),
    ...     element="TMP",
    ...     level="2 m above ground",
    ...     window="6 hour fcst",
    ... )
    >>> entry.stop - entry.start
    1024
    """

    number: str | int
    start: int
    stop: int | None
    """Byte after the last; None where the message ends with a file of unknown size."""
    reference_time: Timestamp
    element: str
    level: str
    window: str
    """The index's own words for the forecast time: `6-7 hour ave fcst`."""
    member: int | None = None
    """Ensemble member, 0 for the control; None where the index names no members."""


def coalesce(ranges: Sequence[tuple[int, int]], max_gap: int) -> list[list[int]]:
    """Group byte ranges so that each group can be fetched as one range.

    Parameters
    ----------
    ranges : sequence of (start, stop)
        In any order; they may repeat or overlap.
    max_gap : int
        Ranges with at most so many unwanted bytes between them are fetched together.

    Returns
    -------
    list of list of int
        Positions in `ranges`, each exactly once. Groups and their members ascend by start. More than `max_gap` bytes lie
        between any two groups.
    """
    groups: list[list[int]] = []
    reached = 0
    for position in sorted(range(len(ranges)), key=lambda k: ranges[k]):
        start, stop = ranges[position]
        if groups and start - reached <= max_gap:
            groups[-1].append(position)
            reached = max(reached, stop)
        else:
            groups.append([position])
            reached = stop
    return groups
