"""Statistics of a store beside a reference: each figure by a sum done in another way."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from reformatters_dagster.core.check.opened import OpenedStore
from reformatters_dagster.report.reference import Difference, compare, open_reference
from tests.core.check.published import FORECAST, TEMPERATURE, no_coordinates, nothing

NAME = TEMPERATURE.name
LABELS = pd.date_range("2026-07-29", periods=3, freq="6h", unit="us")


def dataset(seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).normal(size=(3, 2, 6, 8)).astype("f4")
    coords = {
        "init_time": LABELS,
        "lead_time": pd.timedelta_range("0h", periods=2, freq="1h", unit="us"),
        "latitude": np.linspace(50, 45, 6),
        "longitude": np.linspace(-4, 3, 8),
    }
    return xr.Dataset({NAME: (tuple(coords), values, {"units": "1"})}, coords, {"dataset_id": "tiny"})


def opened(ds: xr.Dataset, folder: Path) -> OpenedStore:
    chunks = {NAME: {"chunks": (1, 2, 4, 4)}}
    ds.to_zarr(folder / "store.zarr", zarr_format=3, consolidated=False, encoding=chunks)
    found = xr.open_zarr(folder / "store.zarr", chunks=None, consolidated=False, decode_timedelta=True)
    return OpenedStore(found, FORECAST, (TEMPERATURE,), lambda _: set(), nothing, no_coordinates)


def difference(ours: xr.Dataset, theirs: xr.Dataset, folder: Path) -> Difference:
    theirs.to_zarr(folder / "reference.zarr", zarr_format=2, consolidated=True)
    store = opened(ours, folder)
    (found,) = compare(store, open_reference(str(folder / "reference.zarr"), store, [NAME], store.labels))
    return found


def test_figures_are_those_of_numpy(tmp_path: Path) -> None:
    ours, theirs = dataset(), dataset(1) * 2 + 1
    ours[NAME][2, 1, 0, 0] += 100
    ours[NAME][0, 0, :2] = np.nan
    theirs[NAME][0, 0, 1:3] = np.nan
    found = difference(ours, theirs, tmp_path)
    one, two = (np.asarray(ds[NAME], np.float64).ravel() for ds in (ours, theirs))
    both = np.isfinite(one) & np.isfinite(two)
    apart = (one - two)[both]
    assert (found.count, found.nan_ours, found.nan_theirs) == (int(both.sum()), 8, 8)
    assert found.bias == pytest.approx(apart.mean())
    assert found.rmse == pytest.approx(np.sqrt((apart**2).mean()))
    assert found.most == pytest.approx(np.abs(apart).max())
    assert found.where == "init_time 2026-07-29T12:00, lead_time 1 h, latitude 50, longitude -4"
    assert found.correlation == pytest.approx(np.corrcoef(one[both], two[both])[0, 1])
    assert (found.chunks, found.all_chunks) == (12, 12)


def test_equal_values_are_equal_however_the_reference_lies(tmp_path: Path) -> None:
    ours = dataset()
    theirs = ours.isel(latitude=slice(None, None, -1)).transpose("longitude", ...)
    theirs = theirs.assign_coords(longitude=theirs.longitude % 360).sortby("longitude")
    found = difference(ours, theirs, tmp_path)
    assert found.is_equal
    assert found.count == ours[NAME].size
    assert found.correlation == pytest.approx(1)


def test_only_what_both_have_is_compared(tmp_path: Path) -> None:
    ours = dataset()
    theirs = ours.isel(init_time=[1, 2], lead_time=[1], latitude=[0, 2, 4])
    theirs[NAME][1] += 3
    found = difference(ours, theirs, tmp_path)
    assert found.count == 2 * 3 * 8
    assert [found.bias, found.most] == pytest.approx([-1.5, 3])
    assert found.where.startswith("init_time 2026-07-29T12:00, lead_time 1 h")


@pytest.mark.parametrize("moved", ["one cell", "half the globe"])
def test_a_shifted_map_differs(tmp_path: Path, moved: str) -> None:
    ours = dataset()
    theirs = ours.copy(data={NAME: np.roll(ours[NAME].to_numpy(), 1 if moved == "one cell" else 4, axis=-1)})
    found = difference(ours, theirs, tmp_path)
    assert not found.is_equal
    assert abs(found.correlation) < 0.5


def test_many_chunks_are_sampled(tmp_path: Path) -> None:
    dataset().to_zarr(tmp_path / "reference.zarr", zarr_format=2, consolidated=True)
    store = opened(dataset(), tmp_path)
    beside = open_reference(str(tmp_path / "reference.zarr"), store, [NAME], store.labels)
    (found,) = compare(store, beside, most_chunks=5)
    assert (found.chunks, found.all_chunks) == (5, 12)
    assert 5 * 2 * 2 * 4 <= found.count <= 5 * 2 * 4 * 4
    assert compare(store, beside, most_chunks=5) == [found]
    assert compare(store, beside, most_values=5 * 1 * 2 * 4 * 4 + 31) == [found]
    assert [one.chunks for one in compare(store, beside, most_values=1)] == [1]
