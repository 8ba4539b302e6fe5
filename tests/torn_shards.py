"""A shard that is rewritten between a reader's request for its index and the one for its chunks.

In: a published folder, and what an update makes of one of its shards. Out: readers of zarr-python that meet the update there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import ByteRequest, SuffixByteRequest
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from reformatters_dagster.core.spec.values import Float32Array

LABELS, GRID = 60, (4, 16)
KNOWN = 50
"""Labels of the shard before the update."""


def values_before_and_after() -> tuple[Float32Array, Float32Array]:
    """Values of a shard before an update, and after it: more labels, and one that was corrected."""
    after = np.random.default_rng(0).normal(size=(LABELS, *GRID)).astype(np.float32)
    before = after.copy()
    before[KNOWN:] = np.nan
    before[0] = 0
    return before, after


def write_one_shard(folder: Path, values: Float32Array) -> None:
    """A store with one variable of one shard, of six chunks along the append dimension."""
    time = xr.date_range("2030-01-01", periods=LABELS, freq="1h", unit="s")
    ds = xr.Dataset(
        {"temperature_2m": (("time", "latitude", "longitude"), values)}, {"time": time}, {"dataset_id": "tiny-analysis"}
    )
    blosc = BloscCodec(cname="zstd", shuffle="shuffle")
    encoding = {"chunks": (10, *GRID), "shards": (LABELS, *GRID), "fill_value": np.nan, "compressors": (blosc,)}
    with zarr.config.set({"array.write_empty_chunks": True}):
        ds.to_zarr(folder, zarr_format=3, consolidated=False, encoding={"temperature_2m": encoding})


SHARD = "temperature_2m/c/0/0/0"


@contextmanager
def updates_within_reads(folder: Path, *shards: bytes) -> Iterator[list[str]]:
    """Put these objects in the place of `SHARD`, one after each request for its index; yields the keys of such requests."""
    left, seen = list(shards), list[str]()
    get = LocalStore.get

    async def get_then_update(
        self: LocalStore, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await get(self, key, prototype, byte_range)
        if key == SHARD and isinstance(byte_range, SuffixByteRequest):
            seen.append(key)
            if left:
                (folder / SHARD).write_bytes(left.pop(0))
        return found

    with patch.object(LocalStore, "get", get_then_update):
        yield seen
