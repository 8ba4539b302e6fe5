"""Region jobs over GRIB files that have an index beside them: only the messages that are wanted are fetched.

Index, byte ranges, one request per run of adjacent ranges, and every message checked against what was asked before it is kept.
"""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from reformatters_dagster.core.config import DataVar
from reformatters_dagster.core.download import Archive
from reformatters_dagster.core.errors import CorruptMessage, ReformatError, SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.grib import (
    GridHeader,
    IndexEntry,
    check_identity,
    coalesce,
    decode,
    read_header,
    to_grid,
)
from reformatters_dagster.core.region_job import RegionJob
from reformatters_dagster.core.source_file import Downloaded, SourceFileCoord, local_name
from reformatters_dagster.core.types import Array2D, Timedelta, Timestamp

log = logging.getLogger(__name__)

MAX_GAP = 64 * 1024
"""Unwanted bytes fetched rather than asking twice: about what a round trip costs."""


class IndexedGribRegionJob[Coord: SourceFileCoord](RegionJob[Coord]):
    """Implements `download_file` and `read_data`; a provider says how its index reads and which message it means."""

    @abstractmethod
    def index_key(self, coord: Coord) -> str:
        """Key of the index beside a file."""

    @abstractmethod
    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        """Entries of an index of a file of `size` bytes; raises `IndexMismatch`."""

    @abstractmethod
    def find_message(self, entries: Sequence[IndexEntry], coord: Coord, data_var: DataVar) -> IndexEntry:
        """The one entry that holds a variable; raises `IndexMismatch`."""

    @abstractmethod
    def times(self, coord: Coord, data_var: DataVar) -> tuple[Timestamp, Timedelta, Timedelta | None]:
        """Init time, lead time and window length (None for instantaneous fields) the message must carry."""

    def member(self, coord: Coord) -> int | None:  # noqa: ARG002 for those who override it
        """Perturbation number the message must carry; None where the source has no ensemble."""
        return None

    def on_grid(self, values: Array2D, grid: GridHeader, coord: Coord, where: str) -> Array2D:  # noqa: ARG002
        """A field, in the order of its message, on the template's grid. Default: it must be on that grid."""
        return to_grid(values, grid, self.context.template_config.grid, where)

    def object_keys(self, coord: Coord) -> tuple[str, ...]:
        return coord.key(), self.index_key(coord)

    def download_file(self, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        label = coord.out_loc()[self.context.template_config.append_dim.name]
        assert isinstance(label, Timestamp)
        failures: list[ReformatError] = []
        spoilt: list[Archive] = []
        for archive in self.context.upstream.archives_for(label, self.context.now):
            try:
                return self._download_from(archive, coord, data_vars, folder)
            except ReformatError as error:
                failures.append(error)
                log.debug("archive=%s file=%s %s", archive.name, coord.key(), error)
                if isinstance(error, CorruptMessage):
                    spoilt.append(archive)
        reason = "; ".join(map(str, failures)) or f"{coord.get_url()}: no archive keeps files of {label} any more"
        if spoilt:
            try:
                return self._fetch(spoilt[0], coord, data_vars, folder, whole=False)
            except ReformatError as error:
                raise CorruptMessage(reason) from error
        if any(isinstance(failure, SourceFileUnavailable) for failure in failures):
            raise SourceFileUnavailable(reason)
        raise SourceFileMissing(reason)

    def _download_from(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        try:
            return self._fetch(archive, coord, data_vars, folder)
        except CorruptMessage as error:
            # An index can be replaced a moment before or after its file: a second look settles it.
            log.debug("archive=%s file=%s fetched again: %s", archive.name, coord.key(), error)
            return self._fetch(archive, coord, data_vars, folder)

    def _fetch(
        self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path, *, whole: bool = True
    ) -> Downloaded:
        """Fetch and verify the messages an archive's index names; `whole` means that one bad message fails them all."""
        info = archive.head(coord.key())
        text, _ = archive.get(self.index_key(coord))
        entries = self.parse_index(text.decode("ascii", "replace"), info.size, f"{archive.url}/{self.index_key(coord)}")
        found: dict[str, IndexEntry] = {}
        reasons: dict[str, str] = {}
        for data_var in data_vars:
            try:
                found[data_var.name] = self.find_message(entries, coord, data_var)
            except CorruptMessage as error:
                reasons[data_var.name] = f"{type(error).__name__}: {error}"
        if not found:
            raise CorruptMessage("; ".join(reasons.values()))
        ranges = {name: (entry.start, info.size if entry.stop is None else entry.stop) for name, entry in found.items()}
        messages = self._fetch_ranges(archive, coord.key(), ranges)
        for data_var in data_vars:
            try:
                if data_var.name in messages:
                    self._verify(messages[data_var.name], coord, data_var, archive)
            except CorruptMessage as error:
                if whole or len(messages) == 1:
                    raise
                del messages[data_var.name]
                reasons[data_var.name] = f"{type(error).__name__}: {error}"
        path = folder / local_name(coord, sorted(ranges.values()))
        spans = _write_messages(path, messages)
        return Downloaded(path=path, archive=archive.name, etag=info.etag, spans=spans, reasons=reasons)

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

    def _verify(self, message: bytes, coord: Coord, data_var: DataVar, archive: Archive) -> None:
        where = _where(data_var, f"{archive.url}/{coord.key()}")
        init_time, lead_time, window = self.times(coord, data_var)
        check_identity(
            read_header(message, where),
            data_var.field,
            init_time=init_time,
            lead_time=lead_time,
            window=window,
            member=self.member(coord),
            where=where,
        )

    def read_data(self, coord: Coord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        offset, length = downloaded.spans[data_var.name]
        with downloaded.path.open("rb") as file:
            file.seek(offset)
            message = file.read(length)
        where = _where(data_var, coord.get_url())
        header = read_header(message, where)
        values = decode(
            message,
            source_fill_value=data_var.source_fill_value,
            scale_factor=data_var.scale_factor,
            add_offset=data_var.add_offset,
            where=where,
        )
        return self.on_grid(values, header.grid, coord, where)


def _where(data_var: DataVar, url: str) -> str:
    return f"{data_var.field.element}:{data_var.field.level} in {url}"


def _write_messages(path: Path, messages: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    """Write messages one after the other, atomically; return where each lies."""
    spans: dict[str, tuple[int, int]] = {}
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        for name, message in messages.items():
            spans[name] = (file.tell(), len(message))
            file.write(message)
    partial.rename(path)
    return spans
