"""Corners of a projected grid, by its grid mapping and by its latitudes and longitudes."""

import numpy as np
import pytest

from dataset_defs.noaa.hrrr.analysis import TEMPLATE
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.projection import differing_corners, latitudes_longitudes

GRID = TEMPLATE.grid
assert isinstance(GRID, LambertGrid)
Y, X = np.array(GRID.y.labels()), np.array(GRID.x.labels())
LATITUDE, LONGITUDE = latitudes_longitudes(GRID)


def test_corners_of_a_grid_agree() -> None:
    assert differing_corners(GRID.spatial_ref_attrs, Y, X, LATITUDE, LONGITUDE) == []
    assert differing_corners(GRID.spatial_ref_attrs, Y, X, LATITUDE, LONGITUDE % 360) == []


@pytest.mark.parametrize(
    ("grid", "upside_down"),
    [
        (GRID.model_copy(update={"central_meridian": -97.0}), False),
        (GRID.model_copy(update={"standard_parallels": (38.5, 40.0)}), False),
        (GRID.model_copy(update={"earth_radius": 6_370_000.0}), False),
        (GRID, True),
    ],
    ids=["meridian", "parallels", "radius", "upside down"],
)
def test_corners_that_lie_elsewhere_are_told(grid: LambertGrid, *, upside_down: bool) -> None:
    latitude, longitude = latitudes_longitudes(grid)
    if upside_down:
        latitude, longitude = latitude[::-1], longitude[::-1]
    wrong = differing_corners(GRID.spatial_ref_attrs, Y, X, latitude, longitude)
    assert wrong
    assert "by the grid mapping, latitude and longitude say" in wrong[0]


def test_a_shift_by_one_cell_is_told() -> None:
    wrong = differing_corners(GRID.spatial_ref_attrs, Y, X + 3000, LATITUDE, LONGITUDE)
    assert len(wrong) == 4
