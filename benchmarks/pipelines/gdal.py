"""A pipeline as one would write it on GDAL: rasterio, a process pool over shared memory, zarr-python.

Messages are fetched to local files; processes decode each into its place in shared memory, transform it in strips of
rows, and write whole shards to a local tmp store; files are uploaded while the next variable is decoded.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise, product
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import numpy.typing as npt
import obstore
import rasterio
import zarr
from obstore.store import LocalStore
from zarr.codecs import BloscCodec

from benchmarks import numpy_steps
from benchmarks.passes import run_twice
from benchmarks.stopwatch import Stopwatch
from benchmarks.task import COLUMNS, COMPRESSOR, RAIN, ROWS, SHARD, SHUFFLE, VARIABLES, Task

_ATTACHED: dict[str, SharedMemory] = {}


def _values(name: str, task: Task) -> npt.NDArray[np.float32]:
    if name not in _ATTACHED:
        _ATTACHED[name] = SharedMemory(name, track=False)
    return np.ndarray(task.shape, np.float32, _ATTACHED[name].buf)


def _decode(task: Task, name: str, path: Path, lead: int) -> None:
    # GDAL turns kelvin into degrees Celsius and begins a global grid at 180 W by itself.
    with rasterio.open(path) as file:
        file.read(1, out=_values(name, task)[0, lead])


def _transform(task: Task, name: str, variable: str, first: int, last: int) -> None:
    strip = _values(name, task)[0, :, first:last]
    if variable == RAIN:
        numpy_steps.deaccumulate(strip)
    numpy_steps.round_mantissa(strip)


def _write(task: Task, name: str, variable: str, row: int, column: int) -> None:
    array = zarr.open_array(task.tmp / "region.zarr" / variable, mode="r+", config={"write_empty_chunks": True})
    tile = slice(None), slice(None), slice(row, row + SHARD), slice(column, column + SHARD)
    array[tile] = _values(name, task)[tile]


def _create(task: Task) -> None:
    group = zarr.open_group(task.tmp / "region.zarr", mode="w")
    for variable in VARIABLES:
        group.create_array(
            variable,
            shape=task.shape,
            dtype="float32",
            chunks=task.chunks,
            shards=task.shards,
            compressors=[BloscCodec(**COMPRESSOR, shuffle=SHUFFLE[variable])],  # type: ignore[arg-type]
            fill_value=np.nan,
        )


def _upload(task: Task, variable: str) -> None:
    task.output.mkdir(parents=True, exist_ok=True)
    store, folder = LocalStore(task.output), task.tmp / "region.zarr"
    for path in sorted(path for path in (folder / variable).rglob("*") if path.is_file()):
        obstore.put(store, str(path.relative_to(folder)), path)


def _ready(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def _variable(task: Task, pool: ProcessPoolExecutor, name: str, variable: str, watch: Stopwatch) -> None:
    with watch.timed("download"), ThreadPoolExecutor(16) as threads:
        leads = task.leads(variable)
        paths = list(threads.map(lambda lead: task.fetch(variable, lead), leads))
    with watch.timed("decode"):
        if len(leads) < task.lead_hours:
            _values(name, task)[0, : leads[0]] = np.nan
        for done in [pool.submit(_decode, task, name, path, lead) for path, lead in zip(paths, leads, strict=True)]:
            done.result()
        for path in paths:
            path.unlink()
    with watch.timed("transform"):
        bounds = [ROWS * part // (2 * task.workers) for part in range(2 * task.workers + 1)]
        for done in [pool.submit(_transform, task, name, variable, *strip) for strip in pairwise(bounds)]:
            done.result()
    with watch.timed("write"):
        tiles = product(range(0, ROWS, SHARD), range(0, COLUMNS, SHARD))
        for done in [pool.submit(_write, task, name, variable, *tile) for tile in tiles]:
            done.result()


def run(task: Task) -> None:
    """Time everything but the start of the pool, and of the memory that it shares."""
    memory = SharedMemory(create=True, size=int(np.prod(task.shape)) * 4)
    with ProcessPoolExecutor(task.workers, multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(_ready, 0.3) for _ in range(task.workers)]
        children = [one.result() for one in waiting]

        def work(task: Task) -> dict[str, dict[str, float]]:
            watch = Stopwatch(children=children)
            with ThreadPoolExecutor(1) as uploader:
                _create(task)
                upload: Future[None] | None = None
                for variable in VARIABLES:
                    _variable(task, pool, memory.name, variable, watch)
                    if upload is not None:
                        upload.result()
                    upload = uploader.submit(_upload, task, variable)
            return {"stages": watch.cpu}

        run_twice(task, work, children)
    memory.unlink()


if __name__ == "__main__":
    run(Task.read(Path(sys.argv[1])))
