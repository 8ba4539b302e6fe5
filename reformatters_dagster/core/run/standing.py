"""What is known of a partition before a run, and what is assumed where its ledger entry cannot be read.

In: the ledger, and the job of a partition. Out: an entry. Of one that cannot be read nobody knows which files the published
shards are made from: each file of a published label may be in them, and a run must not lose it.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from reformatters_dagster.core.job.files import files_beside, files_of_region
from reformatters_dagster.core.job.positions import label_of, labels_text
from reformatters_dagster.core.job.published import stored_keys
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import (
    LedgerEntry,
    MissingFile,
    VariableCoverage,
    standing_entry,
)
from reformatters_dagster.core.spec.errors import LedgerUnreadable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.location import Expected, Store
from reformatters_dagster.core.store.reading import published_labels

REASON = f"{LedgerUnreadable.__name__}: the ledger entry could not be read; the published shard may hold this file"


def entry_before(
    internal: Store, label: Timestamp, job: Callable[[], RegionJob[Any]]
) -> tuple[LedgerEntry | None, Expected]:
    """The entry that a run begins with, and what `write_ledger` takes to replace the object that stands there.

    Parameters
    ----------
    label : Timestamp
        First label of the partition.
    job : callable
        The job of the partition with all variables of the template; called only where the entry cannot be read.

    Returns
    -------
    (LedgerEntry or None, "absent" or ETag)
        None when the partition was never committed. An entry that cannot be read is replaced by one that lacks every file,
        and says of each that the published shard may hold it: see `MissingFile.may_be_held`.
    """
    entry, version = standing_entry(internal, partition_key(label))
    if entry is None and version != "absent":
        entry = _unknown(job(), version)
    return entry, version


def _unknown(job: RegionJob[Any], version: Expected) -> LedgerEntry:
    template = job.context.template_config
    published = published_labels(job.context.stores.primary, job.append_dim)
    own = pd.DatetimeIndex(job.template_ds.get_index(job.append_dim))[job.region]
    extent = (published[0], published[-1]) if len(published) else (own[0], own[0] - template.append_dim.frequency)
    return LedgerEntry(
        partition=partition_key(job.label),
        dataset_id=template.dataset_id,
        version=template.dataset_version,
        region=(own[0], own[-1]),
        variables={
            data_var.name: _may_hold_all(job, data_var, min(own[-1], extent[1]))
            for data_var in job.data_vars
            if stored_keys(job, data_var)
        },
        extent=extent,
        template_hash="",
        code_version="",
        run_id=f"unreadable {version}",
        written_at=job.context.now,
    )


def _may_hold_all(job: RegionJob[Any], data_var: DataVar, through: Timestamp) -> VariableCoverage:
    """The coverage of a variable whose published shards may hold every file up to a label."""
    (group,) = job.source_groups([data_var])
    own = [coord for coord in files_of_region(job, group) if label_of(job, coord) <= through]
    beside = [coord for coord, distance in files_beside(job, group).items() if distance <= job.reach(data_var)]
    missing = [
        MissingFile(file=coord.key(), labels=labels_text(coord), reason=REASON, label=label_of(job, coord))
        for coord in (*own, *(beside if own else ()))
    ]
    return VariableCoverage(expected=len(missing), succeeded=0, missing=tuple(missing), through=through)
