"""In: values of one place by time. Out: PNG bytes of a meteogram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.pictures.png import DPI, to_png
from reformatters_dagster.pictures.projections import FloatArray
from reformatters_dagster.pictures.scales import scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind people tell apart.
RED, BLUE, GREEN, SKY, ORANGE, BLACK = "#D55E00", "#0072B2", "#009E73", "#56B4E9", "#E69F00", "#222222"
_ROWS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "temperature",
        (
            ("temperature_2m", RED, "2 m"),
            ("dew_point_temperature_2m", GREEN, "dew point"),
            ("temperature_850hpa", BLUE, "850 hPa"),
        ),
    ),
    ("precipitation", (("precipitation_surface", BLUE, "precipitation"),)),
    (
        "pressure",
        (("pressure_reduced_to_mean_sea_level", BLACK, "mean sea level"), ("pressure_surface", ORANGE, "surface")),
    ),
    (
        "wind",
        (("wind_speed", GREEN, "speed"), ("wind_gust_surface", ORANGE, "gusts"), ("wind_gust_10m", ORANGE, "gusts")),
    ),
    ("cloud", (("total_cloud_cover_atmosphere", "0.45", "total"),)),
    ("humidity", (("relative_humidity_2m", SKY, "2 m"),)),
    ("radiation", (("downward_short_wave_radiation_flux_surface", ORANGE, "short wave"),)),
)
_AT_ZERO = {"precipitation", "wind", "radiation"}
_SHARES = {"cloud", "humidity"}
_LEAST_SPAN = {"temperature": 10.0, "precipitation": 1.0, "pressure": 10.0, "wind": 10.0, "radiation": 200.0}


@dataclass(frozen=True)
class Series:
    """Values of one variable at one place.

    Attributes
    ----------
    values : (time,) or (time, member)
        In the units of the store. Of several members the middle, and where nine of ten lie, are drawn.
    units : str
    """

    values: FloatArray
    units: str


def draw_meteogram(
    times: Sequence[Timestamp] | pd.DatetimeIndex, series: Mapping[str, Series], title: str, *, width_px: int = 900
) -> bytes:
    """What the weather does at one place: a row for each of temperature, precipitation, pressure, wind, cloud, humidity, sun.

    Parameters
    ----------
    times : sequence of Timestamp
        Valid times, UTC, ascending.
    series : mapping of variable name to Series
        Of `wind_u_10m` and `wind_v_10m` the speed and barbs are drawn. A variable that has no row is left out.

    Raises
    ------
    ValueError
        When no variable has a row, or one has another number of times.
    """
    from matplotlib.figure import Figure

    known = _with_speed(series)
    rows = [(name, lines) for name, all_lines in _ROWS if (lines := [line for line in all_lines if line[0] in known])]
    if not rows:
        raise ValueError(
            f"meteogram {title!r} was asked for with {sorted(series)}; none of them has a row: give one of "
            f"{sorted(line[0] for _, lines in _ROWS for line in lines)}, or wind_u_10m and wind_v_10m"
        )
    for name, one in known.items():
        if len(one.values) != len(times):
            raise ValueError(
                f"meteogram {title!r} has {len(times)} times and {len(one.values)} values of {name!r}; select one place first"
            )
    when = pd.DatetimeIndex(list(times))
    figure = Figure(figsize=(width_px / DPI, 1.15 * len(rows) + 0.9), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=10)
    all_axes = np.atleast_1d(figure.subplots(len(rows), sharex=True))
    for axes, (name, lines) in zip(all_axes, rows, strict=True):
        _draw_row(axes, name, when, [(known[variable], variable, colour, label) for variable, colour, label in lines])
    if {"wind_u_10m", "wind_v_10m"} <= series.keys():
        axes = all_axes[[name for name, _ in rows].index("wind")]
        _draw_barbs(axes, when, _middle(series["wind_u_10m"].values), _middle(series["wind_v_10m"].values))
    _name_the_times(all_axes[-1], when)
    return to_png(figure)


def draw_beside(
    times: pd.DatetimeIndex,
    rows: Mapping[str, tuple[FloatArray, FloatArray, str]],
    title: str,
    *,
    width_px: int = 900,
) -> bytes:
    """A row for each variable: what the store has and, dashed, what the reference has.

    Parameters
    ----------
    times : DatetimeIndex
        Valid times, UTC.
    rows : mapping of variable name to (values, values of the reference, units of the store)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / DPI, 1.5 * len(rows) + 0.9), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=10)
    all_axes = np.atleast_1d(figure.subplots(len(rows), sharex=True))
    for axes, (name, (values, reference, units)) in zip(all_axes, rows.items(), strict=True):
        scale = scale_of(name, units, values)
        axes.plot(times.to_numpy(), scale.shown(values), color=BLUE, marker=".", markersize=4, label="store")
        axes.plot(times.to_numpy(), scale.shown(reference), color=RED, linestyle="--", linewidth=1.2, label="reference")
        axes.set_title(name, fontsize=8, loc="left")
        axes.set_ylabel(scale.units, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="0.85", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0)
    _name_the_times(all_axes[-1], times)
    return to_png(figure)


def _with_speed(series: Mapping[str, Series]) -> dict[str, Series]:
    known = dict(series)
    if {"wind_u_10m", "wind_v_10m"} <= known.keys():
        u, v = known["wind_u_10m"], known["wind_v_10m"]
        known.setdefault("wind_speed", Series(np.hypot(u.values, v.values), u.units))
    return known


def _middle(values: FloatArray) -> FloatArray:
    return values if values.ndim == 1 else np.median(values, axis=1)


def _draw_row(axes: "Axes", name: str, when: pd.DatetimeIndex, lines: Sequence[tuple[Series, str, str, str]]) -> None:
    units = ""
    for series, variable, colour, label in lines:
        scale = scale_of(variable, series.units)
        values, units = scale.shown(series.values), scale.units
        middle = _middle(values)
        if name == "precipitation":
            width = np.median(np.diff(when.to_numpy())) if len(when) > 1 else np.timedelta64(1, "h")
            axes.bar(
                when.to_numpy(), middle, width=-width, align="edge", color=colour, edgecolor="white", linewidth=0.3
            )
        elif name == "cloud":
            axes.fill_between(when.to_numpy(), middle, color=colour, alpha=0.7, linewidth=0)
        else:
            axes.plot(when.to_numpy(), middle, color=colour, linewidth=1.5, marker=".", markersize=4, label=label)
        if values.ndim == 2:
            low, high = np.percentile(values, (5, 95), axis=1)
            axes.fill_between(when.to_numpy(), low, high, color=colour, alpha=0.25, linewidth=0)
    if name in _SHARES:
        axes.set_ylim(0, 100)
    else:
        low, high = axes.get_ylim()
        spare = max(_LEAST_SPAN[name] - (high - low), 0) / 2
        axes.set_ylim((0, max(high, _LEAST_SPAN[name])) if name in _AT_ZERO else (low - spare, high + spare))
    axes.set_ylabel(f"{name}\n{units}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(
            fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.94), borderpad=0, ncols=len(lines), frameon=False
        )


def _draw_barbs(axes: "Axes", when: pd.DatetimeIndex, u: FloatArray, v: FloatArray) -> None:
    from reformatters_dagster.pictures.overlays import BARBS

    every = max(1, len(when) // 30)
    top = axes.get_ylim()[1] * 1.6
    axes.set_ylim(0, top)
    height = np.full(len(when[::every]), top * 0.8)
    axes.barbs(when.to_numpy()[::every], height, u[::every], v[::every], length=5, linewidth=0.6, barb_increments=BARBS)


def _name_the_times(axes: "Axes", when: pd.DatetimeIndex) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=12)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel(f"valid time, UTC: {when[0]:%a %Y-%m-%d %H:%M} to {when[-1]:%a %Y-%m-%d %H:%M}", fontsize=8)
