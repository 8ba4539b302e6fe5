"""What the region jobs of GEFS datasets share: members, and fields of coarser grids."""

from collections.abc import Collection, Sequence

from dataset_defs.noaa.gefs.files import KNOWN_MISSING_FILES, REFORECAST_END, GefsFileCoord, GefsFileType
from dataset_defs.noaa.gefs.variables import GefsDataVar
from dataset_defs.noaa.grib_files import NCEP
from reformatters_dagster import Array2D, DataVar, IdxGribRegionJob, LatLonGrid, coarsened, refine

GEFS_PROCESSES = (107,)


class GefsRegionJob[Coord: GefsFileCoord](IdxGribRegionJob[Coord]):
    """Messages carry a member; fields of 0.5 and 1 degree are interpolated."""

    known_missing_files = KNOWN_MISSING_FILES
    centre = NCEP

    def member(self, coord: Coord) -> int:
        return coord.ensemble_member

    def processes(self, coord: Coord) -> Collection[int] | None:
        # The numbers of the reforecast are not known for all of its years.
        return None if coord.init_time < REFORECAST_END else GEFS_PROCESSES

    def source_grid(self, coord: Coord) -> LatLonGrid:
        return coarsened(self._fine, coord.coarseness)

    def regrid(self, values: Array2D, where: str) -> Array2D:
        return refine(values, self._fine, where)

    @property
    def _fine(self) -> LatLonGrid:
        grid = self.context.template_config.grid
        assert isinstance(grid, LatLonGrid)
        return grid


def file_type_of(data_vars: Sequence[DataVar]) -> GefsFileType:
    """The one kind of file a group of variables comes from."""
    (file_type,) = {data_var.gefs_file_type for data_var in data_vars if isinstance(data_var, GefsDataVar)}
    return file_type
