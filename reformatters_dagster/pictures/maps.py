"""In: a field and its grid. Out: PNG bytes of a map, on the projection that fits, with coastlines and a fixed scale."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.values import Array2D
from reformatters_dagster.pictures.png import DPI, to_png
from reformatters_dagster.pictures.projections import FloatArray, View, view_of, view_of_projected
from reformatters_dagster.pictures.scales import Scale, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TICKS = 11


@dataclass(frozen=True)
class MapPanel:
    """One field, and what is drawn over it.

    Attributes
    ----------
    values : (latitude, longitude) or (y, x) float32
        In the units of the store. NaN is drawn grey.
    latitude, longitude : 1-D, degrees
        Evenly spaced; latitudes run either way, longitudes ascend, to 180 or to 360. Not looked at where `grid` is given.
    title, units : str
    variable : str
        Its name in the store chooses scale and colours; without one, the units do.
    cmap : str, optional
        Name of a matplotlib colormap, where the choice by variable is not wanted.
    grid : LambertGrid, optional
        The projected grid that the values lie on; the map is drawn on its plane.
    isobars : like `values`, Pa, optional
    wind : two arrays like `values`, m s-1, optional
        Drawn as barbs. On a projected grid they follow its axes, elsewhere east and north.
    scale : Scale, optional
        Where that of the variable is not wanted, as for a difference.
    """

    values: Array2D
    latitude: FloatArray
    longitude: FloatArray
    title: str
    units: str
    cmap: str | None = None
    variable: str = ""
    grid: LambertGrid | None = None
    isobars: Array2D | None = None
    wind: tuple[Array2D, Array2D] | None = None
    scale: Scale | None = None

    def __post_init__(self) -> None:
        expected = self.grid.shape if self.grid else (self.latitude.size, self.longitude.size)
        for values in (self.values, self.isobars, *(self.wind or ())):
            if values is not None and values.shape != expected:
                raise ValueError(
                    f"map {self.title!r} has values of shape {values.shape}, its coordinates say {expected}; "
                    "select one field before drawing it"
                )

    def view(self, columns: int) -> View:
        if self.grid is not None:
            return view_of_projected(self.grid, columns)
        return view_of(self.latitude, self.longitude, columns)


def draw_map(
    values: Array2D,
    latitude: FloatArray,
    longitude: FloatArray,
    *,
    title: str,
    units: str,
    cmap: str | None = None,
    variable: str = "",
    width_px: int = 700,
) -> bytes:
    """One field as a small map; arguments as in `MapPanel`."""
    return draw_panel(MapPanel(values, latitude, longitude, title, units, cmap, variable), width_px=width_px)


def draw_panel(panel: MapPanel, *, width_px: int = 700) -> bytes:
    """One map: 700 pixels wide for metadata, more for a file."""
    from matplotlib.figure import Figure

    view = panel.view(width_px)
    width = width_px / DPI
    height = width * 0.9 * min(view.height_over_width, 1.2) + 1.15
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    _draw(figure, figure.add_subplot(), panel, view, characters=width_px // 9)
    return to_png(figure)


def draw_maps(panels: Sequence[MapPanel], title: str, *, width_px: int = 1100) -> bytes:
    """Several fields side by side, two columns or, from five on, three, under one title."""
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError(f"no panels were given for the picture {title!r}; give at least one MapPanel")
    columns = min(len(panels), 2 if len(panels) < 5 else 3)
    rows = math.ceil(len(panels) / columns)
    views = [panel.view(width_px // columns) for panel in panels]
    panel_height = width_px / DPI / columns * 0.9 * max(min(view.height_over_width, 1.2) for view in views) + 0.95
    figure = Figure(figsize=(width_px / DPI, rows * panel_height + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(textwrap.fill(title, width_px // 9), fontsize=12)
    for number, (panel, view) in enumerate(zip(panels, views, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw(figure, axes, panel, view, characters=width_px // columns // 9)
    return to_png(figure)


def _draw(figure: "Figure", axes: "Axes", panel: MapPanel, view: View, characters: int) -> None:
    from matplotlib.cm import ScalarMappable

    from reformatters_dagster.pictures import overlays

    scale = panel.scale or scale_of(panel.variable, panel.units, panel.values)
    cmap, norm = scale.colours() if panel.cmap is None else scale.with_cmap(panel.cmap).colours()
    shown = scale.shown(_seen(view, panel.values))
    colours = cmap(norm(np.ma.masked_invalid(shown)), bytes=True)
    colours[~view.inside] = 255
    axes.imshow(colours, extent=view.extent, origin="upper", interpolation="nearest", aspect="equal")
    axes.autoscale(enable=False)
    axes.set_axis_off()
    overlays.draw_graticule(axes, view)
    overlays.draw_coast(axes, view)
    if panel.isobars is not None:
        overlays.draw_isobars(axes, view, _seen(view, panel.isobars) * 0.01)
    if panel.wind is not None:
        u, v = (_seen(view, component) for component in panel.wind)
        overlays.draw_barbs(axes, view, u, v, along_grid=panel.grid is not None)
    axes.set_title(textwrap.fill(panel.title, characters, break_long_words=False), fontsize=9)
    if not np.isfinite(shown).any():
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", fontsize=14)
    bar = figure.colorbar(
        ScalarMappable(norm, cmap),
        ax=axes,
        orientation="horizontal",
        aspect=45,
        pad=0.02,
        shrink=0.85,
        ticks=ticks(scale),
    )
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.minorticks_off()
    bar.set_label(_said_at_the_bar(panel, scale), fontsize=8)


def ticks(scale: Scale) -> list[float]:
    """Every n-th level; among them zero, where it is a level."""
    every = math.ceil(len(scale.levels) / _MOST_TICKS)
    first = scale.levels.index(0) % every if 0 in scale.levels else 0
    return list(scale.levels[first::every])


def _said_at_the_bar(panel: MapPanel, scale: Scale) -> str:
    said = [scale.label]
    if panel.isobars is not None:
        said.append("lines: hPa at mean sea level")
    if panel.wind is not None:
        said.append("barbs: half 2.5, full 5, flag 25 m/s")
    return "; ".join(said)


def _seen(view: View, values: Array2D) -> FloatArray:
    """The value under each point of the view, NaN outside the domain."""
    seen: FloatArray = np.where(view.inside, values[view.row, view.column], np.float32(np.nan))
    return seen
