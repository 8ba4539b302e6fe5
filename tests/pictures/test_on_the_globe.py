"""A map lies where it says: projections by domain, coastlines, graticule, barbs, isobars."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataset_defs.contrib.mrms_guam import DATASET as GUAM
from dataset_defs.dwd.icon_eu.forecast import DATASET as ICON_EU
from dataset_defs.noaa.gfs.forecast import DATASET as GFS
from dataset_defs.noaa.hrrr.forecast import DATASET as HRRR
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.pictures import MapPanel, draw_panel, overlays
from reformatters_dagster.pictures.coastlines import Kind, lines_of, lines_on
from reformatters_dagster.pictures.projections import View, view_of, view_of_projected
from tests.pictures.pixels import COAST, assert_nothing_touches_the_border, pixels, share_of

WIDTH = 700
PLACES = {
    "gfs": [(-9.5, 38.7), (18.4, -34.2), (-71.5, -33.0)],  # Lisbon, the Cape, Valparaíso
    "icon-eu": [(-9.5, 38.7), (-5.6, 36.0), (1.4, 51.1)],  # Lisbon, Gibraltar, Dover
    "hrrr": [(-80.1, 25.8), (-122.5, 37.7), (-81.1, 25.1)],  # Miami, San Francisco, Cape Sable
    "guam": [(144.65, 13.44), (145.7, 15.1)],  # Guam, Tinian
}
DATASETS = {"gfs": GFS, "icon-eu": ICON_EU, "hrrr": HRRR, "guam": GUAM}


def view_for(name: str) -> View:
    grid = DATASETS[name].template_config.grid
    if isinstance(grid, LambertGrid):
        return view_of_projected(grid, WIDTH)
    return view_of(np.asarray(grid.latitude.labels()), np.asarray(grid.longitude.labels()), WIDTH)


def axes_for(view: View) -> Axes:
    axes = Figure(figsize=(7, 7 * view.height_over_width), dpi=100).add_axes((0, 0, 1, 1))
    left, right, bottom, top = view.extent
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return axes


@pytest.mark.parametrize(
    ("name", "projection"), [("gfs", "robin"), ("icon-eu", "lcc"), ("hrrr", "lcc"), ("guam", "merc")]
)
def test_each_domain_has_a_projection_that_fits(name: str, projection: str) -> None:
    assert dict(view_for(name).parameters)["proj"] == projection


def test_hrrr_is_drawn_on_its_own_plane() -> None:
    grid = HRRR.template_config.grid
    assert isinstance(grid, LambertGrid)
    view = view_for("hrrr")
    parameters = dict(view.parameters)
    assert (parameters["lat_1"], parameters["lat_2"]) == grid.standard_parallels
    assert parameters["lon_0"] == grid.central_meridian
    assert np.diff(view.x) == pytest.approx(3 * grid.x.step)
    assert view.inside.all()


def test_the_domain_near_a_pole_is_drawn_whole() -> None:
    view = view_of(np.linspace(90, 55, 71), np.linspace(-60, 40, 201), 300)
    assert dict(view.parameters)["proj"] == "laea"
    assert np.nanmax(view.latitude) == pytest.approx(90, abs=0.5)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_the_grid_point_under_each_point_is_the_nearest(name: str) -> None:
    view, grid = view_for(name), DATASETS[name].template_config.grid
    if isinstance(grid, LambertGrid):
        x, y = view.project(view.longitude, view.latitude)
        assert np.asarray(grid.x.labels())[view.column] == pytest.approx(x, abs=1)
        assert np.asarray(grid.y.labels())[view.row] == pytest.approx(y, abs=1)
        return
    inside = view.inside
    latitude = np.asarray(grid.latitude.labels())[view.row[inside]]
    longitude = np.asarray(grid.longitude.labels())[view.column[inside]]
    assert np.abs(latitude - view.latitude[inside]).max() <= abs(grid.latitude.step) * 0.51
    apart = (longitude - view.longitude[inside] + 180) % 360 - 180
    assert np.abs(apart).max() <= grid.longitude.step * 0.51


@pytest.mark.parametrize("first", [0.0, -180.0])
def test_greenwich_is_in_the_middle_of_the_globe_wherever_the_grid_begins(first: float) -> None:
    longitude = first + np.arange(360.0)
    view = view_of(np.linspace(90, -90, 181), longitude, 360)
    at_greenwich = longitude[view.column[view.row.shape[0] // 2, 180]]
    assert (at_greenwich + 180) % 360 - 180 == pytest.approx(0, abs=1)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_the_coast_runs_where_known_places_lie(name: str) -> None:
    view = view_for(name)
    x, y = lines_on(view, "gshhs")
    assert np.count_nonzero(np.isfinite(x)) > 20
    point = view.x[1] - view.x[0]
    for longitude, latitude in PLACES[name]:
        there_x, there_y = view.project(longitude, latitude)
        assert np.nanmin(np.hypot(x - there_x, y - there_y)) < max(6 * point, 12_000), (longitude, latitude)


@pytest.mark.parametrize("kind", ["gshhs", "countries"])
def test_no_line_crosses_the_whole_globe(kind: Kind) -> None:
    view = view_for("gfs")
    x, _ = lines_on(view, kind)
    assert np.nanmax(np.abs(np.diff(x))) < np.ptp(view.x) / 10


def test_borders_and_states_come_from_the_installed_package() -> None:
    borders = lines_of("countries", "l")
    assert np.nanmin(np.hypot(borders.longitude - 7.59, borders.latitude - 47.58)) < 0.1, "Basel lies at a border"
    states = lines_of("states", "i")
    assert np.nanmin(np.hypot(states.longitude + 109.05, states.latitude - 37.0)) < 0.05, "four states meet there"


def test_a_picture_has_its_coast() -> None:
    values = np.full(view_shape("guam"), np.nan, np.float32)
    grid = GUAM.template_config.grid
    assert not isinstance(grid, LambertGrid)
    panel = MapPanel(values, np.asarray(grid.latitude.labels()), np.asarray(grid.longitude.labels()), "x", "percent")
    png = draw_panel(panel)
    assert_nothing_touches_the_border(png)
    rows, columns = np.nonzero((pixels(png)[30:600, 40:680] <= [70, 70, 70]).all(axis=-1))
    assert rows.size > 40
    guam = (abs(rows / 570 - 0.5) < 0.06) & (abs(columns / 640 - 0.475) < 0.05)
    assert guam.any(), "Guam lies in the middle of its map"
    assert share_of(png, COAST) > 0


def view_shape(name: str) -> tuple[int, int]:
    return DATASETS[name].template_config.grid.shape


def test_the_graticule_is_named() -> None:
    view = view_for("icon-eu")
    axes = axes_for(view)
    overlays.draw_graticule(axes, view)
    names = {text.get_text() for text in axes.texts}
    assert {"0°", "15°E", "15°W", "40°N", "60°N"} <= names


def test_isobars_carry_their_pressure() -> None:
    view = view_for("icon-eu")
    axes = axes_for(view)
    hectopascals = np.where(view.inside, 1000 + (view.longitude + 23.5) / 2, np.nan)
    overlays.draw_isobars(axes, view, hectopascals)
    (contours,) = [one for one in axes.collections if hasattr(one, "levels")]
    assert set(np.diff(contours.levels)) == {4}
    assert {"1008", "1016", "1024"} <= {text.get_text() for text in axes.texts}


def test_isobars_of_nothing_are_none() -> None:
    view = view_for("icon-eu")
    axes = axes_for(view)
    overlays.draw_isobars(axes, view, np.full(view.row.shape, np.nan))
    assert not axes.collections


def test_a_west_wind_blows_along_the_parallel() -> None:
    view = view_for("icon-eu")
    longitude, latitude = np.array([-20.0, 19.5, 60.0]), np.array([50.0, 50.0, 50.0])
    across, up = view.on_plane(np.full(3, 10.0), np.zeros(3), longitude, latitude)
    assert np.hypot(across, up) == pytest.approx(10)
    assert up[0] < -1
    assert abs(up[1]) < 0.1
    assert up[2] > 1


def test_barbs_of_the_south_are_mirrored_and_grid_winds_are_not_turned() -> None:
    view = view_for("gfs")
    axes = axes_for(view)
    u = np.where(view.inside, 10.0, np.nan)
    overlays.draw_barbs(axes, view, u, np.zeros_like(u), along_grid=False)
    (barbs,) = axes.collections
    assert 100 < len(np.asarray(barbs.get_offsets())) < 500
    plane = axes_for(view_for("hrrr"))
    u = np.full(view_for("hrrr").row.shape, 10.0)
    overlays.draw_barbs(plane, view_for("hrrr"), u, np.zeros_like(u), along_grid=True)
    (barbs,) = plane.collections
    shapes = {np.asarray(path.vertices).round(6).tobytes() for path in barbs.get_paths()}
    assert len(shapes) == 1, "one wind along the grid gives one barb everywhere"


def test_smoothing_keeps_means_and_holes() -> None:
    field = np.ones((6, 6))
    field[2, 2] = np.nan
    smooth = overlays.smoothed(field)
    assert np.isnan(smooth[2, 2])
    assert smooth[np.isfinite(smooth)] == pytest.approx(1)
