"""What a final store holds, as its readers see it.

In: a store. Out: its root metadata document, the dataset a reader opens, or values of it.
"""

import json
import logging
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from obstore.exceptions import BaseError

from reformatters_dagster.core.spec.errors import (
    CorruptRoot,
    CorruptShard,
    ReformatError,
    StoreAccessDenied,
    StoreMissing,
    StoreUnavailable,
)
from reformatters_dagster.core.spec.failures import Failure, UnusableAnswer, is_past_end, store_failure
from reformatters_dagster.core.spec.retries import Patience, ask_patiently, twice_as_long
from reformatters_dagster.core.spec.values import JSON, Dim, Names, Timestamp
from reformatters_dagster.core.spec.zarr_documents import (
    DAMAGED_DOCUMENT,
    ROOT_KEY,
    arrays_of,
    chunk_values,
    first_axis_key,
)
from reformatters_dagster.core.store.location import Store

log = logging.getLogger(__name__)

READ_PATIENCE = Patience(attempts=5, deadline=60.0, pause=twice_as_long, throttled_factor=1.0)
"""How often a read of values is tried: with pauses of up to about 8 s in all, in which a shard is put many times over.

A read is many requests, and the reader's client repeats each of them by itself, for seconds. So a store that answers with errors
is asked up to 30 times for one object; one that does not answer is asked by the first try alone, which outlasts the deadline.
"""


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
    return None if found is None else root_of(store, found[0])


def root_of(store: Store, data: bytes) -> JSON:
    """The root metadata document that was read from a store; `CorruptRoot` where it is none."""
    try:
        root: JSON = json.loads(data)
        arrays_of(root)
    except DAMAGED_DOCUMENT as error:
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
    return _opened(store)


def _opened(store: Store, only: frozenset[str] | None = None) -> xr.Dataset:
    root = read_root(store)
    if root is None:
        raise StoreMissing(
            f"store {store.url} was to be opened; there is none: `reformat backfill` with `--archive-start T` creates it"
        )
    others = [] if only is None else sorted(arrays_of(root).keys() - only)
    published: xr.Dataset = xr.open_zarr(
        store.reader(), chunks=None, decode_timedelta=True, consolidated=True, drop_variables=others
    )
    return published


def published_indexes(store: Store, dims: Names) -> dict[Dim, pd.Index]:
    """Labels of some dimensions, as `open_published` has them, of which nothing else is read. Raises what it raises."""
    published = _opened(store, only=frozenset(dims))
    return {dim: published.indexes[dim] for dim in dims}


def load_published(array: xr.DataArray, patience: Patience = READ_PATIENCE) -> xr.DataArray:
    """The values of a part of `open_published`, in memory.

    A reader asks for the index of a shard, then for its chunks. Where an update replaces the shard in between, the chunks
    cannot be decoded, or lie past its end; the same read a moment later gives the new values. So these are tried again, as are
    failures of the store that may pass.

    Raises
    ------
    CorruptShard
        When the values could not be decoded at the last attempt either.
    StoreAccessDenied
        When the store refuses the credentials: at once.
    StoreUnavailable
        When the store does not hand over what it holds.

    Notes
    -----
    A read that meets an update can also succeed, with new values beside old ones. Each of them was published.
    """

    def tell(failure: Failure, attempt: int, _seconds: float) -> None:
        log.info("variable=%s attempt=%d of %d: %s", array.name, attempt, patience.attempts, failure.found)

    return ask_patiently(
        partial(_compute, array),
        patience,
        judge=_judge_read,
        give_up=partial(_read_error, str(array.name)),
        before_pause=tell,
    )


class _Undecodable(Failure):
    """The store has answered, and values cannot be made of it."""


def _compute(array: xr.DataArray) -> xr.DataArray:
    """One attempt. Raises what the store did; anything else as `UnusableAnswer`."""
    try:
        return array.compute()
    except Exception as raised:
        error = raised
        while isinstance(error, ExceptionGroup):  # zarr asks for several ranges of an object at once
            error = error.exceptions[0]
        if isinstance(error, ReformatError | MemoryError | OSError | BaseError) and not is_past_end(error):
            if error is raised:
                raise
            raise error from error.__cause__
        raise UnusableAnswer(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def _judge_read(error: Exception) -> Failure:
    if isinstance(error, UnusableAnswer):
        return _Undecodable(verdict="retry", found=str(error))
    return store_failure(error, remote=isinstance(error, BaseError))


def _read_error(name: str, failure: Failure, attempts: int) -> Exception:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if isinstance(failure, _Undecodable):
        return CorruptShard(
            f"{name!r} was to be read; {tries} failed, the last with {failure.found}: a shard is damaged: backfill its "
            "partition anew"
        )
    if failure.verdict == "denied":
        return StoreAccessDenied(
            f"{name!r} was to be read; the store denied it: {failure.found}; set or renew credentials, with the right to read"
        )
    return StoreUnavailable(
        f"{name!r} was to be read; {tries} failed, the last with {failure.found}; whether its shards are whole is not known: "
        "check the store and the network, then read again"
    )


def first_label(store: Store, root: JSON, dim: str) -> Timestamp | None:
    """The first label of a store whose root document was read; None where its metadata has none.

    Raises
    ------
    CorruptRoot
        When the object that holds it cannot be decoded.
    """
    if dim not in arrays_of(root):
        return None
    try:
        found = store.get_or_none(first_axis_key(dim, 0, dims=1))
        first = None if found is None else chunk_values(arrays_of(root)[dim], found[0])[0]
    except ReformatError:
        raise
    except Exception as error:
        raise CorruptRoot(
            f"{store.url}/{dim}/c/0 was to be read as the first labels of a store; it is none: {str(error)[:300]}; put back "
            "what stood there, as its primary or a replica has it"
        ) from error
    return None if first is None else pd.Timestamp(first.astype("datetime64[s]")).as_unit("us")


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
