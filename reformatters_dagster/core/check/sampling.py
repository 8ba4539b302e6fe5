"""Which chunks the checks of values read.

In: an array of a published store. Out: a few columns of whole chunks, the same ones whenever the same check is repeated.
"""

import zlib
from collections.abc import Iterator
from itertools import product

import numpy as np
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.check.wording import text_of


def sampled_columns(opened: OpenedStore, array: xr.DataArray, most: int) -> Iterator[dict[str, slice]]:
    """Draw columns of whole chunks: one chunk of each dimension but the append dimension and lead time, which stay whole.

    Whole chunks, since a chunk is decoded whole even for a single point. The dataset, the newest label and the variable seed the
    draw: a repeated check reads the same columns, a check of the next label reads others.
    """
    chunks = {str(dim): int(chunk) for dim, chunk in zip(array.dims, array.encoding["chunks"], strict=True)}
    for dim in (opened.append_dim, "lead_time"):
        chunks.pop(dim, None)
    columns = list(product(*(range(0, array.sizes[dim], chunk) for dim, chunk in chunks.items())))
    seed = f"{opened.dataset_id} {text_of(opened.labels[-1])} {array.name}"
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    for drawn in random.choice(len(columns), min(most, len(columns)), replace=False):
        starts = columns[drawn]
        yield {dim: slice(at, at + chunk) for at, (dim, chunk) in zip(starts, chunks.items(), strict=True)}
