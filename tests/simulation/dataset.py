"""A small analysis over the made-up upstream: many labels a shard, an instantaneous variable and a rate.

In: a folder for its template. Out: the dataset, whose region job runs the real stages over files that are no GRIB.
"""

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, override

import numpy as np
import pandas as pd
import xarray as xr

from reformatters_dagster.core.job.grib_job import GribRegionJob, write_messages
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Downloaded, SourceFileCoord, local_name
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.sources import SourceArchive
from reformatters_dagster.core.spec.values import Array2D, OutLoc, Time, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation, GribField
from tests.simulation.weather import INDEX, WINDOW, unpack
from tests.tiny import TinyTemplate, tiny_analysis, tiny_var

START = pd.Timestamp("2026-03-01T00").as_unit("us")
STEP = pd.Timedelta("1h")
SHARD, CHUNK = 12, 6
"""Labels of a shard, and of a chunk."""
INSTANT, RATE = "temperature_2m", "precipitation_surface"
VARIABLES = (INSTANT, RATE)
ARCHIVE = SourceArchive(url="s3://simulated", folder="simulated")
COPY = SourceArchive(url="s3://simulated-copy", folder="simulated-copy")
"""Another archive, which has each file some time later."""

_TOTAL = GribField(element="APCP", level="surface", parameter=(0, 1, 8), surface=(1, None), statistic="acc")


@lru_cache(maxsize=4096)
def label_at(position: int) -> Timestamp:
    """The label of a position."""
    return START + position * STEP


@lru_cache(maxsize=4096)
def position_of(label: Timestamp) -> int:
    return int((label - START) // STEP)


@lru_cache(maxsize=4096)
def key_of(position: int) -> str:
    """Of the file of a position: a folder a day, as archives have it."""
    return f"{label_at(position):%Y%m%d}/{label_at(position):%H}.simu"


_EXTENDED: dict[object, xr.Dataset] = {}


class SimulatedTemplate(TinyTemplate):
    """A template that is extended once for each number of labels: to do so takes longer than all the rest of a run."""

    @override
    def get_template(self, end: Timestamp) -> xr.Dataset:
        start = self.append_dim.start
        key = self.folder, start, max(-((start - end) // STEP), 0)
        if key not in _EXTENDED:
            _EXTENDED[key] = super().get_template(end)
        return _EXTENDED[key]


class HourCoord(SourceFileCoord):
    """The file of one hour."""

    time: Time

    def key(self) -> str:
        return key_of(position_of(self.time))

    def get_url(self) -> str:
        return f"s3://simulated/{self.key()}"

    def out_loc(self) -> OutLoc:
        return {"time": self.time}


class SimulatedJob(GribRegionJob[HourCoord]):
    """The real job, over files that are checked and decoded in a few lines."""

    source_file_coord = HourCoord

    def get_processing_region(self) -> slice:
        return slice(max(self.region.start - 1, 0), self.region.stop)

    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[HourCoord]:
        return [_coord(label) for label in pd.DatetimeIndex(region_ds.indexes["time"])]

    def fetch(self, archive: Archive, coord: HourCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        data, info = archive.get(coord.key())
        if unpack(data, position_of(coord.time)) is None:
            raise CorruptMessage(f"{coord.get_url()} is not whole")
        # As files of messages have it: variables that are read apart have other ranges, and so another local copy.
        ranges = [(VARIABLES.index(data_var.name), info.size) for data_var in data_vars]
        path = folder / local_name(coord, ranges)
        spans = write_messages(path, {data_vars[0].name: data})
        whole = spans[data_vars[0].name]
        return Downloaded(
            path=path,
            archive=archive.name,
            etag=info.etag,
            spans={data_var.name: whole for data_var in data_vars},
            fetched=info.size,
        )

    def read_data(self, coord: HourCoord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        values = unpack(downloaded.path.read_bytes(), position_of(coord.time))
        assert values is not None
        shape = self.context.template_config.grid.shape
        return np.full(shape, values[VARIABLES.index(data_var.name)], np.float32)


class IndexedJob(SimulatedJob):
    """The same, over files that are read by an index beside them."""

    def object_keys(self, coord: HourCoord, archive: Archive | None = None) -> tuple[str, ...]:
        return coord.key(), coord.key() + INDEX

    def fetch(self, archive: Archive, coord: HourCoord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        index, _ = archive.get(coord.key() + INDEX)
        data, _ = archive.get(coord.key())
        if index != struct.pack("<qI", position_of(coord.time), zlib.crc32(data)):
            raise CorruptMessage(f"{coord.get_url()} does not fit its index")
        return super().fetch(archive, coord, data_vars, folder)


@lru_cache(maxsize=4096)
def _coord(label: Timestamp) -> HourCoord:
    return HourCoord(time=label)


def simulated_dataset(folder: Path, **changes: Any) -> DynamicalDataset:
    """The dataset; its template is committed to a folder."""
    grid = LatLonGrid(
        latitude=RegularAxis(first=0.5, step=-1.0, size=2), longitude=RegularAxis(first=-180.0, step=90.0, size=4)
    )
    fields: dict[str, Any] = {
        "dataset_id": "simulated-analysis",
        "append_dim": AppendAxis(name="time", start=START, frequency=STEP, years=1),
        "grid": grid,
        "chunks": {"time": CHUNK, "latitude": 2, "longitude": 2},
        "shards": {"time": SHARD, "latitude": 2, "longitude": 2},
        "data_vars": (
            tiny_var(INSTANT, keep_mantissa_bits=None),
            tiny_var(
                RATE,
                keep_mantissa_bits=None,
                hour_0=True,
                deaccumulation=Deaccumulation(reset=pd.Timedelta(hours=WINDOW)),
            ).model_copy(update={"field": _TOTAL}),
        ),
    }
    tiny = tiny_analysis(folder, **fields)
    template = SimulatedTemplate(**{name: getattr(tiny, name) for name in type(tiny).model_fields})
    template.update_template()
    return DynamicalDataset(
        template_config=template, region_job=SimulatedJob, archives=(ARCHIVE,), start_is_chosen=True, **changes
    )
