"""A reader who was between two requests while a shard was replaced: it has the index of the old object, and asks for a chunk.

In: two versions of a shard object. Out: for each chunk what the reader gets: an error, or values. Both are allowed, as plain Zarr
has no transaction; but every value must have been published for its label at some moment.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc

from tests.simulation.reader import decode_shard, index_of_shard, inside

type Shape = tuple[int, ...]
type Values = npt.NDArray[np.float32]


def torn_reads(before: bytes, after: bytes, shard: Shape, chunk: Shape) -> Iterator[tuple[Shape, Values | None]]:
    """By place of the chunk, what a reader sees who has read the index of `before`; None where the read fails."""
    for number, where in index_of_shard(before, shard, chunk).items():
        yield number, _decoded(after[where], chunk)


def _decoded(compressed: bytes, chunk: Shape) -> Values | None:
    if len(compressed) < 16:
        return None
    size, _, length = struct.unpack_from("<3I", compressed, 4)
    if (size, length) != (4 * int(np.prod(chunk)), len(compressed)):
        return None
    try:
        return np.frombuffer(Blosc().decode(compressed), np.float32).reshape(chunk)
    except (RuntimeError, ValueError):
        return None


def never_published(values: Values, number: Shape, history: Sequence[bytes], shard: Shape, chunk: Shape) -> bool:
    """Whether a chunk holds a value that no version of its shard has had at that place."""
    had, is_nan = np.zeros(chunk, np.bool_), np.isnan(values)
    for data in reversed(history):
        then = decode_shard(data, shard, chunk)[inside(number, chunk)]
        had |= (then == values) | (np.isnan(then) & is_nan)
        if had.all():
            return False
    return True
