"""Replicas that may lag: what they lack is marked, mended from the primary, and told by a check.

In: the stores of a dataset. Out: marks `degraded/<replica>/<partition>.json` in its internal location, one for each partition
that was written without a replica; copies of those partitions; a `CheckResult`.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from reformatters_dagster.core.config import Frozen
from reformatters_dagster.core.errors import ReformatError, StoreUnavailable
from reformatters_dagster.core.guards import append_dim_of, arrays_of
from reformatters_dagster.core.lease import LeaseTerms, hold_lease
from reformatters_dagster.core.storage import ROOT, Store, StoreSet
from reformatters_dagster.core.types import JSON, Timestamp
from reformatters_dagster.core.validation import CheckResult

log = logging.getLogger(__name__)

FOLDER = "degraded"
CHECK_NAME = "replicas_match_primary"
SAMPLED_OBJECTS = 3


class Degraded(Frozen):
    """One partition that was written without one replica."""

    replica: str
    partition: str
    shard: int
    """Position of the partition's shard along the append dimension."""
    reason: str


def tolerant(stores: StoreSet, partition: str, shard: int) -> StoreSet:
    """The same stores, going on without a replica that fails, and without those that lack something already.

    Every partition written so is marked, until `mend_replicas` has copied it.
    """

    def mark(replica: Store, error: Exception) -> None:
        log.warning("partition=%s goes on without replica %s: %s", partition, replica.url, error)
        lacking = Degraded(replica=replica.url, partition=partition, shard=shard, reason=str(error))
        stores.internal.put(f"{_folder(replica)}/{partition}.json", lacking.model_dump_json().encode())

    leaving = replace(stores, tolerate=mark, _left_out=set())
    lagging = {one.replica: one for one in degraded(stores)}
    for replica in stores.replicas:
        if replica.url in lagging:
            leaving.leave_out(replica)
            mark(replica, StoreUnavailable(lagging[replica.url].reason))
    return leaving


def degraded(stores: StoreSet) -> list[Degraded]:
    """Every partition that some replica lacks, by replica and partition."""
    found = (stores.internal.get_or_none(key) for key, _ in sorted(stores.internal.list(FOLDER)))
    return [Degraded.model_validate_json(one[0]) for one in found if one is not None]


def mend_replicas(stores: StoreSet, run_id: str, terms: LeaseTerms) -> None:
    """Copy from the primary what replicas lack: chunks of the marked partitions, then all metadata, the root last.

    A replica that is still down, or a partition another run is writing, keeps its marks for the next time.
    """
    lacking = degraded(stores)
    for replica in stores.replicas:
        marks = [one for one in lacking if one.replica == replica.url]
        try:
            for one in marks:
                with hold_lease(stores.internal, one.partition, run_id, terms=terms):
                    _copy(stores.primary, replica, _chunks_of(stores.primary, one.shard))
            if marks:
                _copy(stores.primary, replica, _metadata_of(stores.primary))
        except ReformatError as error:
            log.warning("replica %s could not be mended yet: %s", replica.url, error)
            continue
        for one in marks:
            stores.internal.delete(f"{_folder(replica)}/{one.partition}.json")
            log.info("replica=%s partition=%s mended", replica.url, one.partition)


def check_replicas(stores: StoreSet, now: Timestamp) -> CheckResult:
    """Every replica has the primary's metadata, and of its newest shards the same objects.

    Roots are compared as a whole, objects by size, and a few, other ones at other times, by their bytes.
    """
    if not stores.replicas:
        return CheckResult(name=CHECK_NAME, passed=True, message="there are no replicas")
    wrong = [text for replica in stores.replicas if (text := _difference(stores.primary, replica, now)) is not None]
    message = "; ".join(wrong) or f"{len(stores.replicas)} replicas hold what the primary holds"
    if wrong:
        message += ": the next update mends what is marked as degraded; backfill the partition to write all copies anew"
    return CheckResult(name=CHECK_NAME, passed=not wrong, message=message, metadata={"replicas_differing": len(wrong)})


def _difference(primary: Store, replica: Store, now: Timestamp) -> str | None:
    try:
        ours, theirs = (json.loads(store.get(ROOT)[0]) for store in (primary, replica))
    except (StoreUnavailable, FileNotFoundError) as error:
        return f"{replica.url} cannot be read ({error})"
    if ours != theirs:
        dim = append_dim_of(ours)
        lengths = [_length(root, dim) for root in (theirs, ours)]
        return f"{replica.url} has other metadata: {lengths[0]} labels of {dim}, the primary {lengths[1]}"
    wanted = dict(_newest_objects(primary, ours))
    found = dict(_newest_objects(replica, ours))
    if wanted != found:
        names = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
        return f"{replica.url} differs in {len(names)} objects of the newest shard, such as {names[0]}"
    for key in islice(sorted(wanted, key=lambda key: hashlib.sha256(f"{now}{key}".encode()).digest()), SAMPLED_OBJECTS):
        if primary.get(key)[0] != replica.get(key)[0]:
            return f"{replica.url}/{key} has other bytes than the primary's"
    return None


def _length(root: JSON, dim: str) -> int:
    return int(arrays_of(root)[dim]["shape"][0])


def _newest_objects(store: Store, root: JSON) -> Iterator[tuple[str, int]]:
    """Key and size of every object of the last shard of each data variable."""
    for name, array in arrays_of(root).items():
        if array["codecs"][0]["name"] == "sharding_indexed":
            last = (array["shape"][0] - 1) // array["chunk_grid"]["configuration"]["chunk_shape"][0]
            yield from store.list(f"{name}/c/{last}")


def _chunks_of(store: Store, shard: int) -> list[str]:
    found = store.get_or_none(ROOT)
    arrays = arrays_of(json.loads(found[0])) if found is not None else {}
    data = [name for name, array in arrays.items() if array["codecs"][0]["name"] == "sharding_indexed"]
    return [key for name in data for key, _ in store.list(f"{name}/c/{shard}")]


def _metadata_of(store: Store) -> list[str]:
    """Coordinate chunks, array documents, and the root last."""
    root = json.loads(store.get(ROOT)[0])
    arrays = arrays_of(root)
    coordinates = [name for name, array in arrays.items() if array["codecs"][0]["name"] != "sharding_indexed"]
    chunks = [key for name in coordinates for key, _ in store.list(f"{name}/c")]
    return [*chunks, *(f"{name}/{ROOT}" for name in sorted(arrays)), ROOT]


def _copy(source: Store, target: Store, keys: list[str]) -> None:
    for key in keys:
        target.put(key, source.get(key)[0])


def _folder(replica: Store) -> str:
    return f"{FOLDER}/{hashlib.sha256(replica.url.encode()).hexdigest()[:12]}"
