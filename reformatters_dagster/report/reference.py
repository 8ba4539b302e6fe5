"""A store beside a reference: what both have, and how their values differ.

In: an opened store and the URL of a reference. Out: statistics by variable, maps and series. Chunks are read one at a time,
and of them `MOST_CHUNKS`, and chunks of `MOST_VALUES`, in all.
"""

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.report.parts import in_words

MOST_CHUNKS = 1200
"""Chunks of the store that a report compares, shared by its variables."""
MOST_VALUES = 400_000_000
"""Values in those chunks. A thousand chunks of a forecast have two billion, which take more than five minutes of CPU time."""
NEAR = 0.01
"""How far two points of a grid may lie apart to be the same, as a share of the distance between points."""

type Positions = np.ndarray[tuple[int], np.dtype[np.intp]]
type Values = np.ndarray[Any, np.dtype[np.float64]]


class ReferenceUnusable(Refused, ValueError):
    """The reference cannot be opened, or has nothing in common with the store."""


@dataclass(frozen=True)
class Beside:
    """A reference that has variables, labels and points in common with a store.

    Attributes
    ----------
    ours, theirs : mapping of dimension to positions
        Of the labels that both have, in the store and in the reference.
    names : tuple of str
        Variables that both have.
    left_out : mapping of variable to reason
        Those of the store that are not compared.
    """

    url: str
    ds: xr.Dataset
    ours: Mapping[str, Positions]
    theirs: Mapping[str, Positions]
    names: tuple[str, ...]
    left_out: Mapping[str, str]

    def of_reference(self, name: str, window: Mapping[str, Positions]) -> xr.DataArray:
        """Values of the reference, at places given by positions in `ours`, as the store orders its dimensions."""
        at = {dim: self.theirs[dim][which] for dim, which in window.items()}
        try:
            return self.ds[name].isel(at).compute()
        except Exception as error:
            raise ReferenceUnusable(
                f"{name!r} of the reference {self.url} was to be read; that failed: {in_words(error)}; choose other --variables, "
                "or mend the reference"
            ) from error


@dataclass(frozen=True)
class Difference:
    """How one variable differs from a reference: of the values that both have, store minus reference.

    Attributes
    ----------
    count, of : int
        Values compared, and values that are NaN in neither or both or one.
    nan_ours, nan_theirs : int
        Values that are NaN in one alone.
    chunks, all_chunks : int
        Chunks of the store that were read, and those with something in common.
    where : str
        Labels of the largest difference.
    """

    name: str
    units: str
    reference_units: str
    count: int
    nan_ours: int
    nan_theirs: int
    bias: float
    rmse: float
    most: float
    where: str
    correlation: float
    spread: float
    chunks: int
    all_chunks: int

    @property
    def is_equal(self) -> bool:
        return self.most == 0 and not self.nan_ours and not self.nan_theirs

    @property
    def weight(self) -> float:
        """How much it differs, to put the worst first: by the spread of its values; NaN in one alone counts as far off."""
        off = self.rmse / self.spread if self.spread > 0 else float(self.rmse > 0)
        return off + (self.nan_ours + self.nan_theirs) / max(self.count, 1)


def open_reference(url: str, opened: OpenedStore, names: Sequence[str], labels: pd.DatetimeIndex) -> Beside:
    """Open a reference and find what it has in common with a store.

    Parameters
    ----------
    labels : DatetimeIndex
        Of the append dimension, that may be compared.

    Raises
    ------
    ReferenceUnusable
        When it cannot be opened, or no variable, label or point is common.
    """
    ds = _open(url)
    left_out, common = dict[str, str](), list[str]()
    for name in names:
        if name not in opened.ds.data_vars:
            left_out[name] = "the store has no such variable yet"
        elif name not in ds.data_vars:
            left_out[name] = "the reference has no such variable"
        elif set(ds[name].dims) != set(opened.ds[name].dims):
            left_out[name] = f"the reference has it along {_listed(ds[name].dims)}, the store along " + _listed(
                opened.ds[name].dims
            )
        else:
            common.append(name)
    if not common:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:4])
        raise ReferenceUnusable(
            f"{opened.dataset_id} was to be compared with {url}; it has no variable in common ({why}); the reference has "
            f"{_listed(ds.data_vars)}: choose another reference or --variables"
        )
    ours, theirs = dict[str, Positions](), dict[str, Positions]()
    for dim in map(str, opened.ds[common[0]].dims):
        if dim not in ds.indexes or dim not in opened.ds.indexes:
            raise ReferenceUnusable(
                f"{opened.dataset_id} was to be compared with {url}; its dimension {dim!r} has no labels: add the coordinate"
            )
        wanted = opened.ds.indexes[dim]
        ours[dim], theirs[dim] = _matched(wanted, ds.indexes[dim], dim)
        if dim == opened.append_dim:
            keep = wanted[ours[dim]].isin(labels)
            ours[dim], theirs[dim] = ours[dim][keep], theirs[dim][keep]
            wanted = labels
        least = 2 if dim in {"latitude", "longitude", "y", "x"} else 1
        if len(ours[dim]) < least:
            what = "grid" if least == 2 else "label"
            raise ReferenceUnusable(
                f"{opened.dataset_id} was to be compared with {url}; they have no common {what} along {dim!r}: the store has "
                f"{_span(wanted)}, the reference {_span(ds.indexes[dim])}; bring the reference to the store's {what}s, or choose "
                "another, or other times"
            )
    return Beside(url, ds, ours, theirs, tuple(common), left_out)


def _open(url: str) -> xr.Dataset:
    place: Any = url
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if "://" in url and not url.startswith("file://"):
                import obstore
                import zarr

                bucket = obstore.store.from_url(url, client_options={"allow_http": True})
                place = zarr.storage.ObjectStore(bucket, read_only=True)
            ds: xr.Dataset = xr.open_zarr(place, chunks=None, decode_timedelta=True)
    except Exception as error:
        raise ReferenceUnusable(
            f"reference {url!r} was to be opened; that failed: {in_words(error)}; give a folder or URL of a Zarr store, as "
            "xr.open_zarr takes it"
        ) from error
    return ds


def _matched(ours: "pd.Index[Any]", theirs: "pd.Index[Any]", dim: str) -> tuple[Positions, Positions]:
    """Positions in both of the labels that both have, in the order of `ours`."""
    if ours.dtype.kind != "f":
        if ours.dtype.kind != theirs.dtype.kind and "f" not in theirs.dtype.kind:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        unit = {"M": "datetime64[ns]", "m": "timedelta64[ns]"}.get(ours.dtype.kind, "int64")
        at = pd.Index(theirs.to_numpy().astype(unit)).get_indexer(pd.Index(ours.to_numpy().astype(unit)))
        found = np.flatnonzero(at >= 0)
        return found, at[found]
    mine, other = ours.to_numpy(np.float64), theirs.to_numpy(np.float64)
    if dim == "longitude":
        mine, other = mine % 360, other % 360
    order = np.argsort(other)
    row = other[order]
    if dim == "longitude":  # a point beside 0 has neighbours on both sides
        order = np.concatenate([order[-1:], order, order[:1]])
        row = np.concatenate([row[-1:] - 360, row, row[:1] + 360])
    right = np.clip(np.searchsorted(row, mine), 1, len(row) - 1) if len(row) > 1 else np.zeros(len(mine), np.intp)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(row[left] - mine) <= np.abs(row[right] - mine), left, right)
    step = float(np.abs(np.diff(ours.to_numpy(np.float64))).min()) if len(ours) > 1 else 1.0
    found = np.flatnonzero(np.abs(row[nearest] - mine) <= NEAR * step)
    return found, order[nearest[found]]


def _listed(names: Any) -> str:
    words = [str(name) for name in names]
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "") if words else "none"


def _span(index: "pd.Index[Any]") -> str:
    return f"{len(index)} from {index[0]} to {index[-1]}" if len(index) else "none"


def compare(
    opened: OpenedStore, beside: Beside, most_chunks: int = MOST_CHUNKS, most_values: int = MOST_VALUES
) -> list[Difference]:
    """Statistics of every variable that both have, those that differ most first; at least a chunk of each is read."""

    def most(name: str) -> int:
        values = prod(int(size) for size in opened.ds[name].encoding["chunks"])
        return max(min(most_chunks, most_values // values) // len(beside.names), 1)

    return sorted((_compare(opened, beside, name, most(name)) for name in beside.names), key=lambda one: -one.weight)


def _compare(opened: OpenedStore, beside: Beside, name: str, most: int) -> Difference:
    array, tally = opened.ds[name], _Tally()
    drawn, count = _windows(array, beside, opened, most)
    for window in drawn:
        mine = opened.load(array.isel({dim: _sliced(beside.ours[dim][which]) for dim, which in window.items()}))
        other = beside.of_reference(name, window).transpose(*mine.dims)
        tally.add(mine, np.asarray(mine, np.float64), np.asarray(other, np.float64))
    units = (str(one.attrs.get("units", "")) for one in (array, beside.ds[name]))
    return tally.told(name, *units, chunks=len(drawn), all_chunks=count)


def _windows(
    array: xr.DataArray, beside: Beside, opened: OpenedStore, most: int
) -> tuple[list[dict[str, Positions]], int]:
    """Some of the chunks with something in common, each as positions within `ours`; and how many such chunks there are.

    The variable and the newest label seed the draw, as in checks.
    """
    groups: list[list[Positions]] = []
    for dim, chunk in zip(map(str, array.dims), array.encoding["chunks"], strict=True):
        numbers = beside.ours[dim] // chunk
        groups.append(np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers)) + 1))
    shape = [len(one) for one in groups]
    count = prod(shape)
    random = np.random.default_rng(zlib.crc32(f"{opened.dataset_id} {opened.labels[-1]} {array.name}".encode()))
    chosen = range(count) if count <= most else np.sort(random.choice(count, most, replace=False))
    found = []
    for one in chosen:
        places = np.unravel_index(int(one), shape)
        found.append({str(dim): groups[axis][places[axis]] for axis, dim in enumerate(array.dims)})
    return found, count


def _sliced(positions: Positions) -> Positions | slice:
    """Positions as a slice where they follow one another: that reads no more than it gives."""
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == len(positions) else positions


class _Tally:
    """Sums of two arrays, piece by piece; means and squares are merged as Chan, Golub and LeVeque do."""

    def __init__(self) -> None:
        self.count = self.nan_ours = self.nan_theirs = 0
        self.means = np.zeros(2)
        self.squares = np.zeros((2, 2))
        self.difference = self.difference_squared = 0.0
        self.most, self.where = 0.0, ""

    def add(self, labels: xr.DataArray, ours: Values, theirs: Values) -> None:
        """Count one window in; `labels` names its places."""
        lacks_ours, lacks_theirs = ~np.isfinite(ours), ~np.isfinite(theirs)
        self.nan_ours += int((lacks_ours & ~lacks_theirs).sum())
        self.nan_theirs += int((lacks_theirs & ~lacks_ours).sum())
        both = ~(lacks_ours | lacks_theirs)
        pairs = np.stack([ours[both], theirs[both]])
        n = pairs.shape[1]
        if not n:
            return
        apart = pairs[0] - pairs[1]
        means = pairs.mean(axis=1)
        off, shift = pairs - means[:, None], means - self.means
        self.squares += off @ off.T + np.outer(shift, shift) * self.count * n / (self.count + n)
        self.means += shift * n / (self.count + n)
        self.count += n
        self.difference += float(apart.sum())
        self.difference_squared += float(apart @ apart)
        if (worst := float(np.abs(apart).max())) > self.most:
            gaps = np.where(both, np.abs(np.where(both, ours, 0) - np.where(both, theirs, 0)), -1)
            place = np.unravel_index(int(gaps.argmax()), gaps.shape)
            at = zip(map(str, labels.dims), place, strict=True)
            self.most, self.where = worst, ", ".join(f"{dim} {_label(labels[dim].values[one])}" for dim, one in at)

    def told(self, name: str, units: str, reference_units: str, *, chunks: int, all_chunks: int) -> Difference:
        count = max(self.count, 1)
        spread = self.squares.diagonal()
        correlation = float(self.squares[0, 1] / sqrt(spread.prod())) if spread.min() > 0 else float("nan")
        return Difference(
            name=name,
            units=units,
            reference_units=reference_units,
            count=self.count,
            nan_ours=self.nan_ours,
            nan_theirs=self.nan_theirs,
            bias=self.difference / count,
            rmse=sqrt(self.difference_squared / count),
            most=self.most,
            where=self.where,
            correlation=correlation,
            spread=sqrt(float(spread[1]) / count),
            chunks=chunks,
            all_chunks=all_chunks,
        )


def _label(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return f"{pd.Timestamp(value):%Y-%m-%dT%H:%M}"
    if isinstance(value, np.timedelta64):
        return f"{pd.Timedelta(value) / pd.Timedelta(hours=1):g} h"
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)
