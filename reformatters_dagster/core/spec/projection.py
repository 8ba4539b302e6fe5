"""Where the points of a projected grid lie on the globe, and its fields on a plain map.

In: a `LambertGrid`. Out: latitudes and longitudes in degrees, or metres on its plane.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.values import Array2D

SAME_CORNER = 1e-3
"""Degrees: about 100 m, more than float32 loses and less than a cell."""

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


def differing_corners(
    mapping: Mapping[str, object], y: FloatArray, x: FloatArray, latitude: FloatArray, longitude: FloatArray
) -> list[str]:
    """Corners of a projected grid that lie elsewhere by its grid mapping than by its latitudes and longitudes, in words.

    Parameters
    ----------
    mapping : mapping
        Attributes of the CF grid mapping. Its well-known text is read, which tells readers of the store where they are; nothing
        that made the latitudes and longitudes takes part.
    y, x : 1-D
        Labels of the dimensions, in metres.
    latitude, longitude : (y, x)
        Degrees.
    """
    import pyproj

    crs = pyproj.CRS.from_wkt(str(mapping["crs_wkt"]))
    assert crs.geodetic_crs is not None
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    wrong = []
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        east, north = to_degrees.transform(float(x[column]), float(y[row]))
        found = float(latitude[row, column]), float(longitude[row, column])
        if abs(found[0] - north) > SAME_CORNER or abs((found[1] - east + 180) % 360 - 180) > SAME_CORNER:
            wrong.append(
                f"corner y={y[row]:.0f} x={x[column]:.0f} lies at {north:.4f} N {east:.4f} E by the grid mapping, latitude and "
                f"longitude say {found[0]:.4f} N {found[1]:.4f} E"
            )
    return wrong


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
