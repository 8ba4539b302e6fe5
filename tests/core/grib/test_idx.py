"""The `.idx` of real files, and texts that cannot be one."""

from pathlib import Path
from string import printable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.idx import parse_idx, window_label, window_length
from reformatters_dagster.core.grib.sections import check_framing
from reformatters_dagster.core.spec.errors import CorruptMessage, IndexMismatch
from reformatters_dagster.core.spec.variables import Statistic

DATA = Path(__file__).parents[3] / "../shared/data"
INDEXES = sorted(DATA.glob("*/*.idx"))


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", INDEXES, ids=lambda path: path.name)
def test_every_real_index_parses(path: Path) -> None:
    lines = path.read_text().splitlines()
    entries = parse_idx(path.read_text())
    assert len(entries) == len(lines)
    for line, entry in zip(lines, entries, strict=True):
        stamp = f"d={entry.reference_time:%Y%m%d%H}"
        assert line.startswith(f"{entry.number}:{entry.start}:{stamp}:{entry.element}:{entry.level}:{entry.window}:")
    assert entries[-1].stop is None
    starts = sorted({entry.start for entry in entries})
    for entry in entries[:-1]:
        assert entry.stop is None or entry.stop == starts[starts.index(entry.start) + 1]


@pytest.mark.usefixtures("shared_data")
def test_index_of_another_files_bytes_fails_at_the_framing() -> None:
    (path,) = (DATA / "corrupt").glob("*.idx")
    raw = path.with_suffix("").read_bytes()
    entries = parse_idx(path.read_text(), len(raw))
    with pytest.raises(CorruptMessage, match="GRIB edition 1, expected 2"):
        check_framing(raw[entries[-1].start : entries[-1].stop], path.name)
    shifted = raw[entries[0].start + 7 : (entries[0].stop or 0) + 7]
    with pytest.raises(CorruptMessage, match="a message begins with b'GRIB'; the index does not fit the file"):
        check_framing(shifted, path.name)


@pytest.mark.usefixtures("shared_data")
def test_two_lines_for_one_message_share_its_range() -> None:
    (path,) = (DATA / "idx_pairs").glob("*subgrids*.idx")
    raw = path.with_suffix("").read_bytes()
    entries = parse_idx(path.read_text(), len(raw))
    assert [(entry.number, entry.start, entry.stop) for entry in entries] == [("1.1", 0, 1062), ("1.2", 0, 1062)]
    with pytest.raises(CorruptMessage, match="more than one field"):
        read_header(raw[: entries[0].stop], path.name)


def test_a_message_of_two_fields_between_others() -> None:
    text = "1:0:d=2026072918:TMP:surface:anl:\n2.1:50:d=2026072918:UGRD:10 m above ground:anl:\n"
    text += "2.2:50:d=2026072918:VGRD:10 m above ground:anl:\n3:90:d=2026072918:RH:surface:anl:\n"
    assert [(entry.number, entry.start, entry.stop) for entry in parse_idx(text, 200)] == [
        (1, 0, 50),
        ("2.1", 50, 90),
        ("2.2", 50, 90),
        (3, 90, 200),
    ]


GOOD = [
    "1:0:d=2026072918:TMP:surface:anl:",
    "2:500:d=2026072918:RH:surface:anl:",
    "3:900:d=2026072918:PRES:surface:anl:",
]


@pytest.mark.parametrize(
    ("lines", "size", "says"),
    [
        ([], None, "f000.idx is empty"),
        (["<html>", "busy"], None, "f000.idx line 1 does not parse: '<html>'; fetch it again"),
        ([*GOOD[:2], GOOD[2][:-1]], None, "line 3 does not parse: '3:900:d=2026072918:PRES:surface:anl'"),
        ([GOOD[0], "", GOOD[1]], None, "line 2 does not parse: ''"),
        ([GOOD[0], "2:-5:d=2026072918:RH:surface:anl:"], None, "line 2 does not parse"),
        ([GOOD[0], "2:5:d=20260729:RH:surface:anl:"], None, "line 2 does not parse"),
        ([GOOD[0], "2:" + "9" * 5000 + ":d=2026072918:RH:surface:anl:"], None, "line 2 does not parse"),
        ([GOOD[0], GOOD[2], GOOD[1]], None, "line 3 starts before the line above ends, .* fetch index and file again"),
        ([GOOD[0], GOOD[1], GOOD[1]], None, "line 3 starts before the line above ends"),
        (GOOD, 910, "line 3 starts .* or outside 910 bytes: '3:900"),
        (["1:0:d=2026073318:TMP:surface:anl:"], None, "f000.idx has a time that is none"),
    ],
)
def test_indexes_that_cannot_be_right(lines: list[str], size: int | None, says: str) -> None:
    with pytest.raises(IndexMismatch, match=says):
        parse_idx("".join(f"{line}\n" for line in lines), size, "f000.idx")


@given(st.text(printable, max_size=200) | st.lists(st.sampled_from([*GOOD, "4:950:d=2026072918:", "x"])).map("\n".join))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        entries = parse_idx(text, 5000)
    except IndexMismatch:
        return
    assert all(entry.stop is not None and entry.start < entry.stop <= 5000 for entry in entries)


@pytest.mark.parametrize(
    ("statistic", "lead", "reset", "label", "length"),
    [
        ("instant", "0h", None, "anl", None),
        ("instant", "6h", None, "6 hour fcst", None),
        ("instant", "384h", None, "384 hour fcst", None),
        ("instant", "495min", None, "495 min fcst", None),
        ("acc", "6h", "6h", "0-6 hour acc fcst", "6h"),
        ("acc", "7h", "6h", "6-7 hour acc fcst", "1h"),
        ("avg", "7h", "6h", "6-7 hour ave fcst", "1h"),
        ("max", "21h", "6h", "18-21 hour max fcst", "3h"),
        ("min", "24h", "6h", "18-24 hour min fcst", "6h"),
        ("acc", "432h", "6h", "426-432 hour acc fcst", "6h"),
        ("acc", "24h", "1h", "23-24 hour acc fcst", "1h"),
        ("acc", "0h", "6h", "0-0 day acc fcst", "0h"),
        ("max", "0h", None, "0-0 day max fcst", "0h"),
        ("acc", "8h", None, "0-8 hour acc fcst", "8h"),
        ("acc", "24h", None, "0-1 day acc fcst", "24h"),
        ("acc", "48h", None, "0-2 day acc fcst", "48h"),
        ("acc", "540min", "15min", "525-540 min acc fcst", "15min"),
        ("avg", "15min", "15min", "0-15 min ave fcst", "15min"),
    ],
)
def test_windows_in_words_and_as_lengths(
    statistic: Statistic, lead: str, reset: str | None, label: str, length: str | None
) -> None:
    lead_time, reset_time = pd.Timedelta(lead), None if reset is None else pd.Timedelta(reset)
    assert window_label(statistic, lead_time, reset_time) == label
    assert window_length(statistic, lead_time, reset_time) == (None if length is None else pd.Timedelta(length))


@pytest.mark.parametrize("lead", ["-6h", "90s"])
def test_lead_times_no_index_can_name(lead: str) -> None:
    with pytest.raises(ValueError, match=r"lead time .* is no whole number of minutes"):
        window_label("instant", pd.Timedelta(lead), None)
