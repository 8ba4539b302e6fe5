"""Every dataset this project knows, `DATASETS`. Being in the list is what registers one.

The list is made when it is first asked for: a provider's code location imports this package too, and must not fall with
another provider.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reformatters_dagster.core.dataset import DynamicalDataset

    DATASETS: tuple[DynamicalDataset, ...]


def __getattr__(name: str) -> "tuple[DynamicalDataset, ...]":
    if name != "DATASETS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dataset_defs.noaa.gfs.analysis import DATASET as NOAA_GFS_ANALYSIS
    from dataset_defs.noaa.gfs.forecast import DATASET as NOAA_GFS_FORECAST

    return (NOAA_GFS_ANALYSIS, NOAA_GFS_FORECAST)
