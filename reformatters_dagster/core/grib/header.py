"""What a message says of itself: its identity, its packing and its grid.

In: the bytes of one message. Out: a `MessageHeader`. No value is unpacked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import pandas as pd

from reformatters_dagster.core.grib.sections import DAMAGED, Section, check_framing, split
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timedelta, Timestamp

_SECONDS = {0: 60, 1: 3600, 2: 86400, 10: 3 * 3600, 11: 6 * 3600, 12: 12 * 3600, 13: 1}
_CENTURY = 100 * 366 * 86400
_STATISTICS = {0: "avg", 1: "acc", 2: "max", 3: "min"}


@dataclass(frozen=True, slots=True)
class GridHeader:
    """Where the points of a message lie (section 3). What its grid template does not tell is None."""

    template: int
    """Grid definition template (code table 3.1): 0 latitude/longitude, 30 Lambert."""
    ny: int | None
    nx: int | None
    latitude_first: float | None = None
    longitude_first: float | None = None
    latitude_last: float | None = None
    longitude_last: float | None = None
    dy: float | None = None
    """Spacing without sign: degrees on template 0, metres on templates 20 and 30."""
    dx: float | None = None
    scanning_mode: int | None = None
    """Flag table 3.4."""
    cone: tuple[float, float, float, float] | None = None
    """On template 30: latitude where the spacing is true, central meridian, both standard parallels; degrees."""


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What a message says it is."""

    centre: int
    """Originating centre (common code table C-11)."""
    process: int
    """Generating process, by the centre's own table."""
    discipline: int
    category: int
    number: int
    reference_time: Timestamp
    start: Timedelta
    """Forecast time; the start of the time window where there is one."""
    stop: Timedelta
    """End of the time window; equals `start` for an instant."""
    statistic: str
    """`instant`, `avg`, `acc`, `max`, `min`, or `other:<n>` with n of code table 4.10."""
    surface: tuple[int, float | None]
    """Type (code table 4.5) and value in SI units of the first fixed surface."""
    member: int | None
    """Perturbation number; None where the product template has none."""
    derived: int | None
    """What of the ensemble it is (code table 4.7), such as its mean or its spread; None for a forecast."""
    packing: int
    """Data representation template (code table 5.0)."""
    points: int
    grid: GridHeader


class _ProductOctets(NamedTuple):
    member: int | None
    window_end: int | None
    derived: int | None = None


_PRODUCTS: Mapping[int, _ProductOctets] = {
    0: _ProductOctets(None, None),
    1: _ProductOctets(36, None),
    2: _ProductOctets(None, None, 35),
    8: _ProductOctets(None, 35),
    11: _ProductOctets(36, 38),
    12: _ProductOctets(None, 37, 35),
}


class _GridOctets(NamedTuple):
    latitude_first: int
    longitude_first: int
    corner_last: int | None
    dx: int
    dy: int
    scanning_mode: int


_PROJECTED = _GridOctets(39, 43, None, 56, 60, 65)
_GRIDS: Mapping[int, _GridOctets] = {0: _GridOctets(47, 51, 56, 64, 68, 72), 20: _PROJECTED, 30: _PROJECTED}
# Every template below this one keeps Nx in octets 31-34 and Ny in 35-38.
_LAMBERT = 30
_FIRST_GRID_WITHOUT_SHAPE = 50


def read_header(message: bytes, where: str) -> MessageHeader:
    """Read the identity, packing and grid of a message of one field.

    Parameters
    ----------
    message : bytes
        One whole message.
    where : str
        Names the bytes in an error.

    Raises
    ------
    CorruptMessage
        The framing is wrong (`check_framing`); a section is missing, too short or contradicts another; or the message is of
        a kind that is not read: several fields, a product template other than 0, 1, 2, 8, 11 and 12, or a unit of time without
        a fixed length.

    Notes
    -----
    Source: WMO Manual on Codes, FM 92 GRIB edition 2, sections 0 to 7.
    """
    check_framing(message, where)
    sections = split(message, where)
    product = sections[4]
    template = product.unsigned(8, 2)
    if template not in _PRODUCTS:
        raise CorruptMessage(f"{where}: product template {template!r} is not read, only {sorted(_PRODUCTS)} are")
    octets = _PRODUCTS[template]
    reference_time = sections[1].time(13)
    start = _duration(product)
    points, grid = _read_grid(sections[3])
    _check_point_counts(sections, points)
    return MessageHeader(
        centre=sections[1].unsigned(6, 2),
        process=product.unsigned(14, 1),
        discipline=message[6],
        category=product.unsigned(10, 1),
        number=product.unsigned(11, 1),
        reference_time=reference_time,
        start=start,
        stop=start if octets.window_end is None else _window_stop(product, octets.window_end, reference_time, start),
        statistic="instant" if octets.window_end is None else _statistic(product, octets.window_end),
        surface=_surface(product),
        member=None if octets.member is None else product.unsigned(octets.member, 1),
        derived=None if octets.derived is None else product.unsigned(octets.derived, 1),
        packing=sections[5].unsigned(10, 2),
        points=points,
        grid=grid,
    )


def _duration(product: Section) -> Timedelta:
    unit = product.unsigned(18, 1)
    if unit not in _SECONDS:
        raise CorruptMessage(
            f"{product.where}: unit of time {unit!r} (code table 4.4) has no fixed length, {sorted(_SECONDS)} have"
        )
    seconds = product.signed(19, 4) * _SECONDS[unit]
    if abs(seconds) > _CENTURY:
        raise CorruptMessage(f"{product.where}: a forecast time of {seconds!r} s is beyond a century; {DAMAGED}")
    return _timedelta(seconds)


@lru_cache(maxsize=4096)
def _timedelta(seconds: int) -> Timedelta:
    return pd.Timedelta(seconds=seconds)


def _window_stop(product: Section, octet: int, reference_time: Timestamp, start: Timedelta) -> Timedelta:
    stop = product.time(octet) - reference_time
    if stop < start:
        raise CorruptMessage(f"{product.where}: the window ends at {stop!r}, before its start {start!r}; {DAMAGED}")
    return stop


def _statistic(product: Section, window_end: int) -> str:
    # After the end of the window: the count of ranges (1 octet), the count of missing values (4), then the outermost range.
    process = product.unsigned(window_end + 12, 1)
    return _STATISTICS.get(process, f"other:{process}")


def _surface(product: Section) -> tuple[int, float | None]:
    kind = product.unsigned(23, 1)
    if product.optional(24, 1) is None or product.optional(25, 4) is None:
        return kind, None
    scale, value = product.signed(24, 1), product.signed(25, 4)
    return kind, value / 10.0**scale


def _read_grid(grid: Section) -> tuple[int, GridHeader]:
    template, points = grid.unsigned(13, 2), grid.unsigned(7, 4)
    has_shape = template < _FIRST_GRID_WITHOUT_SHAPE
    nx = grid.optional(31, 4) if has_shape else None
    ny = grid.optional(35, 4) if has_shape else None
    if template not in _GRIDS:
        return points, GridHeader(template, ny, nx)
    if ny is not None and nx is not None and ny * nx != points:
        raise CorruptMessage(f"{grid.where}: a grid of {ny} by {nx} is declared with {points} points; {DAMAGED}")
    octets = _GRIDS[template]
    per_degree = _units_per_degree(grid) if template == 0 else 1e6
    per_spacing = per_degree if template == 0 else 1e3
    last = octets.corner_last
    dx, dy = grid.optional(octets.dx, 4), grid.optional(octets.dy, 4)
    return points, GridHeader(
        template=template,
        ny=ny,
        nx=nx,
        latitude_first=grid.signed(octets.latitude_first, 4) / per_degree,
        longitude_first=grid.signed(octets.longitude_first, 4) / per_degree,
        latitude_last=None if last is None else grid.signed(last, 4) / per_degree,
        longitude_last=None if last is None else grid.signed(last + 4, 4) / per_degree,
        dy=None if dy is None else dy / per_spacing,
        dx=None if dx is None else dx / per_spacing,
        scanning_mode=grid.unsigned(octets.scanning_mode, 1),
        cone=_read_cone(grid) if template == _LAMBERT else None,
    )


def _read_cone(grid: Section) -> tuple[float, float, float, float]:
    origin, meridian, first, second = (grid.signed(octet, 4) / 1e6 for octet in (48, 52, 66, 70))
    return origin, meridian, first, second


def _units_per_degree(grid: Section) -> float:
    basic_angle, subdivisions = grid.optional(39, 4), grid.optional(43, 4)
    if not basic_angle:
        return 1e6
    if not subdivisions:
        raise CorruptMessage(f"{grid.where}: a basic angle of {basic_angle!r} comes without subdivisions; {DAMAGED}")
    return subdivisions / basic_angle


def _check_point_counts(sections: Mapping[int, Section], points: int) -> None:
    packed, indicator = sections[5].unsigned(6, 4), sections[6].unsigned(6, 1)
    bits = 8 * (len(sections[6].body) - 6)
    where = sections[5].where
    if indicator not in (0, 255):
        raise CorruptMessage(f"{where}: bit map indicator {indicator!r} is not read, only 0 and 255 are")
    if indicator == 0 and (bits < points or packed > points):
        raise CorruptMessage(f"{where}: {points} points have a bit map of {bits} bits and {packed} values; {DAMAGED}")
    if indicator == 255 and packed != points:
        raise CorruptMessage(f"{where}: {points} points have {packed} values and no bit map; {DAMAGED}")
