"""How far each forecast is ingested: a coordinate that runs write, one init time at a time.

In: forecast lengths of some init times. Out: these values in every store; all other values stay.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.values import Lengths, Timestamp
from reformatters_dagster.core.spec.zarr_documents import first_axis_key, read_document
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import put_grown, sound_chunk, tmp_metadata
from reformatters_dagster.core.store.settings import Workspace

if TYPE_CHECKING:
    import zarr

INGESTED = "ingested_forecast_length"


def merge_ingested_lengths(template_ds: xr.Dataset, workspace: Workspace, lengths: Mapping[Timestamp, Lengths]) -> None:
    """Write the ingested forecast length of some init times into the stores, replicas first; all others stay.

    A chunk is read, changed, and put back only if it is still the one that was read. Where that of a replica is damaged, the
    primary's is changed instead; a damaged one of the primary is replaced by that of the last replica, or begins anew.

    Parameters
    ----------
    lengths : mapping of init time to duration
        One length, or one of each member where the template tells them apart. NaT where no lead time is complete. Init
        times that the template does not hold are ignored.

    Raises
    ------
    CommitConflict
        When another writer was first at every attempt.
    """
    if INGESTED not in template_ds.coords or not lengths:
        return
    labels = template_ds.indexes["init_time"]
    found = labels.get_indexer(pd.DatetimeIndex(list(lengths)))
    positions = {int(at): length for at, length in zip(found, lengths.values(), strict=True) if at >= 0}
    alone = xr.Dataset(coords={INGESTED: template_ds[INGESTED].variable})
    with tmp_metadata(alone, workspace.tmp) as tmp_store:
        workspace.stores.each_in_write_order(
            lambda store: _merge_into(store, workspace.stores.primary, tmp_store, positions)
        )


def _merge_into(store: Store, primary: Store, tmp_store: Path, positions: Mapping[int, Lengths]) -> None:
    import zarr

    document = read_document(tmp_store, INGESTED)
    array = zarr.open_array(tmp_store / INGESTED, mode="r+", config={"write_empty_chunks": True})
    # Whole chunks: zarr drops values past the end of an array when it writes all values before it, and another run may have
    # written lengths there of labels that it is about to publish.
    array.resize((-(-array.shape[0] // array.chunks[0]) * array.chunks[0], *array.shape[1:]))
    for chunk in sorted({position // array.chunks[0] for position in positions}):
        key = first_axis_key(INGESTED, chunk, array.ndim)
        ours = {at: length for at, length in positions.items() if at // array.chunks[0] == chunk}
        sound = partial(sound_chunk, store, key, document, primary=primary)
        put_grown(store, key, partial(_with_lengths, array, tmp_store / key, ours, sound))


def _with_lengths(
    array: "zarr.Array[Any]",
    chunk: Path,
    lengths: Mapping[int, Lengths],
    sound: Callable[[bytes], bytes | None],
    found: bytes | None,
) -> bytes:
    """A chunk of the stored coordinate with other lengths at some positions; `chunk` is overwritten with it."""
    if found is not None and (undamaged := sound(found)) is not None:
        chunk.write_bytes(undamaged)
    for position, length in lengths.items():
        array[position] = length / np.timedelta64(1, "s")
    return chunk.read_bytes()
