"""Where GFS files can be had, in the order they are asked for."""

from dataset_defs.noaa.nomads import nomads
from reformatters_dagster import SourceArchive

GFS_ARCHIVES = (
    SourceArchive(url="s3://noaa-gfs-bdp-pds", folder="noaa-gfs-bdp-pds", region="us-east-1"),
    nomads("gfs", newest="12h"),
)
