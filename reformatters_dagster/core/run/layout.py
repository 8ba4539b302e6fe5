"""What the root document of a store says about its objects: arrays, shards, partitions.

In: a root `zarr.json` with consolidated metadata, or the store it lies in. Out: names, lengths and keys.
"""

from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import JSON
from reformatters_dagster.core.spec.zarr_documents import (
    append_dim_of,
    arrays_of,
    chunks_prefix,
    document_key,
    is_sharded,
    length_along,
    object_shape,
    shard_prefix,
)
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import published_labels, read_root


def published_partitions(store: Store) -> list[str]:
    """Keys of the partitions that readers see, in the order of their shards."""
    root = read_root(store)
    if root is None:
        return []
    return [partition_key(label) for label in published_labels(store, append_dim_of(root))[:: shard_length(root)]]


def length(root: JSON, dim: str) -> int:
    """Labels of a dimension; 0 where the store has no such coordinate."""
    return length_along(arrays_of(root).get(dim, {"shape": []}), dim) or 0


def shard_length(root: JSON) -> int:
    """Labels of the append dimension in a shard."""
    return object_shape(next(iter(_arrays(root, sharded=True).values())))[0]


def shards_of(store: Store, root: JSON, number: int) -> list[tuple[str, int]]:
    """Key and size of every object of data variables at one position along the append dimension."""
    return [found for name in _arrays(root, sharded=True) for found in store.list(shard_prefix(name, number))]


def newest_shards(store: Store, root: JSON) -> dict[str, int]:
    """Size, by key, of every object of the last shard of each data variable."""
    last = {
        name: (array["shape"][0] - 1) // object_shape(array)[0] for name, array in _arrays(root, sharded=True).items()
    }
    return {key: size for name, number in last.items() for key, size in store.list(shard_prefix(name, number))}


def coordinate_chunks(store: Store, root: JSON) -> list[str]:
    """Keys of the chunks of every array that is no data variable."""
    return [key for name in _arrays(root, sharded=False) for key, _ in store.list(chunks_prefix(name))]


def array_documents(root: JSON) -> list[str]:
    """Keys of the metadata documents of all arrays."""
    return [document_key(name) for name in sorted(arrays_of(root))]


def _arrays(root: JSON, *, sharded: bool) -> dict[str, JSON]:
    """Documents of the data variables, which are sharded, or of all other arrays."""
    found = arrays_of(root)
    return {name: one for name, one in found.items() if is_sharded(one) is sharded}
