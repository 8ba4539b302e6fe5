"""What region jobs over GRIB files share, however a file is laid out: archives asked in turn, messages verified, decoded.

In: a coord and the archives that keep its file. Out: messages on local disk, each one what was asked for; then fields.
"""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import local

import numpy as np

from reformatters_dagster.core.config import DataVar
from reformatters_dagster.core.download import Archive
from reformatters_dagster.core.errors import CorruptMessage, ReformatError, SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.grib import AnyWindow, GridHeader, check_identity, decode, read_header, to_grid
from reformatters_dagster.core.region_job import RegionJob
from reformatters_dagster.core.source_file import Downloaded, SourceFileCoord
from reformatters_dagster.core.types import Array2D, Timedelta, Timestamp

log = logging.getLogger(__name__)


class GribRegionJob[Coord: SourceFileCoord](RegionJob[Coord]):
    """Implements `download_file` and `read_data`; a subclass says how an archive's file becomes messages."""

    @abstractmethod
    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        """Fetch and verify the messages of one file from one archive; raises when one of those it names is bad."""

    def salvage(
        self,
        archive: Archive,  # noqa: ARG002 for those who override it
        coord: Coord,  # noqa: ARG002
        data_vars: Sequence[DataVar],  # noqa: ARG002
        folder: Path,  # noqa: ARG002
    ) -> Downloaded | None:
        """What is good of a file that no archive has whole. Default: nothing."""
        return None

    @abstractmethod
    def times(self, coord: Coord, data_var: DataVar) -> tuple[Timestamp, Timedelta, Timedelta | AnyWindow | None]:
        """Init time, lead time and window length the message must carry.

        The length is None for instantaneous fields, and `ANY_WINDOW` where the source does not say how long its windows are.
        """

    def member(self, coord: Coord) -> int | tuple[int | None, ...] | None:  # noqa: ARG002 for those who override it
        """Perturbation number the message must carry; None where the source has no ensemble, a tuple where several will do."""
        return None

    def on_grid(self, values: Array2D, grid: GridHeader, coord: Coord, where: str) -> Array2D:  # noqa: ARG002
        """A field, in the order of its message, on the template's grid. Default: it must be on that grid."""
        return to_grid(values, grid, self.context.template_config.grid, where)

    def download_file(self, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        label = coord.out_loc()[self.context.template_config.append_dim.name]
        assert isinstance(label, Timestamp)
        failures: list[ReformatError] = []
        spoilt: list[Archive] = []
        for archive in self.context.upstream.archives_for(label, self.context.now):
            try:
                return self._fetch_twice(archive, coord, data_vars, folder)
            except ReformatError as error:
                failures.append(error)
                log.debug("archive=%s file=%s %s", archive.name, coord.key(), error)
                if isinstance(error, CorruptMessage):
                    spoilt.append(archive)
        reason = "; ".join(map(str, failures)) or f"{coord.get_url()}: no archive keeps files of {label} any more"
        if spoilt:
            return self._salvaged(spoilt[0], coord, data_vars, folder, reason)
        if any(isinstance(failure, SourceFileUnavailable) for failure in failures):
            raise SourceFileUnavailable(reason)
        raise SourceFileMissing(reason)

    def _fetch_twice(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        try:
            return self.fetch(archive, coord, data_vars, folder)
        except CorruptMessage as error:
            # A file, or its index, can be replaced while it is read: a second look settles it.
            log.debug("archive=%s file=%s fetched again: %s", archive.name, coord.key(), error)
            return self.fetch(archive, coord, data_vars, folder)

    def _salvaged(
        self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path, reason: str
    ) -> Downloaded:
        try:
            saved = self.salvage(archive, coord, data_vars, folder)
        except ReformatError as error:
            raise CorruptMessage(reason) from error
        if saved is None:
            raise CorruptMessage(reason)
        return saved

    def verify(self, message: bytes, coord: Coord, data_var: DataVar, url: str) -> None:
        """Raise `CorruptMessage` unless a message says that it is the one that was asked for."""
        where = field_in(data_var, url)
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
        where = field_in(data_var, coord.get_url())
        header, shape = read_header(message, where), self.context.template_config.grid.shape
        values = decode(
            message,
            source_fill_value=data_var.source_fill_value,
            scale_factor=data_var.scale_factor,
            add_offset=data_var.add_offset,
            where=where,
            out=_scratch(shape) if (header.grid.ny, header.grid.nx) == shape else None,
        )
        field = self.on_grid(values, header.grid, coord, where)
        return field.copy() if np.may_share_memory(field, values) else field


_thread = local()


def _scratch(shape: tuple[int, int]) -> Array2D:
    """Memory of this thread to decode into: to have it from the system anew costs half as much as decoding."""
    if getattr(_thread, "shape", None) != shape:
        _thread.shape, _thread.field = shape, np.empty(shape, np.float32)
    field: Array2D = _thread.field
    return field


def field_in(data_var: DataVar, url: str) -> str:
    """What a message is, and where it comes from, for an error."""
    return f"{data_var.field.element}:{data_var.field.level} in {url}"


def write_messages(path: Path, messages: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    """Write messages one after the other, atomically; return where each lies."""
    spans: dict[str, tuple[int, int]] = {}
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        for name, message in messages.items():
            spans[name] = (file.tell(), len(message))
            file.write(message)
    partial.rename(path)
    return spans
