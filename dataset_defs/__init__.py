"""Every dataset this project knows. Being in the list is what registers one."""

from dataset_defs.noaa.gfs.forecast import DATASET as NOAA_GFS_FORECAST
from reformatters_dagster.core.dataset import DynamicalDataset

DATASETS: tuple[DynamicalDataset, ...] = (NOAA_GFS_FORECAST,)
