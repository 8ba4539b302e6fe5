"""Bytes of source files, from the real archives or from a mirror that stands for them.

In: a `SourceArchive` and a key. Out: bytes of exactly the lengths asked for, or an error that says whether the file is
missing or the archive would not hand it over. What the bytes mean is not known here.
"""

import logging
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pandas as pd
from obstore.exceptions import BaseError, NotSupportedError
from obstore.store import GCSStore, HTTPStore, LocalStore, S3Store, from_url

from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable, UpstreamMissing
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Timestamp

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

log = logging.getLogger(__name__)

type Range = tuple[int, int | None]
"""First byte and the byte after the last; None reads to the end of the file."""
type Verdict = Literal["missing", "throttled", "retry", "refused"]

LIST_PAGE = 1000
"""Keys an object store hands out per request."""
THROTTLED_FACTOR = 5
"""How much longer than usual to wait for an archive that throttles."""

# obstore's own retries would repeat a 429 within 0.1 s, unseen by the rate limit and the archive's status table.
_NO_RETRIES: "RetryConfig" = {"max_retries": 0}

# obstore tells statuses and kinds of failure only in the text of its errors.
_STATUS = re.compile(r"status code: (\d{3})")
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_KINDS = {"Connect": "no connection", "Timeout": "timed out", "Interrupted": "connection cut"}


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often an archive is asked before it is given up. Times in seconds.

    Attempt `n` is followed by a wait of `(n - 1) * U(0.8, 1.2) + 0.1`, five times that when the archive throttles.
    """

    attempts: int = 6
    deadline: float = 300.0
    """After its start, from which on a call begins no further attempt."""
    connect_timeout: float = 4.0
    timeout: float = 120.0
    """For one request, its body included."""
    asked_for: float = math.inf
    """After archives are opened, from which on no further request begins."""
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform

    def wait_after(self, attempt: int, verdict: Verdict) -> float:
        """Seconds to wait after an attempt, the first being 1."""
        wait = (attempt - 1) * self.jitter(0.8, 1.2) + 0.1
        return wait * THROTTLED_FACTOR if verdict == "throttled" else wait


class RateLimit:
    """Spaces the requests to one host evenly, over all threads that share it."""

    def __init__(self, requests_per_minute: int, patience: Patience) -> None:
        self._interval = 60 / requests_per_minute
        self._patience = patience
        self._next = patience.clock()
        self._lock = Lock()

    def wait(self) -> None:
        """Sleep until it is this request's turn."""
        with self._lock:
            now = self._patience.clock()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._patience.sleep(turn - now)

    def postpone(self, seconds: float) -> None:
        """Let no further request begin for so long."""
        with self._lock:
            self._next = max(self._next, self._patience.clock() + seconds)


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


class _UnusableAnswer(Exception):
    """An answer that came back well, and is not what was asked for."""

    def __init__(self, verdict: Verdict, found: str) -> None:
        super().__init__(found)
        self.verdict: Verdict = verdict


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

    Attributes
    ----------
    name : str
        Folder of a mirror that stands for the archive.
    url : str
        What its keys are appended to, after a slash.

    Notes
    -----
    Every method raises `SourceFileMissing` when the archive says that the file is not there, by its table of statuses,
    and `SourceFileUnavailable` when it refuses, or fails at every attempt. A folder is asked once.

    obstore follows redirects and cannot be told not to. A host that redirects instead of answering is known by what
    comes back, a whole body where a range was asked for, or a page of HTML, and that counts as status 302. A redirect
    to a page that answers with an error counts as that error.
    """

    def __init__(
        self,
        source: SourceArchive,
        *,
        mirror: str | None = None,
        patience: Patience,
        limit: RateLimit | None = None,
        stop: Event | None = None,
    ) -> None:
        self.name = source.folder
        self._stop = stop or Event()
        self._answers = source.answers
        self._patience = patience
        self._limit = limit
        self._store, self.url, self._prefix = _open(source, mirror, patience)
        self._ends = None if math.isinf(patience.asked_for) else patience.clock() + patience.asked_for
        self._is_bucket = not isinstance(self._store, LocalStore | HTTPStore)

    @property
    def can_list(self) -> bool:
        """Whether `list` works; plain HTTP hosts have no listing."""
        return not isinstance(self._store, HTTPStore)

    def head(self, key: str) -> FileInfo:
        """Size, ETag and age of a file."""
        return self._info(self._ask(key, partial(self._open_file, key, {"head": True})).meta)

    def get(self, key: str) -> tuple[bytes, FileInfo]:
        """A whole file, meant for small ones such as an index."""

        def read() -> tuple[bytes, FileInfo]:
            answer = self._open_file(key, {})
            return answer.bytes().to_bytes(), self._info(answer.meta)

        return self._ask(key, read)

    def get_ranges(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, in the order given and of exactly the lengths asked for.

        One request per range: those that lie close together are better joined before.
        """
        closed = [(start, end) for start, end in ranges if end is not None]
        if self._is_bucket and self._limit is None and len(closed) == len(ranges) > 1:
            # In parallel while all goes well; one by one, what has arrived need not be fetched again.
            try:
                return self._read_at_once(key, closed)
            except (BaseError, FileNotFoundError, _UnusableAnswer) as error:
                verdict, found = self._judge(key, error)
                log.debug("archive=%s file=%s ranges=%s %s, again one by one", self.name, key, len(ranges), found)
                self._patience.sleep(self._patience.wait_after(1, verdict))
        return [self._ask(key, partial(self._read_range, key, start, end)) for start, end in ranges]

    def _read_at_once(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self._take_turn()
        starts, ends = zip(*ranges, strict=True)
        parts = self._store.get_ranges(self._path(key), starts=starts, ends=ends, coalesce=0)
        # Past the end of a file, and from a server that miscounts, obstore returns less than was asked for.
        if any(len(part) != end - start for part, (start, end) in zip(parts, ranges, strict=True)):
            raise _UnusableAnswer("retry", "a range came back short")
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
        return next(self._store.list(path, offset=after, chunk_size=LIST_PAGE), ())

    def _take_turn(self) -> None:
        if self._limit:
            self._limit.wait()
        if self._stop.is_set():
            raise SourceFileUnavailable(f"{self.url!r} is asked for nothing more: the run was stopped; start it again")
        if self._ends is not None and self._patience.clock() >= self._ends:
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
            raise _UnusableAnswer(self._redirected, "a page of HTML came back")
        return answer

    def _read_range(self, key: str, start: int, end: int | None) -> bytes:
        answer = self._open_file(key, {"range": {"offset": start} if end is None else (start, end)})
        data, size = answer.bytes().to_bytes(), answer.meta["size"]
        end = size if end is None else end
        if len(data) != end - start:
            raise _UnusableAnswer("retry", f"{len(data)} bytes for range {(start, end)!r} of a file of {size}")
        return data

    def _ask[T](self, key: str, request: Callable[[], T]) -> T:
        """What a request returns, asked again for as long as it makes sense."""
        patience, attempt, started = self._patience, 0, self._patience.clock()
        attempts = 1 if isinstance(self._store, LocalStore) else patience.attempts
        while True:
            attempt += 1
            try:
                return request()
            except (BaseError, FileNotFoundError, _UnusableAnswer) as error:
                verdict, found = self._judge(key, error)
                wait = patience.wait_after(attempt, verdict)
                late = patience.clock() - started + wait > patience.deadline
                if verdict in ("missing", "refused") or attempt == attempts or late:
                    raise self._failure(key, verdict, found, attempt) from error
            log.debug("archive=%s file=%s attempt=%s %s, again in %.1f s", self.name, key, attempt, found, wait)
            if self._limit and verdict == "throttled":
                self._limit.postpone(wait)
            patience.sleep(wait)

    def _failure(
        self, key: str, verdict: Verdict, found: str, attempts: int
    ) -> SourceFileMissing | SourceFileUnavailable:
        where = f"{key!r} at {self.url!r}"
        if verdict == "missing":
            return SourceFileMissing(f"{where} is missing ({found}): not published yet, no longer kept, or never made")
        if verdict == "refused":
            return SourceFileUnavailable(f"{where} was refused ({found}); check the archive's URL and who may read it")
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        word = "throttled" if verdict == "throttled" else "could not be read"
        return SourceFileUnavailable(f"{where} {word} in {tries} ({found}); try later or another archive")

    @property
    def _redirected(self) -> Verdict:
        return self._answers.get(302, "retry")

    def _judge(self, key: str, error: Exception) -> tuple[Verdict, str]:
        """What to make of a failure, by the archive's own table, and what was found, in words."""
        if isinstance(error, _UnusableAnswer):
            return error.verdict, str(error)
        if isinstance(error, NotSupportedError):
            return self._redirected, "a whole body came back for a range"
        text = str(error)
        if "NoSuchBucket" in text:
            return "refused", "no such bucket"
        status = int(match[1]) if (match := _STATUS.search(text)) else None
        if status == 416 or "Requested range was invalid" in text:
            return self._judge_past_end(key)
        if status is not None:
            return self._answers.get(status, "retry" if status >= 500 else "refused"), f"status {status}"
        if isinstance(error, FileNotFoundError):
            return "missing", "no such file"
        if "redirect" in text:
            return self._redirected, _cause(error)
        kind = _KIND.search(text)
        return "retry", _KINDS.get(kind[1], _cause(error)) if kind else _cause(error)

    def _judge_past_end(self, key: str) -> tuple[Verdict, str]:
        """An empty file is one whose upload has only begun; any other is shorter than its index says."""
        try:
            size = self._open_file(key, {"head": True}).meta["size"]
        except _UnusableAnswer as page:
            return page.verdict, str(page)
        except (BaseError, FileNotFoundError):
            return "retry", "a range past the end of the file"
        return ("missing", "it is empty") if size == 0 else ("retry", f"a range past the end of a file of {size} bytes")


class Upstream:
    """The source archives of a dataset, in the order they are to be asked.

    Parameters
    ----------
    archives : sequence of SourceArchive
    mirror : str, optional
        Folder or URL (`s3://`, `gs://`, `az://`, `https://`) with one folder per archive, asked instead of the real
        ones. Its host is not rate-limited; its credentials come from the environment, as obstore reads them.
    patience : Patience, optional

    Attributes
    ----------
    stop : Event
        Set it, and waits end at once and no further request begins: what was being asked for fails.

    Raises
    ------
    UpstreamMissing
        The mirror is a folder that does not exist or holds none of the archives, or no URL that can be opened.
    """

    def __init__(
        self, archives: Sequence[SourceArchive], *, mirror: str | None = None, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        self.stop = Event()
        if patience.sleep is time.sleep:
            patience = replace(patience, sleep=self.stop.wait)
        limits: dict[str, RateLimit] = {}
        if mirror is None:
            limits = _rate_limits(archives, patience)
        else:
            _check_mirror(mirror, archives)
        self._archives = [
            (source, Archive(source, mirror=mirror, patience=patience, limit=limits.get(_host(source)), stop=self.stop))
            for source in archives
        ]

    def archives_for(self, label: Timestamp, now: Timestamp) -> list[Archive]:
        """Archives that keep the files of an append label, in order."""
        return [
            archive
            for source, archive in self._archives
            if (source.newest is None or label >= now - source.newest)
            and (source.until is None or label <= source.until)
        ]

    def listed_for(self, label: Timestamp, now: Timestamp) -> Archive | None:
        """The archive whose listing tells what of an append label has arrived: the first that can be listed."""
        return next((archive for archive in self.archives_for(label, now) if archive.can_list), None)


def _host(source: SourceArchive) -> str:
    return urlsplit(source.url).netloc


def _rate_limits(archives: Sequence[SourceArchive], patience: Patience) -> dict[str, RateLimit]:
    """One limit per host, the lowest that any of its archives states."""
    lowest: dict[str, int] = {}
    for source in archives:
        if (stated := source.requests_per_minute) is not None:
            lowest[_host(source)] = min(stated, lowest.get(_host(source), stated))
    return {host: RateLimit(per_minute, patience) for host, per_minute in lowest.items()}


def _folder(mirror: str) -> Path | None:
    """The mirror as a local folder, if it is one."""
    if mirror.startswith("file://"):
        return Path.from_uri(mirror)
    return None if "://" in mirror else Path(mirror)


def _check_mirror(mirror: str, archives: Sequence[SourceArchive]) -> None:
    folder = _folder(mirror)
    if folder is None or any((folder / source.folder).is_dir() for source in archives):
        return
    wanted = ", ".join(repr(source.folder) for source in archives)
    found = "holds none of" if folder.is_dir() else "is no folder, and was to hold"
    raise UpstreamMissing(f"upstream {mirror!r} {found} {wanted}; check REFORMATTERS_UPSTREAM or --upstream")


def _open(source: SourceArchive, mirror: str | None, patience: Patience) -> "tuple[ObjectStore, str, str]":
    """The store of an archive, its URL or path, and what the keys inside the store begin with."""
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=patience.connect_timeout),
        "timeout": timedelta(seconds=patience.timeout),
        "user_agent": "reformatters-dagster",
    }
    if mirror is None:
        return _open_real(source, client), source.url, ""
    if (folder := _folder(mirror)) is not None:
        # Opened at its root: a folder that is yet to come cannot be opened.
        return LocalStore(folder), str(folder / source.folder), f"{source.folder}/"
    # client_options replace what obstore reads from the environment, AWS_ALLOW_HTTP among it.
    client["allow_http"] = True
    url = f"{mirror.rstrip('/')}/{source.folder}"
    try:
        if url.startswith(("http://", "https://")):
            return HTTPStore(url, client_options=client, retry_config=_NO_RETRIES), url, ""
        return from_url(url, client_options=client, retry_config=_NO_RETRIES), url, ""
    except BaseError as error:
        found = f"upstream {mirror!r} cannot be opened ({_cause(error)})"
        advice = "give a folder, s3://, gs://, az:// or https:// as REFORMATTERS_UPSTREAM or --upstream"
        raise UpstreamMissing(f"{found}; {advice}") from error


def _open_real(source: SourceArchive, client: "ClientConfig") -> "ObjectStore":
    parts = urlsplit(source.url)
    bucket, prefix = parts.netloc, parts.path.strip("/") or None
    # Endpoints are said in full: AWS_ENDPOINT_URL and its kin mean the final stores, and obstore obeys them everywhere.
    if parts.scheme == "s3":
        region = source.region or "us-east-1"
        return S3Store(
            bucket,
            prefix=prefix,
            aws_endpoint_url_s3=f"https://s3.{region}.amazonaws.com",
            virtual_hosted_style_request=False,
            skip_signature=True,
            client_options=client,
            retry_config=_NO_RETRIES,
        )
    if parts.scheme == "gs":
        return GCSStore(
            bucket,
            prefix=prefix,
            base_url="https://storage.googleapis.com",
            skip_signature=True,
            client_options=client,
            retry_config=_NO_RETRIES,
        )
    client["allow_http"] = parts.scheme == "http"
    return HTTPStore(source.url, client_options=client, retry_config=_NO_RETRIES)


def _cause(error: Exception) -> str:
    """The end of an obstore message's first line, which leaves out addresses and milliseconds."""
    return str(error).split("\n", 1)[0].rsplit(" - ", 1)[-1]
