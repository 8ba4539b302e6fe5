"""In: numbers of many fields or files. Out: PNG bytes of a histogram, or of how late files come."""

from collections.abc import Mapping, Sequence

import numpy as np

from reformatters_dagster.pictures.png import DPI, to_png
from reformatters_dagster.pictures.projections import FloatArray
from reformatters_dagster.pictures.scales import scale_of
from reformatters_dagster.pictures.series import BLUE, RED

_BINS = 60


def draw_histogram(
    fields: Mapping[str, FloatArray], *, title: str, units: str, variable: str = "", width_px: int = 700
) -> bytes:
    """How often each value comes, in one field or in two that are compared.

    The bins span the fixed scale of the variable, so that two pictures compare; what lies beyond is counted in the outer
    bins. Shares are logarithmic: one wrong value in a million is seen.

    Parameters
    ----------
    fields : mapping of name to array
        One or two, in the units of the store. NaN is counted in the legend.

    Raises
    ------
    ValueError
        When there are none, or more than two.
    """
    from matplotlib.figure import Figure

    if not 0 < len(fields) <= 2:
        raise ValueError(f"histogram {title!r} was asked for of {len(fields)} fields; give one, or two to compare")
    scale = scale_of(variable, units, next(iter(fields.values())))
    bins = np.linspace(min(scale.levels[0], 0) if scale.blank_below else scale.levels[0], scale.levels[-1], _BINS + 1)
    figure = Figure(figsize=(width_px / DPI, 3.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for (name, field), colour in zip(fields.items(), (BLUE, RED), strict=False):
        shown = scale.shown(field).ravel()
        finite = shown[np.isfinite(shown)]
        beyond = int(np.count_nonzero((finite < bins[0]) | (finite > bins[-1])))
        label = f"{name}: {finite.size:,} values, {shown.size - finite.size:,} missing, {beyond:,} beyond the scale"
        counts, _ = np.histogram(np.clip(finite, bins[0], bins[-1]), bins)
        axes.stairs(100 * counts / max(finite.size, 1), bins, color=colour, linewidth=1.5, label=label)
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 130)
    axes.set_xlim(bins[0], bins[-1])
    axes.set_xlabel(scale.label, fontsize=9)
    axes.set_ylabel("% of values", fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.88", linewidth=0.6)
    axes.tick_params(labelsize=8)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center")
    return to_png(figure)


def draw_latency(
    lead_hours: Sequence[float],
    hours_after_init: FloatArray,
    init_times: Sequence[str],
    *,
    title: str,
    width_px: int = 700,
) -> bytes:
    """How long after the init time the file of each lead time came: the middle of many forecasts, and the newest of them.

    Parameters
    ----------
    lead_hours : sequence of float
        Lead times, in hours.
    hours_after_init : (init_time, lead_time)
        NaN where a file has not come. The last row is the newest forecast.
    init_times : sequence of str
        Names of the rows.

    Raises
    ------
    ValueError
        When the numbers of names and values differ, or there are none.
    """
    from matplotlib.figure import Figure

    if hours_after_init.shape != (len(init_times), len(lead_hours)) or hours_after_init.size == 0:
        raise ValueError(
            f"latencies {title!r} have shape {hours_after_init.shape}, the labels say {(len(init_times), len(lead_hours))}; "
            "give at least one init time and lead time, one row for each init time"
        )
    figure = Figure(figsize=(width_px / DPI, 3.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    earlier = hours_after_init[:-1]
    came = np.isfinite(earlier).any(axis=0) if len(earlier) else np.zeros(len(lead_hours), bool)
    if came.any():
        low, middle, high = np.nanpercentile(earlier[:, came], (10, 50, 90), axis=0)
        leads = np.asarray(lead_hours)[came]
        axes.fill_between(leads, low, high, color=BLUE, alpha=0.25, linewidth=0, label="eight of ten forecasts")
        axes.plot(leads, middle, color=BLUE, linewidth=1.5, label=f"middle of {len(earlier)} forecasts")
    newest = hours_after_init[-1]
    missing = int(np.isnan(newest).sum())
    label = f"{init_times[-1]}" + (f", {missing} not there" if missing else "")
    axes.plot(lead_hours, newest, color=RED, linewidth=0, marker=".", markersize=5, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("lead time, h", fontsize=9)
    axes.set_ylabel("hours after init time", fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.88", linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return to_png(figure)
