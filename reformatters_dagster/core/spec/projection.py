"""Where the points of a projected grid lie on the globe, and its fields on a plain map.

In: a `LambertGrid`. Out: latitudes and longitudes in degrees, or metres on its plane.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.values import Array2D

type FloatArray = npt.NDArray[np.float64]


@lru_cache(maxsize=4)
def latitudes_longitudes(grid: LambertGrid) -> tuple[FloatArray, FloatArray]:
    """Latitude and longitude, -180 to 180, of every point: two (y, x) float64 arrays, read-only."""
    import pyproj

    columns, rows = np.meshgrid(grid.x.labels(), grid.y.labels())
    longitude, latitude = pyproj.Proj(parameters_of(grid))(columns, rows, inverse=True)
    for array in (latitude, longitude):
        array.setflags(write=False)
    return latitude, longitude


@lru_cache(maxsize=64)
def on_plane(grid: LambertGrid, latitude: float, longitude: float) -> tuple[float, float]:
    """Position of a place on the plane of a grid: y and x in metres, infinite where the projection does not reach it."""
    import pyproj

    x, y = pyproj.Proj(parameters_of(grid))(longitude, latitude)
    return float(y), float(x)


def on_plain_map(values: Array2D, grid: LambertGrid, columns: int = 700) -> tuple[Array2D, FloatArray, FloatArray]:
    """A field seen on a regular latitude/longitude grid, for a picture: the nearest value, NaN outside.

    Returns
    -------
    values, latitude, longitude
        (latitude, longitude) float32 from north to south, and the two axes in degrees.
    """
    import pyproj

    latitudes, longitudes = latitudes_longitudes(grid)
    longitude = np.linspace(longitudes.min(), longitudes.max(), columns)
    step = longitude[1] - longitude[0]
    latitude = np.arange(latitudes.max(), latitudes.min(), -step)
    x, y = pyproj.Proj(parameters_of(grid))(*np.meshgrid(longitude, latitude))
    column = np.rint((x - grid.x.first) / grid.x.step).astype(np.int64)
    row = np.rint((y - grid.y.first) / grid.y.step).astype(np.int64)
    inside = (column >= 0) & (column < grid.x.size) & (row >= 0) & (row < grid.y.size)
    plain = np.full(inside.shape, np.nan, np.float32)
    plain[inside] = values[row[inside], column[inside]]
    return plain, latitude, longitude


def parameters_of(grid: LambertGrid) -> dict[str, object]:
    first, second = grid.standard_parallels
    return {
        "proj": "lcc",
        "lat_0": grid.latitude_of_origin,
        "lon_0": grid.central_meridian,
        "lat_1": first,
        "lat_2": second,
        "R": grid.earth_radius,
    }
