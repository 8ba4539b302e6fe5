"""Every dataset this project knows, `DATASETS`. Being in the list of modules is what registers one.

A module is imported when its datasets are first asked for: a provider's code location imports this package too, and must not
fall with another provider.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reformatters_dagster import DynamicalDataset

    DATASETS: tuple[DynamicalDataset, ...]

MODULES = (
    "dataset_defs.contrib.mrms_guam",
    "dataset_defs.dwd.icon_eu.forecast",
    "dataset_defs.ecmwf.aifs_single.forecast",
    "dataset_defs.ecmwf.ifs_ens.forecast",
    "dataset_defs.noaa.gefs.analysis",
    "dataset_defs.noaa.gefs.forecast",
    "dataset_defs.noaa.gfs.analysis",
    "dataset_defs.noaa.gfs.forecast",
    "dataset_defs.noaa.hrrr.analysis",
    "dataset_defs.noaa.hrrr.forecast",
)
"""Each has a `DATASET`. One below another, so that two changes that add one each can be merged."""

DEMO_MODULES = (
    "dataset_defs.contrib.demo",
    "dataset_defs.ecmwf.ifs_ens.demo",
    "dataset_defs.noaa.gfs.demo",
)
"""Of datasets that `reformat demo` alone makes: no code location of a deployment has them."""

PROVIDERS = frozenset(module.split(".")[1] for module in MODULES)
"""Who makes what the datasets are made from: the first words of their ids."""


def of_provider(provider: str) -> "tuple[DynamicalDataset, ...]":
    """Datasets of one provider; the modules of others are not imported."""
    return _datasets(MODULES, f"{__name__}.{provider}.")


def of_demo(provider: str | None = None) -> "tuple[DynamicalDataset, ...]":
    """Datasets that `reformat demo` alone makes, all or those of one provider; `DATASETS` lacks them."""
    return _datasets(DEMO_MODULES, f"{__name__}.{provider}." if provider else __name__)


def _datasets(modules: tuple[str, ...], prefix: str) -> "tuple[DynamicalDataset, ...]":
    return tuple(import_module(module).DATASET for module in modules if module.startswith(prefix))


def __getattr__(name: str) -> "tuple[DynamicalDataset, ...]":
    if name != "DATASETS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _datasets(MODULES, __name__)
