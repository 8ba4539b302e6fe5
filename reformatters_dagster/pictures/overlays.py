"""What is drawn over a field: coastlines and borders, a graticule, isobars, wind barbs.

In: axes whose data are metres on the plane of a view. Out: lines and letters on them.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from reformatters_dagster.pictures.coastlines import lines_on
from reformatters_dagster.pictures.projections import FloatArray, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COAST, BORDER, GRATICULE = "#111111", "#444444", "0.45"
BARBS = {"half": 2.5, "full": 5, "flag": 25}
"""Metres a second of each part of a barb: nearly the 5, 10 and 50 knots of weather charts."""
_STATES_BELOW = 75
_SMOOTHINGS = 3


def draw_coast(axes: "Axes", view: View) -> None:
    """Coasts and lakes, borders of countries, and of states where the view is not wider than a continent."""
    west, east, _, _ = view.box
    styles = [("countries", BORDER, 0.5), ("gshhs", COAST, 0.6)]
    if east - west < _STATES_BELOW:
        styles.insert(0, ("states", BORDER, 0.35))
    for kind, colour, width in styles:
        x, y = lines_on(view, kind)  # type: ignore[arg-type]
        axes.plot(x, y, color=colour, linewidth=width, solid_joinstyle="round", gid=kind)
    axes.plot(*view.outline, color="0.2", linewidth=0.8, clip_on=False, gid="outline")


def draw_graticule(axes: "Axes", view: View) -> None:
    """Meridians, named at the bottom, and parallels, named at the left."""
    west, east, south, north = view.box
    spacing, up = _spacing(east - west), min(_spacing(north - south), 30)
    lines = []
    for meridian in np.arange(math.ceil(west / spacing), math.floor(east / spacing) + 1) * spacing:
        x, y = _seen(view, np.full(200, meridian), np.linspace(south, north, 200))
        lines.append((x, y))
        turned = (float(meridian) + 180) % 360 - 180
        if abs(meridian - view.middle) < 179:
            _name(axes, x, y, y, degrees(turned, "E", "W"), offset=(0, -4), ha="center", va="top")
    for parallel in np.arange(math.ceil(south / up), math.floor(north / up) + 1) * up:
        if abs(parallel) == 90:
            continue
        x, y = _seen(view, np.linspace(west, east, 200), np.full(200, parallel))
        lines.append((x, y))
        if np.isnan(x[0]) and np.nanmax(y, initial=-np.inf) > view.extent[3] - 0.02 * np.ptp(view.extent[2:]):
            continue  # it leaves the picture at the top, where its name would stand in the title
        _name(axes, x, y, x, degrees(float(parallel), "N", "S"), offset=(-4, 0), ha="right", va="center")
    segments = [np.column_stack(line) for line in lines]
    axes.add_collection(LineCollection(segments, colors=GRATICULE, linewidths=0.4, gid="graticule"), autolim=False)


def draw_isobars(axes: "Axes", view: View, hectopascals: FloatArray) -> None:
    """Lines of equal pressure, every 4 hPa, or 2 hPa on a small domain.

    Parameters
    ----------
    hectopascals : (y, x) of the view
        NaN outside.
    """
    every = max(1, view.x.size // 240)
    field = smoothed(hectopascals[::every, ::every])
    west, east, _, _ = view.box
    step = 4 if east - west > 40 else 2
    finite = field[np.isfinite(field)]
    if not finite.size:
        return
    levels = np.arange(math.ceil(finite.min() / step), math.floor(finite.max() / step) + 1) * step
    if not levels.size:
        return
    widths = np.where(levels % (5 * step) == 0, 1.2, 0.7)
    contours = axes.contour(view.x[::every], view.y[::every], field, levels=levels, colors="0.1", linewidths=widths)
    labels = axes.clabel(contours, levels=levels[levels % (2 * step) == 0], fontsize=6, fmt="%d", inline_spacing=1)
    for label in labels or ():
        label.set_path_effects([withStroke(linewidth=1.2, foreground="white")])


def draw_barbs(axes: "Axes", view: View, u: FloatArray, v: FloatArray, *, along_grid: bool) -> None:
    """Wind barbs, about 26 across; those of the southern hemisphere have their feathers on the other side.

    Parameters
    ----------
    u, v : (y, x) of the view, m s-1
    along_grid : bool
        Components follow the axes of the plane; otherwise east and north.
    """
    every = max(1, view.x.size // 26)
    first = every // 2
    rows, columns = slice(first, None, every), slice(first, None, every)
    u, v, longitude, latitude = (a[rows, columns].astype(float) for a in (u, v, view.longitude, view.latitude))
    x, y = np.meshgrid(view.x[columns], view.y[rows])
    there = np.isfinite(u) & np.isfinite(v)
    if not there.any():
        return
    u, v, longitude, latitude, x, y = (a[there] for a in (u, v, longitude, latitude, x, y))
    if not along_grid:
        u, v = view.on_plane(u, v, longitude, latitude)
    axes.barbs(
        x, y, u, v, length=4.3, linewidth=0.55, color="black", flip_barb=latitude < 0, barb_increments=BARBS, zorder=3
    )


def smoothed(field: FloatArray) -> FloatArray:
    """Running means over three points each way, over and over; NaN stays NaN and does not spread."""
    there = np.isfinite(field)
    weights, sums = there.astype(float), np.where(there, field, 0.0).astype(float)
    for _ in range(_SMOOTHINGS):
        for axis in (0, 1):
            weights, sums = (_three(array, axis) for array in (weights, sums))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there, sums / weights, np.nan)


def degrees(angle: float, positive: str, negative: str) -> str:
    if angle in (0, -180):
        return f"{abs(angle):g}°"
    return f"{abs(angle):g}°{positive if angle > 0 else negative}"


def _spacing(span: float) -> float:
    return next((s for s in (0.25, 0.5, 1, 2, 5, 10, 15, 30) if span / s <= 7), 60)


def _three(array: FloatArray, axis: int) -> FloatArray:
    padded = np.pad(array, [(1, 1) if axis == each else (0, 0) for each in (0, 1)], mode="edge")
    size = array.shape[axis]
    return sum((np.take(padded, np.arange(size) + shift, axis) for shift in (0, 1, 2)), np.zeros_like(array))


def _seen(view: View, longitude: FloatArray, latitude: FloatArray) -> tuple[FloatArray, FloatArray]:
    x, y = view.project(np.clip(longitude, view.middle - 179.9999, view.middle + 179.9999), latitude)
    left, right, bottom, top = view.extent
    with np.errstate(invalid="ignore"):
        outside = (x < left) | (x > right) | (y < bottom) | (y > top)
    return np.where(outside, np.nan, x), np.where(outside, np.nan, y)


def _name(
    axes: "Axes",
    x: FloatArray,
    y: FloatArray,
    lowest_of: FloatArray,
    text: str,
    *,
    offset: tuple[int, int],
    ha: str,
    va: str,
) -> None:
    """The name of a line at its lowest or leftmost point."""
    if np.isfinite(lowest_of).any():
        end = int(np.nanargmin(lowest_of))
        axes.annotate(
            text,
            (x[end], y[end]),
            xytext=offset,
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=7,
            annotation_clip=False,
        )
