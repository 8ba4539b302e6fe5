"""Which files of a partition have arrived upstream: it lists them, and fetches none.

In: a dataset and a label. Out: how many of the files that the partition wants are there, and a fingerprint of them.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os.path import commonprefix
from threading import Event
from typing import Any

import pandas as pd

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.reach import settled_files, told_through
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.source.archives import Archive, FileInfo
from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

LISTINGS_AT_ONCE = 8
"""Folders of one archive that one look lists side by side."""
ASKED_FOR = 3
"""Files that one look asks for at an archive that cannot list."""
OLDER_LOOKED_FOR = 24
"""Files past the give-up age that one look looks for in a long shard that the ledger does not know. Each init time is a
folder: to list them all would take minutes."""

type Wanted = Mapping[str, Sequence[str]]
"""Files by key, each with the keys of the objects that it is made of."""


@dataclass(frozen=True)
class Arrivals:
    """The files of one partition, as the upstream lists them."""

    label: Timestamp
    expected: int
    present: int
    newest: Timestamp | None
    """When the last of them was written; None while there is none."""
    fingerprint: str
    """Changes when a file arrives or is published again."""
    etags: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Version of each file that is wholly there: its index too, where it has one."""
    archive: str = ""
    """Name of the archive that has them."""
    elsewhere: str | None = None
    """The same, where it is not the usual one; None for the usual one."""
    asked: int | None = None
    """How many files `present` counts among, where not all that are expected were looked for; None for all."""

    @property
    def complete(self) -> bool:
        return self.present == self.expected


def find_arrivals(
    dataset: Declaration,
    workspace: Workspace,
    label: Timestamp,
    now: Timestamp,
    *,
    known: LedgerEntry | None = None,
    settled_before: Timestamp | None = None,
    older_looked_for: int = OLDER_LOOKED_FOR,
    listings_at_once: int = LISTINGS_AT_ONCE,
) -> Arrivals:
    """List what has arrived for the partition that starts at a label; nothing is fetched or written.

    Parameters
    ----------
    known : LedgerEntry, optional
        The partition as its last run left it.
    settled_before : Timestamp, optional
        In a shard of many labels, files of labels before this are taken from `known` where it has them, and only a few of
        the others are listed: to list a shard of many days takes long. Default: those past the give-up age.
    older_looked_for : int
        How many of those others.
    listings_at_once : int
        How many folders, at most.

    Raises
    ------
    SourceFileUnavailable
        When no archive that can be listed answers, or the time for it is over.
    """
    job = _region_job(dataset, workspace, label, now)
    objects = job.upstream_objects()
    listed, settled, left_out = objects, dict[str, str](), 0
    if dataset.template_config.shard_length > 1:
        settled_before = settled_before or _no_longer_awaited(dataset, now)
        recent = job.upstream_objects(since=settled_before)
        unknown = objects
        if known is not None:
            unknown = job.upstream_objects(since=min(settled_before, told_through(known) + MOMENT))
            unknown |= {key: objects[key] for key in objects.keys() & known.lacking}
            settled = {key: known.etags[key] for key in objects if key not in unknown and key in known.etags}
        older = _spread(sorted(unknown.keys() - recent.keys()), older_looked_for)
        listed = {key: unknown[key] for key in [*older, *recent]}
        left_out = len(unknown) - len(listed)
    archive = workspace.upstream.listed_for(label, now)
    if archive is None:
        raise SourceFileUnavailable(
            f"files of {label:%Y-%m-%dT%H:%M} were to be listed; no archive that keeps them can list"
        )
    found = _list_wanted(archive, listed, listings_at_once)
    whole = settled | _whole(listed, found)
    fingerprint = _digest([(info.key, info.size, info.etag) for info in found])
    asked = len(objects) - left_out if left_out else None
    return Arrivals(label, len(objects), len(whole), _newest(found), fingerprint, whole, archive.name, asked=asked)


def find_elsewhere(
    dataset: Declaration,
    workspace: Workspace,
    label: Timestamp,
    now: Timestamp,
    *,
    known: LedgerEntry | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> Arrivals | None:
    """Look for a partition in the archives that are not listed as a rule, for when the usual one has nothing new or is out.

    They are asked in their order: one that can list is listed, one that cannot is asked for a few of the files.

    Parameters
    ----------
    known : LedgerEntry, optional
        The partition as its last run left it. Files that it used, or that failed though they were there, are not looked for,
        nor files of labels past the give-up age.
    is_late : callable, optional
        Once it says so, nothing more is asked.

    Returns
    -------
    Arrivals or None
        In the first archive that has any of the files; None where none has, or could be asked.
    """
    template, job = dataset.template_config, _region_job(dataset, workspace, label, now)
    last = min(label + template.shard_duration - template.append_dim.frequency, now)
    since = None if known is None else _no_longer_awaited(dataset, now)
    settled = frozenset[str]() if known is None else settled_files(known)
    listed = workspace.upstream.listed_for(label, now)
    for archive in workspace.upstream.archives_for(last, now):
        if archive is listed:
            continue
        objects = job.upstream_objects(since, archive)
        wanted = {key: objects[key] for key in sorted(objects) if key not in settled}
        try:
            arrivals = _look_in(archive, label, wanted, is_late)
        except SourceFileUnavailable as error:
            log.warning("archive=%s label=%s could not be asked: %s", archive.name, f"{label:%Y-%m-%dT%H:%M}", error)
            continue
        if arrivals.present:
            return arrivals
    return None


def files_of_labels(
    dataset: Declaration, workspace: Workspace, labels: Mapping[str, pd.DatetimeIndex], now: Timestamp
) -> frozenset[str]:
    """Keys of the files of some labels of a shard that have begun; nothing is listed.

    Parameters
    ----------
    labels : mapping
        By variable: ascending labels without gaps, the last one the same for all.
    """
    spans: dict[tuple[Timestamp, Timestamp], list[str]] = {}
    for name, wanted in labels.items():
        begun = wanted[: wanted.searchsorted(now, side="right")]
        if len(begun):
            spans.setdefault((begun[0], begun[-1]), []).append(name)
    keys: set[str] = set()
    for (first, last), names in spans.items():
        job = _job_up_to(dataset, workspace, first, last, now, names)
        keys |= job.upstream_objects(since=first).keys()
    return frozenset(keys)


def _no_longer_awaited(dataset: Declaration, now: Timestamp) -> Timestamp:
    """Files of labels before this are past the give-up age: a whole day, so that no hour changes what is listed."""
    return (now - dataset.give_up_age).normalize()


def _region_job(dataset: Declaration, workspace: Workspace, label: Timestamp, now: Timestamp) -> RegionJob[Any]:
    """The region job of all variables of a shard, up to what can be there by now."""
    template = dataset.template_config
    return _job_up_to(dataset, workspace, label, max(label, min(label + template.shard_duration, now)), now)


def _job_up_to(
    dataset: Declaration,
    workspace: Workspace,
    label: Timestamp,
    last: Timestamp,
    now: Timestamp,
    variables: Sequence[str] | None = None,
) -> RegionJob[Any]:
    """The region job of the shard that holds a label, up to a last label."""
    template = dataset.template_config
    # The shard before is all that a buffer may reach into; a longer archive would take longer to look at.
    recent = template.started_at(max(label - template.shard_duration, template.append_dim.start))
    context = dataset.context(workspace, now)
    (job,) = dataset.region_job.get_jobs(
        context, recent.get_template(last + MOMENT), contains=[label], variables=variables
    )
    return job


def _look_in(archive: Archive, label: Timestamp, wanted: Wanted, is_late: Callable[[], bool]) -> Arrivals:
    """Which of the wanted files one archive has; where it cannot list, which of a few of them, the same at every look."""
    if archive.can_list:
        _refuse_late(archive, is_late)
        found = _list_wanted(archive, wanted)
        asked, marks = wanted, [(info.key, info.size, info.etag) for info in found]
    else:
        asked = {key: wanted[key] for key in _spread(list(wanted), ASKED_FOR)}
        found = list(_ask_for(archive, asked, is_late))
        # Servers behind one name give different ETags and times for a file, and attempts are counted by the fingerprint.
        marks = [(info.key, info.size, None) for info in found]
    whole = _whole(asked, found)
    return Arrivals(
        label,
        len(wanted),
        len(whole),
        _newest(found),
        _digest([archive.name, *marks]),
        whole,
        archive.name,
        elsewhere=archive.name,
        asked=None if archive.can_list else len(asked),
    )


def _ask_for(archive: Archive, asked: Wanted, is_late: Callable[[], bool]) -> Iterator[FileInfo]:
    """The objects of each file that is wholly there, asked for one by one."""
    for keys in asked.values():
        try:
            found = []
            for key in keys:
                _refuse_late(archive, is_late)
                found.append(archive.head(key))
        except SourceFileMissing:
            continue
        yield from found


def _refuse_late(archive: Archive, is_late: Callable[[], bool]) -> None:
    if is_late():
        raise SourceFileUnavailable(
            f"{archive.url!r} is asked for nothing more: the time for it is over; the next look asks"
        )


def _spread(keys: Sequence[str], count: int) -> list[str]:
    """`count` of the keys, spread evenly, with the first and the last; all where there are fewer."""
    if len(keys) <= count:
        return list(keys)
    return [keys[round(i * (len(keys) - 1) / (count - 1))] for i in range(count)]


def _whole(wanted: Wanted, found: Sequence[FileInfo]) -> dict[str, str]:
    """Version of each file all of whose objects were found."""
    versions = {info.key: info.etag or "" for info in found}
    return {key: versions[keys[0]] for key, keys in wanted.items() if all(one in versions for one in keys)}


def _newest(found: Sequence[FileInfo]) -> Timestamp | None:
    return max((info.last_modified for info in found), default=None)


def _digest(marks: Sequence[object]) -> str:
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:12]


def _list_wanted(archive: Archive, wanted: Wanted, at_once: int = LISTINGS_AT_ONCE) -> list[FileInfo]:
    """The wanted objects that an archive has, in the order of keys within each folder."""
    folders: dict[str, list[str]] = {}
    for key in sorted({key for keys in wanted.values() for key in keys}):
        folders.setdefault(key.rpartition("/")[0] or ".", []).append(key)
    if not folders:
        return []
    is_out = Event()

    def list_one(folder: tuple[str, list[str]]) -> list[FileInfo]:
        if is_out.is_set():  # the first failure is raised below
            return []
        try:
            return list(_list_folder(archive, *folder))
        except SourceFileUnavailable:
            is_out.set()
            raise

    # A source with a folder per variable takes a listing for each; one after the other, a sensor's time would run out.
    with ThreadPoolExecutor(min(at_once, len(folders)), "list") as pool:
        return [info for found in pool.map(list_one, folders.items()) for info in found]


def _list_folder(archive: Archive, folder: str, keys: list[str]) -> Iterator[FileInfo]:
    """Files of one folder, from where the wanted keys begin: a folder holds ten times what is wanted."""
    among = set(keys)
    for info in archive.list(folder, start_after=_before(keys)):
        if info.key in among:
            yield info
        elif info.key > keys[-1]:
            return


def _before(keys: list[str]) -> str | None:
    """The common beginning of all keys, less one character, so that it sorts before each of them."""
    return commonprefix(keys)[:-1] or None  # noqa: RUF071 characters are what is meant
