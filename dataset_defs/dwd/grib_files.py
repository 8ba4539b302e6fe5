"""What DWD's files on regular grids share. In: times, an element, a level. Out: names of files, and what a message must be."""

from typing import NamedTuple

import pandas as pd

from reformatters_dagster import GribField, Statistic, whole_hours

OFFENBACH = 78
"""DWD's number as a centre, of common code table C-11."""

type Surface = tuple[int, float | None]


class Level(NamedTuple):
    """What a field is on: in words, by GRIB2 code table 4.5, and the other surfaces that mean the same."""

    words: str
    surface: Surface
    other_surfaces: tuple[Surface, ...] = ()


GROUND = Level("surface", (1, None))
ABOVE_2M = Level("2 m above ground", (103, 2.0))
ABOVE_10M = Level("10 m above ground", (103, 10.0))
SEA_LEVEL = Level("mean sea level", (101, None))
COLUMN = Level("entire atmosphere", (1, None), ((8, None), (10, None), (200, None)))
"""A layer that begins at the ground, or ends at the top of the atmosphere, or is the whole of it."""


def dwd_field(
    element: str, parameter: tuple[int, int, int], level: Level, statistic: Statistic = "instant"
) -> GribField:
    """The message of an element, as DWD's files are named by it."""
    return GribField(
        element=element,
        level=level.words,
        parameter=parameter,
        surface=level.surface,
        alternative_surfaces=level.other_surfaces,
        statistic=statistic,
    )


def file_name(init_time: pd.Timestamp, lead_time: pd.Timedelta, element: str) -> str:
    """Name of the ICON-EU file of a single-level element."""
    return (
        f"icon-eu_europe_regular-lat-lon_single-level_{init_time:%Y%m%d%H}_{whole_hours(lead_time):03d}"
        f"_{element.upper()}.grib2.bz2"
    )
