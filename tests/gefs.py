"""GEFS files of 15 degrees and coarser, and what a store must hold that is made from them.

In: a variable and the message it is made from. Out: its field on the datasets' grid, by formula and numpy's interpolation.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.sample_upstream.gefs import COARSEST, GEFS_FIELDS, gefs_values
from tests.datasets import Sample, Site

STEP = 15.0
GRID = LatLonGrid(
    latitude=RegularAxis(first=90.0, step=-STEP, size=13), longitude=RegularAxis(first=-180.0, step=STEP, size=24)
)

TEMPERATURE, RAIN, SUN, PRESSURE = (
    "temperature_2m",
    "precipitation_surface",
    "downward_short_wave_radiation_flux_surface",
    "pressure_reduced_to_mean_sea_level",
)
HEIGHT, GUST, ALOFT, CEILING = (
    "geopotential_height_500hpa",
    "wind_gust_surface",
    "wind_u_80m",
    "geopotential_height_cloud_ceiling",
)

FINE, HALF, COARSE = 1, 2, COARSEST
"""Steps of a file's grid, in steps of the datasets'."""

type Field = npt.NDArray[np.float64]


class Source(NamedTuple):
    """One message."""

    init: str
    lead: int
    coarseness: int
    member: int = 0


def deployed(folder: Path, upstream: Path, dataset: DynamicalDataset) -> Site:
    """A deployment that reads files of a folder."""
    begun = replace(dataset, start_is_chosen=True)
    return Site(folder, begun, Sample(upstream, upstream), settings={"upstream": str(upstream)})


def on_grid(values: Field) -> Field:
    """A field from 90 N and 0 E on, on the datasets' grid, by numpy's own interpolation."""
    latitude = -np.linspace(90, -90, values.shape[0])
    longitude = np.linspace(0, 360, values.shape[1], endpoint=False)
    rows = np.array([np.interp(GRID.longitude.labels(), longitude, row, period=360) for row in values])
    wanted = -np.array(GRID.latitude.labels())
    return np.array([np.interp(wanted, latitude, column) for column in rows.T]).T


def field_of(variable: str, source: Source) -> Field:
    """In the source's units."""
    shift = COARSEST * STEP * source.member
    return on_grid(gefs_values(variable, pd.Timestamp(source.init), source.lead, STEP * source.coarseness, shift=shift))


def assert_instant(found: xr.DataArray, row: DataVar, *sources: Source) -> None:
    """The mean of some messages, in stored units: of one, or of those before and after."""
    wanted = np.mean([field_of(row.name, source) for source in sources], axis=0) + row.add_offset
    assert_close(found, wanted, row, GEFS_FIELDS[row.name].resolution / 2)


def assert_rate(found: xr.DataArray, row: DataVar, total: Source, before: Source | None, hours: int) -> None:
    """The rate of one total, less that of the same window before it where there is one."""
    gain = field_of(row.name, total) - (0 if before is None else field_of(row.name, before))
    resolution = GEFS_FIELDS[row.name].resolution / (hours * 3600)
    assert_close(found, gain / (hours * 3600), row, resolution)


def assert_close(found: xr.DataArray, wanted: Any, row: DataVar, packed: float) -> None:
    """Equal within what packing and the rounding of the mantissa explain."""
    assert row.keep_mantissa_bits is not None
    tolerance = packed * 1.0011 + (np.abs(wanted) + packed) * 2.0 ** -(row.keep_mantissa_bits + 1)
    excess = np.abs(found.to_numpy() - wanted) - tolerance
    where = ", ".join(f"{name} {coord.to_numpy()}" for name, coord in found.coords.items() if not coord.dims)
    assert not np.isnan(excess).any(), f"{row.name} is missing at {where}"
    assert excess.max() <= 0, f"{row.name} is {excess.max()} further off than packing explains at {where}"
