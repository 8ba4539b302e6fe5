"""One source archive, opened: bytes of its files, and what it says of them.

In: a key. Out: bytes of exactly the lengths asked for, or an error: the file is missing, or the archive does not hand it over.
This module does not know what the bytes mean.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING

import pandas as pd
from obstore.exceptions import BaseError
from obstore.store import HTTPStore, LocalStore

from reformatters_dagster.core.source.clients import open_archive
from reformatters_dagster.core.source.rate_limit import RateLimit
from reformatters_dagster.core.spec.errors import CorruptMessage, SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.failures import FAILURES, RANGE_PAST_END, Failure, UnusableAnswer, archive_failure
from reformatters_dagster.core.spec.retries import Patience, ask_patiently
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta

log = logging.getLogger(__name__)

type Range = tuple[int, int | None]
"""First byte and the byte after the last; None reads to the end of the file."""

LIST_PAGE = 1000
"""Keys an object store hands out per request."""

TOLD_EVERY = 60.0
"""Seconds between lines of the log that an archive is waited for: hundreds of requests may wait at a time."""


@dataclass(frozen=True)
class FileInfo:
    """What an archive says of a file."""

    key: str
    size: int
    """Bytes."""
    etag: str | None
    """As the archive writes it, quotes included."""
    last_modified: Timestamp
    """Naive UTC; 1970-01-01 where the archive does not say."""


class Archive:
    """One source archive, opened. Its methods may be called from many threads at once.

    Parameters
    ----------
    source : SourceArchive
    mirror : str, optional
        Folder or URL that holds the archive in `{mirror}/{source.folder}`.
    patience : Patience
    limit : RateLimit, optional
        Shared by the archives of one host.
    stop : Event, optional
        Once it is set no further request begins.
    list_page : int
        Keys to ask for at a time.

    Attributes
    ----------
    name : str
        Folder of a mirror that stands for the archive.
    url : str
        What its keys are appended to, after a slash.

    Notes
    -----
    Every method raises `SourceFileMissing` when the archive says, by its table of statuses, that the file is not there, and
    `SourceFileUnavailable` when it refuses, or fails at every attempt. A folder is asked once.

    obstore always follows redirects. A host that redirects instead of answering shows in what comes back: a whole body for
    a range, or a page of HTML. That counts as status 302. A redirect to a page that answers with an error counts as that
    error.

    Examples
    --------
    >>> class TwoLayoutsJob(WholeFileGribRegionJob[ForecastFileCoord]):
    ...     def key_in(self, archive: Archive, coord: ForecastFileCoord) -> str:
    ...         return f"latest/{coord.key()}" if archive.name == "example.org/weather" else coord.key()
    """

    def __init__(
        self,
        source: SourceArchive,
        *,
        mirror: str | None = None,
        patience: Patience,
        limit: RateLimit | None = None,
        stop: Event | None = None,
        list_page: int = LIST_PAGE,
    ) -> None:
        self.name = source.folder
        self._stop = stop or Event()
        self._answers = source.answers
        self._list_page_size = list_page
        self._limit = limit
        self._store, self.url, self._prefix = open_archive(source, mirror, patience)
        # A folder says at once whether it has a file.
        self._patience = replace(patience, attempts=1) if isinstance(self._store, LocalStore) else patience
        self._ends = patience.clock() + patience.asked_for
        self._told = -math.inf
        self._is_bucket = not isinstance(self._store, LocalStore | HTTPStore)

    @property
    def can_list(self) -> bool:
        """Whether `list` works; plain HTTP hosts have no listing."""
        return not isinstance(self._store, HTTPStore)

    def head(self, key: str) -> FileInfo:
        """Size, ETag and age of a file."""
        return self._info(self._ask(key, partial(self._open_file, key, {"head": True})).meta)

    def get(self, key: str, *, most: int | None = None) -> tuple[bytes, FileInfo]:
        """A whole file, meant for small ones such as an index.

        `CorruptMessage` where it has more than `most` bytes; then none are fetched.
        """

        def read() -> tuple[bytes, FileInfo]:
            answer = self._open_file(key, {})
            size = answer.meta["size"]
            if most is not None and size > most:
                raise CorruptMessage(
                    f"{key!r} at {self.url!r} has {size} bytes, it can need {most} at most; it is damaged or another file"
                )
            return answer.bytes().to_bytes(), self._info(answer.meta)

        return self._ask(key, read)

    def get_ranges(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, in the order given and of exactly the lengths asked for.

        One request per range: the caller joins ranges that lie close together.
        """
        closed = [(start, end) for start, end in ranges if end is not None]
        if self._is_bucket and self._limit is None and len(closed) == len(ranges) > 1:
            # In parallel while all goes well. One by one later, since then a failure does not cost the other ranges.
            self._take_turn()
            try:
                return self._read_at_once(key, closed)
            except FAILURES as error:
                failure = self._judge(key, error)
                log.debug(
                    "archive=%s file=%s ranges=%s %s, again one by one", self.name, key, len(ranges), failure.found
                )
                self._patience.sleep(self._patience.pause_after(1, failure))
        return [self._ask(key, partial(self._read_range, key, start, end)) for start, end in ranges]

    def _read_at_once(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        starts, ends = zip(*ranges, strict=True)
        parts = self._store.get_ranges(self._path(key), starts=starts, ends=ends, coalesce=0)
        # obstore returns too few bytes past the end of a file, and from a server that miscounts.
        if any(len(part) != end - start for part, (start, end) in zip(parts, ranges, strict=True)):
            raise UnusableAnswer("a range came back short")
        return [part.to_bytes() for part in parts]

    def list(self, prefix: str, *, start_after: str | None = None, limit: int | None = None) -> Iterator[FileInfo]:
        """Files below a prefix at any depth, in the order of their keys.

        Parameters
        ----------
        prefix : str
            Whole path segments: `a/b` finds `a/b/c`, not `a/bc`. One that does not exist holds no files.
        start_after : str, optional
            Leave out keys up to and including this one.
        limit : int, optional
            Stop after so many files; only the pages that are needed are fetched.
        """
        if not self.can_list:
            raise SourceFileUnavailable(f"{self.url!r} is plain HTTP and cannot list {prefix!r}; ask for files by key")
        return islice(self._list(prefix, start_after), limit)

    def _list(self, prefix: str, start_after: str | None) -> Iterator[FileInfo]:
        path, after = self._path(prefix), start_after and self._path(start_after)
        if isinstance(self._store, LocalStore):
            self._take_turn()
            found = self._ask(prefix, lambda: self._store.list(path, offset=after).collect())
            yield from map(self._info, sorted(found, key=lambda meta: meta["path"]))
            return
        while True:
            # Each page is a listing of its own, so that a failed one can be asked for again.
            page = self._ask(prefix, partial(self._list_page, path, after))
            if not page:
                return
            yield from map(self._info, page)
            after = page[-1]["path"]

    def _list_page(self, path: str, after: str | None) -> "Sequence[ObjectMeta]":
        self._take_turn()
        return next(self._store.list(path, offset=after, chunk_size=self._list_page_size), ())

    def _take_turn(self) -> None:
        if self._limit:
            self._limit.wait()
        if self._stop.is_set():
            raise SourceFileUnavailable(f"{self.url!r} is asked for nothing more: the run was stopped; start it again")
        if self._patience.clock() >= self._ends:
            raise SourceFileUnavailable(
                f"{self.url!r} is asked for nothing more: the time for it is over; the next look asks"
            )

    def _path(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _info(self, meta: "ObjectMeta") -> FileInfo:
        modified = pd.Timestamp(meta["last_modified"].astimezone(UTC).replace(tzinfo=None)).as_unit("us")
        return FileInfo(meta["path"].removeprefix(self._prefix), meta["size"], meta["e_tag"], modified)

    def _open_file(self, key: str, options: "GetOptions") -> "GetResult":
        self._take_turn()
        answer = self._store.get(self._path(key), options=options)
        content_type = str(answer.attributes.get("Content-Type", ""))
        if isinstance(self._store, HTTPStore) and content_type.startswith("text/html"):
            raise UnusableAnswer("a page of HTML came back", is_redirect=True)
        return answer

    def _read_range(self, key: str, start: int, end: int | None) -> bytes:
        answer = self._open_file(key, {"range": {"offset": start} if end is None else (start, end)})
        data, size = answer.bytes().to_bytes(), answer.meta["size"]
        end = size if end is None else end
        if len(data) != end - start:
            raise UnusableAnswer(f"{len(data)} bytes for range {(start, end)!r} of a file of {size}")
        return data

    def _ask[T](self, key: str, request: Callable[[], T]) -> T:
        """What a request returns, asked for again as long as another attempt may help."""

        def before_pause(failure: Failure, attempt: int, seconds: float) -> None:
            log.debug(
                "archive=%s file=%s attempt=%s %s, again in %.1f s", self.name, key, attempt, failure.found, seconds
            )
            self._tell_of_waiting(key, failure, attempt)
            if self._limit and failure.verdict == "throttled":
                self._limit.postpone(seconds)

        return ask_patiently(
            request,
            self._patience,
            judge=partial(self._judge, key),
            give_up=partial(self._error_for, key),
            before_pause=before_pause,
        )

    def _tell_of_waiting(self, key: str, failure: Failure, attempt: int) -> None:
        """So that who watches a run knows what it waits for."""
        now = self._patience.clock()
        if now - self._told >= TOLD_EVERY:
            self._told = now
            attempts = self._patience.attempts
            log.info(
                "archive=%s is waited for: file=%s attempt=%d of %d: %s",
                self.name,
                key,
                attempt,
                attempts,
                failure.found,
            )

    def _judge(self, key: str, error: Exception) -> Failure:
        failure = archive_failure(error, self._answers)
        return self._judge_past_end(key) if failure.status == RANGE_PAST_END else failure

    def _judge_past_end(self, key: str) -> Failure:
        """The upload of an empty file has only begun; any other file is shorter than its index says."""
        try:
            size = self._open_file(key, {"head": True}).meta["size"]
        except UnusableAnswer as page:
            return archive_failure(page, self._answers)
        except (BaseError, FileNotFoundError):
            return Failure(verdict="retry", found="a range past the end of the file")
        if size == 0:
            return Failure(verdict="missing", found="it is empty")
        return Failure(verdict="retry", found=f"a range past the end of a file of {size} bytes")

    def _error_for(self, key: str, failure: Failure, attempts: int) -> SourceFileMissing | SourceFileUnavailable:
        where, found = f"{key!r} at {self.url!r}", failure.found
        if failure.verdict == "missing":
            return SourceFileMissing(f"{where} is missing ({found}): not published yet, no longer kept, or never made")
        if failure.verdict == "refused":
            return SourceFileUnavailable(f"{where} was refused ({found}); check the archive's URL and who may read it")
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        word = "throttled" if failure.verdict == "throttled" else "could not be read"
        return SourceFileUnavailable(f"{where} {word} in {tries} ({found}); try later or another archive")
