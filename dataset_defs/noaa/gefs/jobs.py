"""What the region jobs of GEFS datasets share: members, and fields of coarser grids."""

from collections.abc import Sequence

from dataset_defs.noaa.gefs.files import GefsFileCoord, GefsFileType
from dataset_defs.noaa.gefs.variables import GefsDataVar
from dataset_defs.noaa.grib_job import NoaaGribRegionJob
from reformatters_dagster.core.config import DataVar, LatLonGrid
from reformatters_dagster.core.grib import GridHeader, to_grid
from reformatters_dagster.core.regrid import coarsened, refine
from reformatters_dagster.core.types import Array2D


class GefsRegionJob[Coord: GefsFileCoord](NoaaGribRegionJob[Coord]):
    """Messages carry a member; fields of 0.5 and 1 degree are interpolated."""

    def member(self, coord: Coord) -> int:
        return coord.ensemble_member

    def on_grid(self, values: Array2D, grid: GridHeader, coord: Coord, where: str) -> Array2D:
        fine = self.context.template_config.grid
        assert isinstance(fine, LatLonGrid)
        placed = to_grid(values, grid, coarsened(fine, coord.coarseness), where)
        return placed if coord.coarseness == 1 else refine(placed, fine, where)


def file_type_of(data_vars: Sequence[DataVar]) -> GefsFileType:
    """The one kind of file a group of variables comes from."""
    (file_type,) = {data_var.gefs_file_type for data_var in data_vars if isinstance(data_var, GefsDataVar)}
    return file_type
