"""What must be true before a partition is planned, or its shards are written, each as a named refusal.

In: a template, a partition's first label, and what the store or its ledger says. Out: nothing, or a `Refused`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from reformatters_dagster.core.ledger.entries import ledger_partitions, previous_entry, was_recorded
from reformatters_dagster.core.ledger.lease import lease_holders
from reformatters_dagster.core.ledger.progress import unfinished_runs
from reformatters_dagster.core.spec.errors import (
    BeyondExtent,
    EmptyHistory,
    PlanOutdated,
    PublishGap,
    Refused,
    StoreExists,
    StoreMissing,
    TimeNotOnGrid,
    UnknownRun,
)
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.wording import spell_duration
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import is_published, published_labels
from reformatters_dagster.core.store.stores import StoreSet

READERS = 16


def refuse_other_times(template: TemplateConfig, label: Timestamp, now: Timestamp) -> None:
    """Refuse a label at which no shard starts, or whose shard has not begun; `TimeNotOnGrid`."""
    start, length = template.append_dim.start, template.shard_duration
    asked = f"partition {label:%Y-%m-%dT%H:%M} of {template.dataset_id} was asked for"
    if label < start:
        raise TimeNotOnGrid(f"{asked}; its archive starts at {start:%Y-%m-%dT%H:%M}")
    if (label - start) % length:
        held_by = start + (label - start) // length * length
        raise TimeNotOnGrid(
            f"{asked}; partitions start every {spell_duration(length)} from {start:%Y-%m-%dT%H:%M}: "
            f"this time lies in partition {held_by:%Y-%m-%dT%H:%M}"
        )
    if label > now:
        raise TimeNotOnGrid(f"{asked}; it is {now:%Y-%m-%dT%H:%M} now and nothing of it can exist yet")


def refuse_part(template: TemplateConfig, label: Timestamp, selected: Sequence[DataVar]) -> None:
    """Refuse an update of some variables that would publish labels at which nobody has written the others."""
    if left := sorted(set(template.variables) - {data_var.name for data_var in selected}):
        raise Refused(
            f"update of {_subject(template, label)} was asked for without {', '.join(left)}; readers would see its labels, "
            "of which nobody has written these: update all variables, or backfill some without publish"
        )


def refuse_gap(template: TemplateConfig, label: Timestamp, published_end: Timestamp) -> None:
    """Refuse an update that would leave an unwritten shard behind it."""
    if label > published_end:
        raise PublishGap(
            f"update of {_subject(template, label)} was asked for; the store ends before "
            f"{published_end:%Y-%m-%dT%H:%M}, and publishing would leave a hole: update that partition first"
        )


def refuse_too_short(
    template: TemplateConfig, label: Timestamp, published_end: Timestamp, job_name: Callable[[str], str]
) -> None:
    """Refuse a backfill past the store's end, where nobody could read it, and name the jobs that extend the store."""
    if label >= published_end:
        raise BeyondExtent(
            f"backfill of {_subject(template, label)} was asked for; the store's metadata ends before "
            f"{published_end:%Y-%m-%dT%H:%M}: extend it with job {job_name('initialise')!r}, or run {job_name('update')!r}"
        )


def refuse_overwrite(template: TemplateConfig, label: Timestamp, internal: Store) -> None:
    """Refuse to write a partition that the ledger knows, or of which its entry cannot be read."""
    if was_recorded(internal, label):
        raise StoreExists(
            f"backfill of {_subject(template, label)} was asked for without overwrite_chunks; the ledger says it was written "
            "before: set overwrite_chunks to write it again"
        )


def refuse_unknown_run(template: TemplateConfig, internal: Store, root_run: str) -> None:
    """Refuse to resume a run that left no trace: no uploaded variable, no lease, no partition that it committed."""
    unfinished = unfinished_runs(internal)
    if root_run in unfinished or root_run in lease_holders(internal) or _has_committed(internal, root_run):
        return
    others = f"; those there are: {', '.join(unfinished)}" if unfinished else ""
    raise UnknownRun(
        f"run {root_run!r} of {template.dataset_id} was to be resumed; there is no unfinished run {root_run!r}{others}: "
        "correct the name, or leave out --resume to begin anew, as for a run that ended before its first upload"
    )


def _has_committed(internal: Store, root_run: str) -> bool:
    """Whether the last commit of any partition was made by a run, or by a retry of it."""
    labels = [Timestamp(partition) for partition in reversed(ledger_partitions(internal))]
    with ThreadPoolExecutor(READERS, "ledger") as pool:
        entries = pool.map(partial(previous_entry, internal), labels)
        return any(entry is not None and entry.root_run == root_run for entry in entries)


def refuse_lost_store(template: TemplateConfig, stores: StoreSet) -> None:
    """Refuse to create a store beside a ledger that tells of one: it would be complete by its ledger, and hold nothing.

    Raises
    ------
    StoreMissing
        When the primary's root is absent while partitions have entries.
    """
    internal = stores.internal
    if is_published(stores.primary) or not (known := ledger_partitions(internal)):
        return
    # Looked at once more: another run may have created it, and committed, meanwhile.
    if not is_published(stores.primary):
        raise StoreMissing(
            f"{template.dataset_id} was to be created at {stores.primary.url}; no store stands there, while the ledger says "
            f"that {len(known)} partitions of it are written, {known[0]} to {known[-1]}: copy the store back, the root "
            f"zarr.json last; or delete {internal.url}, which tells of the lost store, to begin anew"
        )


def refuse_empty_history(template: TemplateConfig, first: Timestamp) -> None:
    """Refuse to create a store whose first written partition would not be the archive's first, where nobody chose its start.

    Parameters
    ----------
    template : TemplateConfig
        As its dataset declares it.
    first : Timestamp
        First label of the first partition that is going to be written.
    """
    start, axis = template.append_dim.start, template.append_dim
    if first <= start:
        return
    dataset_id, said = template.dataset_id, f"{first:%Y-%m-%dT%H:%M}"
    raise EmptyHistory(
        f"{dataset_id} was to be created for partition {said} on; its archive starts at {start:%Y-%m-%dT%H:%M}, and "
        f"every label before that partition, {(first - start) // axis.frequency:,} in all, would read as missing data: add "
        f"`--archive-start {said}` to `reformat backfill {dataset_id}`, or set `REFORMATTERS_START={dataset_id}={said}`, "
        f"for Dagster too, to begin there; {start:%Y-%m-%dT%H:%M} in its place keeps those labels, to be filled later"
    )


def refuse_outdated(template: TemplateConfig, label: Timestamp, end: Timestamp, primary: Store) -> None:
    """Refuse to write a shard up to before `end` when later labels of it are published by now: it would blank them."""
    published = published_labels(primary, template.append_dim.name)
    if end < label + template.shard_duration and len(published) and published[-1] >= end:
        raise PlanOutdated(
            f"{_subject(template, label)} was to be written up to before {end:%Y-%m-%dT%H:%M}; "
            f"{published[-1]:%Y-%m-%dT%H:%M} has been published since: nothing was written; run the whole partition again"
        )


def _subject(template: TemplateConfig, label: Timestamp) -> str:
    return f"{template.dataset_id} partition {label:%Y-%m-%dT%H:%M}"
