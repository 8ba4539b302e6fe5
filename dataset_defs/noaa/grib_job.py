"""What the region jobs of NOAA's GRIB files share: an `.idx` beside each file."""

from collections.abc import Sequence

from dataset_defs.noaa.grib_files import find_message, parse_idx, window_length
from reformatters_dagster import DataVar, ForecastFileCoord, IndexedGribRegionJob, IndexEntry, MessageTimes


class NoaaGribRegionJob[Coord: ForecastFileCoord](IndexedGribRegionJob[Coord]):
    """Finds messages by the words of the `.idx`: init time, element, level, window."""

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
