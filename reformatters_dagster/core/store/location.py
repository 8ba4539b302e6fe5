"""One place that objects are put to: a bucket with a prefix, a local folder, or this process's memory.

In: keys and bytes. Out: bytes and ETags, or an error that says what to do. An object counts as absent only when the backend
says so: a refusal, a missing bucket or a dead network raises another error.
"""

import fcntl
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import GCSStore, LocalStore, ObjectStore

from reformatters_dagster.core.spec.errors import LandedLate, LeaseHeld, ObjectMoved
from reformatters_dagster.core.spec.failures import FAILURES, Failure
from reformatters_dagster.core.spec.retries import ASKED_AGAIN
from reformatters_dagster.core.store.connection import Connection

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult, UpdateVersion
    from zarr.abc.store import Store as ZarrStore

log = logging.getLogger(__name__)

type Etag = str
type Expected = Literal["absent"] | Etag

# Some parts of one upload are in memory at once, and several uploads run at a time.
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4


class Location:
    """A location as it is read: which objects there are, and what is in them."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        self._connection = connection

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def backend(self) -> ObjectStore:
        """The location itself, as obstore asks it."""
        return self._connection.client

    @property
    def has_conditions(self) -> bool:
        """Whether the location honours conditional puts; True until one shows that it does not."""
        return self._connection.has_conditions

    def reader(self) -> "ZarrStore":
        """The location as zarr and xarray open it, read-only: `xr.open_zarr(store.reader())`."""
        self._connection.refuse_late("read", "")
        from zarr.storage import ObjectStore as ZarrObjects

        return ZarrObjects(self._connection.retrying_client, read_only=True)

    def get(self, key: str) -> tuple[bytes, Etag]:
        """Content and ETag of one object; `FileNotFoundError` when it is absent."""

        def read() -> tuple[bytes, Etag]:
            answer = obstore.get(self.backend, key)
            return bytes(answer.bytes()), self._tag(answer.meta)

        return self._connection.ask("get", key, read)

    def get_or_none(self, key: str) -> tuple[bytes, Etag] | None:
        """As `get`, with None for an absent object."""
        try:
            return self.get(key)
        except FileNotFoundError:
            return None

    def get_buffer(self, key: str) -> memoryview | None:
        """Content of one object, not copied, for large ones; None when it is absent."""
        try:
            return self._connection.ask("get", key, lambda: memoryview(obstore.get(self.backend, key).bytes()))
        except FileNotFoundError:
            return None

    def head(self, key: str) -> tuple[int, Etag]:
        """Bytes and ETag of one object; `FileNotFoundError` when it is absent."""

        def ask() -> "ObjectMeta":
            try:
                return obstore.head(self.backend, key)
            except (BaseError, FileNotFoundError):
                # Only a body tells a missing bucket from an expired token, and an answer to HEAD has none.
                return obstore.get(self.backend, key).meta

        meta = self._connection.ask("head", key, ask)
        return meta["size"], self._tag(meta)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Key and size in bytes of every object below a prefix of whole segments, in key order."""

        return sorted((meta["path"], meta["size"]) for meta in self._below(prefix))

    def etags(self, prefix: str) -> dict[str, Etag]:
        """ETag of every object below a prefix of whole segments; empty where a list does not tell it as a condition takes it.

        Google lists no generations, and Azure no quotes.
        """
        tags = {meta["path"]: self._tag(meta) for meta in self._below(prefix)}
        return {key: tag if tag.startswith(('"', "W/")) else "" for key, tag in tags.items()}

    def _below(self, prefix: str) -> "Sequence[ObjectMeta]":
        def pages() -> "Sequence[ObjectMeta]":
            found = obstore.list(self.backend, prefix or None, chunk_size=1000)
            return [meta for page in found for meta in page]

        return self._connection.ask("list", prefix, pages)

    @property
    def _tag_field(self) -> Literal["version", "e_tag"]:
        """What a conditional put compares: the generation on Google's store, the ETag elsewhere."""
        return "version" if isinstance(self._connection.client, GCSStore) else "e_tag"

    def _tag(self, meta: "ObjectMeta | PutResult") -> Etag:
        return meta[self._tag_field] or ""


class Store(Location):
    """A location that holds objects under keys, for those who write them too."""

    check_writer: Callable[[], None] | None = None
    """See `guarded`."""

    def guarded(self, check_writer: Callable[[], None] | None) -> Self:
        """The same location for a writer who may lose the right to write; with None for one who needs none.

        Each attempt at a put, and each delete, calls `check_writer` first. What that raises ends the call, and nothing was sent.
        An upload in parts calls it again, from another thread, after each part is handed over, the last one included. What that
        raises aborts the upload, and nothing of it stands under the key.
        """
        guarded = copy(self)
        guarded.check_writer = check_writer
        return guarded

    def put(self, key: str, data: bytes | Path, *, only_if: Expected | None = None) -> Etag:
        """Write one object, whole or not at all.

        Parameters
        ----------
        key : str
            Segments joined by `/`; a colon is kept as it is.
        data : bytes or Path
            The content, or a file of it.
        only_if : "absent" or ETag, optional
            The object is written only if nothing stands under the key, or the version with that ETag.

        Returns
        -------
        Etag
            Of the object written.

        Raises
        ------
        ObjectMoved
            When something else stands there; nothing was written.
        StoreAccessDenied, StoreUnavailable
            When attempts are used up, or another attempt would not help.
        """
        if only_if is None:
            return self._connection.ask("put", key, lambda: self._put_checked(key, data))
        return self._put_if(key, data.read_bytes() if isinstance(data, Path) else data, only_if)

    def put_over(self, key: str, data: bytes | Path, found: Etag | None) -> Etag:
        """Write one object over whatever stands there, so that no attempt at it can land once a later writer has put another.

        A store may carry out a request long after it was given up and sent again. So each attempt names the version that it
        replaces, and where another one stands, the next attempt names that. Files in parts are bound to their upload instead,
        which ends before it is begun again. A store without conditions just puts. S3's ETag is a digest of the content: there a
        late attempt lands after all where somebody has put the very bytes again that it was to replace.

        Parameters
        ----------
        found : ETag or None
            Of the object that was last seen there, as `etags` has it; empty where that is unknown, None where there was none.

        Raises
        ------
        StoreAccessDenied, StoreUnavailable
            As `put`.
        """
        if _is_in_parts(data):
            return self.put(key, data)
        standing = _Standing("absent" if found is None else found)
        return self._connection.ask("put", key, lambda: self._put_once_over(key, data, standing))

    def delete(self, key: str) -> None:
        """Remove one object; one that is absent stays so."""
        self._ask_first()
        try:
            self._connection.ask("delete", key, lambda: obstore.delete(self.backend, key))
        except FileNotFoundError:
            log.debug("delete key=%s store=%s was absent", key, self.url)

    def _ask_first(self) -> None:
        if self.check_writer is not None:
            self.check_writer()

    def _put_checked(self, key: str, data: bytes | Path, only_if: Expected | None = None) -> Etag:
        self._ask_first()
        began = self._connection.patience.clock()
        etag = self._put(key, data, only_if)
        self._ask_after(key, self._connection.patience.clock() - began)
        return etag

    def _ask_after(self, key: str, seconds: float) -> None:
        """Ask again after a put that took longer than a put may: the process stood still, and the right may have been lost."""
        if self.check_writer is None or seconds <= self._connection.patience.timeout:
            return
        try:
            self.check_writer()
        except LeaseHeld as error:
            raise LandedLate(
                f"{self.url}/{key} was put in {seconds:.0f} s, and the right to write it was lost meanwhile ({error}): it may "
                "have replaced what another run put; that is noted, and the partition is made again"
            ) from error

    def _put(self, key: str, data: bytes | Path, only_if: Expected | None) -> Etag:
        """One attempt."""
        if isinstance(data, Path) and _is_in_parts(data):
            return self._put_parts(key, data)
        return self._tag(obstore.put(self.backend, key, data, mode=self._mode(only_if), use_multipart=False))

    def _put_parts(self, key: str, path: Path) -> Etag:
        """One attempt, in parts: readers see all of them or none."""
        # obstore cannot be asked from within its own call, and check_writer may put a lease.
        with ThreadPoolExecutor(1) as aside, path.open("rb") as file:

            def pieces() -> Iterator[bytes]:
                while piece := file.read(PART_BYTES):
                    yield piece
                    aside.submit(self._ask_first).result()

            return self._tag(
                obstore.put(
                    self._connection.retrying_client,
                    key,
                    pieces(),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
            )

    def _mode(self, only_if: Expected | None) -> "PutMode":
        if only_if is None:
            return "overwrite"
        if only_if == "absent":
            return "create"
        return cast("UpdateVersion", {self._tag_field: only_if})

    def _put_if(self, key: str, data: bytes, only_if: Expected) -> Etag:
        """Put on a condition. After a lost answer, read what stands there before the next attempt."""
        doubt = _Doubt()
        return self._connection.ask("put", key, lambda: self._put_once_if(key, data, only_if, doubt))

    def _put_once_if(self, key: str, data: bytes, only_if: Expected, doubt: "_Doubt") -> Etag:
        """One attempt. Where it fails, read what it did; raise its error only if another attempt can decide."""
        self._ask_first()
        if not self._connection.has_conditions:
            return self._put_compared(key, data, only_if)
        try:
            return self._put(key, data, only_if)
        except FAILURES as error:
            failure = self._connection.judge(error)
            if failure.verdict == "unsupported" or (doubt.refused and failure.verdict == "conflict"):
                self._distrust_conditions(failure)
                return self._put_compared(key, data, only_if)
            if failure.verdict not in ASKED_AGAIN:
                raise
            found = self.get_or_none(key)
            doubt.lost |= failure.verdict != "conflict"
            if doubt.lost and found is not None and found[0] == data:
                return found[1]
            self._require(key, found and found[1], only_if)
            # A 409 means that two conditional puts run at once, and neither is decided yet.
            doubt.refused |= failure.verdict == "conflict" and failure.status != 409
            raise

    def _put_once_over(self, key: str, data: bytes | Path, standing: "_Standing") -> Etag:
        """One attempt. Where another version stands than the one that it was to replace, the next attempt is to replace that."""
        if not self._connection.has_conditions:
            return self._put_checked(key, data)
        standing.etag = standing.etag or self._state_of(key)
        try:
            return self._put_checked(key, data, standing.etag)
        except FAILURES as error:
            failure = self._connection.judge(error)
            if failure.verdict == "unsupported" or (standing.refused and failure.verdict == "conflict"):
                self._distrust_conditions(failure)
                return self._put_checked(key, data)
            if failure.verdict == "conflict":
                before, standing.etag = standing.etag, self._state_of(key)
                standing.refused = standing.etag == before and failure.status != 409
            raise

    def _state_of(self, key: str) -> Expected:
        try:
            return self.head(key)[1]
        except FileNotFoundError:
            return "absent"

    def _put_compared(self, key: str, data: bytes, only_if: Expected) -> Etag:
        """Compare, then put, where the backend offers no conditions: a writer between the two requests goes unnoticed."""
        self._compare(key, only_if)
        return self._connection.ask("put", key, lambda: self._put_checked(key, data))

    def _distrust_conditions(self, failure: Failure) -> None:
        self._connection.has_conditions = False
        log.warning(
            "%s does not honour conditional puts (%s): what stands there is read and compared before a put instead, "
            "and two writers within one moment can slip through; let one writer at a time publish to it",
            self.url,
            failure.found,
        )

    def _compare(self, key: str, only_if: Expected) -> None:
        found = self.get_or_none(key)
        self._require(key, found and found[1], only_if)

    def _require(self, key: str, found: Etag | None, only_if: Expected) -> None:
        if found != (None if only_if == "absent" else only_if):
            raise ObjectMoved(
                f"{self.url}/{key} was to be written only if {_state(only_if)}; found {_state(found or 'absent')}: "
                "another writer was first; read it again and decide anew"
            )


@dataclass
class _Doubt:
    """What earlier attempts of one conditional put have left open."""

    lost: bool = False
    """Whether an answer was lost: the object may have been written."""
    refused: bool = False
    """Whether the condition was refused although it held."""


@dataclass
class _Standing:
    """What attempts at one `put_over` have found."""

    etag: Expected
    """Of the version that the next attempt replaces; empty where it is unknown."""
    refused: bool = False
    """Whether the condition was refused although it held."""


class FolderStore(Store):
    """A local folder, made by the first put.

    A conditional put holds a lock on `.<folder>.lock` beside the folder, where no reader of the store looks. The system
    drops the lock with the process that holds it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(Connection(str(folder), lambda: (LocalStore(), LocalStore())))
        self.folder = folder

    @property
    def backend(self) -> ObjectStore:
        self.folder.stat()
        return LocalStore(self.folder)

    def reader(self) -> "ZarrStore":
        from zarr.storage import LocalStore as ZarrFolder

        return ZarrFolder(self.folder, read_only=True)

    def _below(self, prefix: str) -> "Sequence[ObjectMeta]":
        try:
            return super()._below(prefix)
        except FileNotFoundError:
            return []

    def put_over(self, key: str, data: bytes | Path, found: Etag | None) -> Etag:  # noqa: ARG002 nothing is carried out late
        """As `put`: a disk carries out no request after it was given up."""
        return self.put(key, data)

    def _put(self, key: str, data: bytes | Path, only_if: Expected | None) -> Etag:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._tag(obstore.put(self.backend, key, data, mode=self._mode(only_if)))

    def _put_if(self, key: str, data: bytes, only_if: Expected) -> Etag:
        self._ask_first()  # not under the lock: the answer may take a put to this folder
        with self._locked(key):
            self._compare(key, only_if)
            return self._connection.ask("put", key, lambda: self._put(key, data, None))

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self.folder.parent / f".{self.folder.name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except OSError as error:
            raise self._connection.error_for("put", key, self._connection.judge(error)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_in_parts(data: bytes | Path) -> bool:
    return isinstance(data, Path) and data.stat().st_size > PART_BYTES


def _state(found: Expected) -> str:
    return "nothing stands there" if found == "absent" else f"its ETag is {found!r}"
