"""The `.index` of real files, members in it, and texts that cannot be one."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.grib.mars_index import find_message, parse_index
from reformatters_dagster.core.spec.errors import IndexMismatch


@pytest.mark.parametrize("step", ["0", "6"])
def test_real_indexes_are_read(step: str, shared_data: Path) -> None:
    text = (
        shared_data / "idx_only" / f"dynamical-org__reformatters--aifs_single_20250301_00z_{step}h.index"
    ).read_text()
    entries = parse_index(text)
    assert len(entries) == len(text.splitlines())
    assert [entry.start for entry in entries[1:]] == [entry.stop for entry in entries[:-1]], "it leaves no gaps"
    asked: dict[str, Any] = {"init_time": pd.Timestamp("2025-03-01"), "step": step, "member": 0, "where": "it"}
    line = next(json.loads(one) for one in text.splitlines() if '"levelist": "850"' in one and '"param": "t"' in one)
    found = find_message(entries, "t", "pl 850", **asked)
    assert (found.start, found.stop) == (line["_offset"], line["_offset"] + line["_length"])
    assert find_message(entries, "2t", "sfc", **asked).member == 0
    with pytest.raises(IndexMismatch, match="it does not have 2t:sfc:step 3 of member 0 of"):
        find_message(entries, "2t", "sfc", **(asked | {"step": "3"}))
    with pytest.raises(IndexMismatch, match=r"it has 2t:sfc:step . of member 0 of .* more than once, on lines"):
        find_message([*entries, *entries], "2t", "sfc", **asked)


LINE = (
    '{"date": "20240401", "time": "0000", "type": "pf", "step": "3", "levtype": "sfc", "param": "2t", '
    '"number": "7", "_offset": 100, "_length": 50}'
)


def test_members_are_told_apart_and_means_left_out() -> None:
    control = LINE.replace('"pf"', '"cf"').replace('"number": "7", ', "")
    mean = LINE.replace('"pf"', '"em"')
    entries = parse_index("\n".join([LINE, control, mean]), 150)
    assert [(entry.number, entry.member) for entry in entries] == [(1, 7), (2, 0)]
    assert parse_index(LINE, params={"tp"}) == []


@pytest.mark.parametrize(
    ("text", "size", "words"),
    [
        ("", None, "the index is empty; fetch it again"),
        (f"{LINE}\n{LINE[:50]}", None, "the index line 2 does not parse: "),
        (LINE.replace('"number": "7", ', ""), None, "the index line 1 does not parse: "),
        (LINE.replace("20240401", "20241301"), None, "the index line 1 does not parse: "),
        ("[]", None, "the index line 1 does not parse: "),
        (LINE, 149, "the index line 1 has bytes 100 to 150 of a file of 149"),
        (LINE.replace("50}", "5}"), None, "the index line 1 has bytes 100 to 105"),
        (LINE.replace("100", "-1"), None, "the index line 1 has bytes -1 to 49"),
        (LINE.replace("100", "Infinity"), None, "the index line 1 does not parse: "),
        (LINE.replace("100", "NaN"), None, "the index line 1 does not parse: "),
        (LINE.replace("100", "1e999"), None, "the index line 1 does not parse: "),
        (LINE.replace("100", "100.5"), None, "the index line 1 does not parse: "),
        (LINE.replace("100", "true"), None, "the index line 1 does not parse: "),
        (LINE.replace("100", "9" * 30), None, "the index line 1 does not parse: "),
        (LINE.replace("50}", '"50"}'), None, "the index line 1 does not parse: "),
        (LINE.replace('"7"', "true"), None, "the index line 1 does not parse: "),
        (LINE.replace('"7"', "7.5"), None, "the index line 1 does not parse: "),
        (LINE.replace('"7"', '"' + "7" * 9 + '"'), None, "the index line 1 does not parse: "),
        (LINE.replace('"2t"', '["2t"]'), None, "the index line 1 does not parse: "),
        (LINE.replace('"20240401"', "{}"), None, "the index line 1 does not parse: "),
        (LINE.replace('"0000"', '"' + "0" * 5000 + '"'), None, "the index line 1 does not parse: "),
        ("[" * 100_000, None, "the index line 1 does not parse: "),
        ('{"a":' * 100_000, None, "the index line 1 does not parse: "),
    ],
)
def test_an_index_that_cannot_be_right_is_refused(text: str, size: int | None, words: str) -> None:
    with pytest.raises(IndexMismatch, match=words):
        parse_index(text, size)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(LINE))), JUNK), st.text(max_size=200))
def test_any_text_parses_or_is_refused(changes: dict[str, Any], text: str) -> None:
    for one in (json.dumps(json.loads(LINE) | changes), text):
        with suppress(IndexMismatch):
            assert all(0 <= e.start < (e.stop or 0) <= 150 for e in parse_index(one, 150, params={"2t", "x"}))
