"""Weather, seasons and the time of day are no drift; constants, other units and other places are."""

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from dataset_defs.noaa.gfs.variables import GFS_DATA_VARS
from reformatters_dagster.core.check.drift import CheckStatsDrift, FieldStats, drift_of
from reformatters_dagster.core.field.transforms import round_in_place
from reformatters_dagster.core.spec.variables import DataVar
from tests.core.check.published import NOW, Publish

type Values = npt.NDArray[np.float32]

ROWS = {row.name: row for row in GFS_DATA_VARS}
T, U, RAIN, SUN, CLOUD, SNOW, PRESSURE, HUMIDITY, CEILING, FROZEN = (
    ROWS[name]
    for name in (
        "temperature_2m",
        "wind_u_10m",
        "precipitation_surface",
        "downward_short_wave_radiation_flux_surface",
        "total_cloud_cover_atmosphere",
        "categorical_snow_surface",
        "pressure_surface",
        "relative_humidity_2m",
        "geopotential_height_cloud_ceiling",
        "percent_frozen_precipitation_surface",
    )
)
SIDE = 24
HOURS = 31
"""Of which the last is the newest."""
Y, X = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE), indexing="ij")


def waves(hour: float, seed: int, speed: float = 0.03) -> npt.NDArray[np.float64]:
    """Smooth weather between about -1 and 1 that moves through the column."""
    random = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE))
    for size in (1, 2, 3):
        phase, turn = random.uniform(0, 2 * np.pi, 2)
        along = np.cos(turn) * (X - speed * hour) + np.sin(turn) * (Y - speed * hour / 2)
        total += np.sin(2 * np.pi * size * along + phase) / size
    return total / 1.5


def sun(hour: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.maximum(0, np.sin((hour - 6 + 2 * X) / 24 * 2 * np.pi)))


def temperature(hour: float, seed: int) -> npt.NDArray[np.float64]:
    over_land = np.where(X > 0.3, 7 * np.sin((hour - 9) / 24 * 2 * np.pi), 0)
    return 8 - 20 * Y + 6 * waves(hour, seed) + over_land


def tropics(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return 25 + 4 * (Y - 0.5) + 2 * waves(hour, seed)


def wind(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return -3 + 8 * waves(hour, seed + 1)


def rain(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return 2e-3 * np.maximum(0, waves(hour, seed + 2) - 0.5) ** 2


def cloud(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return np.clip(60 + 120 * waves(hour, seed + 3), 0, 100)


def radiation(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return 900 * sun(hour) * (1 - cloud(hour, seed) / 130)


def snow(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return np.clip(np.round(waves(hour, seed + 4) * 2 - 0.7), 0, 1)


def pressure(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return 98_000 + 2000 * Y + 600 * waves(hour, seed + 5)


def humidity(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return np.clip(80 + 30 * waves(hour, seed + 6), 5, 100)


def ceiling(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return np.where(cloud(hour, seed) > 50, 1500 + 1000 * waves(hour, seed), 20_000)


def frozen(hour: float, seed: int) -> npt.NDArray[np.float64]:
    return np.where(rain(hour, seed) > 0, np.clip(50 + 90 * waves(hour, seed + 7), 0, 100), -50)


WEATHER: tuple[tuple[DataVar, Callable[[float, int], npt.NDArray[np.float64]]], ...] = (
    (T, temperature),
    (T, tropics),
    (U, wind),
    (RAIN, rain),
    (CLOUD, cloud),
    (SUN, radiation),
    (SNOW, snow),
    (PRESSURE, pressure),
    (HUMIDITY, humidity),
    (CEILING, ceiling),
    (FROZEN, frozen),
)


def kept(row: DataVar, values: npt.NDArray[np.float64]) -> Values:
    rounded = values.astype(np.float32)
    if row.keep_mantissa_bits is not None:
        round_in_place(rounded, row.keep_mantissa_bits)
    return rounded


def judged(row: DataVar, fields: list[npt.NDArray[np.float64]]) -> str | None:
    stats = [FieldStats.of(kept(row, values)) for values in fields]
    return drift_of(row, [one for one in stats if one is not None])


@pytest.mark.parametrize(("row", "field"), WEATHER, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("step", [6, *(pytest.param(hours, marks=pytest.mark.slow) for hours in (1, 3, 24))])
def test_weather_of_every_hour_of_the_day_is_no_drift(
    row: DataVar, field: Callable[[float, int], npt.NDArray[np.float64]], step: int
) -> None:
    for seed in range(4):
        for newest in (HOURS, *range(HOURS + 1, HOURS + 24, 5)):
            hours = [newest - step * back for back in range(30, -1, -1)]
            for window in (hours, hours[-5:]):
                assert judged(row, [field(hour, seed) for hour in window]) is None


@pytest.mark.parametrize("before", [0.0, 1e-5, 3e-4])
def test_the_first_storm_after_a_drought_and_the_last_are_no_drift(before: float) -> None:
    calm = [before * np.maximum(0, waves(hour, 1)) for hour in range(30)]
    storm = 1e-2 * np.maximum(0, waves(30, 9))
    assert judged(RAIN, [*calm, storm]) is None
    assert judged(RAIN, [*(1e-2 * np.maximum(0, waves(h, 9)) for h in range(30)), calm[-1] * 0]) is None


def test_sunset_a_clear_sky_and_a_full_one_are_no_drift() -> None:
    day = [900 * (0.5 + 0.4 * waves(hour, 1)) for hour in range(5)]
    assert judged(SUN, [*day, day[0] * 0]) is None
    overcast = [np.clip(99 + waves(hour, 1), 0, 100) for hour in range(30)]
    assert judged(CLOUD, [*overcast, overcast[0] * 0]) is None
    assert judged(CLOUD, [*overcast, overcast[0] * 0 + 100]) is None
    assert judged(CLOUD, [*(one - 99 for one in overcast), overcast[0]]) is None


def test_a_flat_calm_is_no_drift_where_fields_were_nearly_flat() -> None:
    calm = [101_300 + 60 * waves(hour, 1) for hour in range(30)]
    assert judged(PRESSURE, [*calm, calm[0] * 0 + 101_312]) is None


SEASONS = [temperature(hour, 3) for hour in range(0, 5 * 24, 24)]


@pytest.mark.parametrize("change", [-12.0, 12.0])
def test_a_front_and_a_warmer_season_are_no_drift(change: float) -> None:
    assert judged(T, [*SEASONS, SEASONS[-1] + change]) is None
    assert judged(U, [wind(hour, 3) * 0.3 for hour in range(5)] + [wind(5, 3) * 3 + change]) is None


@pytest.mark.parametrize(
    ("row", "field", "new", "told"),
    [
        (T, temperature, lambda x: x + 273.15, r"has a mean of 2\d\d.*degree_Celsius, values were -\d"),
        (T, tropics, lambda x: x + 273.15, "has a mean of 29"),
        (T, temperature, lambda x: x * 1000, "has a mean of|varies by"),
        (T, temperature, lambda x: x / 1000, "varies by 0.00"),
        (T, tropics, lambda _: wind(30, 4), "has a mean of -"),
        (U, wind, lambda x: x * 1000, "has a mean of|varies by"),
        (PRESSURE, pressure, lambda x: x / 100, "has a mean of 9"),
        (PRESSURE, pressure, lambda x: x[::-1], "does not look like the label before .correlation -0"),
        (T, temperature, lambda x: x[::-1], "does not look like the label before"),
        (T, temperature, lambda x: x * 0 + 10, "is 10 degree_Celsius everywhere, it was -"),
        (T, temperature, lambda x: x * 0, "is 0 degree_Celsius everywhere"),
        (U, wind, lambda x: x * 0 + 1, "is 1 m s-1 everywhere"),
        (HUMIDITY, humidity, lambda x: x * 0 + 50, "is 50 percent everywhere"),
        (RAIN, rain, lambda x: x * 1000, "kg m-2 s-1, it was about .* before, in the same places"),
        (RAIN, rain, lambda x: x / 1000, "kg m-2 s-1, it was about .* before, in the same places"),
        (RAIN, rain, lambda x: x * 0 + 1e-4, "is 9.*e-05|is 0.0001"),
        (CLOUD, cloud, lambda x: x / 1000, "in the same places"),
    ],
)
@pytest.mark.parametrize("count", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_what_is_no_weather_is_told(
    row: DataVar,
    field: Callable[[float, int], npt.NDArray[np.float64]],
    new: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    told: str,
    count: int,
) -> None:
    # As the mean of a long forecast, or an hour of an analysis in which it rains all the time.
    fields = [field(20 + hour / 10, 4) for hour in range(count)]
    found = judged(row, [*fields, new(field(20 + count / 10, 4))])
    assert found is not None
    assert re.search(told, found), found


def test_with_few_labels_nothing_is_told() -> None:
    assert judged(T, [temperature(hour, 1) for hour in range(3)] + [temperature(3, 1) + 273]) is None


# In a store


TEMPERATURE = T.model_copy(update={"name": "temperature_2m"})


@pytest.mark.parametrize(("shape", "labels"), [("forecast", 6), ("ensemble", 6), ("analysis", 40)])
@pytest.mark.parametrize("incomplete", [False, True])
def test_the_newest_label_of_a_store_is_compared(
    publish: Publish,
    shape: str,
    labels: int,
    incomplete: bool,
) -> None:
    store = publish(shape, labels, (TEMPERATURE,))
    values = store["temperature_2m"]
    for label in range(labels):
        values[label] = temperature(label, 1)[:7, :12] + np.arange(values.shape[-1])
    if incomplete and shape != "analysis":
        values[-1][..., 2:, :, :] = np.nan
    values[1] = np.nan if labels > 6 else values[1]
    healthy = CheckStatsDrift().check(store.write().open(), NOW)
    assert (healthy.passed, healthy.metadata) == (True, {"variables_drifted": 0, "variables_measured": 1})
    assert healthy.message.startswith("1 variables of the newest ")


def test_a_store_in_kelvin_since_the_newest_label_is_a_warning(publish: Publish) -> None:
    store = publish("forecast", 6, (TEMPERATURE,))
    values = store["temperature_2m"]
    for label in range(6):
        values[label] = temperature(label, 1)[:7, :12]
    values[-1] += 273.15
    result = CheckStatsDrift().check(store.write().open(), NOW)
    assert (result.passed, result.severity) == (False, "WARN")
    assert result.message.startswith("at init_time 2026-07-30T06:00 'temperature_2m' has a mean of 2")
    assert result.message.endswith("compare with the source, whose units, grid or fields may have changed")
    assert (result.metadata["variables_drifted"], result.metadata["variables_measured"]) == (1, 1)


@pytest.mark.parametrize("labels", [0, 1, 3])
def test_a_young_store_passes(publish: Publish, labels: int) -> None:
    result = CheckStatsDrift().check(publish("forecast", labels, (TEMPERATURE,)).write().open(), NOW)
    assert (result.passed, result.metadata["variables_measured"]) == (True, 0)
