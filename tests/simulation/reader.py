"""What a reader sees of a store, decoded without the code under test.

In: a bucket. Out: labels and values by the documents and objects in it.
"""

import json
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc

from tests.simulation.objects import Bucket

ROOT = "zarr.json"


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
    return int(found["time"]["shape"][0]) if found else 0


@lru_cache(maxsize=8192)
def decode_shard(data: bytes, length: int, chunk: int, points: int) -> npt.NDArray[np.float32]:
    """(label, point) of a shard object that has chunks along the append dimension only."""
    count = length // chunk
    index = np.frombuffer(data[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    values = np.full((length, points), np.nan, np.float32)
    for number, (start, size) in enumerate(index.tolist()):
        if start != 2**64 - 1:
            decoded = np.frombuffer(Blosc().decode(data[start : start + size]), np.float32)
            values[number * chunk : (number + 1) * chunk] = decoded.reshape(chunk, points)
    return values


def shard_values(bucket: Bucket, variable: str, shard: int) -> npt.NDArray[np.float32] | None:
    """(label, point) of all objects of a shard; None while none is there."""
    document = arrays(bucket)[variable]
    outer = document["chunk_grid"]["configuration"]["chunk_shape"]
    inner = document["codecs"][0]["configuration"]["chunk_shape"]
    assert inner[1:] == outer[1:], "a reader of the simulation knows chunks along the append dimension only"
    columns = document["shape"][2] // outer[2]
    parts = []
    for column in range(columns):
        found = bucket.objects.get(f"{variable}/c/{shard}/0/{column}")
        points = prod(outer[1:])
        nothing = np.full((outer[0], points), np.nan, np.float32)
        parts.append(nothing if found is None else decode_shard(found[0], outer[0], inner[0], points))
    return np.concatenate(parts, axis=1)
