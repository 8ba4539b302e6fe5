"""How files of the IFS ensemble are named, and which message of one is a variable's. In: a member's coord. Out: its entry."""

from collections.abc import Sequence

import pandas as pd

from dataset_defs.ecmwf.ifs_ens.archives import GOOGLE
from dataset_defs.ecmwf.ifs_ens.variables import IfsVar
from dataset_defs.ecmwf.index_files import CONTROL, find_message, parse_index
from reformatters_dagster.core.grib.identity import ANY_WINDOW, AnyWindow
from reformatters_dagster.core.grib.index import IndexEntry
from reformatters_dagster.core.job.indexed_grib_job import IndexedGribRegionJob
from reformatters_dagster.core.source.files import ForecastFileCoord, whole_hours
from reformatters_dagster.core.spec.values import OutLoc, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar

CONTROL_APART = pd.Timestamp("2026-05-12T06").as_unit("us")
"""From this init time on (cycle 50r1) the control run is the single forecast, in files of its own."""


class IfsEnsFileCoord(ForecastFileCoord):
    """One member at one lead time; all but the later control runs share a file."""

    ensemble_member: int
    """0 is the control."""

    @property
    def is_single(self) -> bool:
        """Whether it is the single forecast, which is no part of the ensemble's files."""
        return self.ensemble_member == CONTROL and self.init_time >= CONTROL_APART

    def key(self) -> str:
        init, folder, kind = self.init_time, *(("oper", "oper-fc") if self.is_single else ("enfo", "enfo-ef"))
        name = f"{init:%Y%m%d%H}0000-{whole_hours(self.lead_time)}h-{kind}.grib2"
        return f"{init:%Y%m%d/%H}z/ifs/0p25/{folder}/{name}"

    def get_url(self) -> str:
        return f"{GOOGLE.url}/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {**super().out_loc(), "ensemble_member": self.ensemble_member}


class IfsEnsRegionJob(IndexedGribRegionJob[IfsEnsFileCoord]):
    """Finds a member's messages by the words of the `.index`, which 51 coords share."""

    shares_indexes = True

    def index_key(self, coord: IfsEnsFileCoord) -> str:
        return coord.key().removesuffix(".grib2") + ".index"

    def parse_index(self, text: str, size: int, where: str) -> list[IndexEntry]:
        rows = [data_var for data_var in self.data_vars if isinstance(data_var, IfsVar)]
        names = {row.field.element for row in rows} | {name for row in rows for *_, name in row.param_by_lead_time}
        return parse_index(text, size, where, names)

    def find_message(self, entries: Sequence[IndexEntry], coord: IfsEnsFileCoord, data_var: DataVar) -> IndexEntry:
        assert isinstance(data_var, IfsVar)
        return find_message(
            entries,
            data_var.param_at(coord.lead_time),
            data_var.field.level,
            init_time=coord.init_time,
            step=str(whole_hours(coord.lead_time)),
            member=coord.ensemble_member,
            where=f"{GOOGLE.url}/{self.index_key(coord)}",
        )

    def times(
        self, coord: IfsEnsFileCoord, data_var: DataVar
    ) -> tuple[Timestamp, Timedelta, Timedelta | AnyWindow | None]:
        windows = {"instant": None, "acc": coord.lead_time}
        return coord.init_time, coord.lead_time, windows.get(data_var.field.statistic, ANY_WINDOW)

    def member(self, coord: IfsEnsFileCoord) -> int | tuple[int | None, ...] | None:
        return (None, CONTROL) if coord.is_single else coord.ensemble_member
