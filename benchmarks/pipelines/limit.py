"""The least that can be done: each chunk copied out of the finished array and compressed by c-blosc, nothing written."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numcodecs
import numcodecs.blosc
import numpy as np

from benchmarks.stopwatch import Stopwatch
from benchmarks.task import CHUNK, COLUMNS, COMPRESSOR, ROWS, SHUFFLE, VARIABLES, Task, report


def run(task: Task) -> None:
    """Time the copies and the compression."""
    numcodecs.blosc.use_threads = False
    kinds = {"shuffle": numcodecs.Blosc.SHUFFLE, "bitshuffle": numcodecs.Blosc.BITSHUFFLE}
    codecs = {
        variable: numcodecs.Blosc(COMPRESSOR["cname"], COMPRESSOR["clevel"], kinds[SHUFFLE[variable]])
        for variable in VARIABLES
    }
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

    watch = Stopwatch()
    with watch.timed("work"), ThreadPoolExecutor(task.workers) as pool:
        sizes = [size for name in VARIABLES for size in pool.map(partial(compress, name), corners)]
    report(
        cpu=watch.cpu["work"],
        wall=watch.wall["work"],
        stages={"memcpy and c-blosc": watch.cpu["work"]},
        bytes=sum(sizes),
    )


if __name__ == "__main__":
    run(Task.read(Path(sys.argv[1])))
