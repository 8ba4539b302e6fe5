"""Tmp store to final stores: chunks first, metadata last, replicas before the primary.

In: a tmp store on local disk. Out: the same objects in every final store, in an order each prefix of which opens and is
consistent.

Rewriting inside the published extent is visible shard by shard: plain Zarr has no transaction.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np

from reformatters_dagster.core.spec.errors import (
    CommitConflict,
    ObjectMoved,
    Retraction,
    RunStopped,
    ShardIncomplete,
    StoreExists,
    StoreMissing,
    StoreUnavailable,
    TemplateDrift,
)
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
    length_along,
    object_shape,
    read_document,
    replace_values,
    shard_keys,
    shard_prefix,
)
from reformatters_dagster.core.store.guards import refuse_retraction, refuse_structure_drift
from reformatters_dagster.core.store.location import Etag, Expected, Sleep, Store, open_store

__all__ = ["Etag", "Expected", "Store", "StoreSet", "commit_metadata", "open_store", "open_store_set", "publish_chunks"]

log = logging.getLogger(__name__)

MOST_RACES = 20


type OnReplicaFailure = Callable[[Store, Exception], None]


@dataclass(frozen=True)
class StoreSet:
    """Everywhere one dataset is published, and where the platform keeps what it knows about it."""

    primary: Store
    replicas: tuple[Store, ...]
    internal: Store
    tolerate: OnReplicaFailure | None = None
    """Told of a replica that fails, which is then left out; without it the failure is the caller's."""
    _left_out: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def live_replicas(self) -> tuple[Store, ...]:
        """Replicas that have not failed so far."""
        return tuple(replica for replica in self.replicas if replica.url not in self._left_out)

    @property
    def in_write_order(self) -> tuple[Store, ...]:
        """Replicas, then the primary: it decides what is missing, so it must not be ahead of any."""
        return (*self.live_replicas, self.primary)

    def each_in_write_order(self, write: Callable[[Store], None]) -> None:
        """Do something to every replica, then to the primary.

        Raises
        ------
        StoreUnavailable, StoreMissing
            When the primary fails, or a replica does that nobody tolerates the failure of; nothing after it was done.
        """
        for replica in self.live_replicas:
            try:
                write(replica)
            except (StoreUnavailable, StoreMissing) as error:
                if self.tolerate is None:
                    raise
                self.leave_out(replica)
                self.tolerate(replica, error)
        write(self.primary)

    def leave_out(self, replica: Store) -> None:
        """Write to a replica no more."""
        self._left_out.add(replica.url)


class PublishedChunks(Frozen):
    """What one `publish_chunks` uploaded, counted once however many stores there are."""

    objects: int
    bytes: int


class CommitReceipt(Frozen):
    """What one `commit_metadata` did, all stores together."""

    written: int
    unchanged: int
    root_etag: str
    """Of the primary's root as it stands now: what the next commit of the same run is to expect."""


def open_store_set(
    primary_base: str, replica_bases: Sequence[str], dataset_id: str, version: str, *, sleep: Sleep | None = None
) -> StoreSet:
    """Open a dataset's final stores, `{base}/{dataset_id}/v{version}.zarr`, and its internal one at the primary base.

    Parameters
    ----------
    primary_base, replica_bases : str, sequence of str
        As `open_store` takes them.
    sleep : callable, optional
        As for `Store`.
    """
    waiting = {} if sleep is None else {"sleep": sleep}
    path = f"{dataset_id}/v{version}.zarr"
    return StoreSet(
        primary=open_store(primary_base, path, **waiting),
        replicas=tuple(open_store(base, path, **waiting) for base in replica_bases),
        internal=open_store(primary_base, f"{dataset_id}/_internal/v{version}", **waiting),
    )


def publish_chunks(
    tmp_store: Path,
    stores: StoreSet,
    variable: str,
    shard_index: int,
    *,
    threads: int = 8,
    stop: Event | None = None,
) -> PublishedChunks:
    """Upload one shard of one variable, replicas fully before the primary, and delete the local objects.

    Parameters
    ----------
    tmp_store : Path
        Holds the metadata of the full extent, and every object of the shard.
    shard_index : int
        Position of the shard along the append dimension, which is the array's first.
    threads : int
        Uploads at a time.
    stop : Event, optional
        Once it is set no further upload begins.

    Raises
    ------
    RunStopped
        When it was set; some objects may be up.
    ShardIncomplete
        When objects of the shard are missing locally, or others lie among them; nothing was uploaded.
    StoreUnavailable
        When a store fails; the local objects are kept.
    """
    keys = _shard_objects(tmp_store, variable, shard_index)
    sizes = [(tmp_store / key).stat().st_size for key in keys]
    stores.each_in_write_order(lambda store: _put_all(tmp_store, store, keys, threads, stop or Event()))
    _delete_local(tmp_store / shard_prefix(variable, shard_index))
    return PublishedChunks(objects=len(keys), bytes=sum(sizes))


def _shard_objects(tmp_store: Path, variable: str, shard_index: int) -> list[str]:
    """Keys of every object of a shard, each of which is there."""
    array = read_document(tmp_store, variable)
    shape, shard = array["shape"], list(object_shape(array))
    stem = shard_prefix(variable, shard_index)
    expected = {f"{stem}{key.removeprefix('c')}" for key in shard_keys(tuple(shape[1:]), tuple(shard[1:]))}
    found = set(_keys_at(tmp_store, stem))
    if found != expected or not 0 <= shard_index < -(-shape[0] // shard[0]):
        raise ShardIncomplete(
            f"shard {shard_index} of {variable!r}, shape {shape} in shards of {shard}, was to be uploaded as "
            f"{len(expected)} objects; {tmp_store} lacks {sorted(expected - found)} and holds unexpected "
            f"{sorted(found - expected)}: nothing was uploaded; write the whole shard first"
        )
    return sorted(expected)


def _keys_at(tmp_store: Path, stem: str) -> list[str]:
    """Key of the file at `stem`, or of every file below it."""
    path = tmp_store / stem
    files = [path] if path.is_file() else [below for below in path.rglob("*") if below.is_file()]
    return sorted(file.relative_to(tmp_store).as_posix() for file in files)


def _put_all(tmp_store: Path, store: Store, keys: Sequence[str], threads: int, stop: Event) -> None:
    def put(key: str) -> None:
        if stop.is_set():
            raise RunStopped(f"{store.url}/{key} was to be uploaded; the run was stopped before: run it again")
        store.put(key, tmp_store / key)

    with ThreadPoolExecutor(threads) as pool:
        uploads = [pool.submit(put, key) for key in keys]
        try:
            for upload in uploads:
                upload.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _delete_local(shard: Path) -> None:
    try:
        if shard.is_dir():
            shutil.rmtree(shard)
        else:
            shard.unlink()
    except OSError as error:
        log.warning("uploaded objects at %s could not be deleted (%s); the tmp store's end removes them", shard, error)


def commit_metadata(
    tmp_store: Path, stores: StoreSet, *, expected_root: Expected, keep: Collection[str] = ()
) -> CommitReceipt:
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
    commit = _Commit(tmp_store, frozenset(keep))
    if stores.tolerate is None:
        for replica in stores.live_replicas:
            commit.refuse_other_replica(replica, create=expected_root == "absent")
    puts: list[bool] = []
    etag: Etag = ""

    def write(store: Store) -> None:
        nonlocal etag
        commit.refuse_other_root(stores.primary, expected_root)
        if store is not stores.primary:
            commit.refuse_other_replica(store, create=expected_root == "absent")
        puts.extend(commit.put_coordinate(store, name, key) for name, key in commit.coordinate_keys())
        puts.extend(commit.put_document(store, name) for name in commit.deepest_first())
        if store is stores.primary:
            etag, is_new = commit.put_root(store, expected_root)
            puts.append(is_new)
        else:
            puts.append(commit.put_replica_root(store))

    stores.each_in_write_order(write)
    log.info("store=%s objects=%d unchanged=%d", stores.primary.url, sum(puts), puts.count(False))
    return CommitReceipt(written=sum(puts), unchanged=puts.count(False), root_etag=etag)


class _Commit:
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
            for key in _keys_at(self.tmp_store, chunks_prefix(name)):
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
