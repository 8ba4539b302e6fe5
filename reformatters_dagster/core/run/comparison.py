"""The check that replicas hold what the primary holds.

In: the stores of a dataset. Out: a `CheckResult`; nothing is written.
"""

import hashlib
import logging
from collections.abc import Mapping
from itertools import islice

from reformatters_dagster.core.check.validators import CheckResult
from reformatters_dagster.core.ledger.lease import leased_partitions
from reformatters_dagster.core.run.layout import array_documents, coordinate_chunks, length, newest_shards
from reformatters_dagster.core.spec.errors import CorruptRoot, StoreMissing, StoreUnavailable
from reformatters_dagster.core.spec.values import JSON, Frozen, Timestamp
from reformatters_dagster.core.spec.zarr_documents import append_dim_of
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import read_root
from reformatters_dagster.core.store.stores import StoreSet

log = logging.getLogger(__name__)

CHECK_NAME = "replicas_match_primary"
SAMPLED_OBJECTS = 3


class Finding(Frozen):
    """What is wrong with a replica."""

    text: str
    may_pass: bool
    """Both stores could be read and differ: a run that is writing may be the reason."""


def check_replicas(stores: StoreSet, now: Timestamp) -> CheckResult:
    """Every replica has the primary's metadata and coordinates, and of its newest shards the same objects.

    Everything but shards is compared by its bytes. Shards are compared by size, and a few of them by their bytes: other
    ones at other times. Runs write replicas before the primary, so a difference while a run holds a lease is a warning.
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
    """Partitions on which some run holds the lease; none where the list cannot be had, so that nothing is excused."""
    try:
        return leased_partitions(internal)
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
        lengths = [length(root, dim) for root in (theirs, ours)]
        return f"{replica.url} has other metadata: {lengths[0]} labels of {dim}, the primary {lengths[1]}"
    plain, copied = (_plain_objects(store, ours) for store in (primary, replica))
    if names := _differing(plain, copied):
        return f"{replica.url} differs in {len(names)} objects of coordinates and metadata, such as {names[0]}"
    wanted, found = (newest_shards(store, ours) for store in (primary, replica))
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
    keys = [*array_documents(root), *coordinate_chunks(store, root)]
    found = {key: store.get_or_none(key) for key in keys}
    return {key: one[0] for key, one in found.items() if one is not None}
