"""Where ECMWF's open data can be had, in the order the clouds are asked; both lay it out alike and keep it for good."""

import pandas as pd

from reformatters_dagster import SourceArchive, whole_hours

GOOGLE = SourceArchive(url="gs://ecmwf-open-data", folder="ecmwf-open-data")
AMAZON = SourceArchive(url="s3://ecmwf-forecasts", folder="ecmwf-forecasts", region="eu-central-1")

ECMWF_ARCHIVES = (GOOGLE, AMAZON)


def open_data_key(init_time: pd.Timestamp, lead_time: pd.Timedelta, *, folder: str, kind: str) -> str:
    """Path of a file.

    Parameters
    ----------
    folder : str
        Model, grid and stream: `ifs/0p25/oper`.
    kind : str
        What the file's name ends with: `oper-fc`.
    """
    name = f"{init_time:%Y%m%d%H}0000-{whole_hours(lead_time)}h-{kind}.grib2"
    return f"{init_time:%Y%m%d/%H}z/{folder}/{name}"
