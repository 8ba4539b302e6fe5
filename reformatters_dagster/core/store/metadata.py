"""Metadata of a final store: checked, created, grown, and its run-time coordinates.

In: a template and the places of a deployment. Out: metadata that readers can open at every moment between the puts.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.shard.tmp_folder import tmp_folder
from reformatters_dagster.core.shard.writer import on_tmp_disk
from reformatters_dagster.core.spec.errors import (
    CorruptRoot,
    ObjectMoved,
    ReformatError,
    StoreExists,
    StoreMissing,
    StoreTooShort,
    TemplateDrift,
    TimeNotOnGrid,
)
from reformatters_dagster.core.spec.template import TemplateConfig, write_metadata
from reformatters_dagster.core.spec.values import JSON, Lengths, Names, Timestamp
from reformatters_dagster.core.spec.zarr_documents import (
    ROOT_KEY,
    append_dim_of,
    arrays_of,
    chunk_values,
    chunks_prefix,
    first_axis_key,
    length_along,
    read_root_at,
)
from reformatters_dagster.core.store.guards import (
    refuse_other_labels,
    refuse_other_start,
    refuse_structure_drift,
    refuse_unpublished_variables,
    refuse_version_mismatch,
)
from reformatters_dagster.core.store.reading import open_published, published_labels, read_root
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.upload import Store, commit_metadata

log = logging.getLogger(__name__)

INGESTED = "ingested_forecast_length"
MERGE_ATTEMPTS = 20


@contextmanager
def tmp_metadata(template_ds: xr.Dataset, tmp: Path) -> Iterator[Path]:
    """A tmp store with the metadata of a template, gone afterwards."""
    with tmp_folder(tmp, "metadata") as folder:
        path = folder / "metadata-tmp.zarr"
        with on_tmp_disk(path):
            write_metadata(template_ds, path)
        yield path


def check_store(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse a store that the template does not describe; one that does not exist yet is fine, unless it was lost.

    Raises
    ------
    TemplateDrift
        Naming what differs: dataset, version, start of the archive, structure, labels of the other dimensions.
    StoreMissing
        See `refuse_lost_primary`.
    """
    store_root = read_root(workspace.stores.primary)
    if store_root is None:
        refuse_lost_primary(template, workspace)
        return
    refuse_version_mismatch(store_root["attributes"], template.dataset_id, template.dataset_version)
    refuse_other_start(
        template.append_dim.start, published_labels(workspace.stores.primary, template.append_dim.name)[0]
    )
    template.get_template(template.append_dim.start)  # refuses a committed template that is not the code's
    refuse_structure_drift(read_root_at(template.path), store_root, template.append_dim.name)
    published = open_published(workspace.stores.primary)
    for dim in template.all_dims:
        refuse_other_labels(dim.name, list(dim.index()), list(published.indexes[dim.name]))


def refuse_lost_primary(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse to make anew a primary that was lost, while a replica has data of it: that would be written over.

    A first publication that ended between the two roots leaves a replica of the same objects as the primary, and goes on. A
    replica of another archive is no copy of this one; see `refuse_other_archive`.

    Raises
    ------
    StoreMissing
        Naming the replica.
    StoreUnavailable
        When a replica cannot be asked.
    """
    primary = workspace.stores.primary
    for replica in workspace.stores.replicas:
        if read_root(replica) is None:
            continue
        try:
            refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
        except TemplateDrift:
            continue
        held, there = (
            {key for name in template.variables for key, _ in store.list(chunks_prefix(name))}
            for store in (replica, primary)
        )
        # Looked at once more: another run may have created it meanwhile.
        if held - there and read_root(primary) is None:
            raise StoreMissing(
                f"{template.dataset_id} was to be created at {primary.url}; no store stands there, while its replica "
                f"{replica.url} has {len(held - there)} objects of data that would be written over: copy the replica back "
                "while nothing writes to it, the root zarr.json last; or wipe the replica to begin anew"
            )


def refuse_other_archive(root: JSON, start: Timestamp, replica: Store) -> JSON | None:
    """Refuse a replica that another archive stands on: its readers would see both mixed.

    Parameters
    ----------
    root : JSON
        Root document of the template, or of the primary.
    start : Timestamp
        Its first label.

    Returns
    -------
    JSON or None
        Root document of the replica; None where no store stands there.

    Raises
    ------
    TemplateDrift
        When it is of another structure, or starts at another label.
    CorruptRoot
        When nobody can read its root, or its first labels.
    """
    theirs, dim = read_root(replica), append_dim_of(root)
    if theirs is None:
        return None
    first = _first_label(replica, theirs, dim)
    try:
        # Arrays that it lacks, or has of a commit that ended halfway, make it no other.
        refuse_structure_drift(root, theirs, dim)
        if first is not None:
            refuse_other_start(start, first)
    except TemplateDrift as error:
        raise TemplateDrift(
            f"replica {replica.url} was to be written to; another archive stands there, and readers would see both mixed: "
            f"{error}; or wipe that replica, or take it out of REFORMATTERS_REPLICAS"
        ) from error
    return theirs


def _first_label(store: Store, root: JSON, dim: str) -> Timestamp | None:
    if dim not in arrays_of(root):
        return None
    try:
        found = store.get_or_none(first_axis_key(dim, 0, dims=1))
        first = None if found is None else chunk_values(arrays_of(root)[dim], found[0])[0]
    except ReformatError:
        raise
    except Exception as error:
        raise CorruptRoot(
            f"{store.url}/{dim}/c/0 was to be read as the first labels of a store; it is none: {str(error)[:300]}; put back "
            "what stood there, as its primary or a replica has it"
        ) from error
    return None if first is None else pd.Timestamp(first.astype("datetime64[s]")).as_unit("us")


def refuse_lagging_replicas(template: TemplateConfig, workspace: Workspace) -> None:
    """Refuse to write to a replica that lacks history the primary has: readers of it would find that to be NaN.

    This is for replicas that are required; see `replicas.mend_replicas` for others.

    Raises
    ------
    StoreMissing, StoreTooShort
        When a replica has no store while the primary has one, or has fewer labels or variables.
    TemplateDrift
        When a replica is of another archive, or nobody can read its root.
    """
    stores, dim = workspace.stores, template.append_dim.name
    root = read_root(stores.primary)
    for replica in stores.replicas:
        # Of the template: a commit that ended halfway leaves a replica ahead of its primary.
        theirs = refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
        if root is None:
            continue
        ours, arrays = arrays_of(root), {} if theirs is None else arrays_of(theirs)
        lengths = [length_along(one[dim], dim) or 0 if dim in one else 0 for one in (arrays, ours)]
        if theirs is not None and ours.keys() <= arrays.keys() and lengths[0] >= lengths[1]:
            continue
        found = f"the store there has {len(arrays)} arrays and {lengths[0]} labels of {dim}"
        raise (StoreMissing if theirs is None else StoreTooShort)(
            f"{template.dataset_id} was to be written to its replica {replica.url} too; "
            f"{'no store stands there' if theirs is None else found}, while {stores.primary.url} has {len(ours)} arrays and "
            f"{lengths[1]} labels: let the dataset say replicas='best_effort', so that its updates copy what is lacking; or "
            "copy the primary there while nothing writes to it, the root zarr.json last; or take the replica out of "
            "REFORMATTERS_REPLICAS. 'Replicas' in docs/operations.md says how"
        )


def refuse_unpublished(template: TemplateConfig, workspace: Workspace, variables: Names | None) -> None:
    """Refuse to write variables (default: all) that a standing store has no array for; see `check_store` for the rest."""
    store_root = read_root(workspace.stores.primary)
    if store_root is not None:
        names = [data_var.name for data_var in template.select(variables)]
        refuse_unpublished_variables(template.dataset_id, names, store_root)


def create_store(template: TemplateConfig, workspace: Workspace, end: Timestamp) -> None:
    """Create a store whose metadata covers `[start, end)` and whose data is yet to be written.

    Several runs may do this at once: one creates it, the others find it there. See `refuse_lost_primary` for when it is not.
    """
    refuse_lost_primary(template, workspace)
    with tmp_metadata(template.get_template(end), workspace.tmp) as tmp_store:
        try:
            commit_metadata(tmp_store, workspace.stores, expected_root="absent")
        except StoreExists:
            log.info("store=%s was created by another run", workspace.stores.primary.url)


def refuse_early_end(template: TemplateConfig, end: Timestamp) -> None:
    """Raise `TimeNotOnGrid` where a store with labels before `end` would have none."""
    if end <= template.append_dim.start:
        raise TimeNotOnGrid(
            f"a store of {template.dataset_id} with labels before {end:%Y-%m-%dT%H:%M} was asked for; its archive starts at "
            f"{template.append_dim.start:%Y-%m-%dT%H:%M}: give a later end, or set REFORMATTERS_START earlier"
        )


def initialise_store(template: TemplateConfig, workspace: Workspace, end: Timestamp, now: Timestamp) -> int:
    """Create a store's metadata, or extend it to `[start, end)`; return the number of labels it covers.

    Raises
    ------
    Retraction
        When the store covers more already.
    TemplateDrift
        When the store is not the template's.
    TimeNotOnGrid
        When no label lies before `end`; or when it lies more than a shard after `now`, and past what the store covers:
        metadata is never cut short again.
    """
    refuse_early_end(template, end)
    check_store(template, workspace)
    published = published_labels(workspace.stores.primary, template.append_dim.name)
    if end > now + template.shard_duration and not (
        len(published) and end <= published[-1] + template.append_dim.frequency
    ):
        raise TimeNotOnGrid(
            f"a store of {template.dataset_id} with labels before {end:%Y-%m-%dT%H:%M} was asked for; it is "
            f"{now:%Y-%m-%dT%H:%M} now, and metadata that readers see is never cut short: give an end of at most "
            f"{now + template.shard_duration:%Y-%m-%dT%H:%M}, one shard ahead"
        )
    template_ds = template.get_template(end)
    commit_template(template_ds, workspace)
    return int(template_ds.sizes[template.append_dim.name])


def commit_template(template_ds: xr.Dataset, workspace: Workspace) -> None:
    """Publish a template's metadata and coordinates, root last; nulls replace no value the store holds."""
    with tmp_metadata(template_ds, workspace.tmp) as tmp_store:
        found = workspace.stores.primary.get_or_none(ROOT_KEY)
        commit_metadata(tmp_store, workspace.stores, expected_root="absent" if found is None else found[1])


def merge_ingested_lengths(template_ds: xr.Dataset, workspace: Workspace, lengths: Mapping[Timestamp, Lengths]) -> None:
    """Write the ingested forecast length of some init times into the stores, replicas first, leaving all others alone.

    Each store's chunk is read, changed and put back only if nobody else put it meanwhile.

    Parameters
    ----------
    lengths : mapping of init time to duration
        Of each member where the template tells them apart. NaT where no lead time is complete. Init times that are not
        published are left out.
    """
    if INGESTED not in template_ds.coords or not lengths:
        return
    labels = template_ds.indexes["init_time"]
    found = labels.get_indexer(pd.DatetimeIndex(list(lengths)))
    positions = {int(at): length for at, length in zip(found, lengths.values(), strict=True) if at >= 0}
    alone = xr.Dataset(coords={INGESTED: template_ds[INGESTED].variable})
    with tmp_metadata(alone, workspace.tmp) as tmp_store:
        workspace.stores.each_in_write_order(lambda store: _merge_into(store, tmp_store, positions))


def _merge_into(store: Store, tmp_store: Path, positions: Mapping[int, Lengths]) -> None:
    import zarr

    array = zarr.open_array(tmp_store / INGESTED, mode="r+", config={"write_empty_chunks": True})
    # Whole chunks: zarr drops what lies past the end of an array when it writes all that lies before, and there may be lengths
    # of labels that another run is about to publish.
    array.resize((-(-array.shape[0] // array.chunks[0]) * array.chunks[0], *array.shape[1:]))
    for chunk in sorted({position // array.chunks[0] for position in positions}):
        key = first_axis_key(INGESTED, chunk, array.ndim)
        ours = {at: length for at, length in positions.items() if at // array.chunks[0] == chunk}
        for _ in range(MERGE_ATTEMPTS):
            found = store.get_or_none(key)
            if found is not None:
                (tmp_store / key).write_bytes(found[0])
            for position, length in ours.items():
                array[position] = length / np.timedelta64(1, "s")
            try:
                store.put(key, tmp_store / key, only_if="absent" if found is None else found[1])
                break
            except ObjectMoved:
                continue
        else:
            raise ObjectMoved(
                f"{key} of {store.url} was to be changed; it moved {MERGE_ATTEMPTS} times meanwhile: run again"
            )
