"""In: arrays and their labels. Out: PNG bytes of a size that fits into run metadata or a README."""

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from reformatters_dagster.core.spec.values import Array2D

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

type Uint8Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
type FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]

_DPI = 100
_MAX_COLUMNS = 720
_NO_DATA = "0.72"
_RATE_UNITS = "kg m-2 s-1"
_DRIZZLE = 1e-5
_WIND_UNITS = "m s-1"
_SIGNED_WIND = "PuOr_r"
_COLORMAPS = {
    "degree_Celsius": "RdYlBu_r",
    "percent": "Blues",
    "W m-2": "inferno",
    "Pa": "cividis",
    _RATE_UNITS: "YlGnBu",
}
# Few enough that the levels of several maps fit into one palette of 256 colours, which keeps the picture small.
_LEVELS = 30

_COMPLETENESS = (
    (0.0, "#7f0000", "nothing"),
    (0.5, "#d7301f", "under 50 %"),
    (0.9, "#fc8d59", "50 to 90 %"),
    (1.0, "#fdd49e", "90 % and more"),
)
_COMPLETE = ("#4393a8", "complete")
_NEVER_WRITTEN: dict[str, Any] = {"facecolor": "0.9", "edgecolor": "0.6", "hatch": "////"}


@dataclass(frozen=True)
class MapPanel:
    """One field on a regular grid.

    Attributes
    ----------
    values : (latitude, longitude) float32
        NaN is drawn grey.
    latitude, longitude : 1-D, degrees
        Evenly spaced; latitudes run either way, longitudes ascend, to 180 or to 360.
    title, units : str
        The units stand at the colour bar and choose colours and scale.
    cmap : str, optional
        Name of a matplotlib colormap, where the choice by units is not wanted.
    """

    values: Array2D
    latitude: FloatArray
    longitude: FloatArray
    title: str
    units: str
    cmap: str | None = None

    def __post_init__(self) -> None:
        expected = (self.latitude.size, self.longitude.size)
        if self.values.shape != expected:
            raise ValueError(
                f"map {self.title!r} has values of shape {self.values.shape}, its coordinates say {expected}; "
                "select one field before drawing it"
            )

    def thinned(self) -> "MapPanel":
        """The same field with every n-th row and column, so that at most 720 columns are left."""
        every = math.ceil(self.longitude.size / _MAX_COLUMNS)
        return replace(
            self,
            values=self.values[::every, ::every],
            latitude=self.latitude[::every],
            longitude=self.longitude[::every],
        )

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outer edges of the cells: west, east, south, north."""
        return *_edges(self.longitude), *_edges(self.latitude)

    @property
    def stretch(self) -> float:
        """How much longer a degree of latitude is drawn than one of longitude: true to shape at the middle latitude."""
        _, _, south, north = self.extent
        return 1 / max(math.cos(math.radians((south + north) / 2)), 0.25)

    @property
    def height_over_width(self) -> float:
        west, east, south, north = self.extent
        return min(max((north - south) * self.stretch / (east - west), 0.2), 1.1)


def draw_map(
    values: Array2D,
    latitude: FloatArray,
    longitude: FloatArray,
    *,
    title: str,
    units: str,
    cmap: str | None = None,
    width_px: int = 700,
) -> bytes:
    """One field as a small map with graticule and colour bar; arguments as in `MapPanel`."""
    from matplotlib.figure import Figure

    panel = MapPanel(values, latitude, longitude, title, units, cmap)
    width = width_px / _DPI
    figure = Figure(figsize=(width, width * 0.92 * panel.height_over_width + 1.15), dpi=_DPI, layout="constrained")
    _draw_panel(figure, figure.add_subplot(), panel, characters=width_px // 9)
    return _to_png(figure)


def draw_maps(panels: Sequence[MapPanel], title: str, *, width_px: int = 1100) -> bytes:
    """Several fields side by side, two columns or, from five on, three, under one title."""
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError(f"no panels were given for the picture {title!r}; give at least one MapPanel")
    columns = min(len(panels), 2 if len(panels) < 5 else 3)
    rows = math.ceil(len(panels) / columns)
    panel_width = width_px / _DPI / columns
    panel_height = panel_width * 0.9 * max(panel.height_over_width for panel in panels) + 1.0
    figure = Figure(figsize=(width_px / _DPI, rows * panel_height + 0.4), dpi=_DPI, layout="constrained")
    figure.suptitle(textwrap.fill(title, width_px // 10), fontsize=13)
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(figure, axes, panel, characters=width_px // columns // 9)
    return _to_png(figure)


def draw_completeness(fractions: FloatArray, partitions: Sequence[str], variables: Sequence[str]) -> bytes:
    """Heat map of how much of each partition and variable is there.

    Parameters
    ----------
    fractions : (partition, variable), 0..1
        NaN means never written. A share under 1 is also written into its cell, in whole percent, rounded down.
    partitions, variables : sequence of str
        Labels of the columns and rows drawn; up to 60 by 30 every one is legible, beyond that partitions are thinned.
    """
    from matplotlib.figure import Figure

    if fractions.shape != (len(partitions), len(variables)) or fractions.size == 0:
        raise ValueError(
            f"fractions have shape {fractions.shape}, the labels say {(len(partitions), len(variables))}; "
            "give at least one partition and variable, one row of fractions for each partition"
        )
    cell = min(max(900 / len(partitions), 2.0), 48.0)
    figure = Figure(figsize=_table_size(partitions, variables, cell), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set(**_NEVER_WRITTEN)
    axes.imshow(_completeness_colours(fractions.T), aspect="auto", interpolation="nearest")
    _mark_cells(axes, fractions.T, with_text=cell >= 14)
    every = math.ceil(13 / cell)
    axes.set_xticks(range(0, len(partitions), every), partitions[::every], rotation=90, fontsize=8)
    axes.set_yticks(range(len(variables)), variables, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _add_legend(figure)
    return _to_png(figure)


def as_markdown_image(png: bytes, alt: str) -> str:
    """The picture inside a Markdown text, without a file of its own."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _edges(labels: FloatArray) -> tuple[float, float]:
    first, last = float(labels[0]), float(labels[-1])
    half = abs(last - first) / (labels.size - 1) / 2 if labels.size > 1 else 0.5
    return min(first, last) - half, max(first, last) + half


def _draw_panel(figure: "Figure", axes: "Axes", panel: MapPanel, characters: int) -> None:
    thin = panel.thinned()
    cmap, norm, extend = _colours(thin)
    shown = np.where(np.isfinite(thin.values), thin.values, np.nan)
    if panel.units == _RATE_UNITS:
        shown = np.maximum(shown, _DRIZZLE / 10)
    image = axes.imshow(
        shown,
        origin="upper" if panel.latitude[0] > panel.latitude[-1] else "lower",
        extent=panel.extent,
        cmap=cmap,
        norm=norm,
        aspect=panel.stretch,
        interpolation_stage="data",
    )
    _draw_graticule(axes, panel)
    axes.set_title(textwrap.fill(panel.title, characters, break_long_words=False), fontsize=9)
    if not np.isfinite(shown).any():
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", fontsize=14)
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", aspect=40, pad=0.02, shrink=0.8, extend=extend)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(panel.units, fontsize=9)


def _colours(panel: MapPanel) -> "tuple[Colormap, Normalize, Literal['both', 'neither']]":
    """Colormap, scale, and at which ends values lie beyond it."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm

    finite = panel.values[np.isfinite(panel.values)]
    low, high = (float(q) for q in np.percentile(finite, (0.1, 99.9))) if finite.size else (0.0, 1.0)
    signed = panel.units == _WIND_UNITS and low < 0 < high
    cmap = colormaps[panel.cmap or (_SIGNED_WIND if signed else _COLORMAPS.get(panel.units, "viridis"))]
    cmap = cmap.resampled(_LEVELS).with_extremes(bad=_NO_DATA)
    if panel.units == _RATE_UNITS:
        return cmap.with_extremes(bad=_NO_DATA, under="white"), LogNorm(_DRIZZLE, max(high, 10 * _DRIZZLE)), "both"
    if panel.units == "percent":
        return cmap, Normalize(0, 100), "neither"
    if panel.units == "degree_Celsius":
        return cmap, TwoSlopeNorm(0, min(low, -high / 3, -1), max(high, -low / 3, 1)), "both"
    if signed:
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return cmap, Normalize(low, high), "both"


def _draw_graticule(axes: "Axes", panel: MapPanel) -> None:
    west, east, south, north = panel.extent
    spacing = next((s for s in (1, 2, 5, 10, 15, 30) if (east - west) / s <= 7), 60)
    meridians = np.arange(math.ceil(west / spacing), math.floor(east / spacing) + 1) * spacing
    spacing = min(spacing, 30)
    parallels = np.arange(math.ceil(south / spacing), math.floor(north / spacing) + 1) * spacing
    axes.set_xticks(meridians, [_degrees((float(x) + 180) % 360 - 180, "E", "W") for x in meridians], fontsize=8)
    axes.set_yticks(parallels, [_degrees(float(y), "N", "S") for y in parallels], fontsize=8)
    axes.grid(color="0.45", linewidth=72 / _DPI)
    axes.tick_params(length=2)


def _degrees(angle: float, positive: str, negative: str) -> str:
    if angle in (0, -180):
        return f"{abs(angle):g}°"
    return f"{abs(angle):g}°{positive if angle > 0 else negative}"


def _table_size(columns: Sequence[str], rows: Sequence[str], cell: float) -> tuple[float, float]:
    """Width and height in inches: a letter of a label takes 6.2 pixels, the legend at least 740."""
    width = max(6.2 * max(map(len, rows)) + cell * len(columns) + 40, 740)
    height = 6.2 * max(map(len, columns)) + 17 * len(rows) + 60
    return width / _DPI, height / _DPI


def _completeness_colours(fractions: FloatArray) -> FloatArray:
    """RGBA of each cell; one never written is transparent, so that the hatching behind shows."""
    from matplotlib.colors import to_rgba

    colours = np.empty((*fractions.shape, 4))
    colours[...] = to_rgba(_COMPLETE[0])
    for below, colour, _ in reversed(_COMPLETENESS):
        colours[fractions < below if below else fractions <= 0] = to_rgba(colour)
    colours[np.isnan(fractions)] = to_rgba("white", 0)
    return colours


def _mark_cells(axes: "Axes", fractions: FloatArray, *, with_text: bool) -> None:
    rows, columns = fractions.shape
    axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="white", linewidth=0.8)
    if with_text:
        axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="white", linewidth=0.8)
        for row, column in np.argwhere((fractions < 1) & (fractions > 0)):
            share = float(fractions[row, column])
            colour = "white" if share < 0.5 else "black"
            axes.text(column, row, f"{math.floor(share * 100)}", ha="center", va="center", fontsize=6.5, color=colour)


def _add_legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    patches = [Patch(label="never written", **_NEVER_WRITTEN)]
    patches += [Patch(facecolor=colour, label=label) for _, colour, label in _COMPLETENESS]
    patches.append(Patch(facecolor=_COMPLETE[0], label=_COMPLETE[1]))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)


def _to_png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()  # once: `savefig` would find the layout twice
    packed = io.BytesIO()
    indices, palette = _in_palette(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    picture.save(packed, format="png", optimize=True)
    return packed.getvalue()


def _in_palette(picture: Uint8Array) -> tuple[Uint8Array, Uint8Array]:
    """The 256 commonest colours as they are, a rarer one as the nearest of them, greys in 16 steps.

    Letters have smoothed edges in every grey, which would leave no room for the levels of several colour bars.

    Parameters
    ----------
    picture : (row, column, 3) uint8

    Returns
    -------
    indices : (row, column) uint8
    palette : (colour, 3) uint8
    """
    neutral = (picture == picture[..., :1]).all(axis=2, keepdims=True)
    stepped = np.where(neutral, np.round(picture / 17) * 17, picture)
    codes = stepped.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    place, colours = pd.factorize(codes.ravel(), sort=True)  # hashes: a picture has many points, and few colours
    counts = np.bincount(place)
    channels = colours[:, None] >> np.array([16, 8, 0]) & 255
    palette = channels[np.sort(np.argsort(-counts, kind="stable")[:256])]
    distances = np.square(channels[:, None] - palette).sum(axis=2)
    nearest = distances.argmin(axis=1).astype(np.uint8)
    return nearest[place.reshape(codes.shape)], palette.astype(np.uint8)
