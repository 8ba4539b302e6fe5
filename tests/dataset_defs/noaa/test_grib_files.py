"""NOAA's index words and numbers, against real indexes and real messages."""

import json
from functools import cache
from pathlib import Path
from string import printable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_defs.noaa.grib_files import (
    ELEMENTS,
    OTHER_NUMBERS,
    find_message,
    noaa_field,
    parse_idx,
    surface,
    window_label,
    window_length,
)
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import check_identity
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.grib.sections import check_framing
from reformatters_dagster.core.spec.errors import CorruptMessage, IndexMismatch
from reformatters_dagster.core.spec.variables import GribField, Statistic

DATA = Path(__file__).parents[3] / "../shared/data"
CATALOGUE = DATA.parent / "reference/datasets.json"
INDEXES = sorted(DATA.glob("*/*.idx"))
PAIRS = [path for path in INDEXES if path.parent.name == "idx_pairs" and "subgrids" not in path.name]

SHORT_NAMES = {
    "t": "TMP", "2t": "TMP", "r": "RH", "2r": "RH", "u": "UGRD", "10u": "UGRD", "v": "VGRD", "10v": "VGRD",
    "sp": "PRES", "pres": "PRES", "prmsl": "PRMSL", "gh": "HGT", "tp": "APCP", "cpofp": "CPOFP", "cfrzr": "CFRZR",
    "pwat": "PWAT", "sdswrf": "DSWRF", "sdlwrf": "DLWRF", "vbdsf": "VBDSF", "gust": "GUST", "2d": "DPT",
    "refc": "REFC", "sde": "SNOD", "sdwe": "WEASD",
}  # fmt: skip
LEVELS = {
    "surface": "surface",
    "meanSea": "mean sea level",
    "atmosphere": "entire atmosphere",
    "atmosphereSingleLayer": "entire atmosphere (considered as a single layer)",
    "heightAboveGround": "{level} m above ground",
    "isobaricInhPa": "{level} mb",
}


def idx(name: str) -> list[IndexEntry]:
    (path,) = (DATA / "idx_only").glob(f"*{name}.idx")
    return parse_idx(path.read_text(), where=path.name)


def hours(number: float) -> pd.Timedelta:
    return pd.Timedelta(hours=number)


def find(
    entries: list[IndexEntry], field: GribField, lead: float, reset: float | None = 6, init: str = "2025-08-01"
) -> IndexEntry:
    return find_message(
        entries,
        field,
        init_time=pd.Timestamp(init),
        lead_time=hours(lead),
        reset=None if reset is None else hours(reset),
        where="f007.idx",
    )


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
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.name)
def test_entries_are_the_messages_of_the_file_beside_them(path: Path) -> None:
    raw = path.with_suffix("").read_bytes()
    for entry in parse_idx(path.read_text(), len(raw)):
        message = raw[entry.start : entry.stop]
        check_framing(message, path.name)
        header = read_header(message, path.name)
        assert header.reference_time == entry.reference_time
        assert window_label("instant", header.stop, None) == entry.window
        if entry.element in ELEMENTS:
            assert (header.discipline, header.category, header.number) == ELEMENTS[entry.element]


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


@cache
def rows_of(dataset: str) -> dict[str, dict[str, Any]]:
    """What the catalogue says of each variable of a public dataset."""
    rows: dict[str, dict[str, Any]] = json.loads(CATALOGUE.read_text())[dataset]["data_vars"]
    return rows


def fields_of(dataset: str) -> dict[str, tuple[GribField, float | None]]:
    """Fields of a public dataset, and how often their windows begin, in hours."""
    fields: dict[str, tuple[GribField, float | None]] = {}
    for name, data_var in rows_of(dataset).items():
        source, step_type = data_var["source"], data_var["attrs"]["step_type"]
        statistic: Statistic = "acc" if source.get("deaccumulate_to_rate") else step_type
        reset = source.get("window_reset_frequency")
        fields[name] = (
            noaa_field(
                source["grib_element"],
                source["grib_index_level"],
                statistic,
                alternatives=tuple(source.get("grib_element_alternatives", ())),
                first_of_duplicates=source["grib_element"] == "APCP" and "gfs" in dataset,
            ),
            None if reset in (None, "run total") else pd.Timedelta(reset) / pd.Timedelta("1h"),
        )
    return fields


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("dataset", "file", "lead", "init"),
    [
        ("noaa-gfs-forecast", "reformatters--gfs.t00z.pgrb2.0p25.f000", 0, "2025-08-01T00"),
        ("noaa-gfs-forecast", "kerchunk--gfs.t00z.pgrb2.0p25.f000", 0, "2023-11-04T00"),
        ("noaa-gfs-forecast", "gfs.t00z.pgrb2.0p25.f007", 7, "2025-08-01T00"),
        ("noaa-gfs-forecast", "gfs.t00z.pgrb2.0p25.f021", 21, "2023-11-04T00"),
        ("noaa-hrrr-forecast-48-hour", "reformatters--hrrr.t00z.wrfsfcf08.grib2", 8, "2025-08-01T00"),
        ("noaa-hrrr-forecast-48-hour", "hrrr.t00z.wrfsfcf24.grib2", 24, "2025-08-01T00"),
        ("noaa-hrrr-forecast-48-hour", "hrrr.t01z.wrfsfcf05.grib2", 5, "2023-11-04T01"),
    ],
)
def test_every_variable_is_one_message_of_a_real_index(dataset: str, file: str, lead: int, init: str) -> None:
    entries = idx(file)
    found: dict[str, int] = {}
    for name, (field, reset) in fields_of(dataset).items():
        if lead > 0 or field.statistic == "instant":
            strict = field.model_copy(update={"first_of_duplicates": False})
            found[name] = find(entries, strict, lead, reset, init).start
    assert len(found) == len(set(found.values())) == (15 if lead == 0 else len(rows_of(dataset)))


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(("file", "lead"), [("gep01.t00z.pgrb2s.0p25.f015", 15), ("geavg.t00z.pgrb2s.0p25.f009", 9)])
def test_every_variable_of_the_gefs_s_files(file: str, lead: int) -> None:
    rows, entries = rows_of("noaa-gefs-forecast-35-day"), idx(file)
    in_s_files = {
        name: field
        for name, field in fields_of("noaa-gefs-forecast-35-day").items()
        if rows[name]["source"]["gefs_file_type"].startswith("s+")
    }
    found = {find(entries, field, lead, reset).start for field, reset in in_s_files.values()}
    assert len(found) == len(in_s_files) == 20


def test_same_words_twice_is_the_first_only_where_that_is_known() -> None:
    line = "{number}:{start}:d=2025080100:APCP:surface:0-6 hour acc fcst:\n"
    entries = parse_idx(line.format(number=596, start=0) + line.format(number=597, start=700), 1400)
    assert find(entries, noaa_field("APCP", "surface", "acc", first_of_duplicates=True), 6).number == 596
    with pytest.raises(
        IndexMismatch, match=r"f007.idx has APCP:surface:0-6 hour acc fcst .* more than once, .*\[596, 597\]"
    ):
        find(entries, noaa_field("APCP", "surface", "acc"), 6)


def test_element_comes_before_its_alternatives() -> None:
    text = "1:0:d=2025080100:PRMSL:mean sea level:7 hour fcst:\n2:90:d=2025080100:MSLMA:mean sea level:7 hour fcst:\n"
    both, field = parse_idx(text), noaa_field("MSLMA", "mean sea level", alternatives=("PRMSL",))
    assert find(both, field, 7).element == "MSLMA"
    assert find(both[:1], field, 7).element == "PRMSL"


@pytest.mark.usefixtures("shared_data")
def test_what_is_not_found_names_what_is_near() -> None:
    entries = idx("gfs.t00z.pgrb2.0p25.f007")
    with pytest.raises(IndexMismatch) as raised:
        find(entries, noaa_field("APCP", "surface", "acc"), 8)
    for words in (
        "f007.idx does not have APCP:surface:6-8 hour acc fcst of Timestamp('2025-08-01",
        "6-7 hour acc fcst",
        "0-7",
    ):
        assert words in str(raised.value)
    with pytest.raises(IndexMismatch, match=r"does not have TMAX:80 m above ground:.* on that level it has \[\]"):
        find(entries, noaa_field("TMAX", "80 m above ground", "max"), 7)
    with pytest.raises(
        IndexMismatch, match=r"of Timestamp\('2025-08-01 06:00:00'\), on that level .*2025-08-01 00:00:00"
    ):
        find(entries, noaa_field("PRMSL", "mean sea level"), 7, init="2025-08-01T06")


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("folder", ["gfs", "gefs", "hrrr"])
def test_numbers_and_surfaces_are_those_of_real_messages(folder: str) -> None:
    checked: set[tuple[str, str]] = set()
    for path in (DATA / folder).glob("*.expected.json"):
        for m in json.loads(path.read_text())["messages"]:
            element, level = SHORT_NAMES.get(m["shortName"]), LEVELS.get(m["typeOfLevel"])
            if element is None or level is None:
                continue
            parameter = (m["discipline"], m["parameterCategory"], m["parameterNumber"])
            assert parameter in (ELEMENTS[element], *OTHER_NUMBERS.get(element, ()))
            kind, value = surface(level.format(level=m["level"]))
            assert kind == m["scaledFirstSurface"][0]
            assert value is None or value == m["scaledFirstSurface"][2]
            checked.add((element, m["typeOfLevel"]))
    assert len(checked) > {"gfs": 20, "gefs": 1, "hrrr": 4}[folder]


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("file", "message", "field", "lead", "reset"),
    [
        ("gfs/*s3-raw-tmp2m*", 0, noaa_field("TMP", "2 m above ground"), "0h", None),
        ("gfs/*20200325.t18z*f006", 0, noaa_field("APCP", "surface", "acc"), "6h", "6h"),
        ("gfs/*20200330.t18z*f012", 1, noaa_field("APCP", "surface", "acc"), "12h", "6h"),
        ("gfs/*20200330.t18z*f012", 2, noaa_field("APCP", "surface", "acc"), "12h", None),
        ("gfs/*dswrf-dlwrf*", 1, noaa_field("DLWRF", "surface", "avg"), "27h", "6h"),
        ("gfs/*dswrf-dlwrf*", 0, noaa_field("DSWRF", "surface", "avg"), "27h", "6h"),
        ("hrrr/*wrfsfcf12*", 1, noaa_field("APCP", "surface", "acc"), "12h", "1h"),
        ("hrrr/*CFRZR*", 0, noaa_field("CFRZR", "surface"), "1h", None),
        ("hrrr/*wrfsubhf*", 0, noaa_field("REFC", "entire atmosphere"), "15min", None),
        ("hrrr/*wrfsubhf*", 1, noaa_field("VBDSF", "surface", "avg"), "15min", "15min"),
    ],
)
def test_real_messages_are_the_fields_they_are_called(
    file: str, message: int, field: GribField, lead: str, reset: str | None
) -> None:
    (path,) = (path for path in DATA.glob(file) if path.suffix != ".json")
    m = json.loads(Path(f"{path}.expected.json").read_text())["messages"][message]
    raw = path.read_bytes()[m["offset"] : m["offset"] + m["total_length"]]
    lead_time = pd.Timedelta(lead)
    header = read_header(raw, path.name)
    check_identity(
        header,
        field,
        init_time=pd.Timestamp(str(m["dataDate"])) + hours(m["dataTime"] // 100),
        lead_time=lead_time,
        window=window_length(field.statistic, lead_time, None if reset is None else pd.Timedelta(reset)),
        where=path.name,
    )


def test_surfaces() -> None:
    assert surface("2 m above ground") == (103, 2.0)
    assert surface("80 m above ground") == (103, 80.0)
    assert surface("500 mb") == (100, 50000.0)
    assert surface("0.4 mb") == (100, 40.0)
    assert surface("cloud ceiling") == (215, None)
    assert surface("entire atmosphere") == (10, None)
    with pytest.raises(ValueError, match=r"level '0-0.1 m below ground' is none of .*'surface'.*add it"):
        surface("0-0.1 m below ground")


def test_field_carries_every_number_it_may_have() -> None:
    field = noaa_field("MSLMA", "mean sea level", alternatives=("PRMSL",))
    assert (field.parameter, field.alternative_parameters) == ((0, 3, 198), ((0, 3, 1),))
    assert noaa_field("CSNOW", "surface", "avg").alternative_parameters == ((0, 1, 36),)
    with pytest.raises(ValueError, match=r"elements \['NOPE'\] have no numbers; add them to ELEMENTS"):
        noaa_field("TMP", "surface", alternatives=("NOPE",))
