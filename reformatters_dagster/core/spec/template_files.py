"""A template as metadata-only Zarr v3: as it is committed, as a commit puts it, and as every tmp store starts.

In: an `xr.Dataset` as `TemplateConfig.get_template` gives it. Out: documents and coordinate values, in memory or in a folder; or
the reverse.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from reformatters_dagster.core.spec.zarr_documents import Objects, consolidated

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer as AnyBuffer
    from zarr.storage import MemoryStore


def metadata_objects(ds: xr.Dataset) -> Objects:
    """Metadata and coordinate values of a template, but no data chunk, as consolidated Zarr v3: objects by key.

    Parameters
    ----------
    ds : xr.Dataset
        As `get_template` gives it: encodings carry chunks, shards, compressors, fill values.

    Raises
    ------
    ValueError
        For an array without an explicit fill value.
    """
    from zarr.storage import MemoryStore

    if unfilled := [str(name) for name in ds.variables if "fill_value" not in ds[name].encoding]:
        raise ValueError(f"arrays {unfilled} have no explicit fill_value in their encoding; every array needs one")
    objects: dict[str, AnyBuffer] = {}
    store = MemoryStore(objects)
    coordinates = ds.drop_vars(list(ds.data_vars))
    coordinates.to_zarr(store, mode="w-", zarr_format=3, consolidated=False, write_empty_chunks=True)
    write_arrays(ds, map(str, ds.data_vars), store)
    return consolidated(objects)


def write_metadata(ds: xr.Dataset, path: Path) -> None:
    """Write `metadata_objects` to a folder.

    Parameters
    ----------
    path : Path
        Replaced when it stands; only a folder named `latest.zarr` or `*-tmp.zarr` is ever replaced.

    Raises
    ------
    ValueError
        For a path of another name, or an array without an explicit fill value.
    """
    if path.name != "latest.zarr" and not path.name.endswith("-tmp.zarr"):
        raise ValueError(f"{path} would be overwritten; only 'latest.zarr' and '*-tmp.zarr' may be")
    objects = metadata_objects(ds)
    shutil.rmtree(path, ignore_errors=True)
    for key, data in objects.items():
        file = path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def write_arrays(ds: xr.Dataset, names: Iterable[str], store: "Path | MemoryStore") -> None:
    """Write the documents of some data variables as `metadata_objects` does, and nothing else. Shards can be written then.

    Parameters
    ----------
    ds : xr.Dataset
        As `get_template` gives it.
    store : Path or MemoryStore
        It has none of these variables yet.
    """
    import zarr

    for name in names:
        encoding = ds[name].encoding
        zarr.create_array(
            store,
            name=name,
            shape=ds[name].shape,
            dtype=encoding["dtype"],
            chunks=encoding["chunks"],
            shards=encoding["shards"],
            compressors=encoding["compressors"],
            fill_value=encoding["fill_value"],
            dimension_names=[str(dim) for dim in ds[name].dims],
            attributes=ds[name].attrs,
        )


_COMMITTED: dict[Path, tuple[tuple[object, ...], xr.Dataset]] = {}


def read_template(path: Path) -> xr.Dataset:
    """A committed template. It is opened again only when one of its files has changed: a run asks for it many times."""
    files = sorted((str(file), file.stat()) for file in path.rglob("*") if file.is_file())
    state = tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files)
    known = _COMMITTED.get(path)
    if known is None or known[0] != state:
        committed: xr.Dataset = xr.open_zarr(path, chunks=None, decode_timedelta=True)
        known = _COMMITTED[path] = state, committed
    return known[1]


def differing_files(one: Path, other: Path) -> list[str]:
    """Files, relative to their folder, that are not byte for byte the same in both folders."""
    names = {p.relative_to(root) for root in (one, other) for p in root.rglob("*") if p.is_file()}
    return sorted(str(name) for name in names if _read(one / name) != _read(other / name))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
