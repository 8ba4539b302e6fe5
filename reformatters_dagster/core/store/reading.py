"""What a final store holds, as its readers see it.

In: a store. Out: its root metadata document, the dataset a reader opens, or values of it.
"""

import itertools
import json
import logging
import math

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.errors import CorruptRoot, CorruptShard, ReformatError, StoreMissing
from reformatters_dagster.core.spec.retries import Patience, twice_as_long
from reformatters_dagster.core.spec.values import JSON
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY, arrays_of
from reformatters_dagster.core.store.location import Store

log = logging.getLogger(__name__)

READ_PATIENCE = Patience(attempts=5, deadline=math.inf, pause=twice_as_long)
"""How often a read of values is tried: for up to about 8 s, in which a shard is put many times over."""


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


def load_published(array: xr.DataArray, patience: Patience = READ_PATIENCE) -> xr.DataArray:
    """The values of a part of `open_published`, in memory.

    A reader asks for the index of a shard, then for its chunks. Where an update replaces the shard in between, the chunks
    cannot be decoded; the same read a moment later gives the new values. So every failure is tried again.

    Raises
    ------
    CorruptShard
        When every attempt failed.

    Notes
    -----
    A read that meets an update can also succeed, with new values beside old ones. Each of them was published.
    """
    for attempt in itertools.count(1):
        try:
            return array.compute()
        except (ReformatError, MemoryError):
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if attempt >= patience.attempts:
                raise CorruptShard(
                    f"{array.name!r} was to be read; {attempt} attempts failed, the last with {told}: if the store answers, "
                    "a shard is damaged: backfill its partition anew"
                ) from error
        log.info("variable=%s attempt=%d of %d: %s", array.name, attempt, patience.attempts, told)
        patience.sleep(patience.pause(attempt, patience.jitter))
    raise AssertionError("unreachable")


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
