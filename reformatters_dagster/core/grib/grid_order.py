"""The points of a message to those of the template's grid.

In: the grid header of a message, and the grid of the template. Out: the order of rows and columns, if both have the same points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import Literal

import numpy as np

from reformatters_dagster.core.grib.header import GridHeader
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import Grid, LambertGrid
from reformatters_dagster.core.spec.projection import on_plane
from reformatters_dagster.core.spec.values import Array2D

_I_NEGATIVE, _J_POSITIVE = 0x80, 0x40
_GRID_TOLERANCE = 1e-3  # of a grid step
_ANGLE_TOLERANCE = 1e-4  # degrees
# Sources round the first point to three decimals or to six: half a thousandth of a degree is 0.02 of a step of 3 km.
_CORNER_TOLERANCE = 0.05  # of a grid step


@dataclass(frozen=True, slots=True)
class GridOrder:
    """How to reorder the rows and columns of a message into those of a grid."""

    upside_down: bool = False
    mirrored: bool = False
    """Whether each row of the message runs the other way."""
    shift: int = 0
    """The column that comes first, counted after mirroring."""

    def apply(self, values: Array2D) -> Array2D:
        """A field in the order of the grid. `values` are not changed, but the result may be a view of them."""
        values = values[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.roll(values, -self.shift, axis=1) if self.shift else values


def grid_order(shape: tuple[int, int], header: GridHeader, grid: Grid, where: str) -> GridOrder:
    """Find how to bring a field into the order of the template's grid, if both have the same points.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the message.
    header : GridHeader
    grid : Grid
    where : str
        Names the field in an error.

    Returns
    -------
    GridOrder
        Rows and columns are reversed where the message runs the other way. A full circle of longitudes is rotated to begin
        where the grid begins.

    Raises
    ------
    CorruptMessage
        Shape, spacing, corners or scanning direction are not those of the grid.
    """
    if shape != grid.shape:
        raise CorruptMessage(
            f"{where} has shape {shape!r}, template expects {grid.shape!r}; check the grid in the file's name"
        )
    if isinstance(grid, LambertGrid):
        return _lambert_order(header, grid, where)
    rows, columns = _source_axes(header, shape, where)
    row_order, column_order = _axis_order(rows, grid.latitude), _axis_order(columns, grid.longitude, circle=True)
    if row_order is None or column_order is None:
        raise CorruptMessage(
            f"{where} has latitudes {_describe(rows)} and longitudes {_describe(columns)}, template expects "
            f"{_describe(grid.latitude)} and {_describe(grid.longitude)}; a new grid needs a new dataset version"
        )
    return GridOrder(row_order.direction == -1, column_order.direction == -1, column_order.shift)


def _lambert_order(header: GridHeader, grid: LambertGrid, where: str) -> GridOrder:
    """Find the order, if the message has the grid's cone, spacing and first point."""
    mode, cone = header.scanning_mode, header.cone
    wanted = (grid.latitude_of_origin, grid.central_meridian, *grid.standard_parallels)
    if cone is None or mode is None or header.latitude_first is None or header.longitude_first is None:
        raise CorruptMessage(f"{where} is on grid template {header.template!r}, template expects 30, Lambert conformal")
    order = GridOrder(bool(mode & _J_POSITIVE) != (grid.y.step > 0), bool(mode & _I_NEGATIVE) == (grid.x.step > 0))
    corner = tuple(
        axis.first + axis.step * (axis.size - 1) if from_last else axis.first
        for axis, from_last in ((grid.y, order.upside_down), (grid.x, order.mirrored))
    )
    spacing = abs(grid.y.step), abs(grid.x.step)
    found = on_plane(grid, header.latitude_first, header.longitude_first)
    turned = [abs((one - other + 180) % 360 - 180) for one, other in zip(cone, wanted, strict=True)]
    away = [abs(one - other) / step for one, other, step in zip(found, corner, spacing, strict=True)]
    if max(turned) > _ANGLE_TOLERANCE or (header.dy, header.dx) != spacing or max(away) > _CORNER_TOLERANCE:
        raise CorruptMessage(
            f"{where} has cone {cone!r}, spacing {(header.dy, header.dx)!r} and its first point at {_metres(found)} of the "
            f"projection, template expects {wanted!r}, {spacing!r} and {_metres(corner)}; a new grid needs a new dataset "
            "version"
        )
    return order


def _metres(place: Sequence[float]) -> str:
    return "y {:.0f} m, x {:.0f} m".format(*place)


def _source_axes(header: GridHeader, shape: tuple[int, int], where: str) -> tuple[RegularAxis, RegularAxis]:
    """Latitudes and longitudes in the order of the message."""
    corners = (header.latitude_first, header.longitude_first, header.latitude_last, header.longitude_last)
    latitude, longitude, last_latitude, last_longitude = (np.nan if corner is None else corner for corner in corners)
    mode = header.scanning_mode
    if header.template != 0 or mode is None or None in corners:
        raise CorruptMessage(f"{where} is on grid template {header.template!r}, template expects 0, latitude/longitude")
    height = last_latitude - latitude
    width = -((longitude - last_longitude) % 360) if mode & _I_NEGATIVE else (last_longitude - longitude) % 360
    rows = RegularAxis(first=latitude, step=height / max(shape[0] - 1, 1), size=shape[0])
    columns = RegularAxis(first=longitude, step=width / max(shape[1] - 1, 1), size=shape[1])
    steps_agree = all(
        spacing is None or isclose(spacing, abs(axis.step), rel_tol=_GRID_TOLERANCE)
        for axis, spacing in ((rows, header.dy), (columns, header.dx))
    )
    if not steps_agree or (height > 0) != bool(mode & _J_POSITIVE):
        raise CorruptMessage(
            f"{where} contradicts itself: latitudes {_describe(rows)}, longitudes {_describe(columns)}, but spacing "
            f"{(header.dy, header.dx)!r} and scanning mode {mode:#04x}; fetch it again"
        )
    return rows, columns


@dataclass(frozen=True, slots=True)
class _AxisOrder:
    direction: Literal[1, -1]
    shift: int
    """Steps from the source's first label, after reversing, to the first wanted label."""


def _axis_order(source: RegularAxis, wanted: RegularAxis, *, circle: bool = False) -> _AxisOrder | None:
    """How to reorder `source` into `wanted`; None where their labels differ."""
    direction: Literal[1, -1] = 1 if (source.step < 0) == (wanted.step < 0) else -1
    first = source.first if direction == 1 else source.first + source.step * (source.size - 1)
    drift = abs(abs(source.step) - abs(wanted.step)) * source.size
    turn = 360 / abs(wanted.step)
    offset = (first - wanted.first) / wanted.step
    if circle:
        offset = (offset + turn / 2) % turn - turn / 2
    shift = -round(offset)
    may_shift = circle and abs(turn - wanted.size) < _GRID_TOLERANCE
    same_steps = drift <= _GRID_TOLERANCE * abs(wanted.step) and abs(offset + shift) <= _GRID_TOLERANCE
    return _AxisOrder(direction, shift % wanted.size) if same_steps and (may_shift or shift == 0) else None


def _describe(axis: RegularAxis) -> str:
    return f"{axis.first!r} to {axis.first + axis.step * (axis.size - 1)!r} by {axis.step!r}"
