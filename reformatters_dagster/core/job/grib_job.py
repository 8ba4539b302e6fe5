"""Region jobs over GRIB files: they ask the archives in turn, verify every message and decode it.

In: a coord and the archives that keep its file. Out: verified messages on local disk; then fields.
"""

import logging
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import ANY_WINDOW, AnyWindow, check_identity
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Downloaded, ForecastFileCoord, SourceFileCoord
from reformatters_dagster.core.spec.errors import (
    CorruptMessage,
    ReformatError,
    SourceFileMissing,
    SourceFileUnavailable,
)
from reformatters_dagster.core.spec.grids import Grid
from reformatters_dagster.core.spec.values import Array2D, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField, Statistic

log = logging.getLogger(__name__)

BYTES_PER_POINT = 8
"""The most that any packing takes."""
BESIDE_THE_POINTS = 64 * 1024
"""Bytes; more than the headers of any message."""

type MessageTimes = tuple[Timestamp, Timedelta, Timedelta | AnyWindow | None]
"""Init time, lead time and length of the time window of a message; an instant has no window.

>>> times: MessageTimes = (pd.Timestamp("2026-01-01T06"), pd.Timedelta("9h"), None)
>>> times[0] + times[1]
Timestamp('2026-01-01 15:00:00')
"""


class GribRegionJob[Coord: SourceFileCoord](RegionJob[Coord]):
    """Implements `download_file` and `read_data`; a subclass says how an archive's file becomes messages."""

    centre: ClassVar[int | None] = None
    """Originating centre that messages must carry (common code table C-11); None for any."""

    @abstractmethod
    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        """Fetch and verify the messages of one file from one archive; raises when one of them is bad."""

    def salvage(
        self,
        archive: Archive,  # noqa: ARG002 for those who override it
        coord: Coord,  # noqa: ARG002
        data_vars: Sequence[DataVar],  # noqa: ARG002
        folder: Path,  # noqa: ARG002
    ) -> Downloaded | None:
        """The good messages of a file that no archive has whole. Default: None."""
        return None

    def times(self, coord: Coord, data_var: DataVar) -> MessageTimes:
        """Init time, lead time and window length that the message must carry.

        The length is None for instantaneous fields, and `ANY_WINDOW` when the length of the source's windows is not known.
        Default: those of a forecast whose means and totals reach back to its start. A coord of another kind needs its own.
        """
        if not isinstance(coord, ForecastFileCoord):
            raise NotImplementedError(
                f"{type(self).__name__} does not say which times its messages carry: override times()"
            )
        return coord.init_time, coord.lead_time, window_since_start(data_var.field.statistic, coord.lead_time)

    def field_at(self, coord: Coord, data_var: DataVar) -> GribField:  # noqa: ARG002 for those who override it
        """The message of a variable in a file. Default: that of its row; a coord may say more, such as the level."""
        return data_var.field

    def member(self, coord: Coord) -> int | tuple[int | None, ...] | None:  # noqa: ARG002 for those who override it
        """Perturbation number that the message must carry; a tuple when any of several will do. Default: None, no ensemble."""
        return None

    def processes(self, coord: Coord) -> Collection[int] | None:  # noqa: ARG002
        """Generating processes that the message may name, by the centre's own table: they tell its models apart. Default: any."""
        return None

    def source_grid(self, coord: Coord) -> Grid:  # noqa: ARG002
        """The grid the messages of a file are on. Default: the template's."""
        return self.context.template_config.grid

    def most_bytes(self, coord: Coord) -> int:
        """The most bytes that a message of a file can have, by its grid."""
        rows, columns = self.source_grid(coord).shape
        return rows * columns * BYTES_PER_POINT + BESIDE_THE_POINTS

    def regrid(self, values: Array2D, where: str) -> Array2D:
        """Bring a field from another `source_grid` to the template's grid."""
        raise NotImplementedError(f"{where} is on a grid of {values.shape!r}; {type(self).__name__} does not regrid")

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
            # A file or its index can be replaced while it is read; then a second try succeeds.
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
        """Raise `CorruptMessage` unless a message is the one that was asked for."""
        where = field_in(data_var, url)
        init_time, lead_time, window = self.times(coord, data_var)
        check_identity(
            read_header(message, where),
            self.field_at(coord, data_var),
            init_time=init_time,
            lead_time=lead_time,
            window=window,
            member=self.member(coord),
            centre=self.centre,
            processes=self.processes(coord),
            where=where,
        )

    def read_data(self, coord: Coord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        out = np.empty(self.context.template_config.grid.shape, np.float32)
        self._read(coord, data_var, downloaded, out)
        return out

    def read_into(self, coord: Coord, data_var: DataVar, downloaded: Downloaded, out: Array2D) -> None:
        if type(self).read_data is GribRegionJob.read_data:
            self._read(coord, data_var, downloaded, out)
        else:  # a dataset changes the fields after decoding
            super().read_into(coord, data_var, downloaded, out)

    def _read(self, coord: Coord, data_var: DataVar, downloaded: Downloaded, out: Array2D) -> None:
        offset, length = downloaded.spans[data_var.name]
        with downloaded.path.open("rb") as file:
            file.seek(offset)
            message = file.read(length)
        where = field_in(data_var, coord.get_url())
        grid = self.source_grid(coord)
        same = grid == self.context.template_config.grid
        init_time, *_ = self.times(coord, data_var)
        values = decode(
            message,
            source_fill_value=data_var.source_fill_value,
            scale_factor=data_var.scale_factor_at(init_time),
            add_offset=data_var.add_offset,
            grid=grid,
            where=where,
            out=out if same else None,
        )
        if not same:
            out[...] = self.regrid(values, where)


def window_since_start(statistic: Statistic, lead_time: Timedelta) -> Timedelta | AnyWindow | None:
    """Length of the window that ends at a lead time, where means and totals reach back to the start of the forecast.

    Sources do not say over which window an extreme is taken.
    """
    if statistic == "instant":
        return None
    return lead_time if statistic in ("avg", "acc") else ANY_WINDOW


def field_in(data_var: DataVar, url: str) -> str:
    """What a message is, and where it comes from, for an error."""
    return f"{data_var.field.element}:{data_var.field.level} in {url}"


def write_messages(path: Path, messages: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
    """Write messages one after the other, atomically; return the offset and length of each."""
    spans: dict[str, tuple[int, int]] = {}
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        for name, message in messages.items():
            spans[name] = (file.tell(), len(message))
            file.write(message)
    partial.rename(path)
    return spans
