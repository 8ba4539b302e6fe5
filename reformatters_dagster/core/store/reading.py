"""What a final store holds, as its readers see it.

In: a store. Out: its root metadata document, or the dataset a reader opens.
"""

import json

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.errors import CorruptRoot, StoreMissing
from reformatters_dagster.core.spec.values import JSON
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, arrays_of
from reformatters_dagster.core.store.location import Store


def is_published(store: Store) -> bool:
    """Whether a store stands: readers find its root."""
    return store.exists(ROOT_KEY)


def read_root(store: Store) -> JSON | None:
    """Root metadata document, with consolidated metadata; None when no store stands there.

    Raises
    ------
    StoreUnavailable, StoreAccessDenied
        When the store does not answer that.
    CorruptRoot
        When there is an object, and it is no such document.
    """
    found = store.get_or_none(ROOT_KEY)
    if found is None:
        return None
    try:
        root: JSON = json.loads(found[0])
        arrays_of(root)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptRoot(
            f"{store.url}/{ROOT_KEY} was to be read as the root of a store; it is none: "
            f"{' '.join(str(error).split())[:300]}; put back what stood there, as its primary or a replica has it"
        ) from error
    return root


def open_published(store: Store) -> xr.Dataset:
    """The dataset as readers open it: lazily, without dask.

    Raises
    ------
    StoreMissing, CorruptRoot
        When no store stands there, or its root cannot be read.
    """
    if read_root(store) is None:
        raise StoreMissing(f"store {store.url} was to be opened; there is none: 'reformat backfill' creates it")
    published: xr.Dataset = xr.open_zarr(store.reader(), chunks=None, decode_timedelta=True, consolidated=True)
    return published


def published_labels(store: Store, append_dim: str) -> pd.DatetimeIndex:
    """Labels of the append dimension that readers see; empty when no store stands there."""
    root = read_root(store)
    if root is None:
        return pd.DatetimeIndex([], dtype="datetime64[us]")
    import zarr

    # The one coordinate alone: opening everything would read every coordinate of the store.
    values = np.asarray(zarr.open_array(store.reader(), path=append_dim, mode="r")[:])
    length = arrays_of(root)[append_dim]["shape"][0]
    return pd.DatetimeIndex(values[:length].astype("datetime64[s]").astype("datetime64[us]"))
