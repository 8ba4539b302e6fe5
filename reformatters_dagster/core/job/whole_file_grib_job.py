"""Region jobs over sources that publish a file for each field: there is no index, and the whole file is fetched.

In: a coord and an archive. Out: the one message of the file, decompressed within bounds, and verified before it is kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from reformatters_dagster.core.job.grib_job import GribRegionJob, field_in, write_messages
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.compression import Compression, decompress
from reformatters_dagster.core.source.files import Downloaded, SourceFileCoord, local_name
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.variables import DataVar


class WholeFileGribRegionJob[Coord: SourceFileCoord](GribRegionJob[Coord]):
    """A region job over a source with a file for each field, perhaps compressed; a coord's key names the variable too.

    >>> class CompressedJob(WholeFileGribRegionJob[ForecastFileCoord]):
    ...     compression = "bz2"
    """

    compression: ClassVar[Compression | None] = None
    """How the source's files are compressed."""

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        return [(data_var,) for data_var in data_vars]

    def key_in(self, archive: Archive, coord: Coord) -> str:  # noqa: ARG002 for those who override it
        """Path of a file within one archive. Default: the same in every archive."""
        return coord.key()

    def object_keys(self, coord: Coord, archive: Archive | None = None) -> tuple[str, ...]:
        return (coord.key() if archive is None else self.key_in(archive, coord),)

    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        (data_var,) = data_vars
        url = f"{archive.url}/{self.key_in(archive, coord)}"
        most = self.most_bytes(coord)
        # What cannot be compressed grows by less than a tenth.
        data, info = archive.get(self.key_in(archive, coord), most=most + most // 10)
        message = self._unpacked(data, most, field_in(data_var, url))
        self.verify(message, coord, data_var, url)
        path = folder / local_name(coord, [(0, info.size)])
        spans = write_messages(path, {data_var.name: message})
        return Downloaded(path=path, archive=archive.name, etag=info.etag, spans=spans, fetched=info.size)

    def _unpacked(self, data: bytes, most: int, where: str) -> bytes:
        if self.compression is not None:
            data = decompress(data, self.compression, most=most, where=where)
        declared = int.from_bytes(data[8:16], "big")
        if data[:4] == b"GRIB" and declared < len(data):
            raise CorruptMessage(
                f"{where} was to hold one message; after its {declared} bytes come {len(data) - declared} more, which begin with "
                f"{data[declared : declared + 4]!r}: has the source begun to put several fields into a file?"
            )
        return data
