"""New values into a published shard. Only the blocks that they touch are compressed again.

In: a shard object as zarr-python wrote it, and values for some positions of its first axis. Out: the object that zarr-python
would write of all values together.

A chunk holds many positions of the append dimension, one after the other, and c-blosc compresses it in blocks that do not
depend on each other. One hour more in a shard of 60 days changes two or three of the hundreds of blocks of a chunk.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.values import Float32Array

if TYPE_CHECKING:
    from numcodecs.blosc import Blosc
    from zarr import Array
    from zarr.codecs import BloscCodec

_HEADER = struct.Struct("<4B3I")
_STORED_RAW = 0x02
_CHECKSUM = 4
_EMPTY = 2**64 - 1

type Pieces = list[bytes | memoryview]
"""An object, piece after piece. Most pieces of a large one are views of the memory it was read into."""


@dataclass(frozen=True)
class ShardLayout:
    """What a shard of one array is made of."""

    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    blosc: "BloscCodec"

    @classmethod
    def of(cls, array: "Array[Any]") -> "ShardLayout | None":
        """The layout of an array; None when its codecs are not ones this module can patch."""
        from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

        match array.metadata.codecs:  # type: ignore[union-attr]
            case (ShardingCodec(codecs=(BytesCodec(), BloscCodec() as blosc)) as sharding,):
                ends = str(getattr(sharding.index_location, "value", sharding.index_location)) == "end"
                index = tuple(type(codec) for codec in sharding.index_codecs) == (BytesCodec, Crc32cCodec)
                if not (ends and index and array.dtype == np.float32 and np.isnan(array.fill_value)):
                    return None
                assert array.shards is not None
                return cls(array.shards, array.chunks, blosc)
        return None

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks of a shard along each dimension."""
        return tuple(size // length for size, length in zip(self.shard, self.chunk, strict=True))


def patch_shard(
    data: bytes | memoryview, layout: ShardLayout, patches: Sequence[tuple[int, Float32Array]], where: str
) -> Pieces | None:
    """Replace some positions of a shard.

    Parameters
    ----------
    data : bytes or memoryview
        The shard object.
    patches : sequence of (int, (position, ..., y, x) float32)
        First position within the shard, and the values from there on. Where the other dimensions end before the shard does,
        the rest is fill value.
    where : str
        Which object, for the error.

    Returns
    -------
    Pieces, or None
        The new object; None when a patch falls into a chunk that the shard does not hold yet.

    Raises
    ------
    CorruptShard
        The object is not a whole shard of this layout.
    """
    data = memoryview(data)
    places = _read_index(data, layout, where)
    order = sorted((number for number, place in enumerate(places) if place), key=lambda number: places[number])
    chunks: dict[int, Pieces] = {number: [data[slice(*places[number])]] for number in order}
    for number, corner in enumerate(product(*map(range, layout.counts))):
        for first, values in patches:
            part = _rows(layout, corner, first, values)
            if part is None:
                continue
            if number not in chunks:
                return None
            chunks[number] = _patch_chunk(chunks[number], layout, *part, where)
    index = np.full((len(places), 2), _EMPTY, "<u8")
    start = 0
    for number in order:
        length = sum(map(len, chunks[number]))
        index[number] = start, length
        start += length
    checksum = google_crc32c.value(index.tobytes()).to_bytes(_CHECKSUM, "little")
    return [*(piece for number in order for piece in chunks[number]), index.tobytes(), checksum]


def _read_index(data: memoryview, layout: ShardLayout, where: str) -> list[tuple[int, int] | tuple[()]]:
    """Where each chunk begins and ends; an empty tuple for one that is not there."""
    size = 16 * prod(layout.counts)
    index, checksum = bytes(data[-size - _CHECKSUM : -_CHECKSUM]), data[-_CHECKSUM:]
    if len(index) != size or google_crc32c.value(index).to_bytes(_CHECKSUM, "little") != checksum:
        raise CorruptShard(
            f"{where} was to be continued; its {len(data)} bytes do not end with the index of a shard of "
            f"{prod(layout.counts)} chunks: backfill this partition anew"
        )
    places: list[tuple[int, int] | tuple[()]] = []
    for start, length in np.frombuffer(index, "<u8").reshape(-1, 2).tolist():
        if start != _EMPTY and start + length > len(data) - size - _CHECKSUM:
            raise CorruptShard(
                f"{where} was to be continued; a chunk of it lies outside its {len(data)} bytes: backfill this partition anew"
            )
        places.append(() if start == _EMPTY else (start, start + length))
    return places


def _rows(
    layout: ShardLayout, corner: tuple[int, ...], first: int, values: Float32Array
) -> tuple[int, Float32Array] | None:
    """The part of a patch that lies in a chunk: number of the first row, and whole rows; None when no part does."""
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


def _patch_chunk(pieces: Pieces, layout: ShardLayout, first: int, rows: Float32Array, where: str) -> Pieces:
    chunk = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    try:
        _check_header(chunk, 4 * prod(layout.chunk))
        return _splice(chunk, layout.blosc, first * rows[0].nbytes, rows.tobytes())
    except (struct.error, ValueError, RuntimeError) as error:
        raise CorruptShard(
            f"{where} was to be continued; a chunk of it cannot be decompressed ({error}): backfill this partition anew"
        ) from error


def _check_header(chunk: memoryview, wanted: int) -> None:
    """Check what c-blosc's header says of a chunk of `wanted` bytes: a decompressor trusts it. `ValueError` where it is wrong."""
    *_, size, block, compressed = _HEADER.unpack_from(chunk)
    if size != wanted or compressed != len(chunk) or not 0 < block <= size:
        raise ValueError(
            f"its header tells of {size} bytes in blocks of {block}, held in {compressed}; "
            f"{wanted} bytes were wanted, and {len(chunk)} hold them"
        )


def _splice(chunk: memoryview, blosc: "BloscCodec", offset: int, new: bytes) -> Pieces:
    """A compressed chunk with some of its bytes replaced: the same bytes as if one thread had compressed the whole chunk."""
    *kind, size, block, compressed = _HEADER.unpack_from(chunk)
    count = -(-size // block)
    starts = np.append(np.frombuffer(chunk, "<i4", count, _HEADER.size), compressed).astype(np.int64)
    if kind[2] & _STORED_RAW or starts[0] != _HEADER.size + 4 * count or (np.diff(starts) <= 0).any():
        return _compress_anew(chunk, blosc, offset, new)
    first, last = offset // block, -(-(offset + len(new)) // block)
    if first and size % block and last == count:
        # c-blosc compresses a shorter last block differently from a full one, so it must stay the shorter one here.
        first = min(first, count - 2)
    begin, end = starts[first], starts[last]
    length = min(last * block, size) - first * block
    old = b"".join(_container(kind, length, block, starts[first:last] - begin, [chunk[begin:end]]))
    within = bytearray(_compressor(blosc).decode(old))
    within[offset - first * block : offset - first * block + len(new)] = new
    anew = bytes(_compressor(blosc, block).encode(np.frombuffer(within, np.float32)))
    if anew[2] & _STORED_RAW:
        return _compress_anew(chunk, blosc, offset, new)
    head, old_head = _HEADER.size + 4 * (last - first), _HEADER.size + 4 * count
    anew_starts = np.frombuffer(anew, "<i4", last - first, _HEADER.size).astype(np.int64)
    grown = len(anew) - head - (end - begin)
    moved = [starts[:first] - old_head, anew_starts - head + begin - old_head, starts[last:-1] - old_head + grown]
    spliced = [chunk[old_head:begin], memoryview(anew)[head:], chunk[end:]]
    if old_head + sum(map(len, spliced)) >= size + _HEADER.size:
        return _compress_anew(chunk, blosc, offset, new)
    return _container(kind, size, block, np.concatenate(moved), spliced)


def _container(
    kind: Sequence[int], size: int, block: int, starts: npt.NDArray[np.int64], blocks: Sequence[memoryview]
) -> Pieces:
    """A c-blosc buffer of compressed blocks; `starts` count from the first block."""
    head = _HEADER.size + 4 * len(starts)
    header = _HEADER.pack(*kind, size, block, head + sum(map(len, blocks)))
    return [header, (starts + head).astype("<i4").tobytes(), *blocks]


def _compressor(codec: "BloscCodec", block: int | None = None) -> "Blosc":
    from numcodecs.blosc import Blosc

    shuffle = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
    cname, kind = (str(getattr(one, "value", one)) for one in (codec.cname, codec.shuffle))
    return Blosc(cname, codec.clevel, shuffle[kind], block or codec.blocksize, codec.typesize)


def _compress_anew(chunk: memoryview, blosc: "BloscCodec", offset: int, new: bytes) -> Pieces:
    whole = bytearray(_compressor(blosc).decode(chunk))
    whole[offset : offset + len(new)] = new
    return [bytes(_compressor(blosc).encode(np.frombuffer(whole, np.float32)))]
