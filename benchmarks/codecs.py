"""Size, write and read speed of the compressors a template may choose from. In: real GRIB2 messages. Out: a row for each.

A chunk holds many lead times of a small square of the grid. A folder of single messages has one time of each field, so squares
from all over the grid stand in for its times; what they cannot show is what neighbouring times have in common, of which the
blocks of c-blosc see two or three.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numcodecs
import numcodecs.blosc
import numpy as np
import numpy.typing as npt

from benchmarks.task import CHUNK, COMPRESSOR, KELVIN
from reformatters_dagster.core.field.transforms import round_in_place
from reformatters_dagster.core.grib.header import MessageHeader, read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.errors import CorruptMessage

SHUFFLES = {"bitshuffle": numcodecs.Blosc.BITSHUFFLE, "shuffle": numcodecs.Blosc.SHUFFLE}
CODECS = (*product((1, 3), SHUFFLES, (COMPRESSOR["blocksize"],)), (1, "bitshuffle", numcodecs.blosc.AUTOBLOCKS))
"""Level, shuffle and bytes in a block."""
KEPT_BITS = (7, 10)
SQUARES = 60
LEAST_POINTS, MOST_RATIO = 200_000, 100
"""Fields that are smaller, or the same number nearly everywhere, tell nothing."""
REPEATS = 3
TEMPERATURE = (0, 0, 0)


@dataclass(frozen=True)
class Trial:
    """One compressor on one field."""

    level: int
    shuffle: str
    block: int
    """Bytes; 0 leaves them to c-blosc."""
    ratio: float
    write: float
    """MB of values per CPU second."""
    read: float


@dataclass(frozen=True)
class Field:
    """A field of a real message, and how it was made into a chunk."""

    name: str
    bits: int
    trials: tuple[Trial, ...]


def measure(folder: Path) -> list[Field]:
    """Try every compressor on every field of the GRIB2 files below a folder."""
    numcodecs.blosc.use_threads = False
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".grib2", ".grb2"}):
        for header, values in _fields(path):
            for bits in KEPT_BITS:
                chunk = _squares(values)
                round_in_place(chunk, bits)
                trials = tuple(_try(chunk, *codec) for codec in CODECS)
                number = (header.discipline, header.category, header.number)
                name = f"{path.parent.name} {'.'.join(map(str, number))} {header.statistic}"
                if trials[0].ratio < MOST_RATIO:
                    found.append(Field(name, bits, trials))
    return found


def _fields(path: Path) -> Iterator[tuple[MessageHeader, npt.NDArray[np.float32]]]:
    data, at = path.read_bytes(), 0
    while data[at : at + 4] == b"GRIB":
        size = int.from_bytes(data[at + 8 : at + 16], "big")
        message, at = data[at : at + size], at + size
        try:
            header = read_header(message, path.name)
            if header.points >= LEAST_POINTS:
                kelvin = (header.discipline, header.category, header.number) == TEMPERATURE
                yield header, decode(message, add_offset=-KELVIN if kelvin else 0.0)
        except CorruptMessage:
            continue


def _squares(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows, columns = (range(0, size - CHUNK + 1, CHUNK) for size in values.shape)
    squares = [values[row : row + CHUNK, column : column + CHUNK] for row, column in product(rows, columns)]
    return np.stack(squares[:SQUARES])


def _try(chunk: npt.NDArray[np.float32], level: int, shuffle: str, block: int) -> Trial:
    codec = numcodecs.Blosc("zstd", level, SHUFFLES[shuffle], block, chunk.itemsize)
    packed, times = codec.encode(chunk), []
    for _ in range(REPEATS):
        began = time.thread_time()
        codec.encode(chunk)
        packed_at = time.thread_time()
        codec.decode(packed)
        times.append((packed_at - began, time.thread_time() - packed_at))
    write, read = (chunk.nbytes / min(one) / 1e6 for one in zip(*times, strict=True))
    return Trial(level, shuffle, block, chunk.nbytes / len(packed), write, read)
