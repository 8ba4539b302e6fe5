"""Shards put together in threads, without zarr-python's codec pipeline: see `benchmarks.shards` for what that saves.

In: the values of a region. Out: the objects that zarr-python writes of them, byte for byte.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod
from pathlib import Path
from threading import local

import google_crc32c
import numcodecs
import numpy as np
import zarr

from reformatters_dagster.core.job import write
from reformatters_dagster.core.shard import writer as shards
from reformatters_dagster.core.shard.patch import ShardLayout
from reformatters_dagster.core.spec.values import Float32Array, Window

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_CHECKSUM = 4


def use_writer(name: str) -> None:
    """Have this process write shards in another way from now on."""
    if name == "default":
        vars(shards)["_FUSED"] = zarr.config.get("codec_pipeline.path")
    elif name == "threads":
        vars(write)["write_shards"] = write_shards


def write_shards(
    values: Float32Array, tmp_store: Path, variable: str, region: slice, *, window: Window, threads: int
) -> int:
    """In the place of `core.shard.writer.write_shards`, for a window that is the whole grid."""
    array = zarr.open_array(tmp_store / variable, mode="r+")
    layout = ShardLayout.of(array)
    assert layout is not None
    assert tuple(part.stop - part.start for part in window) == array.shape[-2:]
    tiles = [*product(*(range(0, size, length) for size, length in zip(values.shape, layout.shard, strict=True)))]
    with ThreadPoolExecutor(threads) as pool:
        for tile in tiles:
            index = [
                region.start // layout.shard[0],
                *(at // size for at, size in zip(tile[1:], layout.shard[1:], strict=True)),
            ]
            path = tmp_store / variable / "c" / "/".join(map(str, index))
            path.parent.mkdir(parents=True, exist_ok=True)
            own = values[tuple(slice(at, at + size) for at, size in zip(tile, layout.shard, strict=True))]
            with path.open("wb") as file:
                file.writelines(compress_shard(own, layout, pool))
    return len(tiles)


def compress_shard(values: Float32Array, layout: ShardLayout, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """The bytes zarr-python writes of a shard, in pieces: chunks in Morton order, where each lies, a checksum."""
    blosc, memory = layout.blosc, local()
    codec = numcodecs.Blosc("zstd", blosc.clevel, _SHUFFLES.index(str(blosc.shuffle)), blosc.blocksize, blosc.typesize)

    def compressed(corner: tuple[int, ...]) -> bytes:
        part = values[tuple(slice(at * size, (at + 1) * size) for at, size in zip(corner, layout.chunk, strict=True))]
        if not hasattr(memory, "chunk"):
            memory.chunk = np.empty(layout.chunk, np.float32)
        if part.shape != layout.chunk:
            memory.chunk.fill(np.nan)
        memory.chunk[tuple(map(slice, part.shape))] = part
        chunk: bytes = codec.encode(memory.chunk)
        return chunk

    corners = sorted(product(*map(range, layout.counts)), key=_morton_code)
    places = np.empty((prod(layout.counts), 2), "<u8")
    start = 0
    for corner, chunk in zip(corners, pool.map(compressed, corners), strict=True):
        places[np.ravel_multi_index(corner, layout.counts)] = start, len(chunk)
        start += len(chunk)
        yield chunk
    index = places.tobytes()
    checksum: int = google_crc32c.value(index)
    yield index + checksum.to_bytes(_CHECKSUM, "little")


def _morton_code(corner: tuple[int, ...]) -> int:
    """The bits of all coordinates, interleaved; that of the first dimension is the lowest of each."""
    return sum(
        (at >> bit & 1) << (bit * len(corner) + dimension)
        for bit in range(max(corner).bit_length())
        for dimension, at in enumerate(corner)
    )
