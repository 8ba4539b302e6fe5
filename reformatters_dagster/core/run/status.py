"""What is known about a store: how far it reaches, and from which files each of its partitions was made.

In: a dataset and its stores. Out: frozen values, for people and programs to read. Nothing is written.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry, previous_entry, why_unreadable
from reformatters_dagster.core.ledger.progress import abandoned_partitions
from reformatters_dagster.core.ledger.reach import unwritten_labels
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.replicas import Degraded, degraded
from reformatters_dagster.core.spec.errors import NoPartition, StoreMissing
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Frozen, Time, Timestamp
from reformatters_dagster.core.store.reading import published_labels
from reformatters_dagster.core.store.stores import StoreSet

NEWEST = 40
"""Partitions looked at when nobody says how many."""
READERS = 16


class UnwrittenLabels(Frozen):
    """Labels of a partition that readers see, and that no run of some variables has wanted files of."""

    first: Time
    last: Time
    count: int
    variables: tuple[str, ...]


class PartitionStatus(Frozen):
    """One partition of the published extent."""

    partition: str
    entry: LedgerEntry | None
    """What its last run left; None where it was never written, or its entry cannot be read."""
    unreadable: str = ""
    """Why its entry cannot be read; empty where it can be, and where there is none."""
    unwritten: tuple[UnwrittenLabels, ...] = ()
    """Of variables in the entry: metadata reaches further than their last run."""

    @property
    def complete(self) -> frozenset[str]:
        """Variables that have every file of every label that readers see."""
        known = self.entry.variables if self.entry is not None else {}
        lacking = {name for labels in self.unwritten for name in labels.variables}
        return frozenset(name for name, coverage in known.items() if coverage.is_complete and name not in lacking)


class VariableStatus(Frozen):
    """One variable over the partitions looked at."""

    written: int
    """Partitions whose ledger entry tells of it: a run has tried to write it, and may have had no file of it."""
    complete: int
    """Partitions that have every file of it."""


class StatusReport(Frozen):
    """What a store publishes, and how complete it is."""

    dataset_id: str
    store: str
    append_dim: str
    extent: tuple[Time, Time]
    """First and last label that readers see."""
    variables: tuple[str, ...]
    """All variables of the template; a partition lacks those that no run has written."""
    partition_count: int
    """Partitions of the whole extent."""
    partitions: tuple[PartitionStatus, ...]
    """The newest of them, oldest first."""
    abandoned: tuple[str, ...] = ()
    """Partitions to which a run has uploaded that ended before its commit: readers may see other
    values than the ledger tells of."""
    degraded: tuple[Degraded, ...] = ()
    """Partitions that a replica lacks, since it was down when they were written."""

    @property
    def coverage(self) -> dict[str, VariableStatus]:
        """Each variable of the template over the partitions looked at; one that was added later lacks old ones until filled."""
        known = [partition.entry.variables for partition in self.partitions if partition.entry is not None]
        return {
            name: VariableStatus(
                written=sum(name in variables for variables in known),
                complete=sum(name in partition.complete for partition in self.partitions),
            )
            for name in self.variables
        }

    @property
    def last_complete(self) -> str | None:
        """The newest partition looked at that has every file of every variable."""
        wanted = set(self.variables)
        return next((one.partition for one in reversed(self.partitions) if one.complete >= wanted), None)


class Overview(Frozen):
    """One dataset among others: the report of its store, or why there is none."""

    dataset_id: str
    store: str
    report: StatusReport | None = None
    error: str | None = None
    """Why the store could not be read; None too where there is no store."""


def status(
    dataset: DynamicalDataset,
    stores: StoreSet,
    newest: int | None = NEWEST,
    *,
    contains: Timestamp | None = None,
    start: Timestamp | None = None,
    end: Timestamp | None = None,
) -> StatusReport:
    """Read the published extent and the ledger of its newest partitions.

    Parameters
    ----------
    newest : int, optional
        How many partitions to look at; None for all.
    contains : Timestamp, optional
        Look at the partition that holds this time alone.
    start, end : Timestamp, optional
        Look at partitions with a label from `start` to before `end` alone, the newest of them.

    Raises
    ------
    StoreMissing
        When there is no store.
    NoPartition
        When no published partition holds these times.
    """
    template = dataset.template_config
    labels = published_labels(stores.primary, template.append_dim.name)
    if labels.empty:
        raise StoreMissing(
            f"the status of {dataset.dataset_id} was asked for; there is no store at {stores.primary.url}: "
            f"`reformat backfill {dataset.dataset_id} --archive-start T` creates it, beginning at T; or correct --store"
        )
    chosen = _chosen(template, labels, contains, start, end)
    newest = len(chosen) if newest is None else newest
    looked_at = range(0, len(labels), template.shard_length)[chosen.start : chosen.stop][-newest:]
    with ThreadPoolExecutor(READERS, "ledger") as pool:
        entries = list(pool.map(partial(previous_entry, stores.internal), labels[looked_at]))
    return StatusReport(
        dataset_id=dataset.dataset_id,
        store=stores.primary.url,
        append_dim=template.append_dim.name,
        extent=(labels[0], labels[-1]),
        variables=tuple(template.variables),
        partition_count=-(-len(labels) // template.shard_length),
        partitions=tuple(
            PartitionStatus(
                partition=partition_key(labels[at]),
                entry=entry,
                unreadable="" if entry is not None else why_unreadable(stores.internal, labels[at]),
                unwritten=_unwritten(template, entry, labels[at : at + template.shard_length]),
            )
            for at, entry in zip(looked_at, entries, strict=True)
        ),
        abandoned=tuple(sorted(abandoned_partitions(stores.internal))),
        degraded=tuple(degraded(stores)),
    )


def _chosen(
    template: TemplateConfig,
    labels: pd.DatetimeIndex,
    contains: Timestamp | None,
    start: Timestamp | None,
    end: Timestamp | None,
) -> range:
    """Numbers of the partitions that are meant, of the whole extent: see `status`."""
    length = template.shard_length
    if contains is not None:
        wanted = f"the partition of {template.dataset_id} that holds {contains:%Y-%m-%dT%H:%M}"
        if labels[0] <= contains < labels[-1] + template.append_dim.frequency:
            first = int(labels[::length].searchsorted(contains, side="right")) - 1
            return range(first, first + 1)
    else:
        first = 0 if start is None else int(labels.searchsorted(start))
        last = len(labels) if end is None else int(labels.searchsorted(end))
        if first < last:
            return range(first // length, -(-last // length))
        times = [f"from {start:%Y-%m-%dT%H:%M} on"] if start is not None else []
        times += [f"before {end:%Y-%m-%dT%H:%M}"] if end is not None else []
        wanted = f"partitions of {template.dataset_id} {' and '.join(times)}"
    raise NoPartition(
        f"the status of {wanted} was asked for; the store has labels {labels[0]:%Y-%m-%dT%H:%M} to "
        f"{labels[-1]:%Y-%m-%dT%H:%M}: correct the time"
    )


def _unwritten(
    template: TemplateConfig, entry: LedgerEntry | None, shown: pd.DatetimeIndex
) -> tuple[UnwrittenLabels, ...]:
    """What no run has written of the labels of a shard that readers see; variables that lack the same stand together."""
    alike: dict[Timestamp, list[str]] = {}
    for name, labels in unwritten_labels(entry, template.data_vars, shown).items() if entry is not None else ():
        alike.setdefault(labels[0], []).append(name)
    return tuple(
        UnwrittenLabels(first=first, last=shown[-1], count=int((shown >= first).sum()), variables=tuple(names))
        for first, names in alike.items()
    )


def overview(dataset: DynamicalDataset, stores: StoreSet) -> Overview:
    """As `status`, for a list of datasets: an error in one store is reported and hides no other store."""
    known = Overview(dataset_id=dataset.dataset_id, store=stores.primary.url)
    try:
        return known.model_copy(update={"report": status(dataset, stores)})
    except StoreMissing:
        return known
    except Exception as error:
        return known.model_copy(update={"error": f"{type(error).__name__}: {error}"})
