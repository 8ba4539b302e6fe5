"""What of an append label has arrived upstream, found out by listing, not by fetching.

In: a dataset's region job and a label. Out: how many of the files it wants are there, and a fingerprint of them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os.path import commonprefix
from pathlib import PurePosixPath
from typing import Any

from reformatters_dagster.core.download import Archive, FileInfo, Upstream
from reformatters_dagster.core.errors import SourceFileUnavailable
from reformatters_dagster.core.job_context import JobContext
from reformatters_dagster.core.ledger import LedgerEntry
from reformatters_dagster.core.region_job import RegionJob
from reformatters_dagster.core.types import MOMENT, Timestamp

LISTINGS_AT_ONCE = 8
"""Of one archive, by one look."""


@dataclass(frozen=True)
class Arrivals:
    """The files of one partition, as the upstream lists them."""

    label: Timestamp
    expected: int
    present: int
    newest: Timestamp | None
    """When the last of them was written; None while there is none."""
    fingerprint: str
    """Changes when a file that was listed arrives, or is published again."""
    etags: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Version of each file that is wholly there: its index too, where it has one."""

    @property
    def complete(self) -> bool:
        return self.present == self.expected


def find_arrivals(
    region_job: type[RegionJob[Any]],
    context: JobContext,
    label: Timestamp,
    *,
    known: LedgerEntry | None = None,
    settled_before: Timestamp | None = None,
) -> Arrivals:
    """List what has arrived for the partition that starts at a label.

    Parameters
    ----------
    region_job : type of RegionJob
        Says which files the partition wants.
    context : JobContext
        Its upstream is listed; nothing is fetched or written.
    known : LedgerEntry, optional
        The partition as its last run left it.
    settled_before : Timestamp, optional
        Files of labels before this are not listed where `known` covers them, but taken from it: a shard of many days would
        be a long listing otherwise.

    Raises
    ------
    SourceFileUnavailable
        When no archive that can be listed answers.
    """
    template = context.template_config
    # The shard before is all that a buffer may reach into; a longer archive would take longer to look at.
    recent = template.started_at(max(label - template.shard_duration, template.append_dim.start))
    template_ds = recent.get_template(max(label, min(label + template.shard_duration, context.now)) + MOMENT)
    (job,) = region_job.get_jobs(context, template_ds, contains=[label])
    objects = job.upstream_objects()
    listed, settled = objects, dict[str, str]()
    if known is not None and settled_before is not None:
        listed = job.upstream_objects(since=min(settled_before, known.region[1] + MOMENT))
        settled = {key: known.etags[key] for key in objects if key not in listed and key in known.etags}
    found = _list_wanted(context.upstream, {key for keys in listed.values() for key in keys}, label, context.now)
    versions = {info.key: info.etag or "" for info in found}
    whole = settled | {key: versions[key] for key, keys in listed.items() if all(one in versions for one in keys)}
    newest = max((info.last_modified for info in found), default=None)
    digest = hashlib.sha256(repr([(info.key, info.size, info.etag) for info in found]).encode()).hexdigest()[:12]
    return Arrivals(label, len(objects), len(whole), newest, digest, whole)


def _list_wanted(upstream: Upstream, wanted: set[str], label: Timestamp, now: Timestamp) -> list[FileInfo]:
    """The wanted files that the first archive that can be listed has, in key order."""
    archive = upstream.listed_for(label, now)
    if archive is None:
        raise SourceFileUnavailable(
            f"files of {label:%Y-%m-%dT%H:%M} were to be listed; no archive that keeps them can list"
        )
    folders: dict[str, list[str]] = {}
    for key in sorted(wanted):
        folders.setdefault(str(PurePosixPath(key).parent), []).append(key)
    if not folders:
        return []
    # A source with a folder per variable takes a listing for each; one after the other, a sensor's time would run out.
    with ThreadPoolExecutor(min(LISTINGS_AT_ONCE, len(folders)), "list") as pool:
        listed = pool.map(lambda item: list(_list_folder(archive, *item)), folders.items())
        return [info for found in listed for info in found]


def _list_folder(archive: Archive, folder: str, keys: list[str]) -> Iterator[FileInfo]:
    """Files of one folder, starting at what the keys have in common: a folder holds ten times what is wanted of it."""
    among = set(keys)
    for info in archive.list(folder, start_after=_before(keys)):
        if info.key in among:
            yield info
        elif info.key > keys[-1]:
            return


def _before(keys: list[str]) -> str | None:
    """Most of what all keys begin with: it sorts before each of them, even one that another begins with."""
    return commonprefix(keys)[:-1] or None  # noqa: RUF071 characters are what is meant
