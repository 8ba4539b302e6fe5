"""Shard objects: chunks that c-blosc has compressed, in Morton order, then where each of them lies.

In: one shard of an array. Out: the bytes zarr-python writes of it. It is done here since threads can share one shard out, and
since it costs a region job a sixth less CPU time than zarr-python's own pipeline, as `benchmarks/README.md` tells.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from threading import local
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from reformatters_dagster.core.errors import CorruptShard
from reformatters_dagster.core.types import Float32Array

if TYPE_CHECKING:
    from numcodecs.blosc import Blosc
    from zarr import Array
    from zarr.codecs import BloscCodec

_CHECKSUM = 4
_EMPTY = 2**64 - 1
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
"""As c-blosc counts them."""

type Place = tuple[int, int] | None
"""Where a chunk begins and ends in its shard; None if it is not there."""


@dataclass(frozen=True)
class ShardLayout:
    """What a shard of one array is made of."""

    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    blosc: "BloscCodec"

    @classmethod
    def of(cls, array: "Array[Any]") -> "ShardLayout | None":
        """The layout of an array; None when its codecs are not those that are known here."""
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

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Chunks of a shard along each dimension."""
        return tuple(size // length for size, length in zip(self.shard, self.chunk, strict=True))

    @cached_property
    def corners(self) -> list[tuple[int, ...]]:
        """Chunks of a shard, counted along each dimension, in the order in which zarr-python writes them."""
        return sorted(product(*map(range, self.counts)), key=_morton_code)

    def compressor(self, block: int | None = None) -> "Blosc":
        """The compressor of a chunk, by default in blocks as long as the codec makes them."""
        from numcodecs.blosc import Blosc

        cname, shuffle = (str(getattr(one, "value", one)) for one in (self.blosc.cname, self.blosc.shuffle))
        return Blosc(
            cname, self.blosc.clevel, _SHUFFLES.index(shuffle), block or self.blosc.blocksize, self.blosc.typesize
        )


def compress_shard(values: Float32Array, layout: ShardLayout, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """One shard, in pieces to be written one after the other.

    Parameters
    ----------
    values : (append_dim, ...) float32
        May end before the shard does; what lies beyond is fill value, and whole chunks of that are left out.
    """
    compressor, memory = layout.compressor(), local()

    def compressed(corner: tuple[int, ...]) -> bytes:
        part = values[tuple(slice(at * size, (at + 1) * size) for at, size in zip(corner, layout.chunk, strict=True))]
        if not part.size:
            return b""
        if not hasattr(memory, "chunk"):
            memory.chunk = np.empty(layout.chunk, np.float32)
        if part.shape != layout.chunk:
            memory.chunk.fill(np.nan)
        memory.chunk[tuple(map(slice, part.shape))] = part
        encoded: bytes = compressor.encode(memory.chunk)
        return encoded

    places: list[Place] = [None] * prod(layout.counts)
    start = 0
    for corner, chunk in zip(layout.corners, pool.map(compressed, layout.corners), strict=True):
        if chunk:
            places[int(np.ravel_multi_index(corner, layout.counts))] = start, start + len(chunk)
            start += len(chunk)
            yield chunk
    yield write_index(places)


def write_index(places: Sequence[Place]) -> bytes:
    """The end of a shard: first byte and length of every chunk, in C order, and a checksum."""
    spans = [(_EMPTY, _EMPTY) if place is None else (place[0], place[1] - place[0]) for place in places]
    index = np.array(spans, "<u8").tobytes()
    checksum: int = google_crc32c.value(index)
    return index + checksum.to_bytes(_CHECKSUM, "little")


def read_index(data: bytes, layout: ShardLayout, where: str) -> list[Place]:
    """Where each chunk of a shard lies, in C order.

    Raises
    ------
    CorruptShard
        The object is not a whole shard of this layout.
    """
    size = 16 * prod(layout.counts)
    index, checksum = data[-size - _CHECKSUM : -_CHECKSUM], data[-_CHECKSUM:]
    if len(index) != size or google_crc32c.value(index).to_bytes(_CHECKSUM, "little") != checksum:
        raise CorruptShard(
            f"{where} was to be continued; its {len(data)} bytes do not end with the index of a shard of "
            f"{prod(layout.counts)} chunks: backfill this partition anew"
        )
    places: list[Place] = []
    for start, length in np.frombuffer(index, "<u8").reshape(-1, 2).tolist():
        if start != _EMPTY and start + length > len(data) - size - _CHECKSUM:
            raise CorruptShard(
                f"{where} was to be continued; a chunk of it lies outside its {len(data)} bytes: backfill this partition anew"
            )
        places.append(None if start == _EMPTY else (start, start + length))
    return places


def _morton_code(corner: tuple[int, ...]) -> int:
    """The bits of all coordinates, interleaved; that of the first dimension is the lowest of each."""
    bits = max(corner).bit_length()
    return sum(
        (at >> bit & 1) << (bit * len(corner) + dimension) for bit in range(bits) for dimension, at in enumerate(corner)
    )
