"""The bytes of a message to a 2-D float32 field on the template's grid.

In: one GRIB2 message, and the grid it should be on. Out: its values.

A message is trusted only after three checks: its framing (`sections.check_framing`), its identity (`identity.check_identity`)
and its grid (`decode` with a grid).
"""

import math

import numpy as np

from reformatters_dagster.core.grib.apart import unpack_apart
from reformatters_dagster.core.grib.grid_order import GridOrder, grid_order
from reformatters_dagster.core.grib.header import GridHeader, read_header
from reformatters_dagster.core.grib.packing import Units, place, unpack
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import Grid
from reformatters_dagster.core.spec.values import Array2D, Float32Array, Placing

_ROWS_IN_ORDER = 0x3F
"""Bits of the scanning mode that are all 0 where every row runs the same way."""
# Eight times the largest published grid; a damaged header could ask for all memory.
_MOST_POINTS = 2**27


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
    """Unpack a message. Many threads may do so at once; only the rarer packings wait for each other.

    Parameters
    ----------
    message : bytes
        One whole message of one field.
    source_fill_value : float, optional
        A value, in the message's own units, that means "no value here".
    scale_factor, add_offset : float
        Result = value * scale_factor + add_offset, computed in float64.
    grid : Grid, optional
        The message must have the same points; the result has them in the grid's order: see `grid_order`.
    where : str
        Names the message in an error.
    out : (ny, nx) float32, C-contiguous, optional
        Receives the result, so that one buffer serves many messages. After an error its content is undefined.

    Returns
    -------
    (ny, nx) float32
        In the order of the grid; without a grid in the order of the message. Missing is NaN.

    Raises
    ------
    CorruptMessage
        The message is damaged; its values exceed float32; its points are not stored row by row in one direction, are too many,
        are not those of the grid, or do not fit `out`.
    """
    header = read_header(message, where).grid
    shape = _shape(header, where)
    order = GridOrder() if grid is None else grid_order(shape, header, grid, where)
    out = _memory(out, shape, where)
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


def _memory(out: Array2D | None, shape: tuple[int, int], where: str) -> Array2D:
    """Memory for the result: what the caller gave, if it fits, or new."""
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape:
        raise CorruptMessage(
            f"{where} has shape {shape!r}, its place has {out.shape!r}; check the grid in the file's name"
        )
    if not out.flags.c_contiguous:
        raise ValueError(f"{where} was to be written into memory of strides {out.strides!r}; give a C-contiguous array")
    return out


def _unpack_with_eccodes(message: bytes, units: Units, points: int, where: str) -> Float32Array:
    values = unpack_apart(message, points, where)
    values[values == units.fill] = np.nan
    try:
        with np.errstate(over="raise"):
            return (values * units.factor + units.offset).astype(np.float32)
    except FloatingPointError as error:
        raise CorruptMessage(f"{where}: values up to {np.nanmax(np.abs(values))!r} exceed float32") from error
