"""How a variable is shown to people: its unit, its fixed scale and its colours.

In: name and units of a variable, as the store has them. Out: a `Scale`, the same for every field of that variable, so that
two pictures compare. Colours are those of ColorBrewer and matplotlib that colour-blind people tell apart.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reformatters_dagster.core.spec.standard_variables import STANDARD_VARIABLES
from reformatters_dagster.pictures.projections import FloatArray

if TYPE_CHECKING:
    from matplotlib.colors import BoundaryNorm, Colormap

NO_DATA = "#bdb7b2"
"""A grey with a tint, which no smoothed edge of a letter has."""
OF_THIS_FIELD = "scale of this field"


@dataclass(frozen=True)
class Scale:
    """Unit, levels and colours of one variable.

    Attributes
    ----------
    units : str
        What people read: °C, hPa, mm/h.
    levels : tuple of float
        Edges of the colours, ascending, in `units`.
    cmap : str
        Name of a matplotlib colormap.
    factor : float
        Value of the store times `factor` is the value in `units`.
    blank_below : bool
        Below the first level nothing is painted: a dry place stays white.
    bounded : bool
        No value lies beyond the levels, so the colour bar has no arrows.
    note : str
        Stands behind the unit.
    """

    units: str
    levels: tuple[float, ...]
    cmap: str
    factor: float = 1.0
    blank_below: bool = False
    bounded: bool = False
    note: str = ""

    @property
    def label(self) -> str:
        return f"{self.units} ({self.note})" if self.note else self.units

    def shown(self, values: FloatArray) -> FloatArray:
        """Values of the store in the unit that people read; what is not finite is NaN."""
        with np.errstate(over="ignore"):
            shown: FloatArray = np.where(np.isfinite(values), values, np.nan) * np.float32(self.factor)
        return shown

    def with_cmap(self, name: str) -> "Scale":
        return replace(self, cmap=name)

    def colours(self) -> "tuple[Colormap, BoundaryNorm]":
        from matplotlib import colormaps
        from matplotlib.colors import BoundaryNorm

        norm = BoundaryNorm(self.levels, 256, extend="neither" if self.bounded else "both")
        cmap = colormaps[self.cmap].with_extremes(bad=NO_DATA)
        if self.blank_below:
            cmap = cmap.with_extremes(bad=NO_DATA, under="white")
        return cmap, norm


def _even(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(float(level) for level in np.arange(round((last - first) / step) + 1) * step + first)


_TEMPERATURE = Scale("°C", _even(-50, 50, 2.5), "RdYlBu_r")
_RAIN = Scale("mm/h", (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64), "YlGnBu", factor=3600, blank_below=True)
_SEA_LEVEL = Scale("hPa", _even(965, 1061, 4), "PuOr", factor=0.01)
_SURFACE = Scale("hPa", _even(500, 1050, 25), "cividis", factor=0.01)
_COMPONENT = Scale("m/s", _even(-30, 30, 2.5), "PuOr_r")
_SPEED = Scale("m/s", _even(0, 40, 2), "YlGnBu")
_SHARE = Scale("%", _even(0, 100, 5), "Blues", bounded=True)
_CLOUD = Scale("%", _even(0, 100, 10), "Blues_r", bounded=True)
_SUN = Scale("W/m²", _even(0, 1100, 50), "inferno")

BY_VARIABLE = {
    "relative_humidity_2m": replace(_SHARE, cmap="BrBG"),
    "total_cloud_cover_atmosphere": _CLOUD,
    "cloud_cover_low": _CLOUD,
    "cloud_cover_medium": _CLOUD,
    "cloud_cover_high": _CLOUD,
    "pressure_reduced_to_mean_sea_level": _SEA_LEVEL,
    "pressure_surface": _SURFACE,
    "pressure_80m": _SURFACE,
    "wind_speed": _SPEED,
    "wind_gust_10m": _SPEED,
    "wind_gust_surface": _SPEED,
    "geopotential_height_500hpa": Scale("dam", _even(468, 600, 6), "viridis", factor=0.1),
    "geopotential_height_850hpa": Scale("dam", _even(96, 168, 3), "viridis", factor=0.1),
    "geopotential_height_925hpa": Scale("dam", _even(30, 108, 3), "viridis", factor=0.1),
    "geopotential_height_cloud_ceiling": Scale(
        "m", (0, 150, 300, 600, 1000, 2000, 4000, 8000, 12000, 20000), "viridis"
    ),
    "downward_long_wave_radiation_flux_surface": Scale("W/m²", _even(50, 550, 25), "inferno"),
    "precipitable_water_atmosphere": Scale("mm", _even(0, 70, 5), "YlGnBu"),
    "composite_reflectivity": Scale("dBZ", _even(5, 75, 5), "viridis", blank_below=True),
    "convective_available_potential_energy_atmosphere": Scale(
        "J/kg", (100, 250, 500, 1000, 1500, 2000, 3000, 4000, 5000, 6000), "magma_r", blank_below=True
    ),
    "snowfall_surface": Scale("mm/h", (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64), "PuBu", factor=3.6e6, blank_below=True),
    "snow_thickness_surface": Scale("cm", (1, 2, 5, 10, 20, 50, 100, 200, 500), "PuBu", factor=100, blank_below=True),
    "snow_water_equivalent_surface": Scale(
        "mm", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), "PuBu", factor=1000, blank_below=True
    ),
    "snow_area_fraction_surface": replace(_SHARE, factor=100),
}
BY_UNITS = {
    "degree_Celsius": _TEMPERATURE,
    "kg m-2 s-1": _RAIN,
    "m s-1": _COMPONENT,
    "percent": _SHARE,
    "W m-2": _SUN,
}
_UNITS_IN_WORDS = {"degree_Celsius": "°C", "m s-1": "m/s", "percent": "%", "W m-2": "W/m²", "J kg-1": "J/kg", "1": ""}


def scale_of(variable: str, units: str, values: FloatArray | None = None) -> Scale:
    """The fixed scale of a variable: its own, that of its units, or that of its plausible values.

    Parameters
    ----------
    variable, units : str
        As the store has them; `wind_speed` is the speed that two components make.
    values : array, optional
        Chooses the levels of a variable that none of the three knows. The label then says that the scale is of this field.
    """
    if variable in BY_VARIABLE:
        return BY_VARIABLE[variable]
    known = STANDARD_VARIABLES.get(variable)
    if known is not None and known.flag_values:
        first, last = min(known.flag_values), max(value for value in known.flag_values if value < 255)
        return Scale(_kinds(known.flag_meanings, first), _even(first - 0.5, last + 0.5, 1), "cividis", bounded=True)
    if units == "Pa":
        return _SURFACE
    if units in BY_UNITS:
        return BY_UNITS[units]
    words = _UNITS_IN_WORDS.get(units, units)
    if known is not None:
        return Scale(words, _twenty(*known.valid_range), "viridis")
    finite = values[np.isfinite(values)] if values is not None else np.empty(0)
    low, high = (float(q) for q in np.percentile(finite, (0.1, 99.9))) if finite.size else (0.0, 1.0)
    return Scale(words, _twenty(low, high), "viridis", note=OF_THIS_FIELD)


def difference_scale(scale: Scale, apart: FloatArray) -> Scale:
    """Of what lies between two fields of a scale: even levels on both sides of zero, as far as the difference goes."""
    shown = np.abs(scale.shown(apart))
    finite = shown[np.isfinite(shown)]
    most = float(np.percentile(finite, 99.9)) or float(finite.max()) if finite.size else 0.0
    levels = _twenty(-(most or 1.0), most or 1.0)
    return Scale(scale.units, levels, "PuOr_r", factor=scale.factor, note="difference, scale of this field")


def _twenty(low: float, high: float) -> tuple[float, ...]:
    """About twenty even levels at round numbers that cover two values."""
    from matplotlib.ticker import MaxNLocator

    if not high > low:
        low, high = low - 0.5, high + 0.5
    return tuple(float(level) for level in MaxNLocator(20).tick_values(low, high))


def _kinds(meanings: str | None, first: int) -> str:
    names = (meanings or "").split()[:3]
    return ", ".join(f"{number} {name.replace('_', ' ')}" for number, name in enumerate(names, start=first))
