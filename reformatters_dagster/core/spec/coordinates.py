"""Coordinates that follow from the dimensions of a dataset.

In: labels of dimensions and a grid. Out: variables with the attributes that readers see.
"""

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.projection import latitudes_longitudes


def append_attrs(name: str) -> dict[str, str]:
    """Attributes of the append dimension."""
    if name == "init_time":
        return {"long_name": "Forecast initialization time", "standard_name": "forecast_reference_time"}
    return {"long_name": "Time", "standard_name": "time", "axis": "T"}


def points_on_the_globe(grid: LambertGrid) -> dict[str, xr.Variable]:
    """Latitude and longitude of every point of a projected grid: (y, x) float32, degrees."""
    units = {"latitude": "degree_north", "longitude": "degree_east"}
    return {
        name: xr.Variable(
            ("y", "x"),
            degrees.astype(np.float32),
            {"long_name": name.capitalize(), "standard_name": name, "units": units[name]},
        )
        for name, degrees in zip(units, latitudes_longitudes(grid), strict=True)
    }


def forecast_coordinates(ds: xr.Dataset, expected_lengths: pd.TimedeltaIndex, *, by_member: bool) -> xr.Dataset:
    """Add what readers want to know of forecasts: `valid_time`, and how long each one will be, and is so far.

    Parameters
    ----------
    ds : xr.Dataset
        With `init_time` and `lead_time`, and with `ensemble_member` where `by_member`.
    expected_lengths : TimedeltaIndex
        Of each init time.
    by_member : bool
        Whether `ingested_forecast_length` is (init_time, ensemble_member) rather than (init_time). It is NaT: runs write it.
    """
    expected = expected_lengths.to_numpy().astype("timedelta64[us]")
    ingested_dims = ("init_time", "ensemble_member") if by_member else ("init_time",)
    ingested = np.full([ds.sizes[dim] for dim in ingested_dims], np.timedelta64("NaT", "us"))
    valid = ds.indexes["init_time"].to_numpy()[:, None] + ds.indexes["lead_time"].to_numpy()
    return ds.assign_coords(
        valid_time=(("init_time", "lead_time"), valid, {"long_name": "Valid time", "standard_name": "time"}),
        expected_forecast_length=("init_time", expected, {"long_name": "Expected forecast length"}),
        ingested_forecast_length=(ingested_dims, ingested, {"long_name": "Ingested forecast length"}),
    )
