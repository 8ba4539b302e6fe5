"""Replicas that lag are given what they lack, as a copy of the primary.

In: the stores of a dataset, and what `replicas` knows about them. Out: objects of the primary in the replica, the root
last, so that its readers see what they saw before until everything is there.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from reformatters_dagster.core.job.pools import GRACE
from reformatters_dagster.core.ledger.lease import LeaseTerms, hold_lease
from reformatters_dagster.core.run.layout import (
    length,
    published_partitions,
    shard_length,
    shards_of,
)
from reformatters_dagster.core.run.replicas import Filling, end_filling, fillings, marks, note_filling, unmark
from reformatters_dagster.core.spec.errors import CorruptRoot, ReformatError
from reformatters_dagster.core.spec.values import JSON
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, append_dim_of, arrays_of, shard_prefix
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import copy_metadata
from reformatters_dagster.core.store.reading import published_labels, root_of
from reformatters_dagster.core.store.replica_guards import refuse_other_archive
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)

COPIED_AT_ONCE = 8
"""Objects, each of which is in memory as a whole."""
MENDING_SECONDS = 600.0
"""How long one run copies before it goes on with its own work; a long history takes several."""


def mend_replicas(stores: StoreSet, run_id: str, terms: LeaseTerms) -> None:
    """Copy from the primary what replicas lack: partition by partition, then all metadata, the root last.

    A replica lacks the partitions that are marked, and those its own metadata does not reach: all of them where it has no
    store. What is copied is noted, so that the next run continues where this one ends: by an error, by its death, or after
    `MENDING_SECONDS`, before which it copies at least one partition. A replica that is down waits for the next run, and so
    does a partition that another run is writing.
    """
    until = terms.clock() + MENDING_SECONDS
    for replica in stores.replicas:
        try:
            _mend(stores, replica, run_id, terms, until)
        except ReformatError as error:
            log.warning("replica %s could not be mended yet: %s", replica.url, error)


def _mend(stores: StoreSet, replica: Store, run_id: str, terms: LeaseTerms, until: float) -> None:
    primary, internal = stores.primary, stores.internal
    found = primary.get_or_none(ROOT_KEY)
    if found is None:
        return
    root = root_of(primary, found[0])
    partitions = published_partitions(primary)
    marked = {one.shard: one.partition for one in marks(stores) if one.replica == replica.url}
    filling = next((one for one in fillings(stores) if one.replica == replica.url), None)
    copied = _copied(primary, replica, root, filling)
    if copied >= len(partitions) and not marked and filling is None:
        return
    note_filling(internal, replica, copied)
    work = dict(enumerate(partitions[copied:], copied)) | marked
    for number, (shard, partition) in enumerate(work.items()):
        if number and terms.clock() >= until:
            log.info("replica=%s partitions=%d are left to copy", replica.url, len(work) - number)
            return
        with hold_lease(internal, partition, run_id, terms=terms) as check_lease:
            _copy(primary, replica.guarded(check_lease), [key for key, _ in shards_of(primary, root, shard)])
            unmark(internal, replica, partition)
        if shard == copied < len(partitions):
            copied += 1
            note_filling(internal, replica, copied)
        log.info("replica=%s partition=%s copied", replica.url, partition)
    # The root as it was at the start: the primary may have grown meanwhile, by shards that the replica lacks.
    copy_metadata(primary, replica, found[0])
    end_filling(internal, replica)
    log.info("replica=%s mended", replica.url)


def _copied(primary: Store, replica: Store, root: JSON, filling: Filling | None) -> int:
    """Shards a replica has, counted from the first: its metadata reaches their end, or they were copied since."""
    covered = _covered(primary, replica, root)
    if filling is None or filling.copied <= covered:
        return covered
    wanted, there = ({key for key, _ in shards_of(store, root, filling.copied - 1)} for store in (primary, replica))
    # Somebody who wipes a replica leaves the note of what was copied to it.
    return filling.copied if wanted <= there else covered


def _covered(primary: Store, replica: Store, root: JSON) -> int:
    """Shards that the metadata of a replica reaches the end of."""
    dim, reached = append_dim_of(root), 0
    try:
        theirs = refuse_other_archive(root, published_labels(primary, dim)[0], replica)
        if theirs is not None and arrays_of(root).keys() <= arrays_of(theirs).keys():
            reached = length(theirs, dim)
    except CorruptRoot as error:
        log.warning("replica %s is filled anew: %s", replica.url, error)
    whole, shard = length(root, dim), shard_length(root)
    return math.ceil(whole / shard) if reached >= whole else reached // shard


def _copy(source: Store, target: Store, keys: Sequence[str]) -> None:
    """Copy objects, several at a time and in no order; none is under way when it returns or raises an error.

    When it is interrupted by something else, it waits for requests that nobody answers for `GRACE` seconds only.
    """

    prefixes = sorted({_shard_of(key) for key in keys})
    found = {key: etag for prefix in prefixes for key, etag in target.etags(prefix).items()}

    def copy_one(key: str) -> None:
        target.put_over(key, source.get(key)[0], found.get(key, "" if key in prefixes else None))

    pool = ThreadPoolExecutor(COPIED_AT_ONCE, "copy")
    copies = [pool.submit(copy_one, key) for key in keys]
    try:
        for copy in copies:
            copy.result()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        under_way = [copy for copy in copies if not copy.cancelled()]
        wait(under_way, None if isinstance(error, Exception) else GRACE)
        raise
    pool.shutdown()


def _shard_of(key: str) -> str:
    """The prefix of all objects of a shard, by the key of one."""
    variable, _, chunk = key.partition("/c/")
    return shard_prefix(variable, int(chunk.partition("/")[0]))
