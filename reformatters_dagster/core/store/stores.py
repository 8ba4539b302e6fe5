"""The final stores of one dataset: where they are, and in which order they are written.

In: base URLs. Out: open `Store`s, and a `StoreSet` that writes to replicas before the primary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from obstore.exceptions import BaseError
from obstore.store import MemoryStore, from_url

from reformatters_dagster.core.spec.errors import CorruptRoot, Refused, StoreMissing, StoreUnavailable
from reformatters_dagster.core.spec.failures import store_failure
from reformatters_dagster.core.spec.retries import NO_RETRIES, STORE_PATIENCE, Patience
from reformatters_dagster.core.store.connection import CREDENTIALS, Clients, Connection, error_of
from reformatters_dagster.core.store.location import FolderStore, Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig

type OnReplicaFailure = Callable[[Store, Exception], None]


@dataclass(frozen=True)
class StoreSet:
    """All stores of one dataset: those that readers open, and the internal one with what the platform knows of it."""

    primary: Store
    replicas: tuple[Store, ...]
    internal: Store
    tolerate: OnReplicaFailure | None = None
    """Takes a replica that failed, and its error: the replica is left out from then on. None raises the error instead."""
    _left_out: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def live_replicas(self) -> tuple[Store, ...]:
        """Replicas that have not failed so far."""
        return tuple(replica for replica in self.replicas if replica.url not in self._left_out)

    def each_in_write_order(self, write: Callable[[Store], None]) -> None:
        """Call `write` with every replica, then with the primary: runs ask it what is missing, so it is never ahead of a replica.

        Raises
        ------
        StoreUnavailable, StoreMissing, CorruptRoot
            When the primary fails, or a replica while `tolerate` is None. No later store was written to.
        """
        for replica in self.live_replicas:
            try:
                write(replica)
            except (StoreUnavailable, StoreMissing, CorruptRoot) as error:
                if self.tolerate is None:
                    raise
                self.leave_out(replica)
                self.tolerate(replica, error)
        write(self.primary)

    def guarded(self, check_writer: Callable[[], None]) -> Self:
        """The same stores for a writer who may lose the right to write: see `Store.guarded`."""
        return replace(
            self,
            primary=self.primary.guarded(check_writer),
            replicas=tuple(replica.guarded(check_writer) for replica in self.replicas),
            internal=self.internal.guarded(check_writer),
        )

    def leave_out(self, replica: Store) -> None:
        """Write nothing more to a replica."""
        self._left_out.add(replica.url)


def final_path(dataset_id: str, version: str) -> str:
    """Where below a base the final store of a dataset is."""
    return f"{dataset_id}/v{version}.zarr"


def store_url(base_url: str, path: str) -> str:
    """Where `path` below a base is, as `Store.url` has it; nothing is opened, and no URL is refused."""
    scheme, separator, _ = base_url.partition("://")
    if not separator:
        return str(Path(base_url).expanduser().absolute() / path)
    if scheme == "file" and base_url.startswith("file:///"):
        return str(Path.from_uri(base_url) / path)
    return f"{base_url.rstrip('/')}/{path}".rstrip("/")


def open_store_set(
    primary_base: str,
    replica_bases: Sequence[str],
    dataset_id: str,
    version: str,
    *,
    patience: Patience = STORE_PATIENCE,
) -> StoreSet:
    """Open a dataset's final stores, `{base}/{dataset_id}/v{version}.zarr`, and its internal one at the primary base.

    Parameters
    ----------
    primary_base, replica_bases : str, sequence of str
        As `open_store` takes them.
    patience : Patience
        As `open_store` takes it.
    """
    path = final_path(dataset_id, version)
    return StoreSet(
        primary=open_store(primary_base, path, patience=patience),
        replicas=tuple(open_store(base, path, patience=patience) for base in replica_bases),
        internal=open_store(primary_base, f"{dataset_id}/_internal/v{version}", patience=patience),
    )


_MEMORY: dict[str, MemoryStore] = {}


def open_store(base_url: str, path: str, *, patience: Patience = STORE_PATIENCE) -> Store:
    """Open `path` below a base; nothing is read or written yet.

    Parameters
    ----------
    base_url : str
        `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///folder`, `memory://name`, or a folder, relative to the
        working directory. obstore finds credentials and endpoint in the environment. The same path of the same
        `memory://` base is the same store throughout a process.
    path : str
        Where below the base, such as `noaa-gfs-forecast/v1.0.0.zarr`.
    patience : Patience
        How often and how long a bucket is asked; it does not matter to a folder or to memory.

    Raises
    ------
    Refused
        For a URL that names no store.
    StoreAccessDenied
        When the environment does not name the account.
    """
    scheme, separator, _ = base_url.partition("://")
    url = store_url(base_url, path)
    if not separator or scheme == "file":
        _refuse_relative(base_url)
        return FolderStore(Path(url))
    if scheme == "memory":
        memory = _MEMORY.setdefault(url, MemoryStore())
        return Store(Connection(url, lambda: (memory, memory)))
    if scheme not in CREDENTIALS:
        raise Refused(
            f"store {base_url!r} was asked for; a store is a folder, or begins with s3://, gs://, az://, file:// or memory://"
        )
    return Store(_open_bucket(url, patience))


def _open_bucket(url: str, patience: Patience) -> Connection:
    # An endpoint is https unless its own URL says http, as one inside a cluster may.
    options: ClientConfig = {"allow_http": True, **patience.client_options()}

    def connect() -> Clients:
        plain = from_url(url, client_options=options, retry_config=NO_RETRIES)
        return plain, from_url(url, client_options=options, retry_config=patience.client_retries())

    try:
        return Connection(url, connect, patience)
    except (BaseError, ValueError) as error:
        failure = store_failure(error, remote=True)
        if failure.verdict == "denied":
            raise error_of("open", url, failure) from error
        raise Refused(f"store {url!r} was asked for; it cannot be: {failure.found}; correct the URL") from error


def _refuse_relative(base_url: str) -> None:
    # Without the third slash the first folder would be taken for a host.
    if base_url.startswith("file://") and not base_url.startswith("file:///"):
        raise Refused(
            f"store {base_url!r} was asked for; a folder's URL is absolute: write file:///data/stores, or a path"
        )
