"""Where HRRR files can be had, in the order they are asked for; the grid they are on; when their forecasts end."""

from collections.abc import Mapping

import pandas as pd

from dataset_defs.noaa.nomads import nomads
from reformatters_dagster import LambertGrid, RegularAxis, SourceArchive

HRRR_ARCHIVES = (
    SourceArchive(url="s3://noaa-hrrr-bdp-pds", folder="noaa-hrrr-bdp-pds", region="us-east-1"),
    nomads("hrrr", newest="12h"),
)

CONUS_3KM = LambertGrid(
    y=RegularAxis(first=1586693.847443335, step=-3000.0, size=1059),
    x=RegularAxis(first=-2697520.142521929, step=3000.0, size=1799),
    latitude_of_origin=38.5,
    central_meridian=-97.5,
    standard_parallels=(38.5, 38.5),
)

HRRR_4 = pd.Timestamp("2020-12-02T12")
"""The first init time of version 4."""
LONG_FORECASTS: Mapping[pd.Timestamp, pd.Timedelta] = {
    HRRR_4: pd.Timedelta("48h"),
    pd.Timestamp("2018-07-12T12"): pd.Timedelta("36h"),
}
"""How far the forecasts of 00, 06, 12 and 18 UTC reach since a date, newest first; HRRR 4 made them longer."""
SHORT_FORECAST = pd.Timedelta("18h")


def forecast_length(init_time: pd.Timestamp) -> pd.Timedelta:
    """The longest lead time of a forecast."""
    if init_time.hour % 6:
        return SHORT_FORECAST
    return next((length for since, length in LONG_FORECASTS.items() if init_time >= since), SHORT_FORECAST)


def hrrr_key(init_time: pd.Timestamp, hours: int) -> str:
    """Key of one lead time's surface fields over CONUS."""
    return f"hrrr.{init_time:%Y%m%d}/conus/hrrr.t{init_time:%H}z.wrfsfcf{hours:02d}.grib2"
