"""The `.idx` beside a GRIB file, as wgrib2 writes it.

In: its text, and a field at a lead time. Out: byte ranges, and the one that is meant.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.spec.errors import IndexMismatch
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField, Statistic

_LINE = re.compile(
    r"(?P<message>[0-9]{1,9})(?P<field>\.[0-9]{1,9})?:(?P<start>[0-9]{1,18}):d=(?P<stamp>[0-9]{10})"
    r":(?P<element>[^:]+):(?P<level>[^:]+):(?P<window>[^:]+):.*"
)
_SHORTEST_MESSAGE = 16
_HOUR, _MINUTE = Timedelta("1h"), Timedelta("1min")


def parse_idx(text: str, size: int | None = None, where: str = "the index") -> list[IndexEntry]:
    """Read an `.idx`: `message:start:d=YYYYMMDDHH:element:level:window:…` on each line.

    Parameters
    ----------
    text : str
    size : int, optional
        Bytes of the file it describes; the last message then ends there, else its `stop` is None.
    where : str
        Which index, for the error.

    Returns
    -------
    list of IndexEntry
        In the order of the file. Fields of one message (`3.1`, `3.2`) share its range.

    Raises
    ------
    IndexMismatch
        It is empty, a line does not parse, starts do not ascend, or one lies outside the file.
    """
    lines = text.splitlines()
    if not lines:
        raise IndexMismatch(f"{where} is empty; fetch it again")
    fields: list[re.Match[str]] = []
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise IndexMismatch(f"{where} line {number} does not parse: {line[:100]!r}; fetch it again")
        if not _follows(match, fields[-1] if fields else None, size):
            raise IndexMismatch(
                f"{where} line {number} starts before the line above ends, or outside {size!r} bytes: {line[:100]!r}; "
                "fetch index and file again"
            )
        fields.append(match)
    starts = list(dict.fromkeys(int(match["start"]) for match in fields))
    stops = dict(zip(starts, [*starts[1:], size], strict=True))
    try:
        return [_entry(match, stops[int(match["start"])]) for match in fields]
    except ValueError as error:
        raise IndexMismatch(f"{where} has a time that is none ({error}); fetch it again") from error


def _follows(line: re.Match[str], before: re.Match[str] | None, size: int | None) -> bool:
    start = int(line["start"])
    if size is not None and start + _SHORTEST_MESSAGE > size:
        return False
    if before is None or start > int(before["start"]):
        return True
    of_one_message = line["field"] and before["field"] and line["message"] == before["message"]
    return bool(of_one_message) and start == int(before["start"])


def _entry(line: re.Match[str], stop: int | None) -> IndexEntry:
    return IndexEntry(
        number=line["message"] + line["field"] if line["field"] else int(line["message"]),
        start=int(line["start"]),
        stop=stop,
        reference_time=_time(line["stamp"]),
        element=line["element"],
        level=line["level"],
        window=line["window"],
    )


@lru_cache(maxsize=64)
def _time(stamp: str) -> Timestamp:
    return pd.to_datetime(stamp, format="%Y%m%d%H").as_unit("us")


@lru_cache(maxsize=4096)
def window_length(statistic: Statistic, lead_time: Timedelta, reset: Timedelta | None) -> Timedelta | None:
    """Length of the time window that ends at a lead time; None for an instant.

    Parameters
    ----------
    statistic : Statistic
    lead_time : Timedelta
    reset : Timedelta or None
        How often the source begins a new window; None for windows as long as the run.
    """
    if statistic == "instant":
        return None
    if reset is None or lead_time == Timedelta(0):
        return lead_time
    since_reset = lead_time % reset
    return since_reset if since_reset > Timedelta(0) else reset


@lru_cache(maxsize=4096)
def window_label(statistic: Statistic, lead_time: Timedelta, reset: Timedelta | None) -> str:
    """The time window in the words of an `.idx`: `anl`, `6 hour fcst`, `6-7 hour ave fcst`, `0-1 day acc fcst`.

    Parameters
    ----------
    statistic, lead_time, reset
        As in `window_length`. Where one of the times is no whole hour, minutes are counted, as in sub-hourly files.

    Raises
    ------
    ValueError
        When the lead time is no whole number of minutes, or negative.
    """
    length = window_length(statistic, lead_time, reset)
    by_hour = not lead_time % _HOUR and not (reset or _HOUR) % _HOUR
    unit, name = (_HOUR, "hour") if by_hour else (_MINUTE, "min")
    if lead_time % unit or lead_time < Timedelta(0):
        raise ValueError(f"lead time {lead_time!r} is no whole number of minutes from 0 on; no index names it")
    stop = lead_time // unit
    if length is None:
        return f"{stop} {name} fcst" if stop else "anl"
    start, kind = stop - length // unit, "ave" if statistic == "avg" else statistic
    if by_hour and start == 0 and stop % 24 == 0:
        return f"0-{stop // 24} day {kind} fcst"
    return f"{start}-{stop} {name} {kind} fcst"


def find_message(
    entries: Sequence[IndexEntry],
    field: GribField,
    *,
    init_time: Timestamp,
    lead_time: Timedelta,
    reset: Timedelta | None,
    where: str,
) -> IndexEntry:
    """The one entry of an index that is a field at a lead time.

    Parameters
    ----------
    entries : sequence of IndexEntry
    field : GribField
        Its `alternatives` are looked for, in turn, where its `element` is not there.
    init_time, lead_time
    reset : Timedelta or None
        How often the source begins a new time window.
    where : str
        Which index, for the error.

    Raises
    ------
    IndexMismatch
        No entry matches, or more than one does and the field is not marked `first_of_duplicates`.

    Notes
    -----
    GFS names two messages `APCP:surface:0-6 hour acc fcst` up to lead time 6 h: the window since the last reset and the
    one since the start of the run, which are the same until then.
    """
    window = window_label(field.statistic, lead_time, reset)
    wanted = f"{field.element}:{field.level}:{window} of {init_time:%Y-%m-%dT%H:%M}"
    similar = [e for e in entries if e.element in (field.element, *field.alternatives) and e.level == field.level]
    for element in (field.element, *field.alternatives):
        found = [e for e in similar if (e.element, e.window, e.reference_time) == (element, window, init_time)]
        if len(found) > 1 and not field.first_of_duplicates:
            numbers = [entry.number for entry in found]
            raise IndexMismatch(f"{where} has {wanted} more than once, as messages {numbers!r}; say which is meant")
        if found:
            return found[0]
    nearest = [f"{e.element}:{e.window} of {e.reference_time:%Y-%m-%dT%H:%M}" for e in similar[:8]]
    raise IndexMismatch(
        f"{where} does not have {wanted}, on that level it has {', '.join(nearest) or 'none'}; "
        "has the source renamed it, or is the index that of another file?"
    )
