"""A field of a message in the order of a grid.

In: values as they were decoded, and both grids. Out: the values that lie on the template's grid.
"""

from reformatters_dagster.core.grib.grid_order import grid_order
from reformatters_dagster.core.grib.header import GridHeader
from reformatters_dagster.core.spec.grids import Grid
from reformatters_dagster.core.spec.values import Array2D


def to_grid(values: Array2D, header: GridHeader, grid: Grid, where: str) -> Array2D:
    """Bring a field into the order of the grid; `CorruptMessage` where its points are not those of the grid."""
    return grid_order(values.shape, header, grid, where).apply(values)
