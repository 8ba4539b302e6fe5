"""Which positions of a published shard are read again for one variable.

In: the ledger's entry, the files the region wants now, and an upload that the ledger does not tell of. Out: the state of
every position of the region along the append dimension.

The first row that is true of a position decides:

========================================================================  ========  ====  =================================
what is known of the position                                             state     read  the published shard holds there
========================================================================  ========  ====  =================================
the ledger lacks its file, which no archive refused, and its label is     GIVEN_UP  no    nothing
before `retry_since`
the ledger lacks its file                                                 LACKING   yes   nothing
its label is after the last one that the ledger tells of                  LACKING   yes   nothing
an upload that the ledger does not tell of may have left its file out,    LACKING   yes   nothing, or a value: unknown
or landed late with another version of it
its file was published again                                              OUTDATED  yes   a value of the older file
its value is outdated, and its label is not before `retry_since`          OUTDATED  yes   a value made without a newer file
it is the region's first or last, and a file beside the region is one     OUTDATED  yes   a value made without that file
that the ledger lacks, or was published again
none of the above                                                         RIGHT     no    a value
========================================================================  ========  ====  =================================

Of a file that uploads which the ledger does not tell of hold for certain, whichever of them is in place, only the last four
rows are asked: the shard holds a value.

Where several files lie at one position, the topmost row that is true of any of them decides. `judgement` says what a run
makes of each state.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, VariableCoverage
from reformatters_dagster.core.ledger.progress import Outdated, Upload
from reformatters_dagster.core.spec.values import Timestamp


@dataclass(frozen=True)
class PublishedShard:
    """What the final store holds of a partition, as far as the ledger tells."""

    entry: LedgerEntry
    redo: frozenset[str] = frozenset()
    """Keys of source files that were published again since."""
    retry_since: Timestamp | None = None
    """Missing files of earlier labels are not tried again; None tries all."""

    def has_given_up(self, missing: MissingFile) -> bool:
        """Whether a missing file is not tried again. A file that archives merely refused is tried at any age."""
        if self.retry_since is None or missing.label is None or missing.was_refused:
            return False
        return missing.label < self.retry_since


class State(IntEnum):
    """What the published shard holds of a position, and whether it is read again. The greater one decides."""

    RIGHT = 0
    OUTDATED = 1
    LACKING = 2
    GIVEN_UP = 3

    @property
    def holds_value(self) -> bool:
        """Whether the shard holds a value that a failure must not cost."""
        return self in {State.RIGHT, State.OUTDATED}

    @property
    def is_read(self) -> bool:
        """Whether its file is wanted again."""
        return self in {State.OUTDATED, State.LACKING}


@dataclass(frozen=True)
class Changed:
    """The state of every position of a region, for one variable."""

    states: dict[int, State] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    """Of positions that were given up: why their file was missing."""
    missing_beside: frozenset[str] = frozenset()
    """Keys of missing files beside the region. Values at the region's ends are made from them too."""
    newer_beside: frozenset[str] = frozenset()
    """Keys of such files that were published again."""
    outdated: Mapping[str, Outdated] = field(default_factory=dict)
    """Values that are outdated as far as is known, by the key of the file at whose place they are."""

    def state_at(self, position: int) -> State:
        """RIGHT outside the region: the values there belong to another shard."""
        return self.states.get(position, State.RIGHT)

    @property
    def to_read(self) -> frozenset[int]:
        return frozenset(position for position, state in self.states.items() if state.is_read)


def changed_positions(
    known: PublishedShard,
    variable: str,
    files: Sequence[tuple[str, int]],
    labels: pd.DatetimeIndex,
    upload: Upload | None = None,
    beside: Collection[str] = (),
) -> Changed | None:
    """What of a region is read again for one variable.

    Parameters
    ----------
    files : sequence of (str, int)
        Key and position of every file of the region.
    labels : DatetimeIndex
        Of the append dimension, up to the region's last.
    upload : Upload, optional
        One that the ledger does not tell of. It may have replaced values of the published shard.
    beside : collection of str, optional
        Keys of the files beside the region that values of it are made from.

    Returns
    -------
    Changed or None
        None when the ledger does not tell what the shard holds, as where an entry could not be read. Then the whole shard is
        made anew.
    """
    coverage = known.entry.variables.get(variable)
    if coverage is None or (upload is not None and not upload.readable):
        return None
    if any(one.may_be_held for one in coverage.missing):
        return None
    through = coverage.through or known.entry.region[1]
    last_known = int(labels.searchsorted(through, side="right")) - 1
    missing = _missing_up_to(labels[-1], coverage)
    missing_beside, newer_beside = missing.keys() - {key for key, _ in files}, known.redo & frozenset(beside)
    covered = sum(position <= last_known for _, position in files) + len(missing_beside)
    if through <= labels[-1] and coverage.expected != covered:
        return None
    outdated = _outdated(coverage, upload)
    evidence = _Evidence(
        known=known,
        missing=missing,
        outdated=outdated.keys(),
        tried_from=0 if known.retry_since is None else int(labels.searchsorted(known.retry_since)),
        last_known=last_known,
        settled=frozenset() if upload is None else upload.settled,
        certain=None if upload is None else upload.used - upload.doubtful - upload.older(known.entry.etags),
        ends=_ends(files) if missing_beside or newer_beside else frozenset(),
    )
    states: dict[int, State] = {}
    reasons: dict[int, str] = {}
    for key, position in files:
        state = evidence.state_of(key, position)
        if state is State.GIVEN_UP:
            reasons[position] = missing[key].reason
        states[position] = max(state, states.get(position, State.RIGHT))
    return Changed(states, reasons, frozenset(missing_beside), newer_beside, outdated)


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What is known of the files of a region."""

    known: PublishedShard
    missing: Mapping[str, MissingFile]
    """What the ledger lacks, by key."""
    outdated: Collection[str]
    """Keys of the files at whose place a value is outdated."""
    tried_from: int
    """Position of the first label whose outdated values are made again."""
    last_known: int
    """Position of the last label that the ledger tells of."""
    settled: frozenset[str]
    """Keys that uploads hold for certain that the ledger does not tell of."""
    certain: frozenset[str] | None
    """Keys that an upload has used for certain that the ledger does not tell of; None when there is no such upload."""
    ends: frozenset[int]
    """First and last position of the region, when a file beside it is missing in the ledger, or was published again."""

    def state_of(self, key: str, position: int) -> State:
        """The rows of the module's table, from the top."""
        if key not in self.settled:
            if key in self.missing:
                return State.GIVEN_UP if self.known.has_given_up(self.missing[key]) else State.LACKING
            if position > self.last_known:
                return State.LACKING
            if self.certain is not None and key not in self.certain:
                return State.LACKING
        if key in self.known.redo or (key in self.outdated and position >= self.tried_from) or position in self.ends:
            return State.OUTDATED
        return State.RIGHT


def _outdated(coverage: VariableCoverage, upload: Upload | None) -> dict[str, Outdated]:
    """Outdated values that the ledger tells of, and those of an upload that it does not tell of."""
    told = {one.file: Outdated(one.waits_for, one.reason) for one in coverage.outdated}
    if upload is None:
        return told
    return {key: why for key, why in told.items() if key not in upload.settled} | upload.outdated


def _ends(files: Sequence[tuple[str, int]]) -> frozenset[int]:
    positions = sorted(position for _, position in files)
    return frozenset([*positions[:1], *positions[-1:]])


def _missing_up_to(last: Timestamp, coverage: VariableCoverage) -> dict[str, MissingFile]:
    """Missing files by key, without those of labels after the last: readers of the store do not see these yet."""
    return {one.file: one for one in coverage.missing if one.label is None or one.label <= last}
