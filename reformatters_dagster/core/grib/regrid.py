"""A coarse regular grid to a finer one that holds all of its points.

In: a field in the order of the coarse grid. Out: the field on the fine grid, bilinear between the points it had.
"""

import numpy as np

from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Array2D


def coarsened(grid: LatLonGrid, factor: int) -> LatLonGrid:
    """The grid of every `factor`-th latitude and longitude of a global grid, from its first on.

    Parameters
    ----------
    grid : LatLonGrid
        From pole to pole and once around; of a grid that is not, `refine` could not fill the edges.
    factor : int

    Raises
    ------
    ValueError
        The coarse grid would not end at the last latitude, or not go once around.
    """
    latitude, longitude = grid.latitude, grid.longitude
    around = abs(longitude.step * longitude.size - 360) < abs(longitude.step) / 2
    if (latitude.size - 1) % factor or longitude.size % factor or not around:
        raise ValueError(
            f"a grid of {latitude.size} latitudes and {longitude.size} longitudes by {longitude.step!r} degrees has none "
            f"{factor} times as coarse inside that spans it; take a global grid that {factor} divides"
        )
    return LatLonGrid(
        latitude=RegularAxis(first=latitude.first, step=latitude.step * factor, size=(latitude.size - 1) // factor + 1),
        longitude=RegularAxis(first=longitude.first, step=longitude.step * factor, size=longitude.size // factor),
        earth_radius=grid.earth_radius,
    )


def refine(values: Array2D, grid: LatLonGrid, where: str) -> Array2D:
    """Interpolate bilinearly to a global grid of which every `factor`-th point is one of the field's.

    Parameters
    ----------
    values : (coarse latitude, coarse longitude) float32
        In the order of `coarsened(grid, factor)`; not changed.
    grid : LatLonGrid
    where : str
        What the field is, for the error.

    Returns
    -------
    (latitude, longitude) float32
        Points that both grids have keep their values, bit by bit. Between the last longitude and the first the circle
        closes. A point is NaN where one of the two or four points it lies between is.

    Raises
    ------
    CorruptMessage
        The field is on no grid that `grid` refines.
    """
    rows, columns = values.shape
    factor = grid.longitude.size // columns
    if ((rows - 1) * factor + 1, columns * factor) != grid.shape:
        raise CorruptMessage(
            f"{where} has shape {values.shape!r}, which does not refine to {grid.shape!r}; check the grid in the file's name"
        )
    fine = np.empty(grid.shape, np.float32)
    fine[::factor, ::factor] = values
    eastward = np.roll(values, -1, axis=1) - values
    for part in range(1, factor):
        fine[::factor, part::factor] = values + eastward * np.float32(part / factor)
    upper, lower = fine[:-1:factor], fine[factor::factor]
    downward = lower - upper
    for part in range(1, factor):
        fine[part::factor] = upper + downward * np.float32(part / factor)
    return fine
