"""Fields in the words of MARS. In: a parameter and a level of an `.index`. Out: what the message must be."""

from collections.abc import Mapping
from typing import NamedTuple

from reformatters_dagster import GribField, Statistic

type Numbers = tuple[int, int, int]
type Surface = tuple[int, float | None]

_GROUND: Surface = (1, None)
_PRESSURE_LEVEL = 100


class _Parameter(NamedTuple):
    """GRIB2 numbers, what the field is on, its statistic, and other numbers that it has carried."""

    numbers: Numbers
    surface: Surface | None = _GROUND
    """None for a parameter on pressure levels, which the index names."""
    statistic: Statistic = "instant"
    other_numbers: tuple[Numbers, ...] = ()


PARAMETERS: Mapping[str, _Parameter] = {
    "10fg": _Parameter((0, 2, 22), (103, 10.0), "max"),
    "10u": _Parameter((0, 2, 2), (103, 10.0)),
    "10v": _Parameter((0, 2, 3), (103, 10.0)),
    "100u": _Parameter((0, 2, 2), (103, 100.0)),
    "100v": _Parameter((0, 2, 3), (103, 100.0)),
    "2d": _Parameter((0, 0, 6), (103, 2.0)),
    "2t": _Parameter((0, 0, 0), (103, 2.0)),
    "gh": _Parameter((0, 3, 5), None),
    "msl": _Parameter((0, 3, 0), (101, None), other_numbers=((0, 3, 1),)),
    "ptype": _Parameter((0, 1, 19)),
    "sp": _Parameter((0, 3, 0)),
    "ssrd": _Parameter((0, 4, 7), statistic="acc"),
    "strd": _Parameter((0, 5, 3), statistic="acc"),
    "t": _Parameter((0, 0, 0), None),
    "tcc": _Parameter((0, 6, 192)),
    "tp": _Parameter((0, 1, 193), statistic="acc"),
    "z": _Parameter((0, 3, 4), None),
}
"""What a parameter's messages say of themselves (GRIB2 code tables 4.2 and 4.5)."""


def ecmwf_field(param: str, hectopascal: int | None = None, *, other_numbers: tuple[Numbers, ...] = ()) -> GribField:
    """The message of a parameter, on a pressure level where it has one; `ValueError` for an unknown parameter.

    `other_numbers` are further ones that a model's messages carry.
    """
    if param not in PARAMETERS:
        raise ValueError(f"parameter {param!r} has no numbers; add them to PARAMETERS")
    known = PARAMETERS[param]
    surface = known.surface if hectopascal is None else (_PRESSURE_LEVEL, hectopascal * 100.0)
    if surface is None:
        raise ValueError(f"parameter {param!r} lies on pressure levels: say on which, in hectopascal")
    return GribField(
        element=param,
        level="sfc" if hectopascal is None else f"pl {hectopascal}",
        parameter=known.numbers,
        alternative_parameters=(*known.other_numbers, *other_numbers),
        surface=surface,
        statistic=known.statistic,
    )
