"""Replicas that may lag: what they lack is marked, mended from the primary, and told by a check.

In: the stores of a dataset. Out: in its internal location, marks `degraded/<replica>/<partition>.json`, one for each partition
that was written without a replica, and `filling/<replica>.json`, how far a replica that is being mended has come; copies of
what it lacks; a `CheckResult`.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice

from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.job.pools import GRACE
from reformatters_dagster.core.ledger.lease import FOLDER as LEASES
from reformatters_dagster.core.ledger.lease import LeaseTerms, hold_lease
from reformatters_dagster.core.spec.errors import (
    CorruptRoot,
    ReformatError,
    StoreMissing,
    StoreUnavailable,
    TemplateDrift,
)
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import JSON, Frozen, Timestamp
from reformatters_dagster.core.spec.zarr_documents import (
    ROOT_KEY,
    append_dim_of,
    arrays_of,
    chunks_prefix,
    document_key,
    is_sharded,
    length_along,
    object_shape,
    read_root_at,
    shard_prefix,
)
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import published_labels, read_root
from reformatters_dagster.core.store.replica_guards import refuse_other_archive
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)

FOLDER, FILLING = "degraded", "filling"
CHECK_NAME = "replicas_match_primary"
SAMPLED_OBJECTS = 3
COPIED_AT_ONCE = 8
"""Objects, each of which is in memory as a whole."""
MENDING_SECONDS = 600.0
"""How long one run copies before it goes on with its own work; a long history takes several."""


class Degraded(Frozen):
    """One partition that one replica lacks."""

    replica: str
    partition: str
    shard: int
    """Position of the partition's shard along the append dimension."""
    reason: str


class Finding(Frozen):
    """What is wrong with a replica."""

    text: str
    may_pass: bool
    """Whether a run that is writing may be the reason: both stores could be read, and differ."""


class Filling(Frozen):
    """How far a replica is that is being mended; until its metadata is there too, nothing else is written to it."""

    replica: str
    copied: int
    """Shards along the append dimension that it has, counted from the first."""


def tolerant(stores: StoreSet, template: TemplateConfig, partition: str | None = None, shard: int = 0) -> StoreSet:
    """The same stores, going on without a replica that fails, and without those that lack something already.

    Nor is anything written to one that another archive than the template's stands on.

    Every partition written so is marked, until `mend_replicas` has copied it. Without a partition it is metadata that is
    written, and nothing is marked: a replica's own metadata tells that it lags.
    """

    def mark(replica: Store, error: Exception) -> None:
        log.warning("%s goes on without replica %s: %s", partition or "metadata", replica.url, error)
        if partition is not None:
            lacking = Degraded(replica=replica.url, partition=partition, shard=shard, reason=str(error))
            stores.internal.put(_mark_key(replica, partition), lacking.model_dump_json().encode())

    leaving = replace(stores, tolerate=mark, _left_out=set())
    lagging = {one.replica: one for one in degraded(stores)}
    for replica in stores.replicas:
        if (why := _why_leave_out(replica, template, lagging.get(replica.url))) is not None:
            leaving.leave_out(replica)
            mark(replica, why)
    return leaving


def _why_leave_out(replica: Store, template: TemplateConfig, lacking: Degraded | None) -> Exception | None:
    if lacking is not None:
        return StoreUnavailable(lacking.reason)
    try:
        refuse_other_archive(read_root_at(template.path), template.append_dim.start, replica)
    except (StoreUnavailable, TemplateDrift) as error:
        return error
    return None


def degraded(stores: StoreSet) -> list[Degraded]:
    """Every partition that some replica is known to lack, by replica and partition.

    Those that were written without it, and those not yet copied to one that `mend_replicas` has found without history: at
    least the newest, while its metadata is not there.
    """
    every = (*_not_copied(stores), *_marks(stores))
    lacking = {(one.replica, one.partition): one for one in every}
    return [one for _, one in sorted(lacking.items(), key=lambda item: item[0])]


def _not_copied(stores: StoreSet) -> Iterator[Degraded]:
    fillings = list(_fillings(stores))
    partitions = _partitions(stores.primary) if fillings else []
    for filling in fillings if partitions else []:
        for shard in range(min(filling.copied, len(partitions) - 1), len(partitions)):
            reason = "the primary is being copied to it, oldest partition first"
            yield Degraded(replica=filling.replica, partition=partitions[shard], shard=shard, reason=reason)


def mend_replicas(stores: StoreSet, run_id: str, terms: LeaseTerms) -> None:
    """Copy from the primary what replicas lack: partition by partition, then all metadata, the root last.

    A replica lacks the partitions that are marked, and those its own metadata does not reach: all of them where no store
    stands. Readers of it see what they saw before until everything is there. What is copied is noted, so that a run goes on
    where the last one ended: by an error, by its death, or after `MENDING_SECONDS`, before which it copies one partition at
    least. A replica that is down, or a partition another run is writing, waits for the next time.
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
    root: JSON = json.loads(found[0])
    partitions = _partitions(primary)
    marked = {one.shard: one.partition for one in _marks(stores) if one.replica == replica.url}
    filling = next((one for one in _fillings(stores) if one.replica == replica.url), None)
    copied = _copied(primary, replica, root, filling)
    if copied >= len(partitions) and not marked and filling is None:
        return
    _note(internal, replica, copied)
    work = dict(enumerate(partitions[copied:], copied)) | marked
    for number, (shard, partition) in enumerate(work.items()):
        if number and terms.clock() >= until:
            log.info("replica=%s partitions=%d are left to copy", replica.url, len(work) - number)
            return
        with hold_lease(internal, partition, run_id, terms=terms):
            _copy(primary, replica, _chunks_of(primary, root, shard))
            internal.delete(_mark_key(replica, partition))
        if shard == copied < len(partitions):
            copied += 1
            _note(internal, replica, copied)
        log.info("replica=%s partition=%s copied", replica.url, partition)
    _copy(primary, replica, _coordinates_of(primary, root))
    _copy(primary, replica, _documents_of(root))
    # As it was when this began: the primary may have grown meanwhile, by shards that the replica lacks.
    replica.put(ROOT_KEY, found[0])
    internal.delete(_filling_key(replica))
    log.info("replica=%s mended", replica.url)


def _copied(primary: Store, replica: Store, root: JSON, filling: Filling | None) -> int:
    """Shards a replica has, counted from the first: those its metadata reaches the end of, or that were copied since."""
    dim = append_dim_of(root)
    length, reached = _length(root, dim), 0
    try:
        theirs = refuse_other_archive(root, published_labels(primary, dim)[0], replica)
        if theirs is not None and arrays_of(root).keys() <= arrays_of(theirs).keys():
            reached = _length(theirs, dim)
    except CorruptRoot as error:
        log.warning("replica %s is filled anew: %s", replica.url, error)
    shard = _shard_length(root)
    covered = math.ceil(length / shard) if reached >= length else reached // shard
    if filling is None or filling.copied <= covered:
        return covered
    wanted, there = (set(_chunks_of(store, root, filling.copied - 1)) for store in (primary, replica))
    # Somebody who wipes a replica leaves the note of what was copied to it.
    return filling.copied if wanted <= there else covered


def check_replicas(stores: StoreSet, now: Timestamp) -> CheckResult:
    """Every replica has the primary's metadata and coordinates, and of its newest shards the same objects.

    All but shards is compared by its bytes; shards by size, and a few, other ones at other times, by their bytes. Runs
    write replicas before the primary: what differs while one holds a lease is a warning.
    """
    if not stores.replicas:
        return CheckResult(name=CHECK_NAME, passed=True, message="there are no replicas")
    before = _leased(stores.internal)
    looked = [_looked_at(stores.primary, replica, now) for replica in stores.replicas]
    wrong = [finding for finding in looked if finding is not None]
    metadata: dict[str, float | int | str] = {"replicas_differing": len(wrong)}
    if not wrong:
        message = f"{len(stores.replicas)} replicas hold what the primary holds"
        return CheckResult(name=CHECK_NAME, passed=True, message=message, metadata=metadata)
    told = "; ".join(finding.text for finding in wrong)
    leased = sorted(before | _leased(stores.internal))
    if leased and all(finding.may_pass for finding in wrong):
        message = (
            f"{told}: a run is writing partition {', '.join(leased)}, and the comparison will be made again; a lease that a "
            "run left behind ends when its partition is written again"
        )
        return CheckResult(name=CHECK_NAME, passed=False, severity="WARN", message=message, metadata=metadata)
    message = (
        f"{told}: updates of a dataset with replicas='best_effort' copy what is marked as degraded, and to a replica without "
        "a readable root or behind its primary what it lacks; else backfill the partition to write all copies anew, or "
        "copy the objects from the primary, the root zarr.json last"
    )
    return CheckResult(name=CHECK_NAME, passed=False, message=message, metadata=metadata)


def _leased(internal: Store) -> set[str]:
    """Partitions of which some run holds the lease; none where that cannot be told, so that nothing is excused."""
    try:
        return {key.removeprefix(f"{LEASES}/").removesuffix(".json") for key, _ in internal.list(LEASES)}
    except Exception:
        log.exception("leases below %s could not be listed", internal.url)
        return set()


def _looked_at(primary: Store, replica: Store, now: Timestamp) -> Finding | None:
    """What is different about a replica; one that breaks the comparison does not keep other checks from answering."""
    try:
        text = _difference(primary, replica, now)
    except (StoreUnavailable, StoreMissing, CorruptRoot) as error:
        return Finding(text=f"{replica.url} cannot be read ({error})", may_pass=False)
    except Exception as error:
        log.exception("replica %s could not be compared", replica.url)
        text = f"{replica.url} could not be compared ({type(error).__name__}: {error})"
        return Finding(text=text, may_pass=False)
    return None if text is None else Finding(text=text, may_pass=True)


def _difference(primary: Store, replica: Store, now: Timestamp) -> str | None:
    ours, theirs = (read_root(store) for store in (primary, replica))
    if ours is None or theirs is None:
        raise StoreMissing("no store stands there" if theirs is None else f"no store stands at {primary.url}")
    if ours != theirs:
        dim = append_dim_of(ours)
        lengths = [_length(root, dim) for root in (theirs, ours)]
        return f"{replica.url} has other metadata: {lengths[0]} labels of {dim}, the primary {lengths[1]}"
    plain, copied = (_plain_objects(store, ours) for store in (primary, replica))
    if names := _differing(plain, copied):
        return f"{replica.url} differs in {len(names)} objects of coordinates and metadata, such as {names[0]}"
    wanted, found = (dict(_newest_objects(store, ours)) for store in (primary, replica))
    if names := _differing(wanted, found):
        return f"{replica.url} differs in {len(names)} objects of the newest shard, such as {names[0]}"
    for key in islice(sorted(wanted, key=lambda key: hashlib.sha256(f"{now}{key}".encode()).digest()), SAMPLED_OBJECTS):
        if primary.get(key)[0] != replica.get(key)[0]:
            return f"{replica.url}/{key} has other bytes than the primary's"
    return None


def _differing(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _plain_objects(store: Store, root: JSON) -> dict[str, bytes]:
    """Every object but the root and shards: coordinates, which are few and small, and the documents of arrays."""
    keys = [document_key(name) for name in sorted(arrays_of(root))]
    keys += [key for name in _arrays(root, sharded=False) for key, _ in store.list(chunks_prefix(name))]
    found = {key: store.get_or_none(key) for key in keys}
    return {key: one[0] for key, one in found.items() if one is not None}


def _newest_objects(store: Store, root: JSON) -> Iterator[tuple[str, int]]:
    """Key and size of every object of the last shard of each data variable."""
    for name, array in _arrays(root, sharded=True).items():
        last = (array["shape"][0] - 1) // object_shape(array)[0]
        yield from store.list(shard_prefix(name, last))


def _arrays(root: JSON, *, sharded: bool) -> dict[str, JSON]:
    """Data variables, or all other arrays."""
    found = arrays_of(root)
    return {name: one for name, one in found.items() if is_sharded(one) is sharded}


def _length(root: JSON, dim: str) -> int:
    return length_along(arrays_of(root).get(dim, {"shape": []}), dim) or 0


def _shard_length(root: JSON) -> int:
    """Labels of the append dimension in a shard."""
    first = next(iter(_arrays(root, sharded=True).values()))
    return object_shape(first)[0]


def _partitions(primary: Store) -> list[str]:
    """Keys of the partitions that readers see, in the order of their shards."""
    root = read_root(primary)
    if root is None:
        return []
    return [partition_key(label) for label in published_labels(primary, append_dim_of(root))[:: _shard_length(root)]]


def _chunks_of(store: Store, root: JSON, shard: int) -> list[str]:
    return [key for name in _arrays(root, sharded=True) for key, _ in store.list(shard_prefix(name, shard))]


def _coordinates_of(store: Store, root: JSON) -> list[str]:
    return [key for name in _arrays(root, sharded=False) for key, _ in store.list(chunks_prefix(name))]


def _documents_of(root: JSON) -> list[str]:
    return [document_key(name) for name in sorted(arrays_of(root))]


def _copy(source: Store, target: Store, keys: Sequence[str]) -> None:
    """Copy objects, several at a time and in no order; none is under way when it returns or raises an error.

    Where it is interrupted, requests that nobody answers are left to themselves.
    """

    def copy_one(key: str) -> None:
        target.put(key, source.get(key)[0])

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


def _marks(stores: StoreSet) -> Iterator[Degraded]:
    """Every mark; of one that cannot be read, what its key tells."""
    for name, document in _objects(stores.internal, FOLDER):
        try:
            yield Degraded.model_validate_json(document)
        except ValueError:
            digest, _, partition = name.partition("/")
            partitions = _partitions(stores.primary)
            # One that is not published is the next to be.
            shard = partitions.index(partition) if partition in partitions else len(partitions)
            reason = "the mark of what it lacks cannot be read"
            yield Degraded(replica=_url(stores, digest), partition=partition, shard=shard, reason=reason)


def _fillings(stores: StoreSet) -> Iterator[Filling]:
    """Every note of how far a replica is; where one cannot be read nothing counts as copied."""
    for digest, document in _objects(stores.internal, FILLING):
        try:
            yield Filling.model_validate_json(document)
        except ValueError:
            yield Filling(replica=_url(stores, digest), copied=0)


def _objects(internal: Store, folder: str) -> Iterator[tuple[str, bytes]]:
    """Key below a folder, without its ending, and content of every object there."""
    for key, _ in internal.list(folder):
        found = internal.get_or_none(key)
        if found is not None:
            yield key.removeprefix(f"{folder}/").removesuffix(".json"), found[0]


def _url(stores: StoreSet, digest: str) -> str:
    """The replica of a digest; the digest itself where that is none of these."""
    return next((replica.url for replica in stores.replicas if _digest(replica) == digest), digest)


def _note(internal: Store, replica: Store, copied: int) -> None:
    filling = Filling(replica=replica.url, copied=copied)
    internal.put(_filling_key(replica), filling.model_dump_json().encode())


def _mark_key(replica: Store, partition: str) -> str:
    return f"{FOLDER}/{_digest(replica)}/{partition}.json"


def _filling_key(replica: Store) -> str:
    return f"{FILLING}/{_digest(replica)}.json"


def _digest(replica: Store) -> str:
    return hashlib.sha256(replica.url.encode()).hexdigest()[:12]
