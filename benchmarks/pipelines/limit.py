"""The least that can be done: each chunk copied out of the finished array and compressed by c-blosc, nothing written."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numcodecs
import numcodecs.blosc
import numpy as np

from benchmarks.passes import run_twice
from benchmarks.task import CHUNK, COLUMNS, COMPRESSOR, ROWS, SHUFFLE, VARIABLES, Task


def run(task: Task) -> None:
    """Time the copies and the compression."""
    numcodecs.blosc.use_threads = False
    kinds = {"shuffle": numcodecs.Blosc.SHUFFLE, "bitshuffle": numcodecs.Blosc.BITSHUFFLE}
    codecs = {variable: numcodecs.Blosc(**COMPRESSOR, shuffle=kinds[SHUFFLE[variable]]) for variable in VARIABLES}
    fields = {variable: np.load(Path(task.reference) / f"{variable}.npy") for variable in VARIABLES}
    length = task.chunks[1]
    corners = [*product(range(0, task.lead_hours, length), range(0, ROWS, CHUNK), range(0, COLUMNS, CHUNK))]

    def compress(variable: str, corner: tuple[int, int, int]) -> int:
        lead, row, column = corner
        part = fields[variable][:, lead : lead + length, row : row + CHUNK, column : column + CHUNK]
        chunk = np.empty(task.chunks, np.float32)
        if part.shape != chunk.shape:
            chunk.fill(np.nan)
        chunk[tuple(map(slice, part.shape))] = part
        return len(codecs[variable].encode(chunk))

    def work(task: Task) -> dict[str, int]:
        with ThreadPoolExecutor(task.workers) as pool:
            return {"bytes": sum(size for name in VARIABLES for size in pool.map(partial(compress, name), corners))}

    run_twice(task, work)


if __name__ == "__main__":
    run(Task.read(Path(sys.argv[1])))
