"""The upstream: files, when they come, and what is in them.

In: a seed. Out: the events of every file, an archive that lists and serves what is there, and the values of each version.

A file holds one label, or one lead time of one: an instantaneous value, and a total that starts anew every `WINDOW` hours. Each
version of a file has other values, so that a value tells which versions it was made from.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from obstore.exceptions import GenericError

from tests.simulation.chance import chance
from tests.simulation.faults import Families, Faults
from tests.simulation.layouts import HOUR, Layout
from tests.simulation.objects import Answer, take_step
from tests.simulation.scheduler import Scheduler

PER_HOUR = 1000.0
"""What a total grows by from file to file, but for its version."""

INDEX = ".idx"
"""What the key of an index ends with."""

type State = Literal["whole", "truncated", "corrupt", "gone", "index", "wrong index"]


@dataclass(frozen=True)
class FileEvent:
    """Something that happens to a file upstream."""

    at: float
    file: int
    version: int
    state: State

    @property
    def name(self) -> str:
        return f"file {self.file} v{self.version} {self.state}"


@dataclass(frozen=True)
class Version:
    """One version of a file."""

    file: int
    number: int
    state: State
    written: float
    place: int
    """See `Layout.place_in_window`."""

    @property
    def etag(self) -> str:
        return f'"{self.file}-{self.number}"'

    @cached_property
    def content(self) -> bytes:
        body = struct.pack("<4sqqff", b"SIMU", self.file, self.number, instant(self.file, self.number), self.total)
        data = body + struct.pack("<I", zlib.crc32(body)) + b"7777"
        if self.state == "truncated":
            return data[: len(data) // 2]
        return data[:20] + b"\xff" + data[21:] if self.state == "corrupt" else data

    @property
    def total(self) -> float:
        return self.place * PER_HOUR + self.number


@dataclass(frozen=True)
class Index:
    """What lies beside a file and says which version of it is there; or says something wrong."""

    of: Version
    is_wrong: bool
    written: float

    @property
    def etag(self) -> str:
        return f'"index-{self.of.file}-{self.of.number}-{"wrong" if self.is_wrong else "right"}"'

    @property
    def content(self) -> bytes:
        return struct.pack("<qI", self.of.file, zlib.crc32(self.of.content) ^ self.is_wrong)

    def fits(self, data: bytes) -> bool:
        return self.content == struct.pack("<qI", self.of.file, zlib.crc32(data))


def instant(file: int, version: int) -> float:
    """The instantaneous value of a version: exact in float32."""
    return file + version / 64


def rate(version: int, before: int | None) -> float:
    """The rate that is made from a version of a file, and one of the file before it, if its total goes on from there."""
    return (PER_HOUR + version - (before or 0)) / HOUR


def unpack(data: bytes, file: int) -> tuple[float, float] | None:
    """Both values of a file; None where it is not whole, or is another one."""
    body, end = data[:-8], data[-8:]
    if len(data) != 36 or end != struct.pack("<I", zlib.crc32(body)) + b"7777":
        return None
    magic, found, _, first, total = struct.unpack("<4sqqff", body)
    return (first, total) if (magic, found) == (b"SIMU", file) else None


def file_events(seed: int, families: Families, layout: Layout, file: int) -> list[FileEvent]:
    """What happens to a file, in order of time."""
    rng = chance(seed, "file", file)
    at = layout.due(file) + rng.uniform(600, 3000)
    drawn = [rng.random() for _ in range(5)]
    if drawn[0] < families.missing_files:
        return []
    if drawn[1] < families.late_files:
        at += rng.choice((2, 5, 9, 14.5, 20)) * HOUR
    events, version = list[FileEvent](), 1
    if drawn[2] < families.corrupt_files:
        events.append(FileEvent(at, file, version, rng.choice(("truncated", "corrupt"))))
        at, version = at + rng.choice((0.02, 0.3, 2, 7)) * HOUR, version + 1
    events.append(FileEvent(at, file, version, "whole"))
    if drawn[3] < families.corrected_files:
        for _ in range(rng.choice((1, 1, 2))):
            at, version = at + rng.choice((0.01, 0.2, 1, 4, 9)) * HOUR, version + 1
            events.append(FileEvent(at, file, version, "whole"))
    if drawn[4] < families.vanished_files:
        events.append(FileEvent(at + rng.choice((0.5, 3, 8)) * HOUR, file, version, "gone"))
    return events


def index_events(seed: int, families: Families, file: int, own: Sequence[FileEvent]) -> list[FileEvent]:
    """What happens to the index of a file: it comes with each version, long before, or long after; or it is wrong."""
    rng, events = chance(seed, "index", file), list[FileEvent]()
    for event in own:
        drawn, what, hours = rng.random(), rng.choice(("before", "after", "wrong")), rng.choice((0.05, 0.5, 3, 7))
        if event.state == "gone":
            continue
        at, is_off = event.at, drawn < families.index_faults
        if is_off and what == "wrong":
            events.append(replace(event, at=at, state="wrong index"))
        if is_off:
            at = max(at - hours * HOUR, 0.0) if what == "before" else at + hours * HOUR
        events.append(replace(event, at=at, state="index"))
    return events


@dataclass(eq=False)
class Upstream:
    """What the archive holds."""

    layout: Layout
    files: dict[int, Version] = field(default_factory=dict)
    """By number."""
    objects: dict[str, Version | Index] = field(default_factory=dict)
    """By key."""
    copies: dict[str, Version | Index] = field(default_factory=dict)
    """As `objects`, of another archive."""
    taken_back: dict[str, Version | Index] = field(default_factory=dict)
    """Objects that are gone; a listing may have them still."""
    indexed: bool = False
    """Whether a file can be used only with its index."""
    has_copies: bool = False
    history: dict[int, list[Version]] = field(default_factory=dict)
    """Every version of a file that there was."""
    out_until: float = 0.0
    changes: Counter[int] = field(default_factory=Counter)
    """How often something has happened to a file."""

    def happen(self, event: FileEvent, now: float) -> None:
        self.changes[event.file] += 1
        key = self.layout.key_of(event.file)
        if event.state in {"index", "wrong index"}:
            of = next((one for one in self.history.get(event.file, ()) if one.number == event.version), None)
            of = of or self._version(event.file, event.version, "whole", now)
            self.objects[key + INDEX] = Index(of, event.state == "wrong index", now)
            return
        if event.state == "gone":
            self.files.pop(event.file, None)
            self.copies.pop(key, None)
            if (taken := self.objects.pop(key, None)) is not None:
                self.taken_back[key] = taken
            return
        version = self._version(event.file, event.version, event.state, now)
        self.files[event.file] = self.objects[key] = version
        self.history.setdefault(event.file, []).append(version)

    def _version(self, file: int, number: int, state: State, now: float) -> Version:
        return Version(file, number, state, now, self.layout.place_in_window(file))

    def copy(self, file: int) -> None:
        """Bring the other archive up to date with a file and its index."""
        for key in (self.layout.key_of(file), self.layout.key_of(file) + INDEX):
            if key in self.objects:
                self.copies[key] = self.objects[key]

    def usable(self, file: int) -> Version | None:
        """The version of a file that can be used now."""
        found, index = self.files.get(file), self.objects.get(self.layout.key_of(file) + INDEX)
        if found is None or found.state != "whole":
            return None
        fits = isinstance(index, Index) and index.fits(found.content)
        return found if fits or not self.indexed else None


class SimulatedArchive:
    """The archive as obstore asks it: what `source.clients` opens."""

    def __init__(
        self, upstream: Upstream, scheduler: Scheduler, faults: Faults, epoch: datetime, *, is_copy: bool = False
    ) -> None:
        self._upstream, self._scheduler, self._faults, self._epoch = upstream, scheduler, faults, epoch
        self._is_copy = is_copy
        self._objects = upstream.copies if is_copy else upstream.objects
        self._told: dict[str, tuple[Version | Index, dict[str, Any]]] = {}
        """What was last said of an object, and of which."""

    def get(self, path: str, *, options: Any = None) -> "SimulatedAnswer":
        self._ask("source", path)
        version = self._objects.get(path)
        if version is None:
            raise FileNotFoundError(path)
        if self._faults.cannot_read(self._scheduler.current.process.name, path):
            raise GenericError(f"{path}: Server returned non-2xx status code: 500")
        self._faults.counted["files of the other archive"] += self._is_copy
        return SimulatedAnswer(version.content, self._meta(path, version))

    def list(self, prefix: str, *, offset: str | None = None, chunk_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
        self._ask("listing", prefix)
        objects, process = self._objects, self._scheduler.current.process
        if self._faults.families.lying_listings:
            objects = {key: one for key, one in objects.items() if not self._faults.lies_about(process, key)}
            taken = self._upstream.taken_back
            objects |= {key: taken[key] for key in taken.keys() - objects if self._faults.lies_about(process, key)}
        keys = sorted(key for key in objects if key.startswith(f"{prefix}/") and (offset is None or key > offset))
        if keys:
            yield [self._meta(key, objects[key]) for key in keys[:chunk_size]]

    def _ask(self, kind: Literal["source", "listing"], key: str) -> None:
        step = take_step(self._scheduler, self._faults, kind, key)
        if step.wrong == "throttled":
            raise GenericError(f"{key}: Server returned non-2xx status code: 429")
        if step.wrong == "refused" or (not self._is_copy and self._scheduler.now < self._upstream.out_until):
            raise GenericError(f"{key}: Server returned non-2xx status code: 500")

    def _meta(self, key: str, version: Version | Index) -> dict[str, Any]:
        of, told = self._told.get(key, (None, {}))
        if of is not version:
            told = self._described(key, version)
            self._told[key] = version, told
        return told

    def _described(self, key: str, version: Version | Index) -> dict[str, Any]:
        modified = self._epoch + timedelta(seconds=version.written)
        return {
            "path": key,
            "size": len(version.content),
            "e_tag": version.etag.replace('"', '"copy-', 1) if self._is_copy else version.etag,
            "last_modified": modified.replace(tzinfo=UTC),
        }


class _Bytes(bytes):
    def to_bytes(self) -> bytes:
        return bytes(self)


class SimulatedAnswer(Answer):
    """A file that was asked for."""

    @property
    def attributes(self) -> dict[str, str]:
        return {}

    def bytes(self) -> _Bytes:
        return _Bytes(self.data)
