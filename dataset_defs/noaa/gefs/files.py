"""How GEFS files are named: by era, kind of file, member and lead time.

In: what a variable says of its kind of file, and times. Out: the file, and how coarse its grid is.
"""

from typing import Literal

import pandas as pd

from dataset_defs.noaa.gefs.archives import FORECASTS, REFORECASTS
from reformatters_dagster import DataVar, EnsembleFileCoord, OutLoc, whole_hours

type GefsFileType = Literal["a", "b", "s+a", "s+b", "s+b-b22"]
"""Files that hold a variable: `s` of 0.25 degree as far as they go, else `a` or `b`.

`s+b-b22` is `b` alone for init times before `IN_S_FILES_SINCE`.
"""

REFORECAST_END = pd.Timestamp("2020-01-01").as_unit("us")
"""Init times before this are of the version 12 reforecast: one file per variable and day, lead times from 3 h on."""
V12_START = pd.Timestamp("2020-09-23T12").as_unit("us")
"""Init times from here on are of version 12; those before, back to `REFORECAST_END`, are of 1 degree, every 6 h."""
IN_S_FILES_SINCE = pd.Timestamp("2022-10-18T12").as_unit("us")
S_FILES_TO = pd.Timedelta("240h")

KNOWN_MISSING_FILES = ("gefs.20210211/00/atmos/pgrb2bp5/gec00.t00z.pgrb2b.0p50.f000",)
"""Reported missing in 2023, and still in 2026. A file belongs here when two reports lie years apart: archives do get mended."""

REFORECAST_LEVELS = {
    "2 m above ground": "2m",
    "10 m above ground": "hgt",
    "100 m above ground": "hgt",
    "500 mb": "pres_abv700mb",
    "cloud ceiling": "ceiling",
    "entire atmosphere": "eatm",
    "entire atmosphere (considered as a single layer)": "eatm",
    "mean sea level": "msl",
    "surface": "sfc",
}
REFORECAST_ELEMENTS = {"PRMSL": "pres"}


def product_of(data_var: DataVar, file_type: GefsFileType, init_time: pd.Timestamp, lead_time: pd.Timedelta) -> str:
    """The files that hold a variable at a lead time: `s`, `a` or `b`; of the reforecast what its file's name begins with."""
    if init_time < REFORECAST_END:
        element, level = data_var.field.element, data_var.field.level
        return f"{REFORECAST_ELEMENTS.get(element, element.lower())}_{REFORECAST_LEVELS[level]}"
    fine, _, coarse = file_type.removesuffix("-b22").rpartition("+")
    in_fine = init_time >= (IN_S_FILES_SINCE if file_type == "s+b-b22" else V12_START)
    return fine if fine and in_fine and lead_time <= S_FILES_TO else coarse


class GefsFileCoord(EnsembleFileCoord):
    """One lead time of one member, in the files of one kind."""

    product: str
    """As `product_of` gives it."""

    @property
    def coarseness(self) -> int:
        """How many steps of 0.25 degree its grid's step is."""
        if self.init_time < REFORECAST_END:
            return 2 if self.product.endswith("_abv700mb") else 1
        if self.init_time < V12_START:
            return 4
        return 1 if self.product == "s" else 2

    def key(self) -> str:
        init, hours, product = self.init_time, whole_hours(self.lead_time), self.product
        member = f"{'p' if self.ensemble_member else 'c'}{self.ensemble_member:02d}"
        if init < REFORECAST_END:
            name = f"{product}_{init:%Y%m%d%H}_{member}.grib2"
            return f"GEFSv12/reforecast/{init:%Y/%Y%m%d%H}/{member}/Days:1-10/{name}"
        if init < V12_START:
            return f"gefs.{init:%Y%m%d/%H}/pgrb2{product}/ge{member}.t{init:%H}z.pgrb2{product}f{hours:02d}"
        folder, grid = (f"pgrb2{product}p25", "0p25") if product == "s" else (f"pgrb2{product}p5", "0p50")
        return f"gefs.{init:%Y%m%d/%H}/atmos/{folder}/ge{member}.t{init:%H}z.pgrb2{product}.{grid}.f{hours:03d}"

    def get_url(self) -> str:
        archive = REFORECASTS if self.init_time < REFORECAST_END else FORECASTS
        return f"{archive.url}/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {
            "init_time": self.init_time,
            "ensemble_member": self.ensemble_member,
            "lead_time": self.lead_time,
        }
