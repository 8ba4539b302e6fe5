"""Fields in the words of NOAA's indexes. In: an element and a level of an `.idx`. Out: what the message must be."""

import re
from collections.abc import Mapping

from reformatters_dagster import GribField, Statistic

NCEP = 7
"""Originating centre, of common code table C-11. Table A of its ON388 numbers its generating processes."""

type Parameter = tuple[int, int, int]

ELEMENTS: Mapping[str, Parameter] = {
    "APCP": (0, 1, 8),
    "ASNOW": (0, 1, 29),
    "CFRZR": (0, 1, 193),
    "CICEP": (0, 1, 194),
    "CPOFP": (0, 1, 39),
    "CRAIN": (0, 1, 192),
    "CSNOW": (0, 1, 195),
    "DLWRF": (0, 5, 192),
    "DPT": (0, 0, 6),
    "DSWRF": (0, 4, 192),
    "GUST": (0, 2, 22),
    "HGT": (0, 3, 5),
    "MSLMA": (0, 3, 198),
    "PRES": (0, 3, 0),
    "PRMSL": (0, 3, 1),
    "PWAT": (0, 1, 3),
    "REFC": (0, 16, 196),
    "RH": (0, 1, 1),
    "SNOD": (0, 1, 11),
    "SNOWC": (0, 1, 42),
    "TCDC": (0, 6, 1),
    "TMAX": (0, 0, 4),
    "TMIN": (0, 0, 5),
    "TMP": (0, 0, 0),
    "UGRD": (0, 2, 2),
    "VBDSF": (0, 4, 200),
    "VGRD": (0, 2, 3),
    "WEASD": (0, 1, 13),
}
"""Discipline, category and number of each abbreviation (NCEP's GRIB2 code tables 4.2)."""

OTHER_NUMBERS: Mapping[str, tuple[Parameter, ...]] = {
    "CFRZR": ((0, 1, 34),),
    "CICEP": ((0, 1, 35),),
    "CPOFP": ((1, 1, 193),),
    "CRAIN": ((0, 1, 33),),
    "CSNOW": ((0, 1, 36),),
    "DLWRF": ((0, 5, 3),),
    "DSWRF": ((0, 4, 7),),
    "REFC": ((0, 16, 5),),
    "SNOWC": ((0, 1, 201),),
}
"""Further numbers with the same abbreviation: each model moves from NCEP's (192 and up) to WMO's in its own time."""

_SURFACES: Mapping[str, tuple[int, None]] = {
    "surface": (1, None),
    "entire atmosphere": (10, None),
    "mean sea level": (101, None),
    "entire atmosphere (considered as a single layer)": (200, None),
    "cloud ceiling": (215, None),
}
_HEIGHT_OR_PRESSURE = re.compile(r"([0-9]+(?:\.[0-9]+)?) (m above ground|mb)")


def surface(level: str) -> tuple[int, float | None]:
    """Type (GRIB2 code table 4.5) and value in SI units of a level in the words of an index; `ValueError` for an unknown one."""
    if level in _SURFACES:
        return _SURFACES[level]
    if match := _HEIGHT_OR_PRESSURE.fullmatch(level):
        value, kind = float(match[1]), match[2]
        return (100, value * 100) if kind == "mb" else (103, value)
    raise ValueError(f"level {level!r} is none of {sorted(_SURFACES)}, '<n> m above ground', '<n> mb'; add it")


def noaa_field(
    element: str,
    level: str,
    statistic: Statistic = "instant",
    *,
    alternatives: tuple[str, ...] = (),
    first_of_duplicates: bool = False,
) -> GribField:
    """A message in the words of an index, with the numbers that must be inside it; `ValueError` for an unknown element."""
    names = (element, *alternatives)
    if unknown := [name for name in names if name not in ELEMENTS]:
        raise ValueError(f"elements {unknown!r} have no numbers; add them to ELEMENTS")
    numbers = [number for name in names for number in (ELEMENTS[name], *OTHER_NUMBERS.get(name, ()))]
    return GribField(
        element=element,
        level=level,
        parameter=numbers[0],
        surface=surface(level),
        statistic=statistic,
        alternatives=alternatives,
        alternative_parameters=tuple(numbers[1:]),
        first_of_duplicates=first_of_duplicates,
    )
