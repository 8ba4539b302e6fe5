"""Zarr v3 as stores hold it: what documents say, under which keys objects lie, what one chunk holds.

In: documents as `json.loads` gives them, shapes, the bytes of a chunk. Out: names, keys, lengths, values. Other modules know
these layouts by its functions alone: another layout of documents or keys begins here, and `template_files` writes the documents
first. Another way to commit, as Icechunk has one, begins in `store.metadata`, which puts the root last, and `store.location`,
which puts objects.
"""

import itertools
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reformatters_dagster.core.spec.errors import TemplateDrift
from reformatters_dagster.core.spec.values import JSON

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer as AnyBuffer

log = logging.getLogger(__name__)

ROOT_KEY = "zarr.json"
"""Key of the root document, by which readers open a store."""
DAMAGED_DOCUMENT = (ValueError, LookupError, TypeError, AttributeError)
"""What somebody may run into who reads a document that is none."""

_FIELDS = {
    "data_type": "dtype",
    "fill_value": "fill value",
    "dimension_names": "dimensions",
    "chunk_grid": "stored shape",
    "chunk_key_encoding": "key encoding",
    "codecs": "codecs",
}

type Values = np.ndarray[tuple[int, ...], np.dtype[Any]]
type Objects = Mapping[str, bytes]
"""What a store holds, by key."""


def document_key(name: str) -> str:
    """Key of the document of an array or group."""
    return f"{name}/{ROOT_KEY}"


def chunks_prefix(name: str) -> str:
    """Prefix of the keys of all objects of an array; the key itself of an array without dimensions."""
    return f"{name}/c"


def shard_prefix(name: str, shard: int) -> str:
    """Prefix of the keys of one shard along the first dimension; the key itself in an array of one dimension."""
    return f"{chunks_prefix(name)}/{shard}"


def first_axis_key(name: str, chunk: int, dims: int) -> str:
    """Key of a chunk of an array that is one chunk long along all dimensions but the first."""
    return shard_prefix(name, chunk) + "/0" * (dims - 1)


def object_key(name: str, place: Sequence[int]) -> str:
    """Key of the object of an array at a place: its number along each dimension."""
    return "/".join((chunks_prefix(name), *map(str, place)))


def shard_keys(shape: tuple[int, ...], shard: tuple[int, ...]) -> set[str]:
    """Keys, relative to the array, of every object that an array of `shape` is stored in: Zarr v3 default chunk keys."""
    counts = [range(-(-size // length)) for size, length in zip(shape, shard, strict=True)]
    return {"/".join(("c", *map(str, index))) for index in itertools.product(*counts)}


def keys_of_shard(name: str, shard: int, shape: Sequence[int], objects: Sequence[int]) -> set[str]:
    """Keys of every object of one shard along the first dimension, of an array of `shape` in objects of the shape `objects`."""
    others = shard_keys(tuple(shape[1:]), tuple(objects[1:]))
    return {f"{shard_prefix(name, shard)}{key.removeprefix('c')}" for key in others}


def read_root_at(path: Path) -> JSON:
    """Root document of a store on local disk."""
    root: JSON = json.loads((path / ROOT_KEY).read_text())
    return root


def read_document(path: Path, name: str) -> JSON:
    """Document of one array of a store on local disk."""
    document: JSON = json.loads((path / document_key(name)).read_text())
    return document


def keys_below(objects: Objects, prefix: str) -> list[str]:
    """Key of the object at a prefix, or of every object below it."""
    return sorted(key for key in objects if key == prefix or key.startswith(f"{prefix}/"))


def keys_on_disk(folder: Path, prefix: str) -> list[str]:
    """Key of the object at a prefix, or of every object below it, of a store on local disk."""
    path = folder / prefix
    files = [path] if path.is_file() else [below for below in path.rglob("*") if below.is_file()]
    return sorted(file.relative_to(folder).as_posix() for file in files)


def documents_of(root: JSON) -> dict[str, JSON]:
    """Documents of all arrays and groups but the root, by path within the store.

    Raises
    ------
    TemplateDrift
        When the root holds no consolidated metadata: this project did not write it.
    """
    found = root.get("consolidated_metadata")
    if not found:
        raise TemplateDrift(
            f"consolidated metadata was expected in a root zarr.json; it has {sorted(root)}: "
            "another program rewrote it; restore it, or start a new dataset version"
        )
    documents: dict[str, JSON] = found["metadata"]
    return documents


def arrays_of(root: JSON) -> dict[str, JSON]:
    """Array documents by path within the store; `TemplateDrift` where the root holds no consolidated metadata."""
    return {name: document for name, document in documents_of(root).items() if document["node_type"] == "array"}


def coordinate_names(root: JSON) -> set[str]:
    """Arrays that xarray takes as coordinates: those named after their dimension, and those listed as such."""
    arrays = arrays_of(root)
    holders = [root, *arrays.values()]
    listed = {name for holder in holders for name in holder.get("attributes", {}).get("coordinates", "").split()}
    return {name for name, array in arrays.items() if name in listed or array.get("dimension_names") == [name]}


def append_dim_of(root: JSON) -> str:
    """The dimension that grows: the first of every data variable; `TemplateDrift` where they do not agree."""
    coordinates = coordinate_names(root)
    firsts = {
        (array.get("dimension_names") or [None])[0]
        for name, array in arrays_of(root).items()
        if name not in coordinates
    }
    if len(firsts) != 1 or None in firsts:
        raise TemplateDrift(
            f"one dimension was expected to be the first of every data variable; found {sorted(map(str, firsts))}: "
            "correct the template"
        )
    return str(firsts.pop())


def length_along(array: JSON, dim: str) -> int | None:
    """Size of an array along a dimension; None when it does not have it."""
    dims = array.get("dimension_names") or []
    return array["shape"][dims.index(dim)] if dim in dims else None


def object_shape(array: JSON) -> tuple[int, ...]:
    """Number of values along each dimension in one object: in a shard where the array has shards, else in a chunk."""
    return tuple(array["chunk_grid"]["configuration"]["chunk_shape"])


def is_sharded(array: JSON) -> bool:
    """Whether the array is stored in shards, as data variables are."""
    return bool(array["codecs"][0]["name"] == "sharding_indexed")


def structure_differences(template: JSON, store: JSON, append_dim: str) -> Iterator[str]:
    """The differences between two documents of an array, one text each; attributes and sizes along `append_dim` may differ."""
    for field, word in _FIELDS.items():
        wanted, found = template.get(field), store.get(field)
        if wanted != found:
            yield f"{word} {_brief(found)} in the store, {_brief(wanted)} in the template"
    sizes = [_other_sizes(document, append_dim) for document in (template, store)]
    if sizes[0] != sizes[1]:
        yield f"sizes {sizes[1]} in the store, {sizes[0]} in the template"
    masks = [document.get("attributes", {}).get("_FillValue") for document in (template, store)]
    if masks[0] != masks[1]:
        yield f"_FillValue {masks[1]!r} in the store, {masks[0]!r} in the template"


def _other_sizes(array: JSON, append_dim: str) -> dict[str, int]:
    dims = array.get("dimension_names") or [str(axis) for axis in range(len(array["shape"]))]
    return {dim: size for dim, size in zip(dims, array["shape"], strict=True) if dim != append_dim}


def _brief(value: Any) -> str:
    """The part of a metadata field that usually differs."""
    if isinstance(value, dict) and "chunk_shape" in value.get("configuration", {}):
        return repr(value["configuration"]["chunk_shape"])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        inner = value[0].get("configuration", {})
        chunks = f" of chunks {inner['chunk_shape']}" if "chunk_shape" in inner else ""
        codecs = [f"{codec['name']} {codec.get('configuration', {})}" for codec in inner.get("codecs", value)]
        return f"[{', '.join(codecs)}]{chunks}"
    return repr(value)


def chunk_values(array: JSON, data: bytes) -> Values:
    """All values of one object of an array, also those past the end of the array."""
    import zarr
    from zarr.storage import MemoryStore

    return np.asarray(zarr.open_array(MemoryStore(_one_chunk(array, data)), mode="r")[...])


def is_decodable(array: JSON, data: bytes) -> bool:
    """Whether bytes are an object of an array."""
    try:
        chunk_values(array, data)
    except MemoryError:
        raise
    except Exception as error:
        log.debug("%d bytes cannot be decoded: %s", len(data), error)
        return False
    return True


def replace_values(array: JSON, data: bytes, values: Values) -> bytes:
    """The object `data` of an array with other values."""
    import zarr
    from zarr.storage import MemoryStore

    objects = _one_chunk(array, data)
    zarr.open_array(MemoryStore(objects), mode="r+", config={"write_empty_chunks": True})[...] = values
    return objects[_one_chunk_key(array)].to_bytes()


def _one_chunk(array: JSON, data: bytes) -> "dict[str, AnyBuffer]":
    """The document and the one object of an array that is one chunk long."""
    from zarr.buffer.cpu import Buffer

    document = json.dumps({**array, "shape": object_shape(array)})
    return {ROOT_KEY: Buffer.from_bytes(document.encode()), _one_chunk_key(array): Buffer.from_bytes(data)}


def _one_chunk_key(array: JSON) -> str:
    return "/".join(["c", *("0" for _ in object_shape(array))])


def consolidated(store: "dict[str, AnyBuffer]") -> Objects:
    """The objects of a store in memory, with the documents of all arrays in its root, in name order.

    The order makes it the same on every machine.
    """
    import zarr
    from zarr.errors import ZarrUserWarning
    from zarr.storage import MemoryStore

    with warnings.catch_warnings():
        # The specification does not have it yet; all readers that we name read it.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(MemoryStore(store))
    objects = {key: data.to_bytes() for key, data in store.items()}
    root = json.loads(objects[ROOT_KEY])
    root["consolidated_metadata"]["metadata"] = dict(sorted(documents_of(root).items()))
    return {**objects, ROOT_KEY: (json.dumps(root, indent=2) + "\n").encode()}
