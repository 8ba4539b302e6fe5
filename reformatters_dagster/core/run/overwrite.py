"""What a backfill does with the store it finds: one table over the state of the store and two options.

In: the store, and what may be overwritten. Out: a `Case`, or the refusal of options that do not fit the store.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from reformatters_dagster.core.ledger.entries import ledger_partitions
from reformatters_dagster.core.spec.errors import Refused, StoreExists, StoreMissing
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.zarr_documents import chunks_prefix
from reformatters_dagster.core.store.reading import is_published
from reformatters_dagster.core.store.stores import StoreSet


class State(Enum):
    """What stands at the place of a store."""

    ABSENT = "no store"
    BLANK = "metadata alone, as a backfill without a single usable file leaves it"
    UNCOMMITTED = "metadata and shards, and no partition in the ledger: a run ended within its first partition"
    COMMITTED = "metadata, and at least one partition in the ledger"


class Case(NamedTuple):
    """What a backfill writes, and where the store ends afterwards."""

    metadata: bool
    """Metadata is created, refreshed or extended first."""
    shards: bool
    """Partitions are written."""
    extends: bool
    """The store's end moves up to the end that is asked for; otherwise it stays where it is."""
    until_now: bool
    """Without an end that is asked for, now is the end."""


CREATE = Case(metadata=True, shards=True, extends=True, until_now=True)
REWRITE = Case(metadata=False, shards=True, extends=False, until_now=False)
REFRESH = Case(metadata=True, shards=False, extends=False, until_now=False)
EXTEND = Case(metadata=True, shards=True, extends=True, until_now=False)

_NOTHING, _SHARDS, _ANY = (
    (State.ABSENT, State.BLANK),
    (State.UNCOMMITTED, State.COMMITTED),
    (State.BLANK, State.UNCOMMITTED, State.COMMITTED),
)
ROWS: tuple[tuple[tuple[State, ...], bool, bool, Case | type[Refused]], ...] = (
    # the store        chunks metadata  the backfill
    (_NOTHING,         False, False,    CREATE),
    (_SHARDS,          False, False,    StoreExists),
    ((State.ABSENT,),  True,  False,    StoreMissing),
    ((State.ABSENT,),  False, True,     StoreMissing),
    ((State.ABSENT,),  True,  True,     StoreMissing),
    (_ANY,             True,  False,    REWRITE),
    (_ANY,             False, True,     REFRESH),
    (_ANY,             True,  True,     EXTEND),
)  # fmt: skip
"""States of a store, `--overwrite-chunks`, `--overwrite-metadata`, and what the backfill does or is refused with."""
CASES = {(state, chunks, metadata): case for states, chunks, metadata, case in ROWS for state in states}


def state_of(template: TemplateConfig, stores: StoreSet) -> State:
    """What stands at the place of the primary; a store that cannot be read raises, and is not thereby absent."""
    if not is_published(stores.primary):
        return State.ABSENT
    if ledger_partitions(stores.internal):
        return State.COMMITTED
    has_shards = any(stores.primary.list(chunks_prefix(name)) for name in template.variables)
    return State.UNCOMMITTED if has_shards else State.BLANK


def case_of(
    state: State, *, chunks: bool, metadata: bool, chooses: bool, unfinished: Callable[[], Sequence[str]] = tuple
) -> Case:
    """The row of the table for a store and two options.

    Parameters
    ----------
    chunks, metadata : bool
        What may be overwritten.
    chooses : bool
        An end, or a choice of shards or variables, is asked for.
    unfinished : callable, optional
        Gives the runs that a person may resume instead.

    Raises
    ------
    StoreExists, StoreMissing
        As the table says.
    Refused
        When metadata alone is refreshed, and something is chosen.
    """
    case = CASES[state, chunks, metadata]
    if case is StoreMissing:
        raise StoreMissing(
            "something of the store was to be overwritten; there is no store: leave out --overwrite-chunks and "
            "--overwrite-metadata to create it, or correct --store"
        )
    if case is StoreExists:
        resume = " or ".join(f"--resume {run}" for run in unfinished())
        raise StoreExists(
            "a store was to be created; one stands already: add --overwrite-chunks to fill or redo partitions of it, "
            "--overwrite-metadata to refresh attributes and coordinates and add arrays, or both with --end to extend it"
            f"{f'; or {resume} to resume a run that ended early' if resume else ''}"
        )
    assert isinstance(case, Case)
    if case is REFRESH and chooses:
        raise Refused(
            "--overwrite-metadata alone touches no data, yet an end or a choice of shards or variables was given: "
            "leave that out, or add --overwrite-chunks"
        )
    return case
