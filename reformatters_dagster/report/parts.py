"""What sections of a report are made of.

In: PNG bytes, words. Out: values that the page's template shows.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore, shard_shape


@dataclass(frozen=True)
class Picture:
    """One picture, and what it shows."""

    png: bytes
    caption: str

    @property
    def uri(self) -> str:
        """Its content as a URL, so that the page loads nothing."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass
class Gallery:
    """Pictures under one heading, and what could not be shown."""

    heading: str
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def in_words(error: Exception) -> str:
    """An error in one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def load_field(opened: OpenedStore, array: xr.DataArray, labels: dict[str, int]) -> xr.DataArray:
    """One field of a variable in memory, read shard by shard, so that at most one shard is held beside it.

    Parameters
    ----------
    labels : mapping of dimension to position
        Of every dimension but those of the map.
    """
    lazy = array.isel(labels)
    sizes = dict(zip(map(str, array.dims), shard_shape(array), strict=True))
    values = np.empty(lazy.shape, np.float32)
    for window in windows(lazy.shape, [sizes[str(dim)] for dim in lazy.dims]):
        values[window] = opened.load(lazy[window]).to_numpy()
    return lazy.copy(data=values)


def windows(shape: Sequence[int], size: Sequence[int]) -> list[tuple[slice, ...]]:
    """Slices of a shape, each no larger than a size."""
    along = [
        [slice(at, min(at + step, most)) for at in range(0, most, step)] for most, step in zip(shape, size, strict=True)
    ]
    return list(product(*along))
