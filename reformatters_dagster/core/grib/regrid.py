"""A coarse regular grid to a finer one that has all its points.

In: a field on the coarse grid. Out: the field on the fine grid, bilinear between the coarse points.
"""

import numpy as np

from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Array2D


def coarsened(grid: LatLonGrid, factor: int) -> LatLonGrid:
    """The grid of every `factor`-th latitude and longitude of a global grid, beginning with the first.

    Parameters
    ----------
    grid : LatLonGrid
        From pole to pole and once around. `refine` could not fill the edges of another grid.
    factor : int

    Raises
    ------
    ValueError
        The coarse grid would not end at the last latitude, or would not go once around.

    Examples
    --------
    >>> coarsened(GLOBAL_0P25, 2).shape
    (361, 720)
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
    """Interpolate bilinearly from the `coarsened` grid to the global grid itself.

    Parameters
    ----------
    values : (coarse latitude, coarse longitude) float32
        On `coarsened(grid, factor)`; not changed.
    grid : LatLonGrid
    where : str
        Names the field in an error.

    Returns
    -------
    (latitude, longitude) float32
        Points of both grids keep their values, bit for bit. The circle closes between the last longitude and the first. A point
        is NaN where one of the two or four coarse points around it is NaN.

    Raises
    ------
    CorruptMessage
        The shape of the field is not that of a grid which `grid` refines.

    Examples
    --------
    >>> import numpy as np
    >>> refine(np.zeros((361, 720), np.float32), GLOBAL_0P25, "a field of zeros").shape
    (721, 1440)
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
