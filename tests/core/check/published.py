"""A small published store on disk, for checks to read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import Float32Array, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, GribField, Statistic

START = Timestamp("2026-07-29T00")
NOW = Timestamp("2026-07-30T12")
FORECAST = AppendAxis(name="init_time", start=START, frequency="6h")
ANALYSIS = AppendAxis(name="time", start=START, frequency="1h")
DIMS = {
    "forecast": ("init_time", "lead_time", "latitude", "longitude"),
    "ensemble": ("init_time", "ensemble_member", "lead_time", "latitude", "longitude"),
    "analysis": ("time", "latitude", "longitude"),
}
CHUNKS = {"init_time": 1, "time": 4, "ensemble_member": 3, "lead_time": 3, "latitude": 4, "longitude": 4}
SHARDS = {"init_time": 1, "time": 8, "ensemble_member": 3, "lead_time": 6, "latitude": 8, "longitude": 8}
SIZES = {"ensemble_member": 3, "lead_time": 5, "latitude": 7, "longitude": 12}


def data_var(name: str, statistic: Statistic = "instant") -> DataVar:
    field = GribField(element="X", level="surface", parameter=(0, 0, 0), surface=(1, None), statistic=statistic)
    step_type = "accum" if statistic == "acc" else statistic
    return DataVar(name=name, long_name=name, short_name=name, units="1", step_type=step_type, field=field)


TEMPERATURE = data_var("temperature_2m")
PRECIPITATION = data_var("precipitation_surface", "acc")


def nothing(_: str) -> None:
    """No object of the store."""


def no_coordinates(_: Timestamp) -> xr.Dataset:
    return xr.Dataset()


class Published:
    """A small store on disk, and the objects it is made of."""

    def __init__(self, folder: Path, shape: str, labels: int, data_vars: Sequence[DataVar] = (TEMPERATURE,)) -> None:
        self.folder, self.dims, self.data_vars = folder, DIMS[shape], tuple(data_vars)
        self.axis = ANALYSIS if shape == "analysis" else FORECAST
        self.arrays = {v.name: np.zeros((labels, *(SIZES[d] for d in self.dims[1:])), "f4") for v in data_vars}

    def __getitem__(self, name: str) -> Float32Array:
        return self.arrays[name]

    def write(self) -> "Published":
        labels = len(next(iter(self.arrays.values())))
        coords: dict[str, object] = {
            self.axis.name: pd.date_range(START, periods=labels, freq=self.axis.frequency, unit="us"),
            "lead_time": pd.timedelta_range("0h", periods=SIZES["lead_time"], freq="1h", unit="us"),
        }
        ds = xr.Dataset(
            {name: (self.dims, values) for name, values in self.arrays.items()},
            {name: values for name, values in coords.items() if name in self.dims},
            {"dataset_id": "noaa-gfs-forecast"},
        )
        encoding: Mapping[str, Mapping[str, object]] = {
            name: {
                "chunks": tuple(CHUNKS[dim] for dim in self.dims),
                "shards": tuple(SHARDS[dim] for dim in self.dims),
                "fill_value": np.nan,
            }
            for name in self.arrays
        }
        with zarr.config.set({"array.write_empty_chunks": True}):
            ds.to_zarr(self.folder, zarr_format=3, consolidated=False, encoding=encoding)
        return self

    def shard_keys(self, name: str) -> set[str]:
        return {
            p.relative_to(self.folder / name).as_posix() for p in (self.folder / name / "c").rglob("*") if p.is_file()
        }

    def open(self, data_vars: Sequence[DataVar] | None = None) -> OpenedStore:
        ds = xr.open_zarr(self.folder, consolidated=False, chunks=None)
        rows = self.data_vars if data_vars is None else tuple(data_vars)
        return OpenedStore(ds, self.axis, rows, self.shard_keys, nothing, no_coordinates)


type Publish = Callable[..., Published]
