"""ECMWF's open data where the index names a parameter differently at some lead times."""

import pandas as pd

from reformatters_dagster import DataVar, Duration, ForecastFileCoord, GribField, MarsIndexGribRegionJob

ECMWF = 98
"""Of common code table C-11."""


class EcmwfVar(DataVar):
    """A variable, with what of its source depends on the lead time. Its `field` speaks the words of MARS."""

    param_by_lead_time: tuple[tuple[Duration, Duration, str], ...] = ()
    """First and last lead time, both inclusive, at which the source calls it something else."""

    def param_at(self, lead_time: pd.Timedelta) -> str:
        """The parameter's name in the index of a lead time."""
        names = (param for first, last, param in self.param_by_lead_time if first <= lead_time <= last)
        return next(names, self.field.element)


class EcmwfGribRegionJob[Coord: ForecastFileCoord](MarsIndexGribRegionJob[Coord]):
    """Finds each `EcmwfVar` by the name that its parameter has at the lead time."""

    centre = ECMWF

    def params(self, data_var: DataVar) -> tuple[str, ...]:
        assert isinstance(data_var, EcmwfVar)
        return data_var.field.element, *(param for *_, param in data_var.param_by_lead_time)

    def field_at(self, coord: Coord, data_var: DataVar) -> GribField:
        assert isinstance(data_var, EcmwfVar)
        return data_var.field.model_copy(update={"element": data_var.param_at(coord.lead_time)})
