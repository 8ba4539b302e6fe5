"""Dagster's own record of materialized partitions, made again from the ledger after its database was lost.

In: an instance and the ledger of a dataset. Out: one materialization a partition, without a run, where Dagster knows of none.

Nothing but the pages of Dagster needs this: sensors, checks and backfills on the command line decide from ledger and store.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from reformatters_dagster.core.ledger.entries import LedgerEntry, ledger_partitions, read_ledger
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import LedgerUnreadable, Refused
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.orchestration.names import asset_key


class RebuiltStatus(Frozen):
    """What became of the partitions of a ledger."""

    dataset_id: str
    known: int
    """Dagster had them already."""
    reported: tuple[str, ...]
    """Dagster has them by this rebuild; in a dry run, would have."""
    unreadable: tuple[str, ...]
    """Their entries cannot be read. A run of the partition replaces the entry, and materializes it."""


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that `DAGSTER_HOME` configures.

    Raises
    ------
    Refused
        When the variable names none.
    """
    from dagster._core.errors import DagsterHomeNotSetError, DagsterInvariantViolationError

    try:
        instance = dg.DagsterInstance.get()
    except (DagsterHomeNotSetError, DagsterInvariantViolationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(
            f"the Dagster instance was asked for; there is none: {reason}; set DAGSTER_HOME to the folder of its dagster.yaml, "
            "or run the command in the pod of the daemon"
        ) from error
    with instance:
        yield instance


def rebuild_status(
    instance: dg.DagsterInstance, dataset: DynamicalDataset, internal: Store, *, dry_run: bool = False
) -> RebuiltStatus:
    """Report every partition of the ledger that Dagster does not know as materialized. Repeating it adds nothing.

    Parameters
    ----------
    internal : Store
        The dataset's internal location.
    dry_run : bool
        Only say what would be reported.
    """
    key = asset_key(dataset)
    written = ledger_partitions(internal)
    known = instance.get_materialized_partitions(key)
    reported, unreadable = [], []
    for partition in written:
        if partition in known:
            continue
        try:
            entry = read_ledger(internal, partition)
        except LedgerUnreadable:
            unreadable.append(partition)
            continue
        if entry is None:  # removed since the listing
            continue
        if not dry_run:
            instance.report_runless_asset_event(_materialization(key, entry))
        reported.append(partition)
    return RebuiltStatus(
        dataset_id=dataset.dataset_id,
        known=len(known.intersection(written)),
        reported=tuple(reported),
        unreadable=tuple(unreadable),
    )


def _materialization(key: dg.AssetKey, entry: LedgerEntry) -> dg.AssetMaterialization:
    """What is left to say of a run of which only the ledger entry is left."""
    expected, succeeded = (
        sum(getattr(one, what) for one in entry.variables.values()) for what in ("expected", "succeeded")
    )
    return dg.AssetMaterialization(
        key,
        description="rebuilt from the ledger",
        partition=entry.partition,
        metadata={
            "fields_expected": dg.MetadataValue.int(expected),
            "fields_succeeded": dg.MetadataValue.int(succeeded),
            "fields_missing": dg.MetadataValue.int(expected - succeeded),
            "template_hash": dg.MetadataValue.text(entry.template_hash),
            "code_version": dg.MetadataValue.text(entry.code_version),
            "written_by_run": dg.MetadataValue.text(entry.run_id),
            "written_at": dg.MetadataValue.text(f"{entry.written_at:%Y-%m-%dT%H:%M}"),
        },
    )
