"""The table of what a backfill does with the store it finds, row by row, and its refusals."""

from collections import Counter
from itertools import product

import pytest

from reformatters_dagster.core.run.overwrite import CASES, CREATE, EXTEND, REFRESH, REWRITE, ROWS, Case, State, case_of
from reformatters_dagster.core.spec.errors import Refused, StoreExists, StoreMissing

ABSENT, BLANK, UNCOMMITTED, COMMITTED = State.ABSENT, State.BLANK, State.UNCOMMITTED, State.COMMITTED


def test_every_store_and_every_option_has_one_row() -> None:
    asked = [(state, chunks, metadata) for states, chunks, metadata, _ in ROWS for state in states]
    assert Counter(asked) == Counter(product(State, (False, True), (False, True)))


@pytest.mark.parametrize(
    ("state", "chunks", "metadata", "case"),
    [
        (ABSENT, False, False, CREATE),
        (ABSENT, True, False, StoreMissing),
        (ABSENT, False, True, StoreMissing),
        (ABSENT, True, True, StoreMissing),
        (BLANK, False, False, CREATE),
        (BLANK, True, False, REWRITE),
        (BLANK, False, True, REFRESH),
        (BLANK, True, True, EXTEND),
        (UNCOMMITTED, False, False, StoreExists),
        (UNCOMMITTED, True, False, REWRITE),
        (UNCOMMITTED, False, True, REFRESH),
        (UNCOMMITTED, True, True, EXTEND),
        (COMMITTED, False, False, StoreExists),
        (COMMITTED, True, False, REWRITE),
        (COMMITTED, False, True, REFRESH),
        (COMMITTED, True, True, EXTEND),
    ],
)
def test_what_a_backfill_does_with_a_store(
    state: State, chunks: bool, metadata: bool, case: Case | type[Refused]
) -> None:
    assert CASES[state, chunks, metadata] == case
    if isinstance(case, Case):
        assert case_of(state, chunks=chunks, metadata=metadata, chooses=False) == case
    else:
        with pytest.raises(case):
            case_of(state, chunks=chunks, metadata=metadata, chooses=False)


@pytest.mark.parametrize(
    ("state", "chunks", "metadata", "chooses"),
    [
        (ABSENT, False, False, True),
        (COMMITTED, True, False, True),
        (COMMITTED, False, True, False),
        (COMMITTED, True, True, True),
    ],
)
def test_backfills_that_fit_the_store(state: State, chunks: bool, metadata: bool, chooses: bool) -> None:
    assert case_of(state, chunks=chunks, metadata=metadata, chooses=chooses)


@pytest.mark.parametrize(
    ("state", "chunks", "metadata", "chooses", "error", "message"),
    [
        (ABSENT, True, False, False, StoreMissing, "to be overwritten; there is no store: leave out --overwrite"),
        (ABSENT, False, True, False, StoreMissing, "to be overwritten; there is no store: leave out --overwrite"),
        (COMMITTED, False, False, False, StoreExists, "to be created; one stands already: add --overwrite-chunks"),
        (COMMITTED, False, True, True, Refused, "an end or a choice of shards or variables was given: leave that out"),
        (BLANK, False, True, True, Refused, "--overwrite-metadata alone touches no data"),
    ],
)
def test_backfills_that_do_not(
    state: State, chunks: bool, metadata: bool, chooses: bool, error: type[Refused], message: str
) -> None:
    with pytest.raises(error, match=message):
        case_of(state, chunks=chunks, metadata=metadata, chooses=chooses)


def test_a_store_that_stands_names_the_runs_to_resume() -> None:
    told = "to extend it; or --resume cli-a or --resume cli-b to resume a run that ended early$"
    with pytest.raises(StoreExists, match=told):
        case_of(COMMITTED, chunks=False, metadata=False, chooses=False, unfinished=lambda: ["cli-a", "cli-b"])
