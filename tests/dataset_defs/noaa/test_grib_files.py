"""NOAA's index words and numbers, against real indexes and real messages."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataset_defs.noaa.grib_files import (
    ELEMENTS,
    OTHER_NUMBERS,
    noaa_field,
    surface,
)
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import check_identity
from reformatters_dagster.core.grib.idx import find_message, parse_idx, window_label, window_length
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.grib.sections import check_framing
from reformatters_dagster.core.spec.errors import IndexMismatch
from reformatters_dagster.core.spec.variables import GribField, Statistic

DATA = Path(__file__).parents[3] / "../shared/data"
CATALOGUE = DATA.parent / "reference/datasets.json"
PAIRS = [path for path in sorted((DATA / "idx_pairs").glob("*.idx")) if "subgrids" not in path.name]

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
        "f007.idx does not have APCP:surface:6-8 hour acc fcst of 2025-08-01T",
        "6-7 hour acc fcst",
        "0-7",
    ):
        assert words in str(raised.value)
    with pytest.raises(IndexMismatch, match=r"does not have TMAX:80 m above ground:.* on that level it has none"):
        find(entries, noaa_field("TMAX", "80 m above ground", "max"), 7)
    with pytest.raises(IndexMismatch, match=r"of 2025-08-01T06:00, on that level .*2025-08-01T00:00"):
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
