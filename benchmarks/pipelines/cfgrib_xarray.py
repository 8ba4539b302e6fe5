"""A pipeline as a notebook has it: every message through cfgrib, xarray in between, `to_zarr` at the end."""

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec

from benchmarks import numpy_steps
from benchmarks.passes import run_twice
from benchmarks.stopwatch import Stopwatch
from benchmarks.task import COLUMNS, COMPRESSOR, KELVIN, RAIN, SHUFFLE, VARIABLES, Task


def _open(path: Path) -> xr.DataArray:
    ds = xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
    return next(iter(ds.data_vars.values())).reset_coords(drop=True).load()


def _read(task: Task, variable: str) -> xr.DataArray:
    leads = task.leads(variable)
    messages = [_open(task.fetch(variable, lead)) for lead in leads]
    field: xr.DataArray = xr.concat(messages, "lead_time", coords="minimal", compat="override")
    field = field.assign_coords(lead_time=[*leads]).reindex(lead_time=range(task.lead_hours))
    field = field.roll(longitude=COLUMNS // 2, roll_coords=True)
    return field if variable == RAIN else field - np.float32(KELVIN)


def _transform(field: xr.DataArray, variable: str) -> None:
    values = field.to_numpy()
    if variable == RAIN:
        numpy_steps.deaccumulate(values)
    numpy_steps.round_mantissa(values)


def run(task: Task) -> None:
    """Time everything after the imports."""

    def work(task: Task) -> dict[str, dict[str, float]]:
        watch = Stopwatch()
        for variable in VARIABLES:
            with watch.timed("decode"):
                field = _read(task, variable)
            with watch.timed("transform"):
                _transform(field, variable)
            with watch.timed("write"):
                blosc = BloscCodec(**COMPRESSOR, shuffle=SHUFFLE[variable])  # type: ignore[arg-type]
                encoding = {"chunks": task.chunks, "shards": task.shards, "compressors": [blosc]}
                ds = field.expand_dims(init_time=1).to_dataset(name=variable)
                ds.drop_attrs().to_zarr(task.output, mode="a", encoding={variable: encoding}, consolidated=False)
        return {"stages": watch.cpu}

    run_twice(task, work)


if __name__ == "__main__":
    run(Task.read(Path(sys.argv[1])))
