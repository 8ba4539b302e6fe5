"""The code location of NOAA's datasets."""

from dataset_defs.noaa.gfs.analysis import DATASET as GFS_ANALYSIS
from dataset_defs.noaa.gfs.forecast import DATASET as GFS_FORECAST
from reformatters_dagster.orchestration.build import build_definitions

defs = build_definitions([GFS_ANALYSIS, GFS_FORECAST])
