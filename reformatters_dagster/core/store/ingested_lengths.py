"""How far each forecast is ingested: a coordinate that runs write, one init time at a time.

In: forecast lengths of some init times. Out: these values in every store; all other values stay.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.spec.template_files import metadata_objects
from reformatters_dagster.core.spec.values import JSON, Lengths, Timestamp
from reformatters_dagster.core.spec.zarr_documents import (
    ROOT_KEY,
    arrays_of,
    chunk_values,
    first_axis_key,
    object_shape,
    replace_values,
)
from reformatters_dagster.core.store.location import Store
from reformatters_dagster.core.store.metadata import put_grown, sound_chunk
from reformatters_dagster.core.store.settings import Workspace

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
    labels = template_ds.get_index("init_time")
    found = labels.get_indexer(pd.DatetimeIndex(list(lengths)))
    positions = {int(at): length for at, length in zip(found, lengths.values(), strict=True) if at >= 0}
    objects = metadata_objects(xr.Dataset(coords={INGESTED: template_ds[INGESTED].variable}))
    array, chunks = arrays_of(json.loads(objects[ROOT_KEY]))[INGESTED], dict(objects)
    workspace.stores.each_in_write_order(
        lambda store: _merge_into(store, workspace.stores.primary, array, chunks, positions)
    )


def _merge_into(
    store: Store, primary: Store, array: JSON, chunks: dict[str, bytes], positions: Mapping[int, Lengths]
) -> None:
    """Merge into one store; `chunks` holds those of the store before, or else of the template, and then those of this one."""
    length, *others = object_shape(array)
    for chunk in sorted({position // length for position in positions}):
        key = first_axis_key(INGESTED, chunk, 1 + len(others))
        ours = {at % length: value for at, value in positions.items() if at // length == chunk}
        sound = partial(sound_chunk, store, key, array, primary=primary)
        put_grown(store, key, partial(_with_lengths, array, chunks, key, ours, sound))


def _with_lengths(
    array: JSON,
    chunks: dict[str, bytes],
    key: str,
    lengths: Mapping[int, Lengths],
    sound: Callable[[bytes], bytes | None],
    found: bytes | None,
) -> bytes:
    """A chunk of the coordinate with other lengths at some positions within it; it is kept in `chunks`.

    Of the whole chunk: another run may have written lengths past the end of the array, of labels that it is about to publish.
    """
    undamaged = None if found is None else sound(found)
    before = chunks[key] if undamaged is None else undamaged
    values = chunk_values(array, before).copy()
    for position, length in lengths.items():
        values[position] = length / np.timedelta64(1, "s")
    chunks[key] = replace_values(array, before, values)
    return chunks[key]
