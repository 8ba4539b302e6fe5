"""Chunks of one shard, from the tmp store to the final stores, replicas before the primary.

In: a tmp store on local disk. Out: the same objects in every final store; readers see them once metadata says so.

Rewriting inside the published extent is visible shard by shard: plain Zarr has no transaction.
"""

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from reformatters_dagster.core.spec.errors import RunStopped, ShardIncomplete
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.spec.zarr_documents import (
    keys_of_shard,
    keys_on_disk,
    object_shape,
    read_document,
    shard_prefix,
)
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)


class PublishedChunks(Frozen):
    """What one `publish_chunks` uploaded, counted for one store."""

    objects: int
    bytes: int


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
        With the metadata of the full extent, and every object of the shard.
    shard_index : int
        Position of the shard along the append dimension, which is the array's first.
    threads : int
        Uploads at a time.
    stop : Event, optional
        Once it is set no further upload begins.

    Raises
    ------
    RunStopped
        When `stop` was set; some objects may be uploaded.
    ShardIncomplete
        When local objects of the shard are missing, or unexpected ones lie among them; nothing was uploaded.
    StoreUnavailable
        When a store fails; the local objects are kept.
    """
    keys = _shard_objects(tmp_store, variable, shard_index)
    sizes = [(tmp_store / key).stat().st_size for key in keys]
    prefix, stop = shard_prefix(variable, shard_index), stop or Event()
    stores.each_in_write_order(lambda store: _put_all(tmp_store, store, prefix, keys, threads, stop))
    _delete_local(tmp_store / prefix)
    return PublishedChunks(objects=len(keys), bytes=sum(sizes))


def _shard_objects(tmp_store: Path, variable: str, shard_index: int) -> list[str]:
    """Keys of every object of a shard; `ShardIncomplete` unless exactly these are there."""
    array = read_document(tmp_store, variable)
    shape, shard = array["shape"], list(object_shape(array))
    expected = keys_of_shard(variable, shard_index, shape, shard)
    found = set(keys_on_disk(tmp_store, shard_prefix(variable, shard_index)))
    if found != expected or not 0 <= shard_index < -(-shape[0] // shard[0]):
        raise ShardIncomplete(
            f"shard {shard_index} of {variable!r}, shape {shape} in shards of {shard}, was to be uploaded as "
            f"{len(expected)} objects; {tmp_store} lacks {sorted(expected - found)} and holds unexpected "
            f"{sorted(found - expected)}: nothing was uploaded; write the whole shard first"
        )
    return sorted(expected)


def _put_all(tmp_store: Path, store: Store, prefix: str, keys: Sequence[str], threads: int, stop: Event) -> None:
    found = store.etags(prefix)

    def put(key: str) -> None:
        if stop.is_set():
            raise RunStopped(f"{store.url}/{key} was to be uploaded; the run was stopped before: run it again")
        # A list does not tell of an object whose key is the prefix, the one of a shard without further dimensions.
        store.put_over(key, tmp_store / key, found.get(key, "" if key == prefix else None))

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
