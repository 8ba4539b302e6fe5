"""Fields of coarse grids on the template's: what numpy's own interpolation finds, and what it has no word for."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import pygrib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.grib.regrid import coarsened, refine
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import GLOBAL_0P25, LatLonGrid
from reformatters_dagster.core.spec.values import Array2D
from tests.core.grib.ordered import to_grid

GRID = LatLonGrid(
    latitude=RegularAxis(first=90.0, step=-15.0, size=13), longitude=RegularAxis(first=-180.0, step=15.0, size=24)
)
ENSEMBLE_MEAN = "gefs/naschidaniel__spatialMOS--GFSE_20210416_0000_avg_f006.grb2"

fields = st.sampled_from([1, 2, 4]).flatmap(
    lambda factor: arrays(
        np.float32, (12 // factor + 1, 24 // factor), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
    )
)


def by_numpy(
    values: Array2D, coarse: LatLonGrid, fine: LatLonGrid
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Along each row around the circle, then down each column, in float64."""
    east, north = np.array(coarse.longitude.labels()), -np.array(coarse.latitude.labels())
    rows = np.array([np.interp(fine.longitude.labels(), east, row.astype(float), period=360) for row in values])
    columns = [np.interp(-np.array(fine.latitude.labels()), north, column) for column in rows.T]
    return np.array(columns).T


@given(fields)
def test_points_between_are_what_numpy_finds(values: Array2D) -> None:
    coarse = coarsened(GRID, 24 // values.shape[1])
    assert coarse.shape == values.shape
    fine = refine(values, GRID, "a field")
    assert fine.dtype == np.float32
    np.testing.assert_allclose(fine, by_numpy(values, coarse, GRID), rtol=1e-6, atol=4e-3)


@given(fields)
def test_points_of_both_grids_keep_their_bits(values: Array2D) -> None:
    factor = 24 // values.shape[1]
    before = values.copy()
    fine = refine(values, GRID, "a field")
    np.testing.assert_array_equal(fine[::factor, ::factor].view(np.uint32), values.view(np.uint32))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_circle_closes_between_the_last_longitude_and_the_first(factor: int) -> None:
    values = np.zeros(coarsened(GRID, factor).shape, np.float32)
    values[:, 0] = 8
    last = refine(values, GRID, "a field")[:, -(factor - 1) :]
    np.testing.assert_array_equal(last[0], [8 * part / factor for part in range(1, factor)])


def test_only_neighbours_of_a_missing_point_are_missing() -> None:
    values = np.arange(7 * 12, dtype=np.float32).reshape(7, 12)
    values[3, 0] = np.nan
    missing = np.isnan(refine(values, GRID, "a field"))
    rows, columns = np.nonzero(missing)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(r, c) for r in (5, 6, 7) for c in (23, 0, 1)}


@pytest.mark.parametrize("shape", [(7, 24), (13, 12), (4, 8), (26, 48), (6, 12)])
def test_a_field_that_does_not_fit_is_refused(shape: tuple[int, int]) -> None:
    message = rf"TMP in f246 has shape \({shape[0]}, {shape[1]}\), which does not refine to \(13, 24\); check the grid"
    with pytest.raises(CorruptMessage, match=message):
        refine(np.zeros(shape, np.float32), GRID, "TMP in f246")


@pytest.mark.parametrize(
    ("grid", "factor"),
    [
        (GRID, 5),
        (GRID.model_copy(update={"latitude": RegularAxis(first=90.0, step=-15.0, size=12)}), 2),
        (GRID.model_copy(update={"longitude": RegularAxis(first=0.0, step=15.0, size=12)}), 2),
    ],
    ids=["factor", "latitudes", "not around"],
)
def test_grids_without_a_coarser_one_inside_are_refused(grid: LatLonGrid, factor: int) -> None:
    with pytest.raises(
        ValueError, match=rf"has none {factor} times as coarse inside that spans it; take a global grid"
    ):
        coarsened(grid, factor)


def test_a_real_field_of_half_a_degree(shared_data: Path) -> None:
    """Of the archive, ensemble mean of 2 m temperature; the reference is another decoder's values and numpy."""
    message = (shared_data / ENSEMBLE_MEAN).read_bytes()
    (expected,) = json.loads((shared_data / f"{ENSEMBLE_MEAN}.expected.json").read_text())["messages"]
    coarse = coarsened(GLOBAL_0P25, 2)
    placed = to_grid(decode(message), read_header(message, "TMP").grid, coarse, "TMP")
    fine = refine(placed, GLOBAL_0P25, "TMP")
    north, east = np.array(GLOBAL_0P25.latitude.labels()), np.array(GLOBAL_0P25.longitude.labels())
    for point in expected["points"]:
        at = np.flatnonzero(north == point["lat"])[0], np.flatnonzero(east == (point["lon"] + 180) % 360 - 180)[0]
        assert fine[at] == pytest.approx(point["value"], abs=1e-4)
    by_eccodes = np.roll(np.asarray(pygrib.fromstring(message).values, np.float32), 360, axis=1)
    wanted = by_numpy(cast("Array2D", by_eccodes), coarse, GLOBAL_0P25)
    np.testing.assert_allclose(fine, wanted, atol=1e-4)
    assert (float(fine.min()), float(fine.max())) == pytest.approx((expected["min"], expected["max"]), abs=1e-4)
