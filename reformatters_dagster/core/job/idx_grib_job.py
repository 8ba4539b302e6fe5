"""Region jobs over GRIB files with an `.idx` beside each, as wgrib2 writes it and NOAA publishes it."""

from collections.abc import Sequence

from reformatters_dagster.core.grib.idx import find_message, parse_idx, window_length
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.job.grib_job import MessageTimes
from reformatters_dagster.core.job.indexed_grib_job import IndexedGribRegionJob
from reformatters_dagster.core.source.files import ForecastFileCoord
from reformatters_dagster.core.spec.variables import DataVar


class IdxGribRegionJob[Coord: ForecastFileCoord](IndexedGribRegionJob[Coord]):
    """Finds messages by the words of the `.idx`: init time, element, level, window.

    A row's `window_reset` says how often the source begins a new window.

    >>> class FileCoord(ForecastFileCoord):
    ...     def key(self) -> str:
    ...         return f"{self.init_time:%Y%m%d%H}/f{whole_hours(self.lead_time):03d}.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    >>> class ForecastJob(ForecastRegionJob[FileCoord], IdxGribRegionJob[FileCoord]):
    ...     source_file_coord = FileCoord
    """

    def index_key(self, coord: Coord) -> str:
        return f"{coord.key()}.idx"

    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        return parse_idx(text, size, where)

    def find_message(self, entries: Sequence[IndexEntry], coord: Coord, data_var: DataVar) -> IndexEntry:
        return find_message(
            entries,
            self.field_at(coord, data_var),
            init_time=coord.init_time,
            lead_time=coord.lead_time,
            reset=data_var.window_reset,
            where=f"{coord.get_url()}.idx",
        )

    def times(self, coord: Coord, data_var: DataVar) -> MessageTimes:
        window = window_length(data_var.field.statistic, coord.lead_time, data_var.window_reset)
        return coord.init_time, coord.lead_time, window
