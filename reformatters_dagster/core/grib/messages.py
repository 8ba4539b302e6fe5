"""GRIB2: entries of an index to byte ranges; the bytes of a message to a 2-D float32 field on the template's grid.

A message is believed only after its framing (`check_framing`), its identity (`check_identity`) and its grid (`decode` onto one)
are found to be what was asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from threading import Lock
from typing import Literal

import numpy as np

from reformatters_dagster.core.grib.packing import Units, place, unpack
from reformatters_dagster.core.grib.sections import GridHeader, MessageHeader, check_framing, read_header
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import Grid, LambertGrid
from reformatters_dagster.core.spec.projection import on_plane
from reformatters_dagster.core.spec.values import Array2D, Float32Array, Placing, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import GribField

__all__ = [
    "ANY_WINDOW",
    "AnyWindow",
    "GridHeader",
    "IndexEntry",
    "MessageHeader",
    "check_framing",
    "check_identity",
    "coalesce",
    "decode",
    "read_header",
    "to_grid",
]

type AnyWindow = Literal["any"]
ANY_WINDOW: AnyWindow = "any"
"""A time window whose length the source leaves open; it ends at the lead time all the same."""

_I_NEGATIVE, _J_POSITIVE, _ROWS_IN_ORDER = 0x80, 0x40, 0x3F
# pygrib masks every value near its missing value, 9999 unless told otherwise, which is a possible height or pressure.
_MISSING = -(2**60)
# The ecCodes inside pygrib is built without thread safety.
_ECCODES = Lock()
# Eight times the largest grid that is published; a damaged header could ask for all memory.
_MOST_POINTS = 2**27
_GRID_TOLERANCE = 1e-3  # of a grid step
_ANGLE_TOLERANCE = 1e-4  # degrees
# Sources write a first point to three decimals or to six: half a thousandth of a degree is 0.02 of a step of 3 km.
_CORNER_TOLERANCE = 0.05  # of a grid step


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of an index: where a message lies in its file, and what it is said to be."""

    number: str | int
    start: int
    stop: int | None
    """Byte after the last; None where the message ends with a file of unknown size."""
    reference_time: Timestamp
    element: str
    level: str
    window: str
    """The index's own words for the forecast time: `6-7 hour ave fcst`."""
    member: int | None = None
    """Of the ensemble, 0 for the control, where the index tells members apart."""


def coalesce(ranges: Sequence[tuple[int, int]], max_gap: int) -> list[list[int]]:
    """Group byte ranges so that each group can be fetched as one range.

    Parameters
    ----------
    ranges : sequence of (start, stop)
        In any order; they may repeat or overlap.
    max_gap : int
        Unwanted bytes between two ranges that are fetched along rather than asked around.

    Returns
    -------
    list of list of int
        Positions in `ranges`, each exactly once, groups and their members by ascending start. More than `max_gap` bytes
        lie between the spans of any two groups.
    """
    groups: list[list[int]] = []
    reached = 0
    for position in sorted(range(len(ranges)), key=lambda k: ranges[k]):
        start, stop = ranges[position]
        if groups and start - reached <= max_gap:
            groups[-1].append(position)
            reached = max(reached, stop)
        else:
            groups.append([position])
            reached = stop
    return groups


def check_identity(
    header: MessageHeader,
    field: GribField,
    *,
    init_time: Timestamp,
    lead_time: Timedelta,
    window: Timedelta | AnyWindow | None,
    member: int | tuple[int | None, ...] | None = None,
    where: str,
) -> None:
    """Check that a message is the one that was asked for.

    Parameters
    ----------
    header : MessageHeader
    field : GribField
        A surface without value accepts whatever value the message writes.
    init_time, lead_time
    window : Timedelta, ANY_WINDOW or None
        Length of the time window, which ends at `lead_time`; None for an instant.
    member : int, None or tuple of these
        Perturbation number; None asks for a message without one. Of a tuple any is accepted.
    where : str
        What the message is, for the error.

    Raises
    ------
    CorruptMessage
        Names each item that differs, as asked and as found.
    """
    start = header.start if window == ANY_WINDOW else lead_time if window is None else lead_time - window
    parameter = (header.discipline, header.category, header.number)
    known_parameters = (field.parameter, *field.alternative_parameters)
    on_surface = any(_same_surface(one, header.surface) for one in (field.surface, *field.alternative_surfaces))
    items: tuple[tuple[str, object, object, bool], ...] = (
        ("parameter", field.parameter, parameter, parameter in known_parameters),
        ("surface", field.surface, header.surface, on_surface),
        ("reference time", init_time, header.reference_time, init_time == header.reference_time),
        ("statistic", field.statistic, header.statistic, field.statistic == header.statistic),
        ("start", start, header.start, start == header.start),
        ("stop", lead_time, header.stop, lead_time == header.stop),
        ("member", member, header.member, header.member in (member if isinstance(member, tuple) else (member,))),
    )
    if differences := [f"{item} asked {asked!r}, found {found!r}" for item, asked, found, same in items if not same]:
        raise CorruptMessage(
            f"{where} is another message: {'; '.join(differences)}; "
            "the index does not fit the file, or the file not its name; fetch it again"
        )


def _same_surface(asked: tuple[int, float | None], found: tuple[int, float | None]) -> bool:
    if asked[0] != found[0]:
        return False
    return asked[1] is None or (found[1] is not None and isclose(asked[1], found[1], rel_tol=1e-9, abs_tol=1e-12))


def decode(
    message: bytes,
    *,
    source_fill_value: float | None = None,
    scale_factor: float = 1.0,
    add_offset: float = 0.0,
    grid: Grid | None = None,
    where: str = "a GRIB message",
    out: Array2D | None = None,
) -> Array2D:
    """Unpack a message. Threads may do so at once; only the rarer packings hold the GIL, and a lock.

    Parameters
    ----------
    message : bytes
        One whole message of one field.
    source_fill_value : float, optional
        A value, in the message's own units, that stands for "nothing here".
    scale_factor, add_offset : float
        Result = value * scale_factor + add_offset, computed in float64.
    grid : Grid, optional
        The message must have the very same points, and they come in its order: see `to_grid`.
    where : str
        What the message is, for the error.
    out : (ny, nx) float32, C-contiguous, optional
        Where the result is written, for those who decode many; its content is of no use after an error.

    Returns
    -------
    (ny, nx) float32
        In the order of the grid; without one in that of the message: its first point first, its first row of points along x
        first. Missing is NaN.

    Raises
    ------
    CorruptMessage
        The message is damaged, its values exceed float32, its points are not stored row by row in one direction, are
        too many, are not those of the grid, or do not fit `out`.
    """
    header = read_header(message, where).grid
    shape = _shape(header, where)
    order = _GridOrder() if grid is None else _grid_order(shape, header, grid, where)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape:
        raise CorruptMessage(
            f"{where} has shape {shape!r}, its place has {out.shape!r}; check the grid in the file's name"
        )
    if not out.flags.c_contiguous:
        raise ValueError(f"{where} was to be written into memory of strides {out.strides!r}; give a C-contiguous array")
    fill = math.nan if source_fill_value is None else source_fill_value
    units = Units(float(fill), float(scale_factor), float(add_offset))
    placing = Placing(shape[1], 0 if order.mirrored else order.shift, order.upside_down and not order.mirrored)
    values = out.reshape(-1)
    if not unpack(message, units, values, where, placing):
        place(_unpack_with_eccodes(message, units, out.size, where), placing, values)
    if order.mirrored:
        out[...] = order.apply(out.copy())
    return out


def _shape(grid: GridHeader, where: str) -> tuple[int, int]:
    if grid.ny is None or grid.nx is None or grid.scanning_mode is None:
        raise CorruptMessage(f"{where}: points of grid template {grid.template!r} form no rows that can be read")
    if grid.scanning_mode & _ROWS_IN_ORDER:
        raise CorruptMessage(
            f"{where}: scanning mode {grid.scanning_mode:#04x} is not read, only rows that all run the same way are"
        )
    if not 0 < grid.ny * grid.nx <= _MOST_POINTS:
        raise CorruptMessage(
            f"{where}: a grid of {grid.ny} by {grid.nx} is not read, only 1 to {_MOST_POINTS} points are; fetch it again"
        )
    return grid.ny, grid.nx


def _unpack_with_eccodes(message: bytes, units: Units, points: int, where: str) -> Float32Array:
    values = _pygrib_values(message, where)
    if values.size != points:
        raise CorruptMessage(f"{where}: {values.size} values came out, its grid has {points} points; fetch it again")
    values[(values == _MISSING) | (values == units.fill)] = np.nan
    try:
        with np.errstate(over="raise"):
            return (values.reshape(-1) * units.factor + units.offset).astype(np.float32)
    except FloatingPointError as error:
        raise CorruptMessage(f"{where}: values up to {np.nanmax(np.abs(values))!r} exceed float32") from error


def _pygrib_values(message: bytes, where: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    import pygrib

    try:
        with _ECCODES:
            field = pygrib.fromstring(message)
            field["missingValue"] = _MISSING
            values = field.values
    except (RuntimeError, ValueError, KeyError) as error:
        raise CorruptMessage(f"{where}: ecCodes cannot unpack it ({error}); fetch it again") from error
    return np.array(np.ma.getdata(values), dtype=np.float64, ndmin=1)


def to_grid(values: Array2D, header: GridHeader, grid: Grid, where: str) -> Array2D:
    """Bring a field into the order of the template's grid, if it has the very same points.

    Parameters
    ----------
    values : (ny, nx) float32
        In the order of the message; not changed, but the result may be a view of it.
    header : GridHeader
    grid : Grid
    where : str
        What the field is, for the error.

    Returns
    -------
    (latitude, longitude) or (y, x) float32
        Rows and columns reversed where the message runs the other way; a full circle of longitudes rotated to begin
        where the grid does.

    Raises
    ------
    CorruptMessage
        Shape, spacing, corners or direction of scanning are not those of the grid.
    """
    return _grid_order(values.shape, header, grid, where).apply(values)


@dataclass(frozen=True, slots=True)
class _GridOrder:
    """How the rows and columns of a message are brought into those of a grid."""

    upside_down: bool = False
    mirrored: bool = False
    """Whether each row runs the other way."""
    shift: int = 0
    """The column that comes first, once rows run the right way."""

    def apply(self, values: Array2D) -> Array2D:
        values = values[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.roll(values, -self.shift, axis=1) if self.shift else values


def _grid_order(shape: tuple[int, int], header: GridHeader, grid: Grid, where: str) -> _GridOrder:
    if shape != grid.shape:
        raise CorruptMessage(
            f"{where} has shape {shape!r}, template expects {grid.shape!r}; check the grid in the file's name"
        )
    if isinstance(grid, LambertGrid):
        return _lambert_order(header, grid, where)
    rows, columns = _source_axes(header, shape, where)
    row_order, column_order = _order(rows, grid.latitude), _order(columns, grid.longitude, circle=True)
    if row_order is None or column_order is None:
        raise CorruptMessage(
            f"{where} has latitudes {_describe(rows)} and longitudes {_describe(columns)}, template expects "
            f"{_describe(grid.latitude)} and {_describe(grid.longitude)}; a new grid needs a new dataset version"
        )
    return _GridOrder(row_order.direction == -1, column_order.direction == -1, column_order.shift)


def _lambert_order(header: GridHeader, grid: LambertGrid, where: str) -> _GridOrder:
    """The order, if the message's cone, spacing and first point are the grid's."""
    mode, cone = header.scanning_mode, header.cone
    wanted = (grid.latitude_of_origin, grid.central_meridian, *grid.standard_parallels)
    if cone is None or mode is None or header.latitude_first is None or header.longitude_first is None:
        raise CorruptMessage(f"{where} is on grid template {header.template!r}, template expects 30, Lambert conformal")
    order = _GridOrder(bool(mode & _J_POSITIVE) != (grid.y.step > 0), bool(mode & _I_NEGATIVE) == (grid.x.step > 0))
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
class _Order:
    direction: Literal[1, -1]
    shift: int
    """Steps from the source's first label, after reversing, to the wanted first."""


def _order(source: RegularAxis, wanted: RegularAxis, *, circle: bool = False) -> _Order | None:
    """How to reorder `source` into `wanted`; None where they are not the same labels."""
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
    return _Order(direction, shift % wanted.size) if same_steps and (may_shift or shift == 0) else None


def _describe(axis: RegularAxis) -> str:
    return f"{axis.first!r} to {axis.first + axis.step * (axis.size - 1)!r} by {axis.step!r}"
