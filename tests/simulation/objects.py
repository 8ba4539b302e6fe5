"""Object stores in memory, asked as obstore is asked.

In: keys and bytes, from the real `Store` and its `Connection`. Out: bytes and ETags, errors of obstore, and every fault that the
seed has for the request.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY
from reformatters_dagster.core.store.connection import Connection
from reformatters_dagster.core.store.location import Store
from tests.simulation.faults import Faults, Kind
from tests.simulation.scheduler import Killed, Scheduler

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer as AnyBuffer
    from zarr.abc.store import Store as ZarrStore

type OnChange = Callable[["Bucket", str], None]


@dataclass(eq=False)
class Bucket:
    """What a store holds."""

    name: str
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Content and ETag by key."""
    on_change: OnChange = lambda bucket, key: None
    out_until: float = 0.0
    """It answers nothing before this time."""
    lost: set[str] = field(default_factory=set)
    """Keys of objects that have vanished, and were not put again."""
    puts: int = 0
    history: dict[str, list[bytes]] = field(default_factory=dict)
    """Every content that an object has had, oldest first, without repetitions."""

    def put(self, key: str, data: bytes) -> str:
        self.puts += 1
        etag = f"{self.name}-{self.puts}"
        self.objects[key] = data, etag
        if data not in (versions := self.history.setdefault(key, [])):
            versions.append(data)
        self.lost.discard(key)
        self.on_change(self, key)
        return etag

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self.on_change(self, key)

    def content(self) -> dict[str, bytes]:
        """Every object by key."""
        return {key: data for key, (data, _) in self.objects.items()}

    def lose(self, draw: float, wanted: Callable[[str], bool]) -> None:
        """Let one of the wanted objects vanish."""
        keys = sorted(filter(wanted, self.objects))
        if keys:
            key = keys[int(draw * len(keys))]
            self.lost.add(key)
            self.delete(key)

    def below(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key == prefix or key.startswith(f"{prefix}/") or not prefix)


class Client:
    """A bucket as one process asks it with the credentials that it has read: what obstore calls a store."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.expired = False


@dataclass(frozen=True)
class Answer:
    """An object that was asked for."""

    data: bytes
    meta: dict[str, Any]

    def bytes(self) -> bytes:
        return self.data


class SimulatedObstore:
    """The functions of obstore that `store.location` calls."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._scheduler, self._faults = scheduler, faults

    def put(
        self, client: Client, key: str, data: bytes | Path, *, mode: Any = "overwrite", **_: object
    ) -> dict[str, Any]:
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        bucket = client.bucket

        def apply() -> str:
            found = bucket.objects.get(key)
            if mode == "create" and found is not None:
                raise AlreadyExistsError(f"{key} already exists")
            if isinstance(mode, dict) and (found is None or found[1] != mode["e_tag"]):
                raise PreconditionError(f"{key} was replaced")
            return bucket.put(key, content)

        if mode == "overwrite":
            return {"e_tag": self._request("put", client, key, apply), "version": None}
        if self._faults.families.no_conditions:
            self._faults.occurs(f"{bucket.name} knows no conditional puts")
            self._request("head", client, key, lambda: None)
            raise GenericError(f"{key}: Server returned non-2xx status code: 501")
        return {"e_tag": self._request("put if", client, key, apply), "version": None}

    def get(self, client: Client, key: str) -> Answer:
        def apply() -> Answer:
            data, etag = _found(client.bucket, key)
            return Answer(data, {"path": key, "size": len(data), "e_tag": etag, "version": None})

        return self._request("get", client, key, apply)

    def head(self, client: Client, key: str) -> dict[str, Any]:
        def apply() -> dict[str, Any]:
            data, etag = _found(client.bucket, key)
            return {"path": key, "size": len(data), "e_tag": etag, "version": None}

        return self._request("head", client, key, apply)

    def list(self, client: Client, prefix: str | None = None, **_: object) -> Iterator[list[dict[str, Any]]]:
        def apply() -> list[dict[str, Any]]:
            objects = client.bucket.objects
            return [{"path": key, "size": len(objects[key][0])} for key in client.bucket.below(prefix or "")]

        yield self._request("list", client, prefix or "", apply)

    def delete(self, client: Client, key: str) -> None:
        self._request("delete", client, key, lambda: client.bucket.delete(key))

    def read_all(self, client: Any) -> None:
        """One step for what zarr reads of a store."""
        self._request("get", client, "zarr", lambda: None)

    def _request[T](self, kind: Kind, client: Client, key: str, apply: Callable[[], T]) -> T:
        step = take_step(self._scheduler, self._faults, kind, f"{client.bucket.name}/{key}")
        if self._scheduler.now < client.bucket.out_until:
            raise GenericError(f"{key}: HttpError {{ kind: Connect }}")
        if step.wrong == "denied":
            client.expired = True
        if client.expired:
            raise PermissionDeniedError(f"{key}: ExpiredToken: Server returned non-2xx status code: 403")
        if step.wrong == "refused":
            raise GenericError(f"{key}: Server returned non-2xx status code: 500")
        if step.wrong == "conflict":
            raise _conflict(key)
        if step.wrong == "late":
            self._scheduler.late_calls += 1
            self._scheduler.call_at(self._scheduler.now + step.later, lambda: self._apply_late(apply))
            raise GenericError(f"{key}: HttpError {{ kind: Timeout }}")
        result = apply()
        if step.wrong == "lost answer":
            raise GenericError(f"{key}: HttpError {{ kind: Interrupted }}")
        if step.wrong == "conflict that landed":
            raise _conflict(key)
        return result

    def _apply_late(self, apply: Callable[[], object]) -> None:
        self._scheduler.late_calls -= 1
        try:
            apply()
        except (AlreadyExistsError, PreconditionError):
            return


def take_step(scheduler: Scheduler, faults: Faults, kind: Kind, key: str) -> Any:
    """Let the time of a request pass; the process may end, or stand still, at it."""
    process = scheduler.current.process
    if process.dead:
        raise Killed
    process.steps += 1
    step = faults.step(process.name, process.steps, kind, key)
    if step.wrong == "kill":
        process.dead = True
        raise Killed
    if step.wrong == "stall":
        process.stalled_until = scheduler.now + step.later
        faults.on_stall(process.name, step.later)
    scheduler.sleep(step.seconds)
    return step


def _conflict(key: str) -> Exception:
    """What a store answers that carries out another conditional put of the same object."""
    return PreconditionError(f"{key}: Server returned non-2xx status code: 409 Conflict")


def _found(bucket: Bucket, key: str) -> tuple[bytes, str]:
    if key not in bucket.objects:
        raise FileNotFoundError(f"Object at location {key} not found")
    return bucket.objects[key]


class SimulatedStore(Store):
    """The real store over a bucket in memory."""

    def __init__(
        self, bucket: Bucket, obstore: SimulatedObstore, patience: Patience, sharded: Collection[str] = ()
    ) -> None:
        self._sharded, self._bucket = frozenset(sharded), bucket

        def connect() -> Any:
            client = Client(bucket)
            return client, client

        super().__init__(Connection(f"sim://{bucket.name}", connect, patience))
        self._obstore = obstore

    def visible(self, names: Collection[str]) -> frozenset[tuple[str, bytes]]:
        """Everything of some arrays: their documents in the root, and key and content of each object."""
        folders = tuple(f"{name}/" for name in names)
        objects = self._bucket.objects
        found = frozenset((key, data) for key, (data, _) in objects.items() if key.startswith(folders))
        return found | _documents(objects[ROOT_KEY][0], tuple(names)) if ROOT_KEY in objects else found

    def etags(self, prefix: str) -> dict[str, str]:
        """Without a request, so that seeds ask what they asked before uploads named what they replace.

        A list that fails is as a first put that fails; one that is out of date is as an object that moved meanwhile.
        """
        return {key: self._bucket.objects[key][1] for key in self._bucket.below(prefix)}

    def ask_for_all(self) -> None:
        """The request that a reader is, all of its parts in one."""
        self._connection.ask("get", "", lambda: self._obstore.read_all(self._connection.client))

    def reader(self) -> "ZarrStore":
        """Everything but the shards, as it is now."""
        self.ask_for_all()
        return self.still().reader()

    def still(self) -> "StillStore":
        """What readers see now, without a request."""
        objects = self._bucket.objects
        found: dict[str, AnyBuffer] = {
            key: Buffer.from_bytes(data) for key, (data, _) in objects.items() if not self._is_shard(key)
        }
        return StillStore(self.url, found)

    def _is_shard(self, key: str) -> bool:
        name, chunks, _ = key.partition("/c/")
        return bool(chunks) and name in self._sharded


@lru_cache(maxsize=4096)
def _documents(root: bytes, names: tuple[str, ...]) -> frozenset[tuple[str, bytes]]:
    documents = json.loads(root)["consolidated_metadata"]["metadata"]
    return frozenset((name, json.dumps(documents[name]).encode()) for name in names)


@dataclass(frozen=True)
class StillStore:
    """What a store holds at one moment, but for its shards."""

    url: str
    found: "dict[str, AnyBuffer]"

    def get_or_none(self, key: str) -> tuple[bytes, str] | None:
        return (self.found[key].to_bytes(), "") if key in self.found else None

    def reader(self) -> "ZarrStore":
        return MemoryStore(self.found, read_only=True)
