import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from reformatters_dagster.core.spec.values import Array2D
from reformatters_dagster.pictures import MapPanel, draw_map, draw_maps
from tests.pictures.pixels import NO_DATA, WHITE, assert_nothing_touches_the_border, pixels, share_of

LATITUDE = np.linspace(90, -90, 181)
LONGITUDE = np.linspace(-180, 179, 360)


def temperature() -> Array2D:
    waves = 8 * np.sin(np.radians(LONGITUDE * 4))[None, :] * np.cos(np.radians(LATITUDE))[:, None]
    field: Array2D = (45 * np.cos(np.radians(LATITUDE))[:, None] - 20 + waves).astype(np.float32)
    return field


def draw(values: Array2D, units: str = "degree_Celsius", title: str = "temperature_2m") -> bytes:
    return draw_map(values, LATITUDE, LONGITUDE, title=title, units=units)


def test_map_is_a_png_of_the_width_asked_for() -> None:
    png = draw(temperature())
    assert pixels(png).shape[1] == 700
    assert 300 < pixels(png).shape[0] < 700
    assert_nothing_touches_the_border(png)


def test_map_of_a_global_quarter_degree_field_is_small() -> None:
    rough = np.random.default_rng(0).normal(scale=2, size=(721, 1440)).astype(np.float32)
    smooth = np.kron(temperature()[:180], np.ones((4, 4), np.float32))
    values = np.pad(smooth, ((0, 1), (0, 0)), mode="edge") + rough
    latitude, longitude = np.linspace(90, -90, 721), np.linspace(-180, 179.75, 1440)
    png = draw_map(values.astype(np.float32), latitude, longitude, title="temperature_2m", units="degree_Celsius")
    assert len(png) < 150_000


def test_map_is_the_same_bytes_each_time_and_in_threads() -> None:
    once = draw(temperature())
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(draw, [temperature()] * 2)) == [once] * 2
    assert draw(temperature() + 1) != once


def test_map_has_north_at_the_top_whichever_way_the_grid_runs() -> None:
    values = temperature()
    as_given = draw(values)
    flipped = draw_map(values[::-1], LATITUDE[::-1], LONGITUDE, title="temperature_2m", units="degree_Celsius")
    assert flipped == as_given

    north_west = np.zeros_like(values)
    north_west[:60, :120] = np.nan
    inside = pixels(draw(north_west))[23:360, 22:690]
    grey = np.argwhere((inside == NO_DATA).all(axis=-1))
    assert grey.max(axis=0) == pytest.approx(np.array([0.31, 0.41]) * inside.shape[:2], abs=12)
    assert grey.min(axis=0)[0] <= 2


def test_map_draws_what_is_missing_grey() -> None:
    values = temperature()
    assert share_of(draw(values), NO_DATA) < 0.001
    values[:, :180] = np.nan
    whole = share_of(draw(np.full_like(values, np.nan)), NO_DATA)
    assert whole > 0.5
    assert share_of(draw(values), NO_DATA) == pytest.approx(whole / 2, rel=0.1)


def test_maps_of_nothing_are_grey() -> None:
    values = np.full((181, 360), np.nan, np.float32)
    values[90:] = np.inf
    panels = [MapPanel(values, LATITUDE, LONGITUDE, "x", units) for units in ("degree_Celsius", "kg m-2 s-1")]
    assert share_of(draw_maps(panels, "nothing"), NO_DATA) > 0.4


def test_maps_of_one_value_have_no_missing_point() -> None:
    each = {"degree_Celsius": 0, "kg m-2 s-1": 0, "percent": 1, "m s-1": -7}
    fields = {units: np.full((181, 360), value, np.float32) for units, value in each.items()}
    panels = [MapPanel(values, LATITUDE, LONGITUDE, "x", units) for units, values in fields.items()]
    assert share_of(draw_maps(panels, "one value"), NO_DATA) < 0.005


def test_map_of_precipitation_is_white_where_it_is_dry() -> None:
    values = np.zeros((181, 360), np.float32)
    values[:, 180:] = 1e-3
    drawn = pixels(draw(values, "kg m-2 s-1"))
    middle = drawn[150:250]
    west, east = middle[:, 60:350], middle[:, 380:680]
    assert (west == WHITE).all(axis=-1).mean() > 0.9
    assert (east == WHITE).all(axis=-1).mean() == 0


def test_map_of_temperature_is_warm_above_zero_and_cold_below() -> None:
    values = np.full((181, 360), 25, np.float32)
    values[:, :180] = -25
    drawn = pixels(draw(values)).astype(int)
    cold, warm = drawn[200, 100], drawn[200, 600]
    assert warm[0] > warm[2]
    assert cold[2] > cold[0]


def test_map_takes_another_colormap() -> None:
    png = draw_map(temperature(), LATITUDE, LONGITUDE, title="t", units="degree_Celsius", cmap="Greys")
    assert np.ptp(pixels(png), axis=-1).max() == 0


@pytest.mark.parametrize(
    ("latitude", "longitude"), [((70.5, 29.5, 120), (-23.5, 62.5, 240)), ((60, 0, 90), (0, 20, 30))]
)
def test_map_of_a_region_fits(latitude: tuple[float, float, int], longitude: tuple[float, float, int]) -> None:
    values = np.zeros((latitude[2], longitude[2]), np.float32)
    long_title = "downward_direct_short_wave_radiation_flux_surface " * 4
    png = draw_map(values, np.linspace(*latitude), np.linspace(*longitude), title=long_title, units="W m-2")
    assert pixels(png).shape[0] < 1000
    assert_nothing_touches_the_border(png)


def test_map_refuses_values_that_are_not_on_its_coordinates() -> None:
    with pytest.raises(
        ValueError, match=r"'temperature_2m' has values of shape \(180, 360\).*say \(181, 360\); select one"
    ):
        draw(temperature()[:-1])


def test_maps_stand_side_by_side() -> None:
    names = ["temperature_2m", "downward_direct_short_wave_radiation_flux_surface"]
    panels = [MapPanel(temperature(), LATITUDE, LONGITUDE, names[n % 2], "degree_Celsius") for n in range(5)]
    png = draw_maps(panels, "NOAA GFS forecast")
    assert pixels(png).shape[1] == 1100
    assert_nothing_touches_the_border(png)


def test_maps_want_a_panel() -> None:
    with pytest.raises(ValueError, match="no panels were given for the picture 'GFS'"):
        draw_maps([], "GFS")


def test_matplotlib_is_loaded_only_to_draw() -> None:
    program = "import sys, reformatters_dagster.pictures; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
