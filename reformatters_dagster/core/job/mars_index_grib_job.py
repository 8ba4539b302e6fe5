"""Region jobs over GRIB files with an `.index` beside each, in the words of MARS, as ECMWF publishes it."""

from collections.abc import Sequence

from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.grib.mars_index import CONTROL, find_message, parse_index
from reformatters_dagster.core.job.indexed_grib_job import IndexedGribRegionJob
from reformatters_dagster.core.source.files import ForecastFileCoord, whole_hours
from reformatters_dagster.core.spec.variables import DataVar


class MarsIndexGribRegionJob[Coord: ForecastFileCoord](IndexedGribRegionJob[Coord]):
    """Finds messages by the words of the `.index`: parameter, level, step, member, init time.

    A row's `field` has the parameter as its element, and `sfc` or `pl 500` as its level.

    >>> class FileCoord(ForecastFileCoord):
    ...     def key(self) -> str:
    ...         return f"{self.init_time:%Y%m%d%H}/{whole_hours(self.lead_time)}h.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    >>> class ForecastJob(ForecastRegionJob[FileCoord], MarsIndexGribRegionJob[FileCoord]):
    ...     source_file_coord = FileCoord
    """

    def index_member(self, coord: Coord) -> int:  # noqa: ARG002 for those who override it
        """The member, as `parse_index` numbers them. Default: the single forecast."""
        return CONTROL

    def params(self, data_var: DataVar) -> tuple[str, ...]:
        """Every name that the indexes have for a variable's parameter. Default: that of its row."""
        return (data_var.field.element,)

    def index_key(self, coord: Coord) -> str:
        return coord.key().removesuffix(".grib2") + ".index"

    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        return parse_index(text, size, where, {param for data_var in self.data_vars for param in self.params(data_var)})

    def find_message(self, entries: Sequence[IndexEntry], coord: Coord, data_var: DataVar) -> IndexEntry:
        field = self.field_at(coord, data_var)
        return find_message(
            entries,
            field.element,
            field.level,
            init_time=coord.init_time,
            step=str(whole_hours(coord.lead_time)),
            member=self.index_member(coord),
            where=coord.get_url().removesuffix(".grib2") + ".index",
        )
