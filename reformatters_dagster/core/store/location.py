"""One place that objects are put to: a bucket with a prefix, a local folder, or this process's memory.

In: a base URL, keys and bytes. Out: bytes and ETags, or an error that says what to do. An object counts as absent only
where the backend says so: a refusal, a missing bucket or a dead network raises something else.
"""

import fcntl
import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import GCSStore, LocalStore, MemoryStore, ObjectStore

from reformatters_dagster.core.spec.errors import ObjectMoved, StoreUnavailable
from reformatters_dagster.core.store.failures import (
    STORE_ERRORS,
    Failure,
    failure_of,
    gist,
    status_of,
    translated,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult, UpdateVersion
    from zarr.abc.store import Store as ZarrStore

log = logging.getLogger(__name__)

type Etag = str
type Expected = Literal["absent"] | Etag
type Sleep = Callable[[float], None]
type Clients = tuple[ObjectStore, ObjectStore]
"""One that does not retry, and one that does."""
type Connect = Callable[[StorePatience], Clients]

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
# Parts of one upload are in memory at once, and several uploads run at a time.
PART_BYTES, PARTS_AT_ONCE = 8 << 20, 4


@dataclass(frozen=True, kw_only=True)
class StorePatience:
    """How long and how often a bucket is asked. Times in seconds."""

    attempts: int = 6
    timeout: float = 90.0
    """For one request, its body included."""
    asked_for: float = math.inf
    """After its opening, from which on no further request begins."""


DEFAULT_PATIENCE = StorePatience()


class Store:
    """A location that holds objects under keys.

    Parameters
    ----------
    url : str
        What people are told; every message names it.
    backend : obstore.store.ObjectStore
        The location itself. Its client should not retry: a retry that nobody sees turns a conditional put that
        succeeded into a refused one.
    patient : obstore.store.ObjectStore, optional
        The same location with a client that retries single requests, for uploads in parts and for readers.
    connect : callable, optional
        Makes both clients anew, with credentials as they are by then, to wait so long. Asked once for each request that is
        denied.
    sleep : callable
        Waits the given number of seconds between attempts.
    patience : StorePatience
        What its clients were made with.
    """

    def __init__(
        self,
        url: str,
        backend: ObjectStore,
        *,
        patient: ObjectStore | None = None,
        connect: "Connect | None" = None,
        sleep: Sleep = time.sleep,
        patience: StorePatience = DEFAULT_PATIENCE,
    ) -> None:
        self.url = url
        self._backend = backend
        self._patient = patient or backend
        self._connect = connect
        self._connecting = Lock()
        self._sleep = sleep
        self._has_conditions = True
        self._patience = patience
        self._ends = time.monotonic() + patience.asked_for

    def hurried(self, patience: StorePatience) -> "Store":
        """The same location for somebody who cannot wait for it; a folder or this process's memory is as it was."""
        if self._connect is None:
            return self
        backend, patient = self._connect(patience)
        return Store(self.url, backend, patient=patient, connect=self._connect, sleep=self._sleep, patience=patience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def backend(self) -> ObjectStore:
        return self._backend

    def reader(self) -> "ZarrStore":
        """The location as zarr and xarray open it, read-only: `xr.open_zarr(store.reader())`."""
        self._refuse_late("read", "")
        from zarr.storage import ObjectStore as ZarrObjects

        return ZarrObjects(self._patient, read_only=True)

    def put(self, key: str, data: bytes | Path, *, only_if: Expected | None = None) -> Etag:
        """Write one object, whole or not at all.

        Parameters
        ----------
        key : str
            Segments joined by `/`; a colon is kept as it is.
        data : bytes or Path
            The content, or a file of it.
        only_if : "absent" or ETag, optional
            What must stand under the key for the put to happen: nothing, or the version of that ETag.

        Returns
        -------
        Etag
            Of the object written.

        Raises
        ------
        ObjectMoved
            When `only_if` does not hold; nothing was written.
        StoreAccessDenied, StoreUnavailable
            When attempts are used up, or another attempt would not help.
        """
        if only_if is None:
            return self._try("put", key, lambda: self._put(key, data, None))
        return self._put_if(key, data.read_bytes() if isinstance(data, Path) else data, only_if)

    def get(self, key: str) -> tuple[bytes, Etag]:
        """Content and ETag of one object; `FileNotFoundError` when it is absent."""

        def read() -> tuple[bytes, Etag]:
            answer = obstore.get(self.backend, key)
            return bytes(answer.bytes()), self._tag(answer.meta)

        return self._try("get", key, read)

    def get_or_none(self, key: str) -> tuple[bytes, Etag] | None:
        """As `get`, with None for an absent object."""
        try:
            return self.get(key)
        except FileNotFoundError:
            return None

    def get_buffer(self, key: str) -> memoryview | None:
        """Content of one object in the memory it came in, for large ones; None when it is absent."""
        try:
            return self._try("get", key, lambda: memoryview(obstore.get(self.backend, key).bytes()))
        except FileNotFoundError:
            return None

    def head(self, key: str) -> tuple[int, Etag]:
        """Bytes and ETag of one object; `FileNotFoundError` when it is absent."""

        def ask() -> "ObjectMeta":
            try:
                return obstore.head(self.backend, key)
            except (BaseError, FileNotFoundError):
                # An answer to HEAD has no body, which alone tells a missing bucket and an expired token apart.
                return obstore.get(self.backend, key).meta

        meta = self._try("head", key, ask)
        return meta["size"], self._tag(meta)

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Key and bytes of every object below a prefix of whole segments, in key order."""

        def pages() -> list[tuple[str, int]]:
            found = obstore.list(self.backend, prefix or None, chunk_size=1000)
            return sorted((meta["path"], meta["size"]) for page in found for meta in page)

        return self._try("list", prefix, pages)

    def delete(self, key: str) -> None:
        """Remove one object; one that is absent stays so."""
        try:
            self._try("delete", key, lambda: obstore.delete(self.backend, key))
        except FileNotFoundError:
            log.debug("delete key=%s store=%s was absent", key, self.url)

    def _put(self, key: str, data: bytes | Path, only_if: Expected | None) -> Etag:
        """One attempt."""
        if isinstance(data, Path) and data.stat().st_size > PART_BYTES:
            parts = obstore.put(self._patient, key, data, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
            return self._tag(parts)
        return self._tag(obstore.put(self.backend, key, data, mode=self._mode(only_if), use_multipart=False))

    def _mode(self, only_if: Expected | None) -> "PutMode":
        if only_if is None:
            return "overwrite"
        if only_if == "absent":
            return "create"
        return cast("UpdateVersion", {self._tag_field: only_if})

    @property
    def _tag_field(self) -> Literal["version", "e_tag"]:
        """What a conditional put compares: the generation on Google's store, the ETag elsewhere."""
        return "version" if isinstance(self._backend, GCSStore) else "e_tag"

    def _tag(self, meta: "ObjectMeta | PutResult") -> Etag:
        return meta[self._tag_field] or ""

    def _put_if(self, key: str, data: bytes, only_if: Expected) -> Etag:
        """Put on a condition; where an answer is lost, look at what stands there before trying again."""
        unsure, refused, renewed = False, False, False
        self._refuse_late("put", key)
        for attempt in itertools.count(1):
            if not self._has_conditions:
                return self._put_compared(key, data, only_if)
            used = self._backend
            try:
                return self._put(key, data, only_if)
            except STORE_ERRORS as error:
                failure = self._failure(error)
                if failure == "denied" and not renewed and self._renew(used):
                    renewed = True
                    continue
                if failure == "unsupported" or (refused and failure == "refused"):
                    self._distrust_conditions(error)
                    continue
                if failure not in {"refused", "transient"}:
                    raise self._translated("put", key, error) from error
                found = self.get_or_none(key)
                unsure |= failure == "transient"
                if unsure and found is not None and found[0] == data:
                    return found[1]
                self._require(key, found and found[1], only_if)
                # A 409 means that two conditional puts ran at once and neither is decided yet.
                refused |= failure == "refused" and status_of(error) != 409
                self._pause(attempt, "put", key, error)
        raise AssertionError("unreachable")

    def _put_compared(self, key: str, data: bytes, only_if: Expected) -> Etag:
        """Stand in for a condition the backend does not offer: a writer between the two requests goes unnoticed."""
        found = self.get_or_none(key)
        self._require(key, found and found[1], only_if)
        return self.put(key, data)

    def _distrust_conditions(self, error: Exception) -> None:
        self._has_conditions = False
        log.warning(
            "%s does not honour conditional puts (%s): what stands there is read and compared before a put instead, "
            "and two writers within one moment can slip through; let one writer at a time publish to it",
            self.url,
            gist(error),
        )

    def _require(self, key: str, found: Etag | None, only_if: Expected) -> None:
        if found != (None if only_if == "absent" else only_if):
            raise ObjectMoved(
                f"{self.url}/{key} was to be written only if {_state(only_if)}; found {_state(found or 'absent')}: "
                "another writer was first; read it again and decide anew"
            )

    def _try[T](self, action: str, key: str, call: Callable[[], T]) -> T:
        """Call, and call again after failures that may pass by themselves."""
        renewed = False
        self._refuse_late(action, key)
        for attempt in itertools.count(1):
            used = self._backend
            try:
                return call()
            except STORE_ERRORS as error:
                failure = self._failure(error)
                if failure == "denied" and not renewed and self._renew(used):
                    renewed = True
                    continue
                if failure not in {"transient", "refused"}:
                    raise self._translated(action, key, error) from error
                self._pause(attempt, action, key, error)
        raise AssertionError("unreachable")

    def _renew(self, used: ObjectStore) -> bool:
        """Make the clients anew unless another thread has since they were used; whether to try again."""
        if self._connect is None:
            return False
        with self._connecting:
            if self._backend is used:
                try:
                    self._backend, self._patient = self._connect(self._patience)
                except (BaseError, ValueError) as error:
                    log.warning("%s was denied, and credentials could not be read again: %s", self.url, gist(error))
                    return False
                log.info("%s was denied; credentials are read again", self.url)
        return True

    def _pause(self, attempt: int, action: str, key: str, error: Exception) -> None:
        attempts = self._patience.attempts
        if attempt >= attempts or self._is_late:
            raise self._translated(action, key, error) from error
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
        log.info("%s %s/%s attempt=%d of %d: %s", action, self.url, key, attempt, attempts, gist(error))
        self._sleep(random.uniform(longest / 2, longest))

    @property
    def _is_late(self) -> bool:
        return time.monotonic() >= self._ends

    def _refuse_late(self, action: str, key: str) -> None:
        if self._is_late:
            raise StoreUnavailable(
                f"{self.url}/{key}: {action} was not begun: for {self._patience.asked_for:g} s the store was asked, and is "
                "asked for nothing more; the next look asks: if that ends so too, see why it is slow"
            )

    def _failure(self, error: Exception) -> Failure:
        return failure_of(error, remote=not isinstance(self._backend, LocalStore | MemoryStore))

    def _translated(self, action: str, key: str, error: Exception) -> Exception:
        return translated(action, f"{self.url}/{key}".rstrip("/"), error, self._failure(error))


class FolderStore(Store):
    """A local folder, made by the first put.

    A conditional put holds a lock on `.<folder>.lock` beside the folder, where no reader of the store looks. The system
    drops the lock with the process that holds it.
    """

    def __init__(self, folder: Path, *, sleep: Sleep = time.sleep) -> None:
        super().__init__(str(folder), LocalStore(), sleep=sleep)
        self.folder = folder

    @property
    def backend(self) -> ObjectStore:
        self.folder.stat()
        return LocalStore(self.folder)

    def reader(self) -> "ZarrStore":
        from zarr.storage import LocalStore as ZarrFolder

        return ZarrFolder(self.folder, read_only=True)

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        try:
            return super().list(prefix)
        except FileNotFoundError:
            return []

    def _put(self, key: str, data: bytes | Path, only_if: Expected | None) -> Etag:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._tag(obstore.put(self.backend, key, data, mode=self._mode(only_if)))

    def _put_if(self, key: str, data: bytes, only_if: Expected) -> Etag:
        with self._locked(key):
            return self._put_compared(key, data, only_if)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self.folder.parent / f".{self.folder.name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except OSError as error:
            raise self._translated("put", key, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _state(found: Expected) -> str:
    return "nothing stands there" if found == "absent" else f"its ETag is {found!r}"
