"""Array to shards in the tmp store.

In: one variable of one region, in memory. Out: its shard objects on local disk, as zarr-python writes them.
"""

import errno
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import zarr

from reformatters_dagster.core.errors import TmpDiskFull, UnalignedRegion
from reformatters_dagster.core.types import Float32Array


def write_shards(values: Float32Array, tmp_store: Path, variable: str, region: slice, *, threads: int = 2) -> int:
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
    array = zarr.open_array(tmp_store / variable, mode="r+", config={"write_empty_chunks": True})
    shards = array.shards or array.chunks
    stop = min(region.stop, array.shape[0])
    if region.start % shards[0] or region.stop - region.start != shards[0]:
        raise UnalignedRegion(
            f"region [{region.start}, {region.stop}) of {variable!r} is not one shard of {shards[0]} labels"
        )
    if values.shape != (stop - region.start, *array.shape[1:]):
        raise UnalignedRegion(
            f"{variable!r} has shape {values.shape} for region [{region.start}, {stop}) of an array of shape {array.shape}"
        )
    steps = [range(0, size, length) for size, length in zip(array.shape[1:], shards[1:], strict=True)]
    tiles = [
        tuple(slice(at, at + length) for at, length in zip(corner, shards[1:], strict=True))
        for corner in itertools.product(*steps)
    ]

    def write_tile(tile: tuple[slice, ...]) -> None:
        array[(slice(region.start, stop), *tile)] = values[(slice(None), *tile)]

    with on_tmp_disk(tmp_store / variable), ThreadPoolExecutor(threads) as pool:
        list(pool.map(write_tile, tiles))
    return len(tiles)


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
