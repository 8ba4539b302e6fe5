"""Region jobs of forecasts: which files there are, for init times, lead times and what else a dataset has dimensions for.

In: the labels of a region. Out: one coord for each combination of labels for which the source makes a file.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, cast

import pandas as pd
import xarray as xr

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.source.files import ForecastFileCoord
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.core.spec.variables import DataVar


class ForecastRegionJob[Coord: ForecastFileCoord](RegionJob[Coord]):
    """A region job of a forecast: one file for each init time, lead time and label of any further dimension.

    Name it before the class that reads the source. The coord has a field for each dimension before the grid.

    >>> class FileCoord(ForecastFileCoord):
    ...     def key(self) -> str:
    ...         return f"{self.init_time:%Y%m%d%H}/f{whole_hours(self.lead_time):03d}.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    >>> class ForecastJob(ForecastRegionJob[FileCoord], WholeFileGribRegionJob[FileCoord]):
    ...     source_file_coord = FileCoord
    """

    every_variable_has_hour_0: ClassVar[bool] = False
    """Whether the source has a file at lead time 0 of variables, too, that have no window there."""

    def coord_fields(self, data_vars: Sequence[DataVar]) -> Mapping[str, object]:  # noqa: ARG002 for those who override it
        """Fields of a file's coord that are not labels, such as the variable in a file's name. Default: there are none."""
        return {}

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[Coord]:
        """Files of a region, but for lead times that have none.

        These are lead time 0, where one of the variables has no field there, and those beyond the template's
        `expected_forecast_length`.
        """
        template = self.context.template_config
        init_times = pd.DatetimeIndex(region_ds.get_index("init_time"))
        longest = dict(zip(init_times, template.expected_forecast_length(init_times), strict=True))
        has_hour_0 = self.every_variable_has_hour_0 or all(data_var.has_hour_0 for data_var in data_vars)
        fields = self.coord_fields(data_vars)
        dims = (template.append_dim.name, *(dim.name for dim in template.dims))
        places = (
            dict(zip(dims, labels, strict=True)) for labels in product(*(region_ds.get_index(dim) for dim in dims))
        )
        coords = [
            self.source_file_coord.model_validate({**place, **fields})
            for place in places
            if place["lead_time"] <= longest[place["init_time"]] and (has_hour_0 or place["lead_time"] > Timedelta(0))
        ]
        return cast("list[Coord]", coords)
