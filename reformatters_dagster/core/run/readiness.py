"""Whether stores and archives do what runs ask of them.

In: the open places of a dataset. Out: findings, one line each. One object is put into the internal location and deleted again:
only a put shows whether the store honours conditions, and what time it has. Nothing else is written. A local folder keeps the
empty folders of that object, and the lock file beside it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import obstore
import pandas as pd

from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.spec.errors import ObjectMoved, ReformatError, SourceFileMissing
from reformatters_dagster.core.spec.values import Frozen, Timedelta, Timestamp
from reformatters_dagster.core.store.location import FolderStore, Store
from reformatters_dagster.core.store.stores import StoreSet

PROBES = "probe"
"""Folder of the internal location for objects that are deleted at once."""
ABSENT_KEY = "reformatters-probe"
"""A key that no archive has: the answer that it is absent shows that the archive answers."""
LONGEST_SKEW = Timedelta("30s")
RESOLUTION = Timedelta("1s")
"""Of the times that object stores tell."""

type Status = Literal["ok", "failed", "skipped"]


class Finding(Frozen):
    """One thing that was looked at."""

    subject: str
    status: Status
    message: str
    """What was found. Where it failed, what to do; where it was skipped, why."""


def found(subject: str, message: str) -> Finding:
    return Finding(subject=subject, status="ok", message=message)


def failed(subject: str, message: str) -> Finding:
    return Finding(subject=subject, status="failed", message=message)


def skipped(subject: str, message: str) -> Finding:
    return Finding(subject=subject, status="skipped", message=message)


def look_at_stores(stores: StoreSet, probe: str, clock: Callable[[], Timestamp]) -> Iterator[Finding]:
    """Findings about the primary base and each replica.

    Parameters
    ----------
    probe : str
        A name that nobody else uses.
    clock : callable
        The time of this machine, naive UTC.
    """
    internal, key = stores.internal, f"{PROBES}/{probe}.json"
    before = clock()
    try:
        internal.put(key, b"1")
    except ReformatError as error:
        yield failed("store", str(error))
    else:
        after = clock()
        try:
            yield _look_back(internal, key)
            yield _look_at_creation(internal, key)
            yield _look_at_replacement(internal, key)
            yield _look_at_clock(internal, key, before, after)
        finally:
            left = _delete(internal, key)
        yield from left
    for replica in stores.replicas:
        yield _look_at_replica(replica)


def _look_back(internal: Store, key: str) -> Finding:
    try:
        content, _ = internal.get(key)
        listed = [name for name, _ in internal.list(PROBES)]
    except (ReformatError, FileNotFoundError) as error:
        return failed("store", f"an object was put, and cannot be read and listed: {error}")
    if content != b"1" or key not in listed:
        return failed(
            "store",
            f"{internal.url}/{key} was put, and reads as {content!r}, listed: {key in listed}; reads and listings must show a "
            "put at once: use a store that is consistent",
        )
    return found("store", f"{internal.url} can be written, read and listed")


def _look_at_creation(internal: Store, key: str) -> Finding:
    """A put of what is there already, on the condition that nothing is there."""
    subject = "conditional create"
    try:
        internal.put(key, b"2", only_if="absent")
    except ObjectMoved:
        return _honoured(internal, subject)
    except ReformatError as error:
        return failed(subject, str(error))
    return failed(subject, _ignores(internal, "If-None-Match: *"))


def _look_at_replacement(internal: Store, key: str) -> Finding:
    """A put on the condition of the ETag that stands, which must succeed, and of one that does not, which must not."""
    subject = "conditional replace"
    try:
        _, old = internal.get(key)
        internal.put(key, b"3", only_if=old)
        try:
            internal.put(key, b"4", only_if=old)
        except ObjectMoved:
            return _honoured(internal, subject)
    except (ReformatError, FileNotFoundError) as error:
        return failed(subject, str(error))
    return failed(subject, _ignores(internal, "If-Match"))


def _honoured(internal: Store, subject: str) -> Finding:
    if internal.has_conditions:
        how = "a lock on a file beside the folder" if isinstance(internal, FolderStore) else "the store"
        return found(subject, f"a put that must not succeed was refused by {how}")
    return failed(
        subject,
        f"{internal.url} says that it has no conditional puts: two writers at one moment can both succeed; let one run at a "
        "time write there (max_concurrent_runs: 1), or use a store that has them",
    )


def _ignores(internal: Store, header: str) -> str:
    return (
        f"{internal.url} answered that it had put although the condition ({header}) did not hold: leases and commits protect "
        "nothing there; let no more than one process write to it, or use a store that honours conditions"
    )


def _look_at_clock(internal: Store, key: str, before: Timestamp, after: Timestamp) -> Finding:
    """The time that the store gave the probe, against the times before and after it was put."""
    try:
        told = obstore.head(internal.backend, key)["last_modified"]
    except Exception as error:
        return failed("clock", f"the store's time of a put could not be read: {type(error).__name__}: {error}")
    theirs = pd.Timestamp(told).tz_convert("UTC").tz_localize(None)
    skew = max(theirs - after, before - theirs - RESOLUTION, Timedelta(0))
    if skew > LONGEST_SKEW:
        way = "behind" if theirs > after else "ahead of"
        return failed(
            "clock",
            f"this machine's clock is {skew.total_seconds():.0f} s {way} that of {internal.url}: keep it by NTP; beyond "
            f"{LONGEST_SKEW.seconds} s signatures are refused, and limits of archives are not kept together",
        )
    return found("clock", f"within {LONGEST_SKEW.seconds} s of the store's")


def _delete(internal: Store, key: str) -> list[Finding]:
    try:
        internal.delete(key)
    except ReformatError as error:
        return [failed("store", f"{internal.url}/{key} was put and could not be deleted; delete it by hand: {error}")]
    return []


def _look_at_replica(replica: Store) -> Finding:
    subject = f"replica {replica.url}"
    try:
        held = replica.get_or_none("zarr.json") is not None
    except ReformatError as error:
        return failed(subject, str(error))
    return found(subject, f"answers, and {'has metadata' if held else 'has no store yet'}; it was not written to")


def look_at_archive(archive: Archive) -> Finding:
    """Whether an archive answers. It is asked once for a file that it does not have."""
    subject, folder = f"upstream {archive.name}", archive.url.removeprefix("file://")
    if "://" not in folder and not Path(folder).is_dir():
        return skipped(subject, f"{folder} is no folder: the mirror has nothing of this archive")
    try:
        archive.head(ABSENT_KEY)
    except SourceFileMissing:
        return found(subject, f"{archive.url} answers")
    except ReformatError as error:
        return failed(
            subject,
            f"{error}; let this machine reach it, by a proxy if need be, or set REFORMATTERS_UPSTREAM to a mirror",
        )
    return found(subject, f"{archive.url} answers")
