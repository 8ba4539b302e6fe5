"""What a run learned of a partition is read back as it was, and a run of some variables forgets nothing of the others."""

import json
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reformatters_dagster.core.ledger.entries import (
    LedgerEntry,
    MissingFile,
    OutdatedValue,
    VariableCoverage,
    merge,
    read_ledger,
    write_ledger,
)
from reformatters_dagster.core.spec.errors import ReformatError, StoreUnavailable
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import open_store

PARTITION = "2026-07-29T18:00"
INIT = pd.Timestamp(PARTITION)
LATE = MissingFile(
    file="gfs.t18z.pgrb2.0p25.f006", labels="init_time=2026-07-29T18:00 lead_time=6h", reason="not there yet"
)


def entry(variables: dict[str, VariableCoverage], **others: object) -> LedgerEntry:
    fields: dict[str, object] = {
        "partition": PARTITION,
        "dataset_id": "noaa-gfs-forecast",
        "version": "1.0.0",
        "region": (INIT, INIT),
        "variables": variables,
        "etags": {"gfs.t18z.pgrb2.0p25.f000": '"abc"'},
        "extent": (pd.Timestamp("2021-05-01"), INIT),
        "template_hash": "5c1f",
        "code_version": "0.1.0",
        "run_id": "run-1",
        "written_at": pd.Timestamp("2026-07-29T23:40:12.5"),
    }
    return LedgerEntry.model_validate(fields | others)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path) if request.param == "folder" else f"memory://{uuid4()}", "a/_internal/v1.0.0")


def test_an_entry_is_read_back(store: Store) -> None:
    written = entry({"temperature_2m": VariableCoverage(expected=3, succeeded=2, missing=(LATE,))})
    write_ledger(store, written)
    assert read_ledger(store, PARTITION) == written
    assert store.list() == [(f"ledger/{PARTITION}.json", len(store.get(f"ledger/{PARTITION}.json")[0]))]


coverages = st.builds(
    VariableCoverage,
    expected=st.integers(0, 300),
    succeeded=st.integers(0, 300),
    missing=st.lists(st.builds(MissingFile, file=st.text(), labels=st.text(), reason=st.text())).map(tuple),
    outdated=st.lists(
        st.builds(OutdatedValue, file=st.text(), labels=st.text(), reason=st.text(), waits_for=st.text()), max_size=2
    ).map(tuple),
)


@given(variables=st.dictionaries(st.text(min_size=1), coverages, max_size=4))
def test_any_coverage_is_read_back(variables: dict[str, VariableCoverage]) -> None:
    store, written = open_store(f"memory://{uuid4()}", "a"), entry(variables)
    write_ledger(store, written)
    assert read_ledger(store, PARTITION) == written


def test_a_file_that_many_variables_lack_is_written_once(store: Store) -> None:
    lacking = VariableCoverage(expected=3, succeeded=2, missing=(LATE,))
    write_ledger(store, entry({f"variable_{i}": lacking for i in range(25)}))
    content = store.get(f"ledger/{PARTITION}.json")[0]
    assert content.count(LATE.file.encode()) == 1
    assert json.loads(content)["variables"]["variable_7"]["missing"] == [0]


def test_an_outdated_value_stands_where_earlier_code_does_not_look(store: Store) -> None:
    """It takes no field of a variable that it does not know, and ignores those of the entry."""
    value = OutdatedValue(file="f004", labels="", reason="f005 failed", waits_for="f005", label=INIT)
    coverage = VariableCoverage(expected=3, succeeded=3, outdated=(value,))
    write_ledger(store, entry({"rain": coverage, "wind": VariableCoverage(expected=3, succeeded=3)}))
    content = json.loads(store.get(f"ledger/{PARTITION}.json")[0])
    assert content["outdated"].keys() == {"rain"}
    assert not any("outdated" in known for known in content["variables"].values())
    write_ledger(store, entry({"rain": VariableCoverage(expected=3, succeeded=3)}))
    assert "outdated" not in json.loads(store.get(f"ledger/{PARTITION}.json")[0])


def test_nothing_is_known_of_other_partitions(store: Store) -> None:
    assert read_ledger(store, PARTITION) is None


def test_a_store_out_of_reach_is_not_an_unknown_partition(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(StoreUnavailable, match="not known"):
        read_ledger(open_store(str(tmp_path), "a/_internal"), PARTITION)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"partition": "x"}', b'{"missing_files": [], "variables": 3}'])
def test_what_is_no_entry(store: Store, content: bytes) -> None:
    store.put(f"ledger/{PARTITION}.json", content)
    with pytest.raises(
        ReformatError, match=rf"partition '{PARTITION}' was asked for; .*is none: .*run the partition again"
    ):
        read_ledger(store, PARTITION)


def test_an_entry_of_later_code_is_read(store: Store) -> None:
    write_ledger(store, entry({}))
    key = f"ledger/{PARTITION}.json"
    store.put(key, json.dumps(json.loads(store.get(key)[0]) | {"weather": "fine"}).encode())
    assert read_ledger(store, PARTITION) == entry({})


def test_a_partition_key_is_one_segment() -> None:
    with pytest.raises(ValidationError, match="partition"):
        entry({}, partition="2026/07")


def test_completeness() -> None:
    whole, part = VariableCoverage(expected=2, succeeded=2), VariableCoverage(expected=2, succeeded=1)
    assert entry({"a": whole}).is_complete
    assert not entry({"a": whole, "b": part}).is_complete
    value = OutdatedValue(file="f004", labels="", reason="f005 failed", waits_for="f005")
    outdated = whole.model_copy(update={"outdated": (value,)})
    assert not entry({"a": outdated}).is_complete
    lacking = part.model_copy(update={"missing": (LATE,), "outdated": (value,)})
    assert [one.first_reason for one in (whole, outdated, lacking)] == [None, "f005 failed", "not there yet"]


def test_a_first_run_is_all_there_is() -> None:
    first = entry({"a": VariableCoverage(expected=2, succeeded=1)})
    assert merge(None, first) == first


def test_a_run_of_some_variables_keeps_the_others() -> None:
    before = entry(
        {"a": VariableCoverage(expected=2, succeeded=1), "b": VariableCoverage(expected=2, succeeded=2)},
        etags={"f000": "old", "f003": "old"},
    )
    run = entry({"a": VariableCoverage(expected=2, succeeded=2)}, etags={"f000": "new", "f006": "new"}, run_id="run-2")
    merged = merge(before, run)
    assert merged.variables == {"a": run.variables["a"], "b": before.variables["b"]}
    assert merged.run_id == "run-2"
    # `b` was made from the old f000, so a new one must still be seen as such.
    assert merged.etags == {"f000": "old", "f003": "old", "f006": "new"}


def test_a_run_of_all_variables_replaces_the_entry() -> None:
    before = entry({"a": VariableCoverage(expected=2, succeeded=1)}, etags={"f000": "old", "f003": "old"})
    run = entry(
        {"a": VariableCoverage(expected=2, succeeded=2), "b": VariableCoverage(expected=1, succeeded=1)},
        etags={"f000": "new"},
    )
    assert merge(before, run) == run


def test_an_entry_of_a_later_version_is_read(store: Store) -> None:
    """After a rollback the older code must not take the partition for never written."""
    written = entry({"temperature_2m": VariableCoverage(expected=3, succeeded=2, missing=(LATE,))})
    write_ledger(store, written)
    key = f"ledger/{PARTITION}.json"
    document = json.loads(store.get(key)[0])
    document["colour"] = "red"
    document["variables"]["temperature_2m"]["margin"] = {"before": 2}
    document["missing_files"][0]["tries"] = 3
    store.put(key, json.dumps(document).encode())
    assert read_ledger(store, PARTITION) == written
