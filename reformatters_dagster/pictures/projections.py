"""Where the points of a picture lie on the globe: a projection that fits the domain, and the grid point under each.

In: the axes of a grid. Out: a `View`, computed once for a grid and a width.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.projection import latitudes_longitudes, parameters_of

if TYPE_CHECKING:
    import pyproj

type FloatArray = npt.NDArray[np.floating[Any]]
type IntArray = npt.NDArray[np.int64]
type Parameters = tuple[tuple[str, object], ...]

GLOBAL = 300
"""Degrees of longitude from which on a domain is drawn as the whole globe."""


@dataclass(frozen=True, eq=False)
class View:
    """The points of a picture, from north to south and west to east.

    Attributes
    ----------
    parameters : tuple
        Of the projection, as PROJ names them.
    x, y : 1-D, metres on the plane
    latitude, longitude : (y, x), degrees
        Longitudes lie within 180 degrees of the middle one. NaN outside the domain.
    row, column : (y, x) int
        Grid point under each point, -1 outside the domain.
    middle : float
        Longitude in the middle.
    outline : two 1-D arrays, metres
        The edge of the domain.
    """

    parameters: Parameters
    x: FloatArray
    y: FloatArray
    latitude: FloatArray
    longitude: FloatArray
    row: IntArray
    column: IntArray
    middle: float
    outline: tuple[FloatArray, FloatArray]

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        return self.row >= 0

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outer edges: left, right, bottom, top."""
        half_x, half_y = (
            (self.x[-1] - self.x[0]) / (self.x.size - 1) / 2,
            (self.y[0] - self.y[-1]) / (self.y.size - 1) / 2,
        )
        x, y = self.x, self.y
        return float(x[0] - half_x), float(x[-1] + half_x), float(y[-1] - half_y), float(y[0] + half_y)

    @property
    def height_over_width(self) -> float:
        left, right, bottom, top = self.extent
        return float((top - bottom) / (right - left))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, east, south, north of what is seen, in degrees."""
        longitude, latitude = self.longitude, self.latitude
        return (
            float(np.nanmin(longitude)),
            float(np.nanmax(longitude)),
            float(np.nanmin(latitude)),
            float(np.nanmax(latitude)),
        )

    @property
    def is_global(self) -> bool:
        west, east, _, _ = self.box
        return bool(east - west > GLOBAL)

    def project(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Metres on the plane; NaN where the projection does not reach."""
        x, y = projection(self.parameters)(longitude, latitude)
        return np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan)

    def on_plane(
        self, eastward: FloatArray, northward: FloatArray, longitude: FloatArray, latitude: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """A wind turned from the meridians to the plane: its speed stays."""
        small = 0.01
        x, y = self.project(longitude, latitude)
        units = []
        for d_longitude, d_latitude in ((small, 0.0), (0.0, small)):
            dx, dy = self.project(longitude + d_longitude, np.minimum(latitude + d_latitude, 90))
            length = np.hypot(dx - x, dy - y)
            units.append(((dx - x) / length, (dy - y) / length))
        (east_x, east_y), (north_x, north_y) = units
        across, up = eastward * east_x + northward * north_x, eastward * east_y + northward * north_y
        length = np.hypot(across, up)
        keep = np.hypot(eastward, northward) / np.where(length > 0, length, 1)
        return across * keep, up * keep


@lru_cache(maxsize=32)
def projection(parameters: Parameters) -> "pyproj.Proj":
    import pyproj

    return pyproj.Proj(dict(parameters))


def edges(labels: FloatArray) -> tuple[float, float]:
    """Outer edges of the cells of an axis, the smaller one first."""
    first, last = float(labels[0]), float(labels[-1])
    half = abs(last - first) / (labels.size - 1) / 2 if labels.size > 1 else 0.5
    return min(first, last) - half, max(first, last) + half


@lru_cache(maxsize=8)
def view_of_projected(grid: LambertGrid, columns: int) -> View:
    """A projected grid on its own plane, every n-th row and column."""
    every = max(1, -(-grid.x.size // columns))
    column, row = np.arange(0, grid.x.size, every), np.arange(0, grid.y.size, every)
    row = row if grid.y.step < 0 else row[::-1]
    latitude, longitude = (array[np.ix_(row, column)] for array in latitudes_longitudes(grid))
    x, y = np.asarray(grid.x.labels(), float)[column], np.asarray(grid.y.labels(), float)[row]
    rows, columns_of_points = np.broadcast_arrays(row[:, None], column)
    half_x, half_y = abs(x[1] - x[0]) / 2, abs(y[1] - y[0]) / 2
    left, right, bottom, top = x[0] - half_x, x[-1] + half_x, y[-1] - half_y, y[0] + half_y
    return View(
        tuple(parameters_of(grid).items()),
        x,
        y,
        latitude,
        _near(longitude, grid.central_meridian),
        rows,
        columns_of_points,
        grid.central_meridian,
        (np.array([left, right, right, left, left]), np.array([bottom, bottom, top, top, bottom])),
    )


def view_of(latitude: FloatArray, longitude: FloatArray, columns: int) -> View:
    """A regular latitude/longitude grid on a plane that fits where it lies."""
    return _view_of(_axis(latitude), _axis(longitude), columns)


def fitting(west: float, east: float, south: float, north: float) -> Parameters:
    """The globe by Robinson; near the pole by Lambert's azimuthal projection; the tropics and small domains by Mercator;
    what lies between by Lambert's conformal cone."""
    middle, centre = (west + east) / 2, (south + north) / 2
    if east - west >= GLOBAL:
        return (("proj", "robin"), ("lon_0", 0.0))
    if max(abs(south), abs(north)) > 80:
        return (("proj", "laea"), ("lat_0", centre), ("lon_0", middle))
    if abs(centre) < 20 or north - south < 6:
        return (("proj", "merc"), ("lat_ts", centre), ("lon_0", middle))
    sixth = (north - south) / 6
    return (("proj", "lcc"), ("lat_1", south + sixth), ("lat_2", north - sixth), ("lat_0", centre), ("lon_0", middle))


def _axis(labels: FloatArray) -> tuple[float, float, int]:
    step = float(labels[-1] - labels[0]) / (labels.size - 1) if labels.size > 1 else 1.0
    return float(labels[0]), step, labels.size


@lru_cache(maxsize=8)
def _view_of(latitudes: tuple[float, float, int], longitudes: tuple[float, float, int], columns: int) -> View:
    (first_row, row_step, rows), (first_column, column_step, size) = latitudes, longitudes
    south, north = edges(first_row + row_step * np.arange(rows))
    west, east = edges(first_column + column_step * np.arange(size))
    south, north = max(south, -90.0), min(north, 90.0)
    parameters = fitting(west, east, south, north)
    lon_0 = dict(parameters)["lon_0"]
    assert isinstance(lon_0, float)
    if east - west >= GLOBAL:
        west, east = -180.0, 180.0
    proj = projection(parameters)
    border_x, border_y = proj(*_border(west, east, south, north, lon_0))
    lattice_x, lattice_y = proj(*np.meshgrid(_safe(np.linspace(west, east, 91), lon_0), np.linspace(south, north, 91)))
    left, right, bottom, top = lattice_x.min(), lattice_x.max(), lattice_y.min(), lattice_y.max()
    lines = max(2, round(columns * min(max((top - bottom) / (right - left), 0.2), 1.6)))
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top - (np.arange(lines) + 0.5) * (top - bottom) / lines
    plane_x, plane_y = np.meshgrid(x, y)
    longitude, latitude = proj(plane_x, plane_y, inverse=True)
    again_x, again_y = proj(longitude, latitude)
    reached = np.hypot(again_x - plane_x, again_y - plane_y) < (right - left) / columns
    longitude, latitude = (np.where(reached, array, np.nan) for array in (longitude, latitude))
    from_west = (longitude - (first_column - column_step / 2)) % 360
    with np.errstate(invalid="ignore"):
        column = np.floor(from_west / column_step)
        row = np.rint((latitude - first_row) / row_step)
        inside = reached & (column < size) & (row >= 0) & (row < rows)
    longitude, latitude = (np.where(inside, array, np.nan) for array in (longitude, latitude))
    column, row = (np.where(inside, array, -1).astype(np.int64) for array in (column, row))
    return View(parameters, x, y, latitude, _near(longitude, lon_0), row, column, lon_0, (border_x, border_y))


def _near(longitude: FloatArray, middle: float) -> FloatArray:
    """The same longitudes within 180 degrees of the middle one."""
    near: FloatArray = (longitude - middle + 180) % 360 - 180 + middle
    return near


def _safe(longitude: FloatArray, middle: float) -> FloatArray:
    """Away from the seam, where a projection may send a point to the other side."""
    return np.clip(longitude, middle - 179.9999, middle + 179.9999)


def _border(west: float, east: float, south: float, north: float, middle: float) -> tuple[FloatArray, FloatArray]:
    along, up = np.linspace(west, east, 181), np.linspace(south, north, 181)
    longitude = np.concatenate([along, np.full(181, east), along[::-1], np.full(181, west)])
    latitude = np.concatenate([np.full(181, south), up, np.full(181, north), up[::-1]])
    return _safe(longitude, middle), latitude
