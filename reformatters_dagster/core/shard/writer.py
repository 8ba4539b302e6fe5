"""Array to shards in the tmp store.

In: one variable of one region, in memory, or the published shards and what is new in them. Out: its shard objects on local disk,
as zarr-python writes them.
"""

import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reformatters_dagster.core.shard.patch import ShardLayout, patch_shard
from reformatters_dagster.core.spec.errors import TmpDiskFull, UnalignedRegion
from reformatters_dagster.core.spec.values import Float32Array, Window

if TYPE_CHECKING:
    from zarr import Array

_FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
"""zarr-python's codec pipeline that takes less CPU, for it gives each shard to one thread; the default one shares shards out."""


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

    Empty chunks are written too, so that an object that is not there was never written.

    Parameters
    ----------
    values : (append_dim, ...) float32
        The region's values; its first axis may be shorter than the region where the region reaches past the last label.
    tmp_store : Path
        Holds the metadata of the full extent.
    region : slice
        Exactly one shard along the append dimension.
    window : (slice, slice), optional
        Part of the grid, whole shards, that the values are of; default all of it.

    Returns
    -------
    int
        Number of shard objects written.

    Raises
    ------
    UnalignedRegion
        When region, values and the array's shards do not fit each other.
    TmpDiskFull
        When the disk ran out of space.
    """
    import zarr

    array = _open(tmp_store, variable)
    shards = array.shards or array.chunks
    stop = min(region.stop, array.shape[0])
    if region.start % shards[0] or region.stop - region.start != shards[0]:
        raise UnalignedRegion(
            f"region [{region.start}, {region.stop}) of {variable!r} is not one shard of {shards[0]} labels"
        )
    extent = _extent(array.shape, window)
    if values.shape != (stop - region.start, *(part.stop - part.start for part in extent)):
        raise UnalignedRegion(
            f"{variable!r} has shape {values.shape} for region [{region.start}, {stop}) of an array of shape {array.shape}"
        )
    tiles = _tiles(extent, shards)

    def write_tile(tile: Tile) -> None:
        array[(slice(region.start, stop), *tile)] = values[(slice(None), *_within(tile, extent))]

    with on_tmp_disk(tmp_store / variable), ThreadPoolExecutor(threads) as pool:
        if len(tiles) < threads:
            list(pool.map(write_tile, tiles))
        else:
            with zarr.config.set({"codec_pipeline.path": _FUSED}):
                array = _open(tmp_store, variable)  # an array keeps the pipeline it was opened with
                list(pool.map(write_tile, tiles))
    return len(tiles)


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
    """Write shards of one region that are the published ones with the values of some labels replaced.

    Parameters
    ----------
    patches : sequence of (int, (append_dim, ...) float32)
        Position of the first label, counted from the region's start, and the values from there on.
    published : callable
        Gives the object of a key in the final store.
    tmp_store, variable, region, window
        As in `write_shards`, and so is what is returned and raised.

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
        key = "/".join((variable, "c", *map(str, index)))
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
    """What values cover along every dimension but the first."""
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
    """Raise `TmpDiskFull` in the place of whatever runs out of space in the block, which writes below a path."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC or isinstance(error, TmpDiskFull):
            raise
        raise TmpDiskFull(
            errno.ENOSPC,
            f"{path} was being written; the disk is full: free space or point REFORMATTERS_TMP at a larger disk",
        ) from error
