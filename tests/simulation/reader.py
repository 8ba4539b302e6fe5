"""What a reader sees of a store, decoded without the code under test.

In: a bucket. Out: labels and values by the documents and objects in it.
"""

import json
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc

from tests.simulation.objects import Bucket

ROOT = "zarr.json"
NOTHING = 2**64 - 1
"""Stands in the index of a shard for a chunk that was never written."""


@lru_cache(maxsize=4096)
def _document(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(data)
    return document


def arrays(bucket: Bucket) -> dict[str, dict[str, Any]]:
    """Documents of all arrays in the root; empty where no store stands."""
    found = bucket.objects.get(ROOT)
    if found is None:
        return {}
    documents: dict[str, dict[str, Any]] = _document(found[0])["consolidated_metadata"]["metadata"]
    return documents


def extent(bucket: Bucket) -> int:
    """Labels that readers see."""
    found = arrays(bucket)
    along = found.get("time") or found.get("init_time")
    return 0 if along is None else int(along["shape"][0])


def inside(number: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the values of a chunk lie within its shard."""
    return tuple(slice(at * length, (at + 1) * length) for at, length in zip(number, chunk, strict=True))


def chunks_of_shard(data: bytes, shard: tuple[int, ...], chunk: tuple[int, ...]) -> dict[tuple[int, ...], bytes]:
    """Compressed chunks of a shard object by their place in it, without those that were never written."""
    return {number: data[where] for number, where in index_of_shard(data, shard, chunk).items()}


def index_of_shard(data: bytes, shard: tuple[int, ...], chunk: tuple[int, ...]) -> dict[tuple[int, ...], slice]:
    """Which bytes of a shard object each of its chunks is."""
    counts = [size // length for size, length in zip(shard, chunk, strict=True)]
    index = np.frombuffer(data[-16 * prod(counts) - 4 : -4], "<u8").reshape(-1, 2).tolist()
    places = zip(product(*map(range, counts)), index, strict=True)
    return {number: slice(start, start + size) for number, (start, size) in places if start != NOTHING}


@lru_cache(maxsize=8192)
def decode_shard(data: bytes, shard: tuple[int, ...], chunk: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Values of a shard object; NaN where nothing was written."""
    values = np.full(shard, np.nan, np.float32)
    for number, compressed in chunks_of_shard(data, shard, chunk).items():
        values[inside(number, chunk)] = np.frombuffer(Blosc().decode(compressed), np.float32).reshape(chunk)
    return values


def shapes(document: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a shard, and of a chunk, by the document of their array."""
    shard, chunk = document["chunk_grid"], document["codecs"][0]
    return tuple(shard["configuration"]["chunk_shape"]), tuple(chunk["configuration"]["chunk_shape"])


def shard_values(bucket: Bucket, variable: str, shard: int) -> npt.NDArray[np.float32] | None:
    """(label, ...) of all objects of a shard, as long as a whole shard; None where the store has no such variable."""
    document = arrays(bucket).get(variable)
    if document is None:
        return None
    outer, inner = shapes(document)
    counts = [-(-size // length) for size, length in zip(document["shape"][1:], outer[1:], strict=True)]
    sizes = [count * length for count, length in zip(counts, outer[1:], strict=True)]
    values = np.full((outer[0], *sizes), np.nan, np.float32)
    for place in product(*map(range, counts)):
        found = bucket.objects.get("/".join((variable, "c", str(shard), *map(str, place))))
        if found is not None:
            values[(slice(None), *inside(place, outer[1:]))] = decode_shard(found[0], outer, inner)
    return values[(slice(None), *(slice(size) for size in document["shape"][1:]))]
