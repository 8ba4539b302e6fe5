import doctest

import numpy as np
import pytest

from reformatters_dagster.core.spec.standard_variables import STANDARD_VARIABLES
from reformatters_dagster.pictures import draw_map, times
from reformatters_dagster.pictures.maps import ticks
from reformatters_dagster.pictures.scales import OF_THIS_FIELD, scale_of
from tests.pictures.pixels import pixels


@pytest.mark.parametrize(
    ("variable", "units", "stored", "shown", "said"),
    [
        ("temperature_2m", "degree_Celsius", 21.5, 21.5, "°C"),
        ("pressure_reduced_to_mean_sea_level", "Pa", 101_325, 1013.25, "hPa"),
        ("precipitation_surface", "kg m-2 s-1", 1 / 3600, 1, "mm/h"),
        ("wind_speed", "m s-1", 12, 12, "m/s"),
        ("total_cloud_cover_atmosphere", "percent", 40, 40, "%"),
        ("geopotential_height_500hpa", "m", 5640, 564, "dam"),
        ("snowfall_surface", "m s-1", 1 / 3.6e6, 1, "mm/h"),
        ("snow_area_fraction_surface", "1", 0.25, 25, "%"),
    ],
)
def test_people_read_their_own_units(variable: str, units: str, stored: float, shown: float, said: str) -> None:
    scale = scale_of(variable, units)
    assert scale.label == said
    assert scale.shown(np.array([stored, np.inf])) == pytest.approx([shown, np.nan], nan_ok=True, rel=1e-6)


@pytest.mark.parametrize("variable", sorted(STANDARD_VARIABLES))
def test_the_scale_of_a_standard_variable_is_fixed(variable: str) -> None:
    units = STANDARD_VARIABLES[variable].units
    one, other = (scale_of(variable, units, np.array(values)) for values in ([0.0, 1.0], [-1e6, 1e6]))
    assert one == other
    assert OF_THIS_FIELD not in one.label
    assert list(one.levels) == sorted(set(one.levels))
    assert len(ticks(one)) <= 11
    one.colours()


def test_the_scale_of_something_unknown_is_that_of_the_field_and_says_so() -> None:
    scale = scale_of("ozone", "DU", np.array([250.0, 350.0, np.nan]))
    assert scale.label == f"DU ({OF_THIS_FIELD})"
    assert scale.levels[0] <= 250
    assert scale.levels[-1] >= 350
    assert len(scale_of("ozone", "DU", np.full(3, np.nan)).levels) > 2
    assert len(scale_of("ozone", "DU", np.full(3, 7.0)).levels) > 2


def test_zero_is_a_tick_where_the_scale_has_it() -> None:
    assert 0 in ticks(scale_of("temperature_2m", "degree_Celsius"))
    assert 0 in ticks(scale_of("wind_u_10m", "m s-1"))


def test_one_temperature_has_one_colour_whatever_else_is_on_the_map() -> None:
    latitude, longitude = np.linspace(60, 40, 41), np.linspace(0, 30, 61)
    calm = np.full((41, 61), 12.5, np.float32)
    extreme = calm.copy()
    extreme[:3] = 55
    extreme[-3:] = -70
    commonest = []
    for field in (calm, extreme):
        drawn = pixels(draw_map(field, latitude, longitude, title="t", units="degree_Celsius"))
        colours, counts = np.unique(drawn[200:300, 300:400].reshape(-1, 3), axis=0, return_counts=True)
        commonest.append(colours[counts.argmax()].tolist())
        assert counts.max() > 8000
    assert commonest[0] == commonest[1]


def test_kinds_have_a_colour_each() -> None:
    scale = scale_of("categorical_snow_surface", "1")
    assert scale.levels == (-0.5, 0.5, 1.5)
    assert scale.label == "0 no, 1 yes"
    cmap, norm = scale.colours()
    assert cmap(norm(0)) != cmap(norm(1))


def test_times_in_words() -> None:
    assert doctest.testmod(times).failed == 0
    assert doctest.testmod(times).attempted == 2
