"""Weather made of closed formulas. In: a grid and a stretch of valid time. Out: fields in the units NOAA's models use.

A field is a mean, total or extreme over its window, or a value at an instant, which is a window without length. Totals and
radiation are exact integrals: the totals of the parts of a window add up to the total of the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np

from reformatters_dagster.core.spec.values import Timestamp

type Vector = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
type Field = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
type Factors = tuple[Field, Field]

EPOCH = Timestamp("2000-01-01")


class Window(NamedTuple):
    """A stretch of valid time, in hours since 2000-01-01; an instant has no length."""

    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    @property
    def length(self) -> float:
        return self.end - self.start

    @property
    def day(self) -> float:
        """Whole days since 2000-01-01, constant all day, so that means over parts of a 6 h window add up to its mean."""
        return self.middle // 24


class Globe(NamedTuple):
    """A regular grid and what never changes on it: the globe, beginning at the north pole and Greenwich, or a part of it."""

    latitude: Vector
    """Degrees north, falling on the whole globe."""
    longitude: Vector
    """Degrees east, rising."""
    land: Field
    """0 over sea to 1 over land."""
    height: Field
    """Height of the ground, m."""
    texture: Field
    """Small-scale variety, about -1 to 1."""
    moisture: Field
    """0, where it never rains, to 1."""
    chill: Field
    """Change of temperature by height and texture, K."""
    clearness: Field
    """Sunlight that reaches the ground when the sun is overhead, W m-2."""


class Blob(NamedTuple):
    """A Gaussian hill on the globe, in degrees."""

    latitude: float
    longitude: float
    half_height: float
    half_width: float
    size: float = 1.0


class StormTrack(NamedTuple):
    """A belt that a train of lows travels along."""

    latitude: float
    width: float
    waves: int
    """How many lows there are around the globe."""
    drift: float
    """Degrees of longitude per hour, eastward."""
    tilt: float
    """Radians of phase per degree of latitude: how fronts lean."""
    phase: float
    depth: float
    """Depth of a low, Pa."""
    rain: float
    """Rain rate at the centre of a front, kg m-2 s-1."""
    warmth: float
    """Temperature contrast across a front, K."""


CONTINENTS = (
    *(Blob(50, 255, 17, 27), Blob(64, 255, 9, 36), Blob(36, 262, 9, 17), Blob(21, 259, 6, 7), Blob(65, 208, 6, 13)),
    *(Blob(54, 290, 8, 9), Blob(74, 319, 10, 14), Blob(-7, 300, 13, 17), Blob(-28, 297, 14, 9), Blob(-46, 289, 9, 4)),
    *(Blob(19, 11, 14, 26), Blob(-10, 25, 21, 12), Blob(8, 41, 7, 9), Blob(-19, 47, 6, 3), Blob(49, 18, 8, 22)),
    *(Blob(40, 356, 4, 5), Blob(64, 19, 7, 9), Blob(54, 358, 4, 3), Blob(57, 92, 15, 52), Blob(38, 92, 12, 30)),
    *(Blob(22, 79, 10, 8), Blob(17, 102, 9, 5), Blob(23, 46, 8, 9), Blob(32, 110, 9, 10), Blob(66, 150, 7, 26)),
    *(Blob(-25, 134, 9, 16), Blob(0, 113, 4, 6), Blob(-5, 142, 4, 7), Blob(37, 138, 4, 3), Blob(-90, 0, 21, 1e6)),
)
MOUNTAINS = (
    *(Blob(33, 88, 6, 13, 4500), Blob(42, 250, 12, 7, 1800), Blob(-20, 291, 16, 3, 3300), Blob(73, 320, 8, 10, 2500)),
    *(Blob(-88, 60, 13, 1e6, 2900), Blob(5, 37, 10, 6, 1400), Blob(33, 53, 6, 8, 1300), Blob(47, 98, 6, 12, 1500)),
    *(Blob(-27, 25, 7, 7, 1100), Blob(-15, 313, 8, 6, 600), Blob(46, 9, 2, 5, 1300), Blob(57, 235, 9, 5, 1000)),
)
STORM_TRACKS = (
    StormTrack(50, 14, 5, 0.55, 0.06, 0.4, 3400, 5.0e-4, 6.0),
    StormTrack(42, 10, 8, 0.80, 0.08, 2.1, 1500, 3.5e-4, 3.0),
    StormTrack(4, 7, 11, -0.30, 0.02, 1.3, 150, 9.0e-4, 0.3),
    StormTrack(-48, 12, 6, 0.70, -0.07, 5.0, 3600, 4.5e-4, 5.0),
    StormTrack(-58, 9, 4, 0.45, -0.05, 3.2, 2200, 2.0e-4, 4.0),
)
PULSE_HARMONICS = (10 / 32, 15 / 32, 6 / 32, 1 / 32)
"""Cosine series of `cos(x / 2) ** 6`, the shape of a front: 1 at its centre, nearly 0 half a wave away."""


def _factors(rows: Sequence[Vector], columns: Sequence[Vector]) -> Factors:
    return np.stack(rows, axis=1), np.stack(columns)


def _product(*factors: Factors) -> Field:
    """The sum of all products of a function of latitude and one of longitude."""
    rows, columns = zip(*factors, strict=True)
    field: Field = np.hstack(rows) @ np.vstack(columns)
    return field


def _blobs(latitude: Vector, longitude: Vector, blobs: Sequence[Blob]) -> Field:
    away = [(longitude - blob.longitude + 180) % 360 - 180 for blob in blobs]
    rows = [blob.size * np.exp(-(((latitude - blob.latitude) / blob.half_height) ** 2)) for blob in blobs]
    columns = [np.exp(-((degrees / blob.half_width) ** 2)) for degrees, blob in zip(away, blobs, strict=True)]
    return _product(_factors(rows, columns))


def _ripples(latitude: Vector, longitude: Vector, waves: range, seed: int) -> Field:
    """Waves of random slant and phase, fading to the poles; standard deviation 1 at the equator."""
    chance = np.random.default_rng(seed)
    north, east = np.radians(latitude), np.radians(longitude)
    size = np.cos(north) ** 2 * np.sqrt(2 / len(waves))
    rows, columns = [], []
    for wave in waves:
        bend = chance.uniform(-1.5, 1.5) * wave * north + chance.uniform(0, 2 * np.pi)
        rows += [size * np.cos(bend), -size * np.sin(bend)]
        columns += [np.cos(wave * east), np.sin(wave * east)]
    return _product(_factors(rows, columns))


@lru_cache(maxsize=2)
def globe_of(step: float) -> Globe:
    """The whole globe, with a grid spacing in degrees that divides 180."""
    if not np.isclose(180 / step, round(180 / step)):
        raise ValueError(
            f"a grid step of {step!r} degrees does not divide 180; take 0.25, 0.5, 1, 2.5 or another that does"
        )
    return globe_over(
        np.linspace(90, -90, round(180 / step) + 1), np.linspace(0, 360, round(360 / step), endpoint=False)
    )


def globe_over(latitude: Vector, longitude: Vector) -> Globe:
    """The part of the globe at some latitudes and longitudes, in degrees. Wind is right only if they go all around."""
    texture = _ripples(latitude, longitude, range(9, 60, 2), seed=1)
    land = 1 / (1 + np.exp(-14 * (_blobs(latitude, longitude, CONTINENTS) + 0.05 * texture - 0.5)))
    height = np.maximum(land * (250 + 60 * texture + _blobs(latitude, longitude, MOUNTAINS)), 0)
    moisture = np.clip(0.45 + 0.8 * _ripples(latitude, longitude, range(2, 20), seed=2), 0, 1)
    chill, clearness = 0.6 * texture - 0.0065 * height, 1361 * (0.78 - 0.35 * moisture)
    return Globe(latitude, longitude, land, height, texture, moisture, chill, clearness)


def _storms(globe: Globe, window: Window, weights: Sequence[float], ahead: float = 0.0) -> Factors:
    """Factors of the mean over the window of the storm tracks' weighted fronts, `ahead` radians east of the lows."""
    east = np.radians(globe.longitude)
    rows, columns = [], []
    for track, weight in zip(STORM_TRACKS, weights, strict=True):
        belt = weight * np.exp(-(((globe.latitude - track.latitude) / track.width) ** 2))
        speed = track.waves * np.radians(track.drift)
        bend = track.tilt * (globe.latitude - track.latitude) + track.phase - ahead - speed * window.middle
        strength = 0.7 + 0.3 * np.cos(east - track.phase)
        for harmonic, share in enumerate(PULSE_HARMONICS):
            seen = belt * share * np.sinc(harmonic * speed * window.length / (2 * np.pi))
            rows += [seen * np.cos(harmonic * bend), -seen * np.sin(harmonic * bend)]
            turn = harmonic * track.waves * east
            columns += [strength * np.cos(turn), strength * np.sin(turn)]
    return _factors(rows, columns)


def _declination(window: Window) -> float:
    return float(np.radians(23.44) * np.sin(2 * np.pi * (window.day - 80) / 365.25))


def _hour_angle(globe: Globe, hour: float) -> Vector:
    """Radians since local noon."""
    angle: Vector = np.radians(15 * (hour % 24 - 12) + globe.longitude)
    return angle


def temperature_2m(globe: Globe, window: Window) -> Field:
    north, everywhere = np.radians(globe.latitude), np.ones_like(globe.longitude)
    season = np.sin(north) * _declination(window) / np.radians(23.44)
    afternoon = np.cos(_hour_angle(globe, window.middle) - np.radians(35))
    warm_side = _storms(globe, window, [track.warmth for track in STORM_TRACKS], ahead=1.2)
    cold_side = _storms(globe, window, [-track.warmth for track in STORM_TRACKS], ahead=-1.2)
    temperature = _product(_factors([302 - 42 * np.sin(north) ** 2 + 12 * season], [everywhere]), warm_side, cold_side)
    desert = 6 * np.exp(-(((np.abs(globe.latitude) - 25) / 12) ** 2))
    inland = _product(_factors([desert + 9 * season, 8 * np.cos(north)], [everywhere, afternoon]))
    inland *= globe.land
    temperature += inland
    temperature += globe.chill
    return temperature


def temperature_80m(globe: Globe, window: Window) -> Field:
    return temperature_2m(globe, window) - 0.5


def _hourly_temperatures(globe: Globe, window: Window) -> Iterator[Field]:
    for hour in np.linspace(window.start, window.end, round(window.length) + 1):
        yield temperature_2m(globe, Window(hour, hour))


def maximum_temperature(globe: Globe, window: Window) -> Field:
    return reduce(np.maximum, _hourly_temperatures(globe, window))


def minimum_temperature(globe: Globe, window: Window) -> Field:
    return reduce(np.minimum, _hourly_temperatures(globe, window))


def _sea_level_factors(globe: Globe, window: Window) -> Factors:
    rows, columns = _storms(globe, window, [-track.depth for track in STORM_TRACKS])
    highs = 1300 * np.exp(-(((np.abs(globe.latitude) - 33) / 13) ** 2))
    polar_lows = 1200 * np.exp(-(((globe.latitude + 64) / 10) ** 2))
    return np.column_stack([rows, 101250 + highs - polar_lows]), np.vstack([columns, np.ones_like(globe.longitude)])


def sea_level_pressure(globe: Globe, window: Window) -> Field:
    return _product(_sea_level_factors(globe, window))


def pressure_surface(globe: Globe, window: Window) -> Field:
    return sea_level_pressure(globe, window) * (1 - globe.height * 0.0065 / 288.15) ** 5.256


def pressure_80m(globe: Globe, window: Window) -> Field:
    return pressure_surface(globe, window) * (1 - 80 * 9.80665 / (287.05 * temperature_80m(globe, window)))


def _wind(globe: Globe, window: Window, eastward_share: Vector, northward_share: Vector) -> Field:
    """The geostrophic wind of the sea level pressure, each component times a factor by latitude."""
    rows, columns = _sea_level_factors(globe, window)
    north = np.radians(globe.latitude)
    coriolis = 1.458e-4 * np.sin(north)
    per_gradient = coriolis / (coriolis**2 + 3e-5**2) / (1.2 * 6371229)
    to_north = np.gradient(rows, north, axis=0)
    to_east = (np.roll(columns, -1, axis=1) - np.roll(columns, 1, axis=1)) * columns.shape[1] / (4 * np.pi)
    eastward = (-per_gradient * eastward_share)[:, None] * to_north
    northward = (per_gradient * northward_share / np.maximum(np.cos(north), 0.1))[:, None] * rows
    wind = _product((eastward, columns), (northward, to_east))
    wind += globe.texture
    return wind


def _friction(globe: Globe) -> tuple[Vector, Vector]:
    """Shares of the geostrophic wind that stay along it and turn 20 degrees to the low, left of it in the north."""
    along: Vector = np.full_like(globe.latitude, 0.7 * np.cos(np.radians(20)))
    across: Vector = 0.7 * np.sin(np.radians(20)) * np.tanh(globe.latitude / 10)
    return along, across


def wind_u(globe: Globe, window: Window) -> Field:
    along, across = _friction(globe)
    return _wind(globe, window, along, -across)


def wind_v(globe: Globe, window: Window) -> Field:
    along, across = _friction(globe)
    return _wind(globe, window, across, along)


def wind_u_aloft(globe: Globe, window: Window) -> Field:
    return 1.35 * wind_u(globe, window)


def wind_v_aloft(globe: Globe, window: Window) -> Field:
    return 1.35 * wind_v(globe, window)


def _rain_rate(globe: Globe, window: Window) -> Field:
    rate = _product(_storms(globe, window, [track.rain for track in STORM_TRACKS], ahead=0.6))
    np.maximum(rate, 0, out=rate)
    rate *= globe.moisture
    return rate


def rain_total(globe: Globe, window: Window) -> Field:
    return _rain_rate(globe, window) * window.length * 3600


def _cloud(globe: Globe, window: Window) -> Field:
    return np.clip(0.1 + 0.4 * globe.moisture + _rain_rate(globe, window) * 3e3 + 0.06 * globe.texture, 0, 1)


def total_cloud_cover(globe: Globe, window: Window) -> Field:
    return 100 * _cloud(globe, window)


def cloud_ceiling(globe: Globe, window: Window) -> Field:
    """Height of the cloud ceiling; 20 km means "no ceiling"."""
    cloud = _cloud(globe, window)
    return np.where(cloud < 0.5, 20000.0, globe.height + 300 + 9000 * (1 - cloud))


def relative_humidity(globe: Globe, window: Window) -> Field:
    return np.clip(92 - 35 * globe.land + 40 * (_cloud(globe, window) - 0.5) + 3 * globe.texture, 4, 100)


def precipitable_water(globe: Globe, window: Window) -> Field:
    return 55 * np.exp((temperature_2m(globe, window) - 302) / 15) * (0.5 + 0.5 * globe.moisture)


def percent_frozen(globe: Globe, window: Window) -> Field:
    """Share of frozen precipitation; -50 means "no precipitation"."""
    frozen = 100 * np.clip((274.5 - temperature_2m(globe, window)) / 3, 0, 1)
    return np.where(_rain_rate(globe, window) < 1e-6, -50.0, frozen)


def category(coldest: float, warmest: float, rough: bool | None = None) -> Callable[[Globe, Window], Field]:
    """Whether it precipitates at temperatures between two bounds, and on which half of the texture."""

    def occurs(globe: Globe, window: Window) -> Field:
        temperature = temperature_2m(globe, window)
        yes = (_rain_rate(globe, window) >= 1e-6) & (temperature >= coldest) & (temperature < warmest)
        if rough is not None:
            yes &= (globe.texture >= 0) == rough
        return yes.astype(np.float64)

    return occurs


def _sunshine(globe: Globe, window: Window) -> Field:
    """Mean over the window of the sine of the sun's height, 0 at night, as a difference of integrals up to its ends."""
    north, declination = np.radians(globe.latitude)[:, None], _declination(window)
    level, swing = np.sin(north) * np.sin(declination), np.cos(north) * np.cos(declination)
    sunset = np.arccos(np.clip(-np.tan(north) * np.tan(declination), -1, 1))
    whole_day = 2 * (level * sunset + swing * np.sin(sunset))
    start = _hour_angle(globe, window.start)
    end = start + np.radians(15 * window.length)
    midnights = (end + np.pi) // (2 * np.pi) - (start + np.pi) // (2 * np.pi)
    start, end = ((angle + np.pi) % (2 * np.pi) - np.pi for angle in (start, end))
    lit_to, lit_from = np.clip(end, -sunset, sunset), np.clip(start, -sunset, sunset)
    total = level * (lit_to - lit_from) + swing * (np.sin(lit_to) - np.sin(lit_from)) + midnights * whole_day
    mean: Field = np.maximum(total / np.radians(15 * window.length), 0)
    return mean


def downward_short_wave(globe: Globe, window: Window) -> Field:
    return globe.clearness * _sunshine(globe, window)


def downward_long_wave(globe: Globe, window: Window) -> Field:
    return 5.67e-8 * temperature_2m(globe, window) ** 4 * (0.72 + 0.2 * _cloud(globe, window))
