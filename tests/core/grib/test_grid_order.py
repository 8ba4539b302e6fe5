"""A field comes in the order of the grid wherever its points are the same, and is refused where they are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reformatters_dagster.core.grib.header import GridHeader, read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.spec.axes import RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Array2D
from tests.core.grib.ordered import to_grid
from tests.core.grib.real_messages import (
    CONSTANT,
    CROP,
    DATA,
    GLOBAL,
    HRRR,
    IFS,
    POTENTIAL_VORTICITY,
    SOIL,
    TMP_2M,
    first_of,
    messages_of,
)


def value_at(field: Array2D, grid: LatLonGrid, latitude: float, longitude: float) -> float:
    row = grid.latitude.labels().index(latitude)
    column = grid.longitude.labels().index((longitude + 180) % 360 - 180)
    return float(field[row, column])


@pytest.mark.usefixtures("shared_data")
def test_real_global_field_at_its_labels() -> None:
    message, m = messages_of(TMP_2M)[0]
    field = to_grid(decode(message), read_header(message, "TMP").grid, GLOBAL, "TMP")
    assert field.shape == GLOBAL.shape
    for point in m["points"]:
        assert value_at(field, GLOBAL, point["lat"], point["lon"]) == np.float32(point["value"])


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("north_first", [True, False])
@pytest.mark.parametrize("first", [-180, 0, 77])
@pytest.mark.parametrize("step", [0.25, -0.25])
@pytest.mark.parametrize("path", [TMP_2M, SOIL, POTENTIAL_VORTICITY, CONSTANT, IFS], ids=lambda path: path.name[-25:])
def test_a_message_is_decoded_straight_onto_a_grid(path: Path, step: float, first: float, north_first: bool) -> None:
    """As if it were decoded in its own order first: differences, a bit map, missing values, one value, CCSDS."""
    message = first_of(path)
    rows = RegularAxis(first=90, step=-0.25, size=721) if north_first else RegularAxis(first=-90, step=0.25, size=721)
    grid = LatLonGrid(latitude=rows, longitude=RegularAxis(first=first, step=step, size=1440))
    expected = to_grid(decode(message), read_header(message, path.name).grid, grid, path.name)
    out = np.full(grid.shape, 1e9, np.float32)
    assert decode(message, grid=grid, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("shared_data")
def test_real_south_to_north_crop_at_its_labels() -> None:
    message, m = messages_of(CROP)[0]
    header = read_header(message, "crop")
    assert m["scanningMode"] == 64
    grid = LatLonGrid(
        latitude=RegularAxis(first=m["lat2"], step=-0.25, size=41),
        longitude=RegularAxis(first=(m["lon1"] + 180) % 360 - 180, step=0.25, size=41),
    )
    field = to_grid(decode(message), header.grid, grid, "crop")
    for point in m["points"]:
        assert value_at(field, grid, point["lat"], point["lon"]) == np.float32(point["value"])


@pytest.mark.usefixtures("shared_data")
def test_real_grid_across_greenwich() -> None:
    (path,) = (DATA / "dwd_icon").glob("*T_2M.grib2.bz2")
    message, m = messages_of(path)[0]
    grid = LatLonGrid(
        latitude=RegularAxis(first=70.5, step=-0.0625, size=657),
        longitude=RegularAxis(first=-23.5, step=0.0625, size=1097),
    )
    field = to_grid(decode(message), read_header(message, "T_2M").grid, grid, "T_2M")
    for point in m["points"]:
        assert value_at(field, grid, point["lat"], point["lon"]) == np.float32(point["value"])


def source_of(latitude: RegularAxis, longitude: RegularAxis) -> tuple[Array2D, GridHeader]:
    """A field that names its own points, and the header of a message that runs along the axes."""
    y, x = np.array(latitude.labels()), np.array(longitude.labels())
    values = (np.round(y * 4)[:, None] * 10_000 + np.round(x % 360 * 4) % 1440).astype(np.float32)
    mode = (0x80 if longitude.step < 0 else 0) | (0x40 if latitude.step > 0 else 0)
    corners = (y[0], x[0] % 360, y[-1], x[-1] % 360)
    header = GridHeader(0, y.size, x.size, *corners, abs(latitude.step), abs(longitude.step), mode)
    return values, header


def axis(first: int, step: int, size: int) -> RegularAxis:
    return RegularAxis(first=first / 4, step=step / 4, size=size)


@given(
    st.sampled_from((-1, 1)),
    st.sampled_from((-1, 1)),
    st.integers(-720, 1439),
    st.integers(-720, 720),
    st.sampled_from((-1, 1)),
    st.sampled_from((4, 8, 90)),
)
def test_full_circle_from_any_start_in_any_direction(
    row_step: int, column_step: int, source_first: int, first: int, wanted_step: int, scale: int
) -> None:
    size = 1440 // scale
    first = source_first + (first - source_first) // scale * scale
    values, header = source_of(axis(-4 * row_step, row_step, 9), axis(source_first, column_step * scale, size))
    grid = LatLonGrid(latitude=axis(4, -1, 9), longitude=axis(first, wanted_step * scale, size))
    expected, _ = source_of(grid.latitude, grid.longitude)
    np.testing.assert_array_equal(to_grid(values, header, grid, "made"), expected)


REGION = LatLonGrid(latitude=axis(40, -1, 9), longitude=axis(-20, 1, 41))


@pytest.mark.parametrize("row_step", [-1, 1])
@pytest.mark.parametrize("column_step", [-1, 1])
def test_region_in_any_direction(row_step: int, column_step: int) -> None:
    rows = axis(40 if row_step < 0 else 32, row_step, 9)
    columns = axis(-20 if column_step > 0 else 20, column_step, 41)
    expected, _ = source_of(REGION.latitude, REGION.longitude)
    values, header = source_of(rows, columns)
    np.testing.assert_array_equal(to_grid(values, header, REGION, "made"), expected)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (axis(41, -1, 9), REGION.longitude),
        (REGION.latitude, axis(-19, 1, 41)),
        (axis(40, -2, 9), REGION.longitude),
        (REGION.latitude, axis(-20, 2, 41)),
        (REGION.latitude, RegularAxis(first=-4.9, step=0.25, size=41)),
    ],
)
def test_other_points_in_the_same_shape(latitude: RegularAxis, longitude: RegularAxis) -> None:
    values, header = source_of(latitude, longitude)
    with pytest.raises(
        CorruptMessage, match=r"TMP in f006 has latitudes .* template expects 10\.0 to 8\.0 by -0\.25 and -5\.0"
    ):
        to_grid(values, header, REGION, "TMP in f006")


def test_other_shape_names_both() -> None:
    with pytest.raises(
        CorruptMessage,
        match=r"TMP:2 m above ground in f006 has shape \(361, 720\), template expects \(721, 1440\); check",
    ):
        to_grid(np.zeros((361, 720), np.float32), GridHeader(0, 361, 720), GLOBAL, "TMP:2 m above ground in f006")


@pytest.mark.usefixtures("shared_data")
def test_other_projection_is_refused() -> None:
    message = first_of(HRRR)
    grid = LatLonGrid(latitude=axis(0, 1, 1059), longitude=axis(0, 1, 1799))
    with pytest.raises(CorruptMessage, match="CFRZR is on grid template 30, template expects 0"):
        to_grid(decode(message), read_header(message, "CFRZR").grid, grid, "CFRZR")


@pytest.mark.parametrize("change", [{"dx": 0.5}, {"dy": 0.2}, {"scanning_mode": 0x40}])
def test_header_that_contradicts_itself(change: dict[str, Any]) -> None:
    values, header = source_of(REGION.latitude, REGION.longitude)
    with pytest.raises(CorruptMessage, match=r"made contradicts itself: .* spacing .* scanning mode .* fetch it again"):
        to_grid(values, replace(header, **change), REGION, "made")
