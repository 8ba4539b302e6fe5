"""Region jobs over GRIB files that have an index: they fetch only the messages that are wanted.

In: a coord, an archive and its index. Out: byte ranges, fetched with one request for each run of adjacent ranges; every message
is verified before it is kept.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import ClassVar

from reformatters_dagster.core.grib.index import IndexEntry, coalesce
from reformatters_dagster.core.job.grib_job import GribRegionJob, field_in, write_messages
from reformatters_dagster.core.source.archives import Archive, FileInfo
from reformatters_dagster.core.source.files import Downloaded, SourceFileCoord, local_name
from reformatters_dagster.core.spec.errors import CorruptMessage, IndexMismatch
from reformatters_dagster.core.spec.variables import DataVar

MAX_GAP = 64 * 1024
"""So many unwanted bytes are fetched to save a second request: they take about as long as its round trip."""
MOST_INDEX_BYTES = 16 * 1024 * 1024
"""Real ones have up to 3 MB: a line for each field of each member of an ensemble."""
INDEXES_KEPT = 16
"""More than the files that are read at the same time."""

_UNPARSED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a parser may run into that does not expect hostile text."""

type Index = tuple[FileInfo, list[IndexEntry]]
"""A file, and what its index says is in it."""


@dataclass(eq=False)
class IndexCache:
    """Indexes of files that several coords share. One thread fetches an index; other threads that want it wait."""

    _indexes: dict[tuple[str, str], Index] = field(default_factory=dict)
    _busy: dict[tuple[str, str], Lock] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, name: tuple[str, str], fetch: Callable[[], Index]) -> Index:
        """An index by the names of its archive and file. An error of `fetch` is raised, not kept."""
        with self._lock:
            busy = self._busy.setdefault(name, Lock())
        with busy:
            with self._lock:
                found = self._indexes.get(name)
            if found is None:
                found = fetch()
                with self._lock:
                    self._indexes[name] = found
                    for oldest in list(self._indexes)[:-INDEXES_KEPT]:
                        del self._indexes[oldest]
                        # A thread that waited while its index was taken out puts it back, and has no lock here any more.
                        self._busy.pop(oldest, None)
            return found

    def forget(self, name: tuple[str, str]) -> None:
        """Fetch the index again when it is next wanted."""
        with self._lock:
            self._indexes.pop(name, None)


@dataclass(frozen=True, kw_only=True)
class IndexedGribRegionJob[Coord: SourceFileCoord](GribRegionJob[Coord]):
    """A region job over a source with an index beside each file; a provider parses it, and finds a variable's entry.

    >>> class OneLineJob(IndexedGribRegionJob[ForecastFileCoord]):
    ...     def index_key(self, coord):
    ...         return f"{coord.key()}.index"
    ...
    ...     def parse_index(self, text, size, where):
    ...         message, start, stamp, element, level, window = text.split(":")
    ...         time = pd.to_datetime(stamp, format="%Y%m%d%H")
    ...         return [IndexEntry(message, int(start), size, time, element, level, window)]
    ...
    ...     def find_message(self, entries, coord, data_var):
    ...         found = [entry for entry in entries if entry.element == data_var.field.element]
    ...         if len(found) != 1:
    ...             raise IndexMismatch(f"{self.index_key(coord)} has {data_var.field.element} {len(found)} times")
    ...         return found[0]
    """

    shares_indexes: ClassVar[bool] = False
    """Whether several coords share one file, and so its index."""
    indexes: IndexCache = field(default_factory=IndexCache, repr=False, compare=False)

    @abstractmethod
    def index_key(self, coord: Coord) -> str:
        """Key of the index beside a file."""

    @abstractmethod
    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        """Entries of an index of a file of `size` bytes; raises `IndexMismatch`, which other errors of text become too."""

    @abstractmethod
    def find_message(self, entries: Sequence[IndexEntry], coord: Coord, data_var: DataVar) -> IndexEntry:
        """The one entry that holds a variable; raises `IndexMismatch`."""

    def object_keys(self, coord: Coord, archive: Archive | None = None) -> tuple[str, ...]:  # noqa: ARG002
        return coord.key(), self.index_key(coord)

    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        try:
            return self._fetch(archive, coord, data_vars, folder, whole=True)
        except CorruptMessage:
            self.indexes.forget((archive.name, coord.key()))
            raise

    def salvage(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        return self._fetch(archive, coord, data_vars, folder, whole=False)

    def _index_of(self, archive: Archive, coord: Coord) -> Index:
        def fetch() -> Index:
            info = archive.head(coord.key())
            where = f"{archive.url}/{self.index_key(coord)}"
            try:
                text, _ = archive.get(self.index_key(coord), most=MOST_INDEX_BYTES)
                return info, self.parse_index(text.decode("ascii", "replace"), info.size, where)
            except IndexMismatch:
                raise
            except _UNPARSED as error:
                raise IndexMismatch(
                    f"{where} cannot be read ({type(error).__name__}: {error}); fetch it again"
                ) from error

        return self.indexes.get((archive.name, coord.key()), fetch) if self.shares_indexes else fetch()

    def _fetch(
        self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path, *, whole: bool
    ) -> Downloaded:
        """Fetch and verify the messages that an index names; with `whole` one bad message fails the file."""
        index = info, _ = self._index_of(archive, coord)
        ranges, reasons = self._ranges(index, archive, coord, data_vars, whole=whole)
        messages = self._fetch_ranges(archive, coord.key(), ranges)
        for data_var in data_vars:
            try:
                if data_var.name in messages:
                    self.verify(messages[data_var.name], coord, data_var, f"{archive.url}/{coord.key()}")
            except CorruptMessage as error:
                if whole or len(messages) == 1:
                    raise
                del messages[data_var.name]
                reasons[data_var.name] = f"{type(error).__name__}: {error}"
        path = folder / local_name(coord, sorted(ranges.values()))
        spans = write_messages(path, messages)
        return Downloaded(path=path, archive=archive.name, etag=info.etag, spans=spans, reasons=reasons)

    def _ranges(
        self, index: Index, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], *, whole: bool
    ) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        """Where the messages lie that an index names, and why others lie nowhere; one of them at least lies somewhere."""
        info, entries = index
        most = self.most_bytes(coord)
        ranges: dict[str, tuple[int, int]] = {}
        reasons: dict[str, str] = {}
        for data_var in data_vars:
            try:
                entry = self.find_message(entries, coord, data_var)
            except CorruptMessage as error:
                reasons[data_var.name] = f"{type(error).__name__}: {error}"
                continue
            stop = info.size if entry.stop is None else entry.stop
            if stop - entry.start <= most:
                ranges[data_var.name] = entry.start, stop
                continue
            oversize = IndexMismatch(
                f"{archive.url}/{self.index_key(coord)} says that {field_in(data_var, coord.key())} has bytes {entry.start} to "
                f"{stop}, a message on its grid has {most} at most; fetch index and file again"
            )
            if whole:
                raise oversize
            reasons[data_var.name] = f"{type(oversize).__name__}: {oversize}"
        if not ranges:
            raise CorruptMessage("; ".join(reasons.values()))
        return ranges, reasons

    def _fetch_ranges(self, archive: Archive, key: str, ranges: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
        wanted = sorted(set(ranges.values()))
        requests = coalesce(wanted, MAX_GAP)
        spans = [(min(wanted[i][0] for i in group), max(wanted[i][1] for i in group)) for group in requests]
        parts = archive.get_ranges(key, spans)
        by_range = {
            wanted[i]: part[wanted[i][0] - start : wanted[i][1] - start]
            for group, (start, _), part in zip(requests, spans, parts, strict=True)
            for i in group
        }
        return {name: by_range[span] for name, span in ranges.items()}
