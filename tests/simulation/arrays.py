"""Arrays of shards on the tmp disk, written in a few lines: what stands for zarr where its codecs do not matter.

In: the document of an array, and values. Out: shard objects, as zarr writes them but for the order of their chunks. To open one
array, zarr asks its event loop several times, which takes longer than all the rest of a small shard.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.blosc import Blosc
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from tests.simulation.reader import NOTHING, chunks_of_shard, decode_shard, inside

type Values = npt.NDArray[np.float32]
type Shape = tuple[int, ...]

_OPEN_ARRAY = zarr.open_array
_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


@lru_cache(maxsize=256)
def _opened_once(document: bytes) -> "zarr.Array[Any]":
    """What zarr makes of a document; the array is asked for what its document says, and for nothing else."""
    found: zarr.Array[Any] = _OPEN_ARRAY(MemoryStore({"zarr.json": Buffer.from_bytes(document)}), mode="r")
    return found


@lru_cache(maxsize=256)
def _compressor(document: bytes) -> Blosc:
    inner = json.loads(document)["codecs"][0]["configuration"]["codecs"]
    (settings,) = (codec["configuration"] for codec in inner if codec["name"] == "blosc")
    return Blosc(
        settings["cname"],
        settings["clevel"],
        _SHUFFLES[settings["shuffle"]],
        settings["blocksize"],
        settings["typesize"],
    )


class QuickArray:
    """An array on disk, as `shard.writer` uses it: every chunk that is touched is written, empty ones too."""

    def __init__(self, path: Path, document: bytes) -> None:
        array = _opened_once(document)
        assert array.shards is not None
        self._path, self._compressor = path, _compressor(document)
        self.shape, self.chunks, self.dtype = array.shape, array.chunks, array.dtype
        self.shards: tuple[int, ...] = array.shards
        self.fill_value, self.metadata = array.fill_value, array.metadata

    def __setitem__(self, place: Sequence[slice], values: Values) -> None:
        """Replace a part of one shard."""
        at = tuple(one.start // length for one, length in zip(place, self.shards, strict=True))
        own = tuple(
            slice(one.start - n * length, one.stop - n * length)
            for one, n, length in zip(place, at, self.shards, strict=True)
        )
        file = self._path.joinpath("c", *map(str, at))
        before = file.read_bytes() if file.is_file() else None
        whole = np.full(self.shards, np.nan, np.float32)
        chunks = dict[Shape, bytes]()
        if before is not None:
            whole[...] = decode_shard(before, self.shards, self.chunks)
            chunks = chunks_of_shard(before, self.shards, self.chunks)
        whole[own] = values
        touched = (
            range(one.start // length, -(-one.stop // length)) for one, length in zip(own, self.chunks, strict=True)
        )
        for number in product(*touched):
            chunks[number] = bytes(self._compressor.encode(np.ascontiguousarray(whole[inside(number, self.chunks)])))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(shard_object(chunks, self.shards, self.chunks))


def shard_object(chunks: Mapping[Shape, bytes], shard: Shape, chunk: Shape) -> bytes:
    """A shard of some compressed chunks, by their place in it."""
    counts = [size // length for size, length in zip(shard, chunk, strict=True)]
    index, begin = np.full((*counts, 2), NOTHING, "<u8"), 0
    for number, data in chunks.items():
        index[number] = begin, len(data)
        begin += len(data)
    table = index.tobytes()
    return b"".join((*chunks.values(), table, google_crc32c.value(table).to_bytes(4, "little")))


def _open_array(store: Any, **how: Any) -> Any:
    if isinstance(store, Path):
        document = (store / "zarr.json").read_bytes()
        if b"sharding_indexed" in document:
            return QuickArray(store, document)
    return _OPEN_ARRAY(store, **how)


@contextmanager
def quick_arrays() -> Iterator[None]:
    """Put these arrays in the place of zarr's, where one is opened to be written."""
    with patch("zarr.open_array", _open_array):
        yield
