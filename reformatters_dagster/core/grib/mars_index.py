"""The `.index` beside a GRIB file, as ECMWF writes it.

In: its text, a JSON object per line in the words of MARS. Out: byte ranges, and the one that is meant.
"""

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.spec.errors import IndexMismatch
from reformatters_dagster.core.spec.values import Timestamp

CONTROL = 0
"""The member of control runs and single forecasts."""
_MEMBERS = {"cf": CONTROL, "fc": CONTROL}
_PERTURBED = "pf"
_SHORTEST_MESSAGE = 16
_LONGEST_LINE = 2000
"""Characters; real lines have up to 300. It bounds how deep a line can be nested."""
_MOST_BYTES = 1 << 62
_MOST_MEMBERS = 1000


def parse_index(
    text: str, size: int | None = None, where: str = "the index", params: Collection[str] | None = None
) -> list[IndexEntry]:
    """Read an `.index`.

    Parameters
    ----------
    text : str
    size : int, optional
        Bytes of the file it describes; no message may end after them.
    where : str
        Which index, for the error.
    params : collection of str, optional
        Only these are kept: an ensemble's file has 50 times as many lines as a forecast's.

    Returns
    -------
    list of IndexEntry
        In the order of the file. `level` is `sfc` or `pl 500`, `window` the step in hours, `member` 0 for control and single
        forecasts. Means and spreads of the ensemble are left out.

    Raises
    ------
    IndexMismatch
        It is empty, a line does not parse, or a message lies outside the file.
    """
    lines = text.splitlines()
    if not lines:
        raise IndexMismatch(f"{where} is empty; fetch it again")
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = _entry(number, _parse(line), params)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise IndexMismatch(f"{where} line {number} does not parse: {line[:200]!r}; fetch it again") from error
        if entry is None:
            continue
        start, stop = entry.start, entry.stop or 0
        if start < 0 or stop < start + _SHORTEST_MESSAGE or (size is not None and stop > size):
            raise IndexMismatch(
                f"{where} line {number} has bytes {start} to {stop} of a file of {size!r}; fetch index and file again"
            )
        entries.append(entry)
    return entries


def _parse(line: str) -> dict[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"a line of {len(line)} characters")
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def _whole(value: object, most: int) -> int:
    """A number that is written as one: JSON's true, 1.5 and Infinity are none."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > most:
        raise ValueError(f"{value!r} is no whole number up to {most}")
    return value


def _member(value: object) -> int:
    return _whole(int(value) if isinstance(value, str) else value, _MOST_MEMBERS)


def _entry(number: int, line: dict[str, Any], params: Collection[str] | None) -> IndexEntry | None:
    kind, param = line["type"], line["param"]
    if not isinstance(param, str):
        raise TypeError(f"parameter {param!r}")
    if (params is not None and param not in params) or (kind != _PERTURBED and kind not in _MEMBERS):
        return None
    start = _whole(line["_offset"], _MOST_BYTES)
    level = f"{line['levtype']} {line['levelist']}" if "levelist" in line else str(line["levtype"])
    return IndexEntry(
        number=number,
        start=start,
        stop=start + _whole(line["_length"], _MOST_BYTES),
        reference_time=_time(f"{line['date']}{line['time']}"),
        element=param,
        level=level,
        window=str(line["step"]),
        member=_member(line["number"]) if kind == _PERTURBED else _MEMBERS[kind],
    )


@lru_cache(maxsize=64)
def _time(stamp: str) -> Timestamp:
    return pd.to_datetime(stamp, format="%Y%m%d%H%M").as_unit("us")


def find_message(
    entries: Sequence[IndexEntry],
    param: str,
    level: str,
    *,
    init_time: Timestamp,
    step: str,
    member: int,
    where: str,
) -> IndexEntry:
    """The one entry of an index that is a parameter of one member.

    Raises
    ------
    IndexMismatch
        No entry matches, or more than one does.
    """
    wanted = (param, level, step, member, init_time)
    similar = [entry for entry in entries if entry.element == param and entry.member == member]
    found = [e for e in similar if (e.element, e.level, e.window, e.member, e.reference_time) == wanted]
    asked = f"{param}:{level}:step {step} of member {member} of {init_time:%Y-%m-%dT%H:%M}"
    if len(found) > 1:
        raise IndexMismatch(f"{where} has {asked} more than once, on lines {[one.number for one in found]!r}")
    if not found:
        nearest = [f"{e.level}:step {e.window} of {e.reference_time:%Y-%m-%dT%H:%M}" for e in similar[:8]]
        raise IndexMismatch(
            f"{where} does not have {asked}, of that parameter and member it has {', '.join(nearest) or 'none'}; "
            "has the source renamed it, or is the index that of another file?"
        )
    return found[0]
