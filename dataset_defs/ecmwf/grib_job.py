"""What the region jobs of ECMWF's open data share: an `.index` beside each file, in the words of MARS."""

from collections.abc import Sequence

import pandas as pd

from dataset_defs.ecmwf.index_files import CONTROL, find_message, parse_index
from reformatters_dagster import (
    DataVar,
    Duration,
    ForecastFileCoord,
    IndexedGribRegionJob,
    IndexEntry,
    whole_hours,
)


class EcmwfVar(DataVar):
    """A variable, with what of its source depends on the lead time. Its `field` speaks the words of MARS."""

    param_by_lead_time: tuple[tuple[Duration, Duration, str], ...] = ()
    """First and last lead time, both inclusive, at which the source calls it something else."""

    def param_at(self, lead_time: pd.Timedelta) -> str:
        """The parameter's name in the index of a lead time."""
        names = (param for first, last, param in self.param_by_lead_time if first <= lead_time <= last)
        return next(names, self.field.element)


class EcmwfGribRegionJob[Coord: ForecastFileCoord](IndexedGribRegionJob[Coord]):
    """Finds messages by the words of the `.index`: parameter, level, step, member, init time."""

    def index_member(self, coord: Coord) -> int:  # noqa: ARG002 for those who override it
        """The member, as `parse_index` numbers them. Default: the single forecast."""
        return CONTROL

    def index_key(self, coord: Coord) -> str:
        return coord.key().removesuffix(".grib2") + ".index"

    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        rows = [data_var for data_var in self.data_vars if isinstance(data_var, EcmwfVar)]
        names = {row.field.element for row in rows} | {name for row in rows for *_, name in row.param_by_lead_time}
        return parse_index(text, size, where, names)

    def find_message(self, entries: Sequence[IndexEntry], coord: Coord, data_var: DataVar) -> IndexEntry:
        assert isinstance(data_var, EcmwfVar)
        return find_message(
            entries,
            data_var.param_at(coord.lead_time),
            self.field_at(coord, data_var).level,
            init_time=coord.init_time,
            step=str(whole_hours(coord.lead_time)),
            member=self.index_member(coord),
            where=coord.get_url().removesuffix(".grib2") + ".index",
        )
