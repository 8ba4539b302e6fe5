"""A published store as checks read it.

In: a final store, its template and its ledger. Out: lazy arrays, stored keys, objects, expected coordinates and ledger entries.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import pandas as pd
import xarray as xr

from reformatters_dagster.core.ledger.entries import LedgerView
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import AppendDim, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.zarr_documents import chunks_prefix
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.reading import READ_PATIENCE, load_published, open_published

type Compare = "Callable[[OpenedStore, int, Timestamp], list[FieldComparison]]"


@dataclass(frozen=True)
class FieldComparison:
    """What came of comparing a published field with the upstream files that it is made from.

    Attributes
    ----------
    field : str
        Variable and labels, in words.
    label : str
        Of the append dimension.
    points, differing : int
        How many points were compared, and how many differ.
    difference : str
        File, message, point and both values, where they differ; empty otherwise.
    skipped : str
        Why nothing was compared; empty otherwise.
    published_again : bool
        Whether a file was published again after it was used, which may be why they differ.
    at : mapping, optional
        Where a difference is: positions by dimension of the field, for `isel`.
    box : tuple, optional
        South, north, west and east edge of the points that differ.
    """

    field: str
    variable: str
    label: str
    points: int = 0
    differing: int = 0
    difference: str = ""
    skipped: str = ""
    published_again: bool = False
    at: Mapping[str, int] | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class OpenedStore:
    """A final store as readers see it, with what it should hold.

    Attributes
    ----------
    ds : xr.Dataset
        Opened from Zarr without dask, so that indexing reads only the chunks it touches. `load` reads data variables.
    append_axis : AppendAxis
        The grid of the dimension that grows, from the start of this archive.
    data_vars : tuple of DataVar
        The variables of the template.
    shard_keys : callable
        Takes a variable name, returns the keys of its stored objects below the array: `{"c/0/0/0/1", ...}`. It lists the store.
    read_object : callable
        Takes a key, returns the object's content; None where there is no object.
    coordinates : callable
        Takes an end of the append dimension, returns every coordinate of the template for the labels before it.
    ledger : LedgerView, optional
        None where the store has no ledger.
    patience : Patience
        How often `load` tries to read.
    compare : callable, optional
        Takes the store itself, a number and the time; compares so many published fields, and half as many of an earlier
        partition, with the upstream files. None where the upstream is not at hand.
    """

    ds: xr.Dataset
    append_axis: AppendAxis
    data_vars: tuple[DataVar, ...]
    shard_keys: Callable[[str], set[str]]
    read_object: Callable[[str], bytes | None]
    coordinates: Callable[[Timestamp], xr.Dataset]
    ledger: LedgerView | None = None
    patience: Patience = READ_PATIENCE
    compare: "Compare | None" = None

    @classmethod
    def of(
        cls, store: Store, template: TemplateConfig, ledger: LedgerView | None, compare: "Compare | None" = None
    ) -> Self:
        """Open a store that exists, as its readers do."""

        def shard_keys(variable: str) -> set[str]:
            return {key.removeprefix(f"{variable}/") for key, _ in store.list(chunks_prefix(variable))}

        def read_object(key: str) -> bytes | None:
            found = store.get_or_none(key)
            return found and found[0]

        ds = open_published(store)
        expected = template.coordinates
        axis, rows = template.append_dim, template.data_vars
        return cls(ds, axis, rows, shard_keys, read_object, expected, ledger, compare=compare)

    @property
    def append_dim(self) -> AppendDim:
        return self.append_axis.name

    @property
    def dataset_id(self) -> str:
        return str(self.ds.attrs["dataset_id"])

    @property
    def labels(self) -> pd.DatetimeIndex:
        """Published labels of the append dimension."""
        return pd.DatetimeIndex(self.ds.indexes[self.append_dim])

    def load(self, array: xr.DataArray) -> xr.DataArray:
        """A part of a data variable in memory. A shard may be rewritten meanwhile: see `load_published`."""
        return load_published(array, self.patience)

    def shards(self) -> Iterator[pd.DatetimeIndex]:
        """Published labels of each shard, in order."""
        length = next((shard_shape(self.ds[one.name])[0] for one in self.data_vars if one.name in self.ds), 1)
        labels = self.labels
        yield from (labels[start : start + length] for start in range(0, len(labels), length))


def shard_shape(array: xr.DataArray) -> tuple[int, ...]:
    """Shape of a stored object; that of a chunk where the array has no shards."""
    return tuple(array.encoding.get("shards") or array.encoding["chunks"])
