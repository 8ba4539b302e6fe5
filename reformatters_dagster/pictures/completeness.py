"""In: how much of each partition and variable is there. Out: PNG bytes of a heat map."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reformatters_dagster.pictures.png import DPI, to_png
from reformatters_dagster.pictures.projections import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTLY = (
    (0.0, "#7f0000", "nothing"),
    (0.5, "#d7301f", "under 50 %"),
    (0.9, "#fc8d59", "50 to 90 %"),
    (1.0, "#fdd49e", "90 % and more"),
)
_COMPLETE = ("#4393a8", "complete")
_NEVER_WRITTEN: dict[str, Any] = {"facecolor": "0.9", "edgecolor": "0.6", "hatch": "////"}


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
    figure = Figure(figsize=_table_size(partitions, variables, cell), dpi=DPI, layout="constrained")
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
    return to_png(figure)


def _table_size(columns: Sequence[str], rows: Sequence[str], cell: float) -> tuple[float, float]:
    """Width and height in inches: a letter of a label takes 6.2 pixels, the legend at least 740."""
    width = max(6.2 * max(map(len, rows)) + cell * len(columns) + 40, 740)
    height = 6.2 * max(map(len, columns)) + 17 * len(rows) + 60
    return width / DPI, height / DPI


def _completeness_colours(fractions: FloatArray) -> FloatArray:
    """RGBA of each cell; one never written is transparent, so that the hatching behind shows."""
    from matplotlib.colors import to_rgba

    colours = np.empty((*fractions.shape, 4))
    colours[...] = to_rgba(_COMPLETE[0])
    for below, colour, _ in reversed(_PARTLY):
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
    patches += [Patch(facecolor=colour, label=label) for _, colour, label in _PARTLY]
    patches.append(Patch(facecolor=_COMPLETE[0], label=_COMPLETE[1]))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)
