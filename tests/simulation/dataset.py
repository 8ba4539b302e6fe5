"""Small analyses and a small forecast over the made-up upstream: an instantaneous variable and a rate each.

In: a folder for templates. Out: datasets, whose region jobs run the real stages over files that are no GRIB.
"""

import struct
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self, override

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.job.forecast_job import ForecastRegionJob
from reformatters_dagster.core.job.grib_job import GribRegionJob
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Downloaded, ForecastFileCoord, SourceFileCoord, local_name
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Array2D, OutLoc, Time, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField
from tests.simulation.layouts import ANALYSIS, FORECAST, START, WINDOW, Layout
from tests.simulation.weather import INDEX, unpack
from tests.tiny import TinyTemplate, tiny_template, tiny_var

INSTANT, RATE = "temperature_2m", "precipitation_surface"
VARIABLES = (INSTANT, RATE)
ARCHIVE = SourceArchive(url="s3://simulated", folder="simulated")
COPY = SourceArchive(url="s3://simulated-copy", folder="simulated-copy")
"""Another archive, which has each file some time later."""

_TOTAL = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc")


_EXTENDED: dict[object, xr.Dataset] = {}
_STARTED: dict[object, TinyTemplate] = {}


class SimulatedTemplate(TinyTemplate):
    """A template that is extended once for each number of labels: to do so takes longer than all the rest of a run."""

    @override
    def get_template(self, end: Timestamp) -> xr.Dataset:
        start = self.append_dim.start
        key = self.folder, self.dataset_id, start, max(-((start - end) // self.append_dim.frequency), 0)
        if key not in _EXTENDED:
            _EXTENDED[key] = super().get_template(end)
        return _EXTENDED[key]

    @override
    def started_at(self, start: Timestamp) -> Self:
        key = type(self), self.folder, self.dataset_id, start
        if key not in _STARTED:
            _STARTED[key] = super().started_at(start)
        found = _STARTED[key]
        assert isinstance(found, type(self))
        return found


class FileCoord(SourceFileCoord):
    """One file, known by its number."""

    layout: ClassVar[Layout]

    @property
    @abstractmethod
    def file(self) -> int:
        """See `layouts`."""

    def key(self) -> str:
        return self.layout.key_of(self.file)

    def get_url(self) -> str:
        return f"s3://simulated/{self.key()}"


class HourCoord(FileCoord):
    """The file of one hour."""

    layout = ANALYSIS
    time: Time

    @property
    def file(self) -> int:
        return ANALYSIS.file_of(self.time)

    def out_loc(self) -> OutLoc:
        return {"time": self.time}


class LeadCoord(ForecastFileCoord, FileCoord):
    """The file of one lead time."""

    layout = FORECAST

    @property
    def file(self) -> int:
        return FORECAST.file_of(self.init_time, self.lead_time)


class SimulatedSource[Coord: FileCoord](GribRegionJob[Coord]):
    """The real job, over files that are checked and decoded in a few lines."""

    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        data, info = archive.get(coord.key())
        if unpack(data, coord.file) is None:
            raise CorruptMessage(f"{coord.get_url()} is not whole")
        # As files of messages have it: variables that are read apart have other ranges, and so another local copy.
        ranges = [(VARIABLES.index(data_var.name), info.size) for data_var in data_vars]
        path = folder / local_name(coord, ranges)
        path.write_bytes(data)
        return Downloaded(
            path=path,
            archive=archive.name,
            etag=info.etag,
            spans={data_var.name: (0, len(data)) for data_var in data_vars},
            fetched=info.size,
        )

    def read_data(self, coord: Coord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        values = unpack(downloaded.path.read_bytes(), coord.file)
        assert values is not None
        shape = self.context.template_config.grid.shape
        return np.full(shape, values[VARIABLES.index(data_var.name)], np.float32)


class IndexedSource[Coord: FileCoord](SimulatedSource[Coord]):
    """The same, over files that are read by an index beside them."""

    def object_keys(self, coord: Coord, archive: Archive | None = None) -> tuple[str, ...]:
        return coord.key(), coord.key() + INDEX

    def fetch(self, archive: Archive, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        index, _ = archive.get(coord.key() + INDEX)
        data, _ = archive.get(coord.key())
        if index != struct.pack("<qI", coord.file, zlib.crc32(data)):
            raise CorruptMessage(f"{coord.get_url()} does not fit its index")
        return super().fetch(archive, coord, data_vars, folder)


class _Hours(SimulatedSource[HourCoord]):
    """An analysis: a rate needs the file of the hour before."""

    source_file_coord = HourCoord

    def get_processing_region(self) -> slice:
        return slice(max(self.region.start - 1, 0), self.region.stop)

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[HourCoord]:
        return [_coord(label) for label in pd.DatetimeIndex(region_ds.indexes["time"])]


class SimulatedJob(_Hours):
    """The analysis's."""


class IndexedJob(_Hours, IndexedSource[HourCoord]):
    """The analysis's, with indexes."""


class ForecastJob(ForecastRegionJob[LeadCoord], SimulatedSource[LeadCoord]):
    """The forecast's."""

    source_file_coord = LeadCoord


class IndexedForecastJob(ForecastRegionJob[LeadCoord], IndexedSource[LeadCoord]):
    """The forecast's, with indexes."""

    source_file_coord = LeadCoord


def job_of(layout: Layout, *, indexed: bool) -> type[GribRegionJob[Any]]:
    """The class of region job of a layout."""
    if layout.kind == "analysis":
        return IndexedJob if indexed else SimulatedJob
    return IndexedForecastJob if indexed else ForecastJob


@lru_cache(maxsize=4096)
def _coord(label: Timestamp) -> HourCoord:
    return HourCoord(time=label)


def simulated_dataset(folder: Path, layout: Layout, **changes: Any) -> DynamicalDataset:
    """The dataset of a layout; its template is committed to a folder."""
    grid = LatLonGrid(
        latitude=RegularAxis(first=0.5, step=-1.0, size=2), longitude=RegularAxis(first=-180.0, step=90.0, size=4)
    )
    is_analysis = layout.kind == "analysis"
    dims = () if is_analysis else (lead_time(hourly_to=f"{layout.leads - 1}h"),)
    along = layout.append_dim if is_analysis else "lead_time"
    fields: dict[str, Any] = {
        "dataset_id": f"simulated-{layout.name}",
        "append_dim": AppendAxis(
            name=layout.append_dim, start=START, frequency=pd.Timedelta(hours=layout.step), years=1
        ),
        "dims": dims,
        "grid": grid,
        "chunks": {layout.append_dim: 1, along: layout.chunk, "latitude": 2, "longitude": 2},
        "shards": {layout.append_dim: 1, along: layout.shard, "latitude": 2, "longitude": 2},
        "data_vars": (
            tiny_var(INSTANT, keep_mantissa_bits=None),
            tiny_var(
                RATE,
                keep_mantissa_bits=None,
                hour_0=is_analysis,
                deaccumulation=Deaccumulation(reset=pd.Timedelta(hours=WINDOW)),
            ).model_copy(update={"field": _TOTAL}),
        ),
    }
    tiny = tiny_template(folder, **fields)
    template = SimulatedTemplate(**{name: getattr(tiny, name) for name in type(tiny).model_fields})
    template.update_template()
    return DynamicalDataset(
        template_config=template,
        region_job=job_of(layout, indexed=False),
        archives=(ARCHIVE,),
        start_is_chosen=True,
        **changes,
    )
