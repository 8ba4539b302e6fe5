"""What replicas are known to lack, where a dataset lets them lag.

In: the stores of a dataset. Out: `Degraded` values, one for each partition that a replica lacks. They come from notes in the
internal location: a mark `degraded/<replica>/<partition>.json` for a partition that was written without the replica, and
`filling/<replica>.json` with how far the mending of a replica has come.
"""

import hashlib
from collections.abc import Iterator

from reformatters_dagster.core.run.layout import published_partitions
from reformatters_dagster.core.spec.values import Frozen
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.stores import StoreSet

MARKS, FILLINGS = "degraded", "filling"


class Degraded(Frozen):
    """One partition that one replica lacks."""

    replica: str
    partition: str
    shard: int
    """Position of the partition's shard along the append dimension."""
    reason: str


class Filling(Frozen):
    """How far the mending of a replica has come. Until its metadata is there too, runs write nothing to it."""

    replica: str
    copied: int
    """Shards along the append dimension that it has, counted from the first."""


def degraded(stores: StoreSet) -> list[Degraded]:
    """Every partition that some replica is known to lack, by replica and partition.

    A replica lacks the partitions that are marked, and, while it is being filled, those that were not copied yet. At least
    the newest one counts as not copied until the replica has its metadata.
    """
    every = (*_not_copied(stores), *marks(stores))
    lacking = {(one.replica, one.partition): one for one in every}
    return [one for _, one in sorted(lacking.items(), key=lambda item: item[0])]


def _not_copied(stores: StoreSet) -> Iterator[Degraded]:
    found = list(fillings(stores))
    partitions = published_partitions(stores.primary) if found else []
    for filling in found if partitions else []:
        for shard in range(min(filling.copied, len(partitions) - 1), len(partitions)):
            reason = "the primary is being copied to it, oldest partition first"
            yield Degraded(replica=filling.replica, partition=partitions[shard], shard=shard, reason=reason)


def marks(stores: StoreSet) -> Iterator[Degraded]:
    """Every mark. Where one cannot be read, its key still tells replica and partition."""
    for name, document in _notes(stores.internal, MARKS):
        try:
            yield Degraded.model_validate_json(document)
        except ValueError:
            digest, _, partition = name.partition("/")
            partitions = published_partitions(stores.primary)
            # One that is not published is the next to be.
            shard = partitions.index(partition) if partition in partitions else len(partitions)
            reason = "the mark of what it lacks cannot be read"
            yield Degraded(replica=_url(stores, digest), partition=partition, shard=shard, reason=reason)


def mark(internal: Store, replica: Store, partition: str, shard: int, *, reason: str) -> None:
    """Note that a partition is written without a replica."""
    lacking = Degraded(replica=replica.url, partition=partition, shard=shard, reason=reason)
    internal.put(_mark_key(replica, partition), lacking.model_dump_json().encode())


def unmark(internal: Store, replica: Store, partition: str) -> None:
    """Forget that a replica lacked a partition."""
    internal.delete(_mark_key(replica, partition))


def fillings(stores: StoreSet) -> Iterator[Filling]:
    """How far each replica is that is being filled. Where a note cannot be read, nothing counts as copied."""
    for digest, document in _notes(stores.internal, FILLINGS):
        try:
            yield Filling.model_validate_json(document)
        except ValueError:
            yield Filling(replica=_url(stores, digest), copied=0)


def note_filling(internal: Store, replica: Store, copied: int) -> None:
    """Note how many shards a replica that is being filled has."""
    filling = Filling(replica=replica.url, copied=copied)
    internal.put(_filling_key(replica), filling.model_dump_json().encode())


def end_filling(internal: Store, replica: Store) -> None:
    """Forget that a replica was being filled: it has everything."""
    internal.delete(_filling_key(replica))


def _notes(internal: Store, folder: str) -> Iterator[tuple[str, bytes]]:
    """Key below a folder, without its ending, and content of every object there."""
    for key, _ in internal.list(folder):
        found = internal.get_or_none(key)
        if found is not None:
            yield key.removeprefix(f"{folder}/").removesuffix(".json"), found[0]


def _url(stores: StoreSet, digest: str) -> str:
    """The replica with a digest; the digest itself where none of these replicas has it."""
    return next((replica.url for replica in stores.replicas if _digest(replica) == digest), digest)


def _mark_key(replica: Store, partition: str) -> str:
    return f"{MARKS}/{_digest(replica)}/{partition}.json"


def _filling_key(replica: Store) -> str:
    return f"{FILLINGS}/{_digest(replica)}.json"


def _digest(replica: Store) -> str:
    return hashlib.sha256(replica.url.encode()).hexdigest()[:12]
