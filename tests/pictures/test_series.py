from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.hrrr.archives import CONUS_3KM
from reformatters_dagster.core.spec.projection import parameters_of
from reformatters_dagster.pictures import (
    Series,
    draw_field,
    draw_histogram,
    draw_latency,
    draw_meteogram,
    draw_point,
    panel_of,
)
from tests.pictures.pixels import assert_nothing_touches_the_border, pixels, share_of

INIT = pd.Timestamp("2026-07-29T18")
TIMES = pd.date_range(INIT, periods=25, freq="h")
RED, BLUE, BLACK = [213, 94, 0], [0, 114, 178], [34, 34, 34]
WARM = Series(15 + np.sin(np.arange(25) / 4), "degree_Celsius")
WET = Series(np.full(25, 2 / 3600), "kg m-2 s-1")


def test_a_meteogram_has_a_row_for_each_kind_of_variable() -> None:
    one = draw_meteogram(TIMES, {"temperature_2m": WARM}, "Berlin")
    two = draw_meteogram(TIMES, {"temperature_2m": WARM, "precipitation_surface": WET}, "Berlin")
    for png in (one, two):
        assert_nothing_touches_the_border(png)
        assert share_of(png, RED) > 0.001
    assert pixels(two).shape[0] > pixels(one).shape[0] + 80
    assert share_of(one, BLUE) == 0
    assert share_of(two, BLUE) > 0.1


def test_a_meteogram_of_members_shades_where_they_lie() -> None:
    spread = np.linspace(-5, 5, 21)
    members = Series(WARM.values[:, None] + spread, WARM.units)
    alone, many = (draw_meteogram(TIMES, {"temperature_2m": series}, "Berlin") for series in (WARM, members))
    tinted = [(np.ptp(pixels(png).astype(int), axis=-1) > 20).mean() for png in (alone, many)]
    assert tinted[1] > 5 * tinted[0]


def test_wind_is_speed_and_barbs() -> None:
    wind = {"wind_u_10m": Series(np.full(25, 6.0), "m s-1"), "wind_v_10m": Series(np.full(25, 8.0), "m s-1")}
    png = draw_meteogram(TIMES, wind, "Berlin")
    drawn = pixels(png)
    green = (drawn == [0, 158, 115]).all(axis=-1)
    assert green.any(), "the speed is a line"
    line = np.argwhere(green)[:, 0].mean()
    barbs = np.argwhere((drawn[:, 100:880] < 60).all(axis=-1))[:, 0]
    assert (barbs[barbs > 35] < line).mean() > 0.3, "barbs stand above the line"


def test_a_meteogram_says_what_it_cannot_draw() -> None:
    with pytest.raises(
        ValueError, match=r"'Berlin' was asked for with \['ozone'\]; none of them has a row: give one of"
    ):
        draw_meteogram(TIMES, {"ozone": WARM}, "Berlin")
    with pytest.raises(ValueError, match="24 times and 25 values of 'temperature_2m'; select one place"):
        draw_meteogram(TIMES[:-1], {"temperature_2m": WARM}, "Berlin")


def opened(dims: tuple[str, ...], shape: tuple[int, ...]) -> xr.Dataset:
    coords: dict[str, Any] = {
        "init_time": [INIT],
        "lead_time": pd.timedelta_range("0h", periods=shape[1], freq="6h"),
        "latitude": np.linspace(60, 40, 21),
        "longitude": np.linspace(0, 30, 31),
    }
    values = np.full(shape, 12, np.float32)
    values[:, -1] = np.nan
    attrs = {"units": "degree_Celsius", "long_name": "2 metre temperature"}
    variables = {"temperature_2m": (dims, values, attrs)}
    return xr.Dataset(variables, {name: coords[name] for name in dims}, {"name": "NOAA GFS forecast"})


GFS = opened(("init_time", "lead_time", "latitude", "longitude"), (1, 3, 21, 31))


def test_a_field_of_a_store_is_a_map_with_its_times() -> None:
    panel = panel_of(GFS["temperature_2m"].isel(init_time=0, lead_time=1))
    assert panel.title == "2 metre temperature, init 2026-07-29 18:00 UTC, +6 h, valid Thu 2026-07-30 00:00 UTC"
    assert (panel.units, panel.variable, panel.grid) == ("degree_Celsius", "temperature_2m", None)
    assert pixels(draw_field(GFS["temperature_2m"].isel(init_time=0, lead_time=1))).shape[1] == 1000
    assert pixels(draw_field(GFS["temperature_2m"].isel(init_time=0, lead_time=1), width_px=700)).shape[1] == 700


def test_a_map_wants_one_label_of_each_other_dimension() -> None:
    with pytest.raises(
        ValueError, match=r"'temperature_2m' was asked for; it has .*select one label of lead_time first"
    ):
        draw_field(GFS["temperature_2m"].isel(init_time=0))


def test_the_grid_of_a_projected_store_is_read_from_it() -> None:
    x, y = (np.asarray(axis.labels())[:5] for axis in (CONUS_3KM.x, CONUS_3KM.y))
    ref = xr.DataArray(0, attrs=CONUS_3KM.spatial_ref_attrs)
    field = xr.DataArray(
        np.zeros((5, 5)),
        {"y": y, "x": x, "spatial_ref": ref},
        ("y", "x"),
        "temperature_2m",
        {"units": "degree_Celsius"},
    )
    grid = panel_of(field).grid
    assert grid is not None
    assert parameters_of(grid) == parameters_of(CONUS_3KM)
    assert (grid.x.first, grid.x.step, grid.shape) == (CONUS_3KM.x.first, CONUS_3KM.x.step, (5, 5))
    with pytest.raises(ValueError, match="no coordinate spatial_ref: keep it"):
        panel_of(field.drop_vars("spatial_ref"))


def test_a_point_of_a_store_is_a_meteogram_of_the_times_it_has() -> None:
    png = draw_point(GFS.isel(init_time=0, latitude=3, longitude=4), "Berlin")
    assert share_of(png, RED) > 0.001
    with pytest.raises(ValueError, match=r"select one label of latitude, longitude, and leave lead_time"):
        draw_point(GFS.isel(init_time=0), "Berlin")
    with pytest.raises(ValueError, match="there is no data: choose another"):
        draw_point(GFS.isel(init_time=0, latitude=3, longitude=4, lead_time=slice(2, 3)), "Berlin")


def test_a_time_without_data_is_a_gap_that_no_line_crosses() -> None:
    point = GFS.isel(init_time=0, latitude=3, longitude=4)
    whole = point.isel(lead_time=[0, 1, 1]).assign_coords(lead_time=point["lead_time"])
    holed = whole.where(whole["lead_time"] != whole["lead_time"][1])
    crossed, gap = (share_of(draw_point(ds, "Berlin"), RED) for ds in (whole.isel(lead_time=[0, 2]), holed))
    assert 0 < gap < crossed / 2


def test_a_histogram_compares_two_fields_on_the_fixed_scale() -> None:
    random = np.random.default_rng(0).normal(10, 3, (50, 50))
    alone = draw_histogram({"new": random}, title="t", units="degree_Celsius")
    both = draw_histogram({"new": random, "reference": random + 20}, title="t", units="degree_Celsius")
    assert_nothing_touches_the_border(both)
    blue, red = (np.argwhere((pixels(both) == colour).all(axis=-1))[:, 1].mean() for colour in (BLUE, RED))
    assert red > blue + 50
    assert share_of(alone, RED) == 0
    with pytest.raises(ValueError, match="'t' was asked for of 0 fields; give one, or two"):
        draw_histogram({}, title="t", units="degree_Celsius")


def test_latency_shows_what_has_not_come() -> None:
    hours = np.tile(3 + np.arange(10) / 10, (5, 1))
    whole = draw_latency(range(10), hours, ["a", "b", "c", "d", "e"], title="GFS")
    hours[-1, 4:] = np.nan
    late = draw_latency(range(10), hours, ["a", "b", "c", "d", "e"], title="GFS")
    assert_nothing_touches_the_border(late)
    assert 0 < share_of(late, RED) < share_of(whole, RED)
    assert draw_latency(range(10), hours[:1], ["a"], title="GFS") != late
    with pytest.raises(ValueError, match=r"'GFS' have shape \(5, 10\), the labels say \(4, 10\)"):
        draw_latency(range(10), hours, ["a"] * 4, title="GFS")
