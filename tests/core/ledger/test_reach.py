"""How far an entry tells of its partition."""

import pandas as pd
import pytest

from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, VariableCoverage
from reformatters_dagster.core.ledger.reach import settled_files, told_through, unwritten_labels
from reformatters_dagster.core.spec.values import Timestamp
from tests.datasets import RAIN, ROWS, TEMPERATURE

LABELS = pd.date_range("2026-07-29", periods=4, freq="1h", unit="us")


def entry(through: dict[str, Timestamp | None], missing: tuple[MissingFile, ...] = ()) -> LedgerEntry:
    """What is left by a run up to the second label."""
    return LedgerEntry(
        partition="2026-07-29T00:00",
        dataset_id="test",
        version="0",
        region=(LABELS[0], LABELS[1]),
        extent=(LABELS[0], LABELS[1]),
        variables={
            name: VariableCoverage(expected=2, succeeded=2, through=label, missing=missing)
            for name, label in through.items()
        },
        etags={"used": "1"},
        template_hash="",
        code_version="",
        run_id="",
        written_at=LABELS[1],
    )


@pytest.mark.parametrize(
    ("through", "shown", "available_from", "lacking"),
    [
        (1, 2, None, 0),
        (1, 4, None, 2),
        (None, 4, None, 2),
        (0, 2, None, 1),
        (3, 2, None, 0),
        (1, 4, 3, 1),
        (1, 4, 0, 2),
    ],
)
def test_labels_after_the_last_run_are_unwritten(
    through: int | None, shown: int, available_from: int | None, lacking: int
) -> None:
    since = None if available_from is None else LABELS[available_from]
    rows = [ROWS[TEMPERATURE].model_copy(update={"available_from": since}), ROWS[RAIN]]
    known = entry({TEMPERATURE: None if through is None else LABELS[through]})
    found = unwritten_labels(known, rows, LABELS[:shown])
    assert {name: list(labels) for name, labels in found.items()} == (
        {TEMPERATURE: list(LABELS[shown - lacking : shown])} if lacking else {}
    )


def test_an_entry_tells_of_all_its_variables_through_the_earliest_of_their_last_labels() -> None:
    assert told_through(entry({TEMPERATURE: LABELS[3], RAIN: LABELS[0]})) == LABELS[0]
    assert told_through(entry({TEMPERATURE: None})) == LABELS[1]
    assert told_through(entry({})) == LABELS[1]


@pytest.mark.parametrize(
    ("reason", "settled"),
    [
        ("SourceFileMissing: not published yet", False),
        ("SourceFileUnavailable: throttled", False),
        ("CorruptMessage: it does not end with 7777", True),
    ],
)
def test_files_that_were_used_or_failed_though_they_were_there_are_settled(reason: str, *, settled: bool) -> None:
    lost = MissingFile(file="lost", labels="", reason=reason)
    assert settled_files(entry({TEMPERATURE: None}, (lost,))) == ({"used", "lost"} if settled else {"used"})
