"""Metadata of the final stores: coordinates, array documents, then the root.

In: a template, or a tmp store with its metadata. Out: metadata that readers can open at every moment between the puts.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from reformatters_dagster.core.shard.tmp_folder import tmp_folder
from reformatters_dagster.core.shard.writer import on_tmp_disk
from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    ObjectMoved,
    Retraction,
    StoreExists,
    StoreMissing,
    TemplateDrift,
)
from reformatters_dagster.core.spec.template_files import write_metadata
from reformatters_dagster.core.spec.values import JSON, Frozen
from reformatters_dagster.core.spec.zarr_documents import (
    ROOT_KEY,
    append_dim_of,
    arrays_of,
    chunk_values,
    chunks_prefix,
    coordinate_names,
    document_key,
    documents_of,
    keys_on_disk,
    length_along,
    replace_values,
)
from reformatters_dagster.core.store.guards import refuse_retraction, refuse_structure_drift
from reformatters_dagster.core.store.location import Etag, Expected, Store
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)

MOST_RACES = 20


class MetadataReceipt(Frozen):
    """What one `put_metadata` did, all stores together."""

    written: int
    unchanged: int
    root_etag: str
    """Of the primary's root as it stands now: what the next commit of the same run is to expect."""


def put_template(template_ds: xr.Dataset, workspace: Workspace) -> None:
    """Publish a template's metadata and coordinates, root last; nulls replace no value the store holds."""
    with tmp_metadata(template_ds, workspace.tmp) as tmp_store:
        found = workspace.stores.primary.get_or_none(ROOT_KEY)
        put_metadata(tmp_store, workspace.stores, expected_root="absent" if found is None else found[1])


@contextmanager
def tmp_metadata(template_ds: xr.Dataset, tmp: Path) -> Iterator[Path]:
    """A tmp store with the metadata of a template, gone afterwards."""
    with tmp_folder(tmp, "metadata") as folder:
        path = folder / "metadata-tmp.zarr"
        with on_tmp_disk(path):
            write_metadata(template_ds, path)
        yield path


def put_metadata(
    tmp_store: Path, stores: StoreSet, *, expected_root: Expected, keep: Collection[str] = ()
) -> MetadataReceipt:
    """Publish the tmp store's metadata: per store coordinates, array documents, then the root, by compare-and-swap.

    Readers go by the root alone, and what precedes it only ever grows: a coordinate chunk keeps every value for which
    the tmp store has none, and the document of a longer array stays. So no order of two writers' puts leaves a root
    whose labels are not there.

    Parameters
    ----------
    tmp_store : Path
        Consolidated metadata and coordinate values. Its data chunks are not looked at.
    expected_root : "absent" or ETag
        The primary's root `zarr.json` when this run read it; "absent" creates the store or fails.
    keep : collection of str
        Coordinates whose stored values stay, whatever the tmp store has. Nulls never replace stored values anyway.

    Raises
    ------
    StoreExists
        When the store was to be created and stands.
    CommitConflict
        When the primary's root is no longer the expected one.
    Retraction
        When the primary publishes more labels than the tmp store. A replica that does, after a commit that ended
        halfway, keeps its root.
    TemplateDrift
        When a store is of another structure.
    StoreMissing
        When a replica lacks the store that the primary has: what was published before would be a hole in it.
    """
    metadata = _Metadata(tmp_store, frozenset(keep))
    if stores.tolerate is None:
        for replica in stores.live_replicas:
            metadata.refuse_other_replica(replica, create=expected_root == "absent")
    puts: list[bool] = []
    etag: Etag = ""

    def write(store: Store) -> None:
        nonlocal etag
        metadata.refuse_other_root(stores.primary, expected_root)
        if store is not stores.primary:
            metadata.refuse_other_replica(store, create=expected_root == "absent")
        puts.extend(metadata.put_coordinate(store, name, key) for name, key in metadata.coordinate_keys())
        puts.extend(metadata.put_document(store, name) for name in metadata.deepest_first())
        if store is stores.primary:
            etag, is_new = metadata.put_root(store, expected_root)
            puts.append(is_new)
        else:
            puts.append(metadata.put_replica_root(store))

    stores.each_in_write_order(write)
    log.info("store=%s objects=%d unchanged=%d", stores.primary.url, sum(puts), puts.count(False))
    return MetadataReceipt(written=sum(puts), unchanged=puts.count(False), root_etag=etag)


class _Metadata:
    """The metadata of one tmp store, and how each object of it is put."""

    def __init__(self, tmp_store: Path, keep: frozenset[str]) -> None:
        self.tmp_store = tmp_store
        self.keep = keep
        self.root_bytes = (tmp_store / ROOT_KEY).read_bytes()
        self.root: JSON = json.loads(self.root_bytes)
        self.arrays = arrays_of(self.root)
        self.append_dim = append_dim_of(self.root)

    def coordinate_keys(self) -> Iterator[tuple[str, str]]:
        """Coordinate and key of every coordinate chunk."""
        for name in sorted(coordinate_names(self.root)):
            for key in keys_on_disk(self.tmp_store, chunks_prefix(name)):
                yield name, key

    def deepest_first(self) -> list[str]:
        """Every array, and every group but the root."""
        return sorted(documents_of(self.root), key=lambda name: (-name.count("/"), name))

    def put_coordinate(self, store: Store, name: str, key: str) -> bool:
        wanted = (self.tmp_store / key).read_bytes()

        def grown(found: bytes | None) -> bytes:
            if found is None or found == wanted:
                return wanted
            return found if name in self.keep else _merged(self.arrays[name], found, wanted)

        return _put_grown(store, key, grown)

    def put_document(self, store: Store, name: str) -> bool:
        key = document_key(name)
        wanted = (self.tmp_store / key).read_bytes()

        def grown(found: bytes | None) -> bytes:
            if found is None or name not in self.arrays:
                return wanted
            lengths = [length_along(json.loads(document), self.append_dim) or 0 for document in (found, wanted)]
            return found if lengths[0] > lengths[1] else wanted

        return _put_grown(store, key, grown)

    def put_replica_root(self, replica: Store) -> bool:
        def grown(found: bytes | None) -> bytes:
            if found is None:
                return self.root_bytes
            try:
                refuse_retraction(self.root, json.loads(found), self.append_dim)
            except Retraction as error:
                log.warning("replica %s is ahead of its primary and keeps its root: %s", replica.url, error)
                return found
            return self.root_bytes

        return _put_grown(replica, ROOT_KEY, grown)

    def put_root(self, primary: Store, expected: Expected) -> tuple[Etag, bool]:
        """Publish the root; one that says the same already stays, as if it had been put when it was looked at."""
        found = self.refuse_other_root(primary, expected)
        if found == self.root_bytes:
            return expected, False
        try:
            return primary.put(ROOT_KEY, self.root_bytes, only_if=expected), True
        except ObjectMoved as error:
            raise _moved(primary, expected, "one put a moment ago") from error

    def refuse_other_replica(self, replica: Store, *, create: bool) -> None:
        """Refuse a replica that lacks what the primary has, or is of another structure."""
        found = replica.get_or_none(ROOT_KEY)
        if found is not None:
            try:
                refuse_structure_drift(self.root, json.loads(found[0]), self.append_dim)
            except TemplateDrift as error:
                raise TemplateDrift(f"replica {replica.url} was to be written to: {error}") from error
        elif not create:
            raise StoreMissing(
                f"replica {replica.url} was to be extended; no store stands there, while the primary has one: copy the "
                "primary to it, root zarr.json last, or take it out of the replicas"
            )

    def refuse_other_root(self, primary: Store, expected: Expected) -> bytes | None:
        """Refuse to go on once the primary is not what this run has read, or cannot become what it would make of it.

        Returns
        -------
        bytes or None
            The primary's root.
        """
        found = primary.get_or_none(ROOT_KEY)
        if found is not None:
            if found[1] != expected:
                raise _moved(primary, expected, f"one of ETag {found[1]!r}")
            stored = json.loads(found[0])
            refuse_structure_drift(self.root, stored, self.append_dim)
            refuse_retraction(self.root, stored, self.append_dim)
        elif expected != "absent":
            raise _moved(primary, expected, "none")
        return found and found[0]


def _moved(primary: Store, expected: Expected, found: str) -> Exception:
    if expected == "absent":
        return StoreExists(
            f"store {primary.url} was to be created; found {found}: work with what stands there, or ask to overwrite it"
        )
    return CommitConflict(
        f"the root zarr.json of {primary.url} was to replace the one of ETag {expected!r}; found {found}: "
        "another writer published meanwhile, and its metadata stands; run this again"
    )


def _put_grown(store: Store, key: str, grown: Callable[[bytes | None], bytes]) -> bool:
    """Put what `grown` makes of the object that stands there; look again whenever another writer was first."""
    for _ in range(MOST_RACES):
        found = store.get_or_none(key)
        data = grown(found and found[0])
        if found is not None and found[0] == data:
            return False
        try:
            store.put(key, data, only_if="absent" if found is None else found[1])
        except ObjectMoved:
            continue
        return True
    raise CommitConflict(
        f"{store.url}/{key} was to be written; another writer was first {MOST_RACES} times: run again when it has ended"
    )


def _merged(array: JSON, found: bytes, wanted: bytes) -> bytes:
    """One coordinate chunk with the stored value wherever the wanted one is null."""
    stored, new = chunk_values(array, found), chunk_values(array, wanted)
    null = np.isnan(new) if new.dtype.kind == "f" else new == array["fill_value"]
    merged = np.where(null, stored, new)
    for values, unchanged in ((stored, found), (new, wanted)):
        if np.array_equal(merged, values, equal_nan=True):
            return unchanged
    return replace_values(array, wanted, merged)
