"""New values into a shard that is published already, recompressing only what they touch.

In: a shard object as zarr-python wrote it, and values for some positions of its first axis. Out: the object zarr-python
would have written of all values together.

A chunk holds many positions of the append dimension, one after the other, and c-blosc compresses it in blocks that know
nothing of each other. An hour more in a shard of 60 days changes two or three blocks of every chunk's hundreds.
"""

import struct
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.errors import CorruptShard
from reformatters_dagster.core.shard_object import ShardLayout, read_index, write_index
from reformatters_dagster.core.types import Float32Array

_HEADER = struct.Struct("<4B3I")
_STORED_RAW = 0x02


def patch_shard(
    data: bytes, layout: ShardLayout, patches: Sequence[tuple[int, Float32Array]], where: str
) -> bytes | None:
    """Replace some positions of a shard.

    Parameters
    ----------
    data : bytes
        The shard object.
    patches : sequence of (int, (position, ..., y, x) float32)
        First position within the shard, and the values from there on. Trailing dimensions may end before the shard does; what
        lies beyond is fill value.
    where : str
        Which object, for the error.

    Returns
    -------
    bytes, or None
        None when a patch falls into a chunk that the shard does not hold yet.

    Raises
    ------
    CorruptShard
        The object is not a whole shard of this layout.
    """
    places = read_index(data, layout, where)
    order = sorted((place, number) for number, place in enumerate(places) if place is not None)
    chunks = {number: data[slice(*place)] for place, number in order}
    for number, corner in enumerate(product(*map(range, layout.counts))):
        for first, values in patches:
            part = _rows(layout, corner, first, values)
            if part is None:
                continue
            if number not in chunks:
                return None
            chunks[number] = _patch_chunk(chunks[number], layout, *part, where)
    start = 0
    for number, chunk in chunks.items():
        places[number] = start, start + len(chunk)
        start += len(chunk)
    return b"".join([*chunks.values(), write_index(places)])


def _rows(
    layout: ShardLayout, corner: tuple[int, ...], first: int, values: Float32Array
) -> tuple[int, Float32Array] | None:
    """The part of a patch that lies in a chunk, as whole rows of it, and the first of these; None if there is none."""
    begin = corner[0] * layout.chunk[0]
    start, stop = max(first, begin), min(first + len(values), begin + layout.chunk[0])
    inside = tuple(
        slice(at * length, min((at + 1) * length, size))
        for at, length, size in zip(corner[1:], layout.chunk[1:], values.shape[1:], strict=True)
    )
    if start >= stop or any(part.start >= part.stop for part in inside):
        return None
    rows = np.full((stop - start, *layout.chunk[1:]), np.nan, np.float32)
    part = values[(slice(start - first, stop - first), *inside)]
    rows[tuple(map(slice, part.shape))] = part
    return start - begin, rows


def _patch_chunk(chunk: bytes, layout: ShardLayout, first: int, rows: Float32Array, where: str) -> bytes:
    try:
        return _splice(chunk, layout, first * rows[0].nbytes, rows.tobytes())
    except (struct.error, ValueError, RuntimeError) as error:
        raise CorruptShard(
            f"{where} was to be continued; a chunk of it cannot be decompressed ({error}): backfill this partition anew"
        ) from error


def _splice(chunk: bytes, layout: ShardLayout, offset: int, new: bytes) -> bytes:
    """A compressed chunk with some of its bytes replaced, as if it had been compressed anew by one thread."""
    *kind, size, block, compressed = _HEADER.unpack_from(chunk)
    count = -(-size // block)
    starts = np.append(np.frombuffer(chunk, "<i4", count, _HEADER.size), compressed).astype(np.int64)
    if kind[2] & _STORED_RAW or (np.diff(starts) <= 0).any():
        return _compress_anew(chunk, layout, offset, new)
    first, last = offset // block, -(-(offset + len(new)) // block)
    if first and size % block and last == count:
        # A shorter last block is compressed otherwise than one that fills its buffer: it must stay the shorter one.
        first = min(first, count - 2)
    begin, end = starts[first], starts[last]
    length = min(last * block, size) - first * block
    old = _container(kind, length, block, starts[first:last] - begin, chunk[begin:end])
    within = bytearray(layout.compressor().decode(old))
    within[offset - first * block : offset - first * block + len(new)] = new
    anew = bytes(layout.compressor(block).encode(np.frombuffer(within, np.float32)))
    if anew[2] & _STORED_RAW:
        return _compress_anew(chunk, layout, offset, new)
    head, old_head = _HEADER.size + 4 * (last - first), _HEADER.size + 4 * count
    anew_starts = np.frombuffer(anew, "<i4", last - first, _HEADER.size).astype(np.int64)
    grown = len(anew) - head - (end - begin)
    moved = [starts[:first] - old_head, anew_starts - head + begin - old_head, starts[last:-1] - old_head + grown]
    spliced = b"".join((chunk[old_head:begin], anew[head:], chunk[end:]))
    if old_head + len(spliced) >= size + _HEADER.size:
        return _compress_anew(chunk, layout, offset, new)
    return _container(kind, size, block, np.concatenate(moved), spliced)


def _container(kind: Sequence[int], size: int, block: int, starts: npt.NDArray[np.int64], blocks: bytes) -> bytes:
    """A c-blosc buffer of blocks that are compressed already; `starts` count from the first of them."""
    head = _HEADER.size + 4 * len(starts)
    return _HEADER.pack(*kind, size, block, head + len(blocks)) + (starts + head).astype("<i4").tobytes() + blocks


def _compress_anew(chunk: bytes, layout: ShardLayout, offset: int, new: bytes) -> bytes:
    whole = bytearray(layout.compressor().decode(chunk))
    whole[offset : offset + len(new)] = new
    return bytes(layout.compressor().encode(np.frombuffer(whole, np.float32)))
