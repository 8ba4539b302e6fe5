"""Where ICON-EU files can be had, in the order they are asked for; the two lay them out differently."""

from reformatters_dagster import SourceArchive

_IN_BUCKET = "us-west-2.opendata.source.coop/dynamical/dwd-icon-grib/icon-eu/regular-lat-lon"
_ON_SERVER = "opendata.dwd.de/weather/nwp/icon-eu/grib"

ICON_EU_COPY = SourceArchive(url=f"s3://{_IN_BUCKET}", folder=_IN_BUCKET, region="us-west-2")
"""Copies of DWD's files since 2026-02-10, by init time, for good."""

DWD_SERVER = SourceArchive(url=f"https://{_ON_SERVER}", folder=_ON_SERVER, newest="24h", requests_per_minute=600)
"""DWD's own server, by hour of day: each run replaces the one of the day before."""

ICON_EU_ARCHIVES = (ICON_EU_COPY, DWD_SERVER)
