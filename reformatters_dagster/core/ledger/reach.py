"""How far a ledger entry tells of its partition: up to which label, and of which files.

In: an entry, and the labels of its shard that readers see. Out: by variable, the labels after the last one that a run of the
variable has wanted files of; and the files that another run would make nothing new of.

Metadata may reach further than the last run: `initialise` extends it, and so does a backfill that ends before its shards are
written.
"""

from collections.abc import Iterable

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.spec.errors import SourceFileMissing
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar


def unwritten_labels(
    entry: LedgerEntry, data_vars: Iterable[DataVar], published: pd.DatetimeIndex
) -> dict[str, pd.DatetimeIndex]:
    """Labels that readers see of a shard, and that no run of a variable has wanted files of: they are NaN there.

    Parameters
    ----------
    published : DatetimeIndex
        Labels of the shard that readers see, ascending.

    Returns
    -------
    dict
        By variable; without variables that lack no label, and without those that no run has written at all. Labels before
        `available_from` are not lacking.
    """
    lacking: dict[str, pd.DatetimeIndex] = {}
    for data_var in data_vars:
        coverage = entry.variables.get(data_var.name)
        if coverage is None:
            continue
        labels = published[published.searchsorted(coverage.through or entry.region[1], side="right") :]
        if data_var.available_from is not None:
            labels = labels[labels.searchsorted(data_var.available_from) :]
        if len(labels):
            lacking[data_var.name] = labels
    return lacking


def settled_files(entry: LedgerEntry) -> frozenset[str]:
    """Keys of files that were used, or that failed though they were there. An absent or refused file may be had another time."""
    absent = SourceFileMissing.__name__
    failed = {lost.file for lost in entry.missing_files if not lost.was_refused and not lost.reason.startswith(absent)}
    return frozenset(entry.etags.keys() | failed)


def told_through(entry: LedgerEntry) -> Timestamp:
    """Last label up to which the entry tells of every variable that it has."""
    return min((coverage.through or entry.region[1] for coverage in entry.variables.values()), default=entry.region[1])
