"""Metadata of the final stores: coordinates, array documents, then the root.

In: a template, its metadata as objects, or a primary. Out: metadata that readers can open at every moment between the puts.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
import xarray as xr

from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    CorruptRoot,
    ObjectMoved,
    Retraction,
    StoreExists,
    StoreMissing,
    TemplateDrift,
)
from reformatters_dagster.core.spec.template_files import metadata_objects
from reformatters_dagster.core.spec.values import JSON, Frozen
from reformatters_dagster.core.spec.zarr_documents import (
    DAMAGED_DOCUMENT,
    ROOT_KEY,
    Objects,
    append_dim_of,
    arrays_of,
    chunk_values,
    chunks_prefix,
    coordinate_names,
    document_key,
    documents_of,
    is_decodable,
    keys_below,
    length_along,
    replace_values,
)
from reformatters_dagster.core.store.guards import refuse_retraction, refuse_structure_drift
from reformatters_dagster.core.store.location import Etag, Expected, Store
from reformatters_dagster.core.store.reading import read_root, root_of
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)

MOST_RACES = 20


class MetadataReceipt(Frozen):
    """What one `put_metadata` did, all stores together."""

    written: int
    unchanged: int
    root_etag: str
    """Of the primary's root as it stands now; the same run expects it when it puts metadata again."""


def put_template(template_ds: xr.Dataset, workspace: Workspace) -> None:
    """Put a template's metadata and coordinates, the root last; a null replaces no value that the store holds."""
    found = workspace.stores.primary.get_or_none(ROOT_KEY)
    expected = "absent" if found is None else found[1]
    put_metadata(metadata_objects(template_ds), workspace.stores, expected_root=expected)


def put_metadata(
    objects: Objects, stores: StoreSet, *, expected_root: Expected, keep: Collection[str] = ()
) -> MetadataReceipt:
    """Put metadata into each store: coordinates, array documents, then the root by compare-and-swap.

    Readers go by the root alone. Objects that are put before it only grow: a coordinate chunk keeps every value for which
    the new one has a null, and the document of a longer array stays. So every label of a root is there, in whatever
    order two writers put their objects. One that is damaged is replaced: a coordinate chunk of a replica by the primary's,
    so far as the new one has nulls.

    Parameters
    ----------
    objects : mapping of key to bytes
        Consolidated metadata and coordinate values, as of `metadata_objects`. Data chunks among them are not put.
    expected_root : "absent" or ETag
        What the primary's root was when this run read it; "absent" creates the store or fails.
    keep : collection of str
        Coordinates whose stored values stay, even where the new ones are others.

    Raises
    ------
    StoreExists
        When the store should be created, and one stands.
    CommitConflict
        When the primary's root is no longer the expected one.
    Retraction
        When the primary publishes more labels than the metadata have. A replica that does so keeps its root: an earlier run
        ended between replica and primary.
    TemplateDrift
        When a store has another structure; as `CorruptRoot` when the root of a replica cannot be read.
    StoreMissing
        When a replica has no store while the primary has one: it would lack all that was published before.
    """
    metadata = _Metadata(
        objects[ROOT_KEY],
        read=objects.__getitem__,
        keys_below=partial(keys_below, objects),
        keep=frozenset(keep),
    )
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
        puts.extend(metadata.put_below_root(store, stores.primary))
        if store is stores.primary:
            etag, is_new = metadata.put_root(store, expected_root)
            puts.append(is_new)
        else:
            puts.append(metadata.put_replica_root(store))

    stores.each_in_write_order(write)
    log.info("store=%s objects=%d unchanged=%d", stores.primary.url, sum(puts), puts.count(False))
    return MetadataReceipt(written=sum(puts), unchanged=puts.count(False), root_etag=etag)


def copy_metadata(primary: Store, replica: Store, root: bytes) -> None:
    """Put the primary's metadata into a replica: coordinates and array documents as they stand, then a root.

    The objects only grow, as those of `put_metadata` do: whatever a faster writer has put meanwhile stays where it reaches
    further. What is damaged in the replica is replaced.

    Parameters
    ----------
    root : bytes
        A root of the primary, of now or of before. The replica has all data that it describes.

    Raises
    ------
    CommitConflict
        When another writer was first at every attempt.
    """

    def keys_below(prefix: str) -> list[str]:
        if below := [key for key, _ in primary.list(prefix)]:
            return below
        # A list does not tell of the one object of an array without dimensions.
        return [prefix] if primary.exists(prefix) else []

    metadata = _Metadata(root, read=lambda key: primary.get(key)[0], keys_below=keys_below)
    for _ in metadata.put_below_root(replica, primary):
        pass
    metadata.put_replica_root(replica)


def put_grown(store: Store, key: str, grown: Callable[[bytes | None], bytes]) -> bool:
    """Put what `grown` makes of an object that stands in a store; do so again whenever another writer was first.

    Parameters
    ----------
    grown : callable
        Takes the content, or None where there is no object, and returns the new content.

    Returns
    -------
    bool
        Whether that was needed: equal bytes are not put again.

    Raises
    ------
    CommitConflict
        When another writer was first at every attempt.
    """
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


def sound_chunk(store: Store, key: str, array: JSON, found: bytes, primary: Store) -> bytes | None:
    """A chunk that was found in a store. Where it is damaged, that of the primary; None where that is no better."""
    if is_decodable(array, found):
        return found
    log.warning("%s/%s is damaged and is put anew", store.url, key)
    other = primary.get_or_none(key)
    return other[0] if other is not None and is_decodable(array, other[0]) else None


class _Metadata:
    """The metadata of a template or of a primary, and how each of its objects is put."""

    def __init__(
        self,
        root: bytes,
        *,
        read: Callable[[str], bytes],
        keys_below: Callable[[str], list[str]],
        keep: frozenset[str] = frozenset(),
    ) -> None:
        self.root_bytes = root
        self.read = read
        self.keys_below = keys_below
        self.keep = keep
        self.root: JSON = json.loads(root)
        self.arrays = arrays_of(self.root)
        self.append_dim = append_dim_of(self.root)

    def put_below_root(self, store: Store, primary: Store) -> Iterator[bool]:
        """Put coordinates, then documents, the deepest ones first; of each object, whether that was needed."""
        for name in sorted(coordinate_names(self.root)):
            for key in self.keys_below(chunks_prefix(name)):
                yield self.put_coordinate(store, primary, name, key)
        for name in sorted(documents_of(self.root), key=lambda name: (-name.count("/"), name)):
            yield self.put_document(store, name)

    def put_coordinate(self, store: Store, primary: Store, name: str, key: str) -> bool:
        """Put one coordinate chunk; whether that was needed."""
        array = self.arrays[name]

        def grown(found: bytes | None) -> bytes:
            wanted = self.read(key)
            if found is None or found == wanted:
                return wanted
            sound = sound_chunk(store, key, array, found, primary)
            if sound is None:
                return wanted
            return sound if name in self.keep or not is_decodable(array, wanted) else _merged(array, sound, wanted)

        return put_grown(store, key, grown)

    def put_document(self, store: Store, name: str) -> bool:
        """Put the document of an array or group, unless the array is longer in the store; whether that was needed."""
        key = document_key(name)

        def grown(found: bytes | None) -> bytes:
            wanted = self.read(key)
            if found is None or found == wanted or name not in self.arrays:
                return wanted
            return found if self._length(found) > self._length(wanted) else wanted

        return put_grown(store, key, grown)

    def _length(self, document: bytes) -> int:
        """Labels of the append dimension by the document of an array; -1 where it is damaged."""
        try:
            return int(length_along(json.loads(document), self.append_dim) or 0)
        except DAMAGED_DOCUMENT as error:
            log.warning("a document of %d bytes is damaged: %s", len(document), error)
            return -1

    def put_replica_root(self, replica: Store) -> bool:
        """Put the root of a replica, unless it publishes more labels or arrays; whether that was needed."""

        def grown(found: bytes | None) -> bytes:
            if found is None:
                return self.root_bytes
            try:
                standing = root_of(replica, found)
                if more := sorted(arrays_of(standing).keys() - self.arrays.keys()):
                    log.warning("replica %s has %s besides and keeps its root", replica.url, ", ".join(more))
                    return found
                refuse_retraction(self.root, standing, self.append_dim)
            except CorruptRoot as error:
                log.warning("the root of replica %s is replaced: %s", replica.url, error)
            except Retraction as error:
                log.warning("replica %s is ahead of its primary and keeps its root: %s", replica.url, error)
                return found
            return self.root_bytes

        return put_grown(replica, ROOT_KEY, grown)

    def put_root(self, primary: Store, expected: Expected) -> tuple[Etag, bool]:
        """Put the root of the primary; its ETag, and whether that was needed. Equal bytes are not put again."""
        found = self.refuse_other_root(primary, expected)
        if found == self.root_bytes:
            return expected, False
        try:
            return primary.put(ROOT_KEY, self.root_bytes, only_if=expected), True
        except ObjectMoved as error:
            raise _moved(primary, expected, "one put a moment ago") from error

    def refuse_other_replica(self, replica: Store, *, create: bool) -> None:
        """Refuse a replica that has another structure, or no store while the primary has one."""
        found = read_root(replica)
        if found is not None:
            try:
                refuse_structure_drift(self.root, found, self.append_dim)
            except TemplateDrift as error:
                raise TemplateDrift(f"replica {replica.url} was to be written to: {error}") from error
        elif not create:
            raise StoreMissing(
                f"replica {replica.url} was to be extended; no store stands there, while the primary has one: copy the "
                "primary to it, root zarr.json last, or take it out of the replicas"
            )

    def refuse_other_root(self, primary: Store, expected: Expected) -> bytes | None:
        """Refuse a primary that changed since this run read it, or that the metadata do not fit.

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


def _merged(array: JSON, found: bytes, wanted: bytes) -> bytes:
    """One coordinate chunk: wanted values, and stored ones where the wanted value is null."""
    stored, new = chunk_values(array, found), chunk_values(array, wanted)
    null = np.isnan(new) if new.dtype.kind == "f" else new == array["fill_value"]
    merged = np.where(null, stored, new)
    for values, unchanged in ((stored, found), (new, wanted)):
        if np.array_equal(merged, values, equal_nan=True):
            return unchanged
    return replace_values(array, wanted, merged)
