"""Array to shards in the tmp store.

In: one variable of one region, in memory; or the published shards and what is new. Out: shard objects on local disk, as
zarr-python writes them.
"""

import errno
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reformatters_dagster.core.shard.patch import ShardLayout, patch_shard
from reformatters_dagster.core.spec.errors import TmpDiskFull, UnalignedRegion
from reformatters_dagster.core.spec.values import Float32Array, Window
from reformatters_dagster.core.spec.zarr_documents import object_key

if TYPE_CHECKING:
    from zarr import Array

_FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
"""A codec pipeline of zarr-python that gives each shard to one thread. It takes less CPU than the default one, which shares each
shard between threads."""
_SETTING = threading.Lock()


def write_shards(
    values: Float32Array,
    tmp_store: Path,
    variable: str,
    region: slice,
    *,
    window: Window | None = None,
    threads: int = 2,
) -> int:
    """Write one variable of one region as whole shards.

    Empty chunks are written too: an object that is missing was never written.

    Parameters
    ----------
    values : (append_dim, ...) float32
        The region's values. The first axis ends with the last label, where the region reaches past it.
    tmp_store : Path
        Holds the metadata of the full extent.
    region : slice
        Exactly one shard along the append dimension.
    window : (slice, slice), optional
        The part of the grid, in whole shards, that the values cover; default all of it.

    Returns
    -------
    int
        Number of shard objects written.

    Raises
    ------
    UnalignedRegion
        When region and values do not fit the array's shards.
    TmpDiskFull
        When the disk ran out of space.
    """
    import zarr

    array = _open(tmp_store, variable)
    shards, extent = array.shards or array.chunks, _extent(array.shape, window)
    stop = min(region.stop, array.shape[0])
    _refuse_unaligned(values, array, variable, region, extent)
    tiles = _tiles(extent, shards)

    def write_tile(tile: Tile) -> None:
        array[(slice(region.start, stop), *tile)] = values[(slice(None), *_within(tile, extent))]

    with on_tmp_disk(tmp_store / variable), ThreadPoolExecutor(threads) as pool:
        if len(tiles) < threads:
            list(pool.map(write_tile, tiles))
        else:
            # An array keeps the pipeline it was opened with. The setting is of the whole process: of two threads that set it
            # for a moment each, the second one would put back the value of the first.
            with _SETTING, zarr.config.set({"codec_pipeline.path": _FUSED}):
                array = _open(tmp_store, variable)
            list(pool.map(write_tile, tiles))
    return len(tiles)


def _refuse_unaligned(values: Float32Array, array: "Array[Any]", variable: str, region: slice, extent: "Tile") -> None:
    length, stop = (array.shards or array.chunks)[0], min(region.stop, array.shape[0])
    if region.start % length or region.stop - region.start != length:
        raise UnalignedRegion(
            f"region [{region.start}, {region.stop}) of {variable!r} is not one shard of {length} labels"
        )
    if values.shape != (stop - region.start, *(part.stop - part.start for part in extent)):
        raise UnalignedRegion(
            f"{variable!r} has shape {values.shape} for region [{region.start}, {stop}) of an array of shape {array.shape}"
        )


def continue_shards(
    patches: Sequence[tuple[int, Float32Array]],
    published: Callable[[str], bytes | memoryview],
    tmp_store: Path,
    variable: str,
    region: slice,
    *,
    window: Window | None = None,
    threads: int = 2,
) -> int:
    """Write the published shards of one region again, with the values of some labels replaced.

    Parameters
    ----------
    patches : sequence of (int, (append_dim, ...) float32)
        Position of the first label, counted from the region's start, and the values from there on.
    published : callable
        Gives the object of a key in the final store.
    tmp_store, variable, region, window
        As in `write_shards`. It returns and raises the same.

    Raises
    ------
    CorruptShard
        When a published object cannot be continued.
    """
    array = _open(tmp_store, variable)
    shards = array.shards or array.chunks
    layout = ShardLayout.of(array)
    extent = _extent(array.shape, window)
    tiles = _tiles(extent, shards)

    def continue_tile(tile: Tile) -> None:
        index = (region.start // shards[0], *(at.start // length for at, length in zip(tile, shards[1:], strict=True)))
        key = object_key(variable, index)
        path = tmp_store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = [(first, values[(slice(None), *_within(tile, extent))]) for first, values in patches]
        before = published(key)
        patched = patch_shard(before, layout, parts, key) if layout is not None else None
        with path.open("wb") as file:
            file.writelines([before] if patched is None else patched)
        if patched is not None:
            return
        for first, part in parts:
            array[(slice(region.start + first, region.start + first + len(part)), *tile)] = part

    with on_tmp_disk(tmp_store / variable), ThreadPoolExecutor(threads) as pool:
        list(pool.map(continue_tile, tiles))
    return len(tiles)


type Tile = tuple[slice, ...]


def _open(tmp_store: Path, variable: str) -> "Array[Any]":
    import zarr

    return zarr.open_array(tmp_store / variable, mode="r+", config={"write_empty_chunks": True})


def _extent(shape: tuple[int, ...], window: Window | None) -> Tile:
    """The slices that values cover, of every dimension but the first."""
    whole = [slice(0, size) for size in shape[1:]]
    return tuple(whole if window is None else [*whole[:-2], *window])


def _tiles(extent: Tile, shards: tuple[int, ...]) -> list[Tile]:
    """The shards of an extent that begins where a shard does."""
    starts = [range(part.start, part.stop, length) for part, length in zip(extent, shards[1:], strict=True)]
    return [
        tuple(
            slice(at, min(at + length, part.stop)) for at, length, part in zip(corner, shards[1:], extent, strict=True)
        )
        for corner in itertools.product(*starts)
    ]


def _within(tile: Tile, extent: Tile) -> Tile:
    return tuple(slice(one.start - all_.start, one.stop - all_.start) for one, all_ in zip(tile, extent, strict=True))


@contextmanager
def on_tmp_disk(path: Path) -> Iterator[None]:
    """Raise `TmpDiskFull` when the block runs out of space; it writes below a path."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC or isinstance(error, TmpDiskFull):
            raise
        raise TmpDiskFull(
            errno.ENOSPC,
            f"{path} was being written; the disk is full: free space or point REFORMATTERS_TMP at a larger disk",
        ) from error
