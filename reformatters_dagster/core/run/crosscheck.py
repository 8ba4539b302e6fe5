"""Published values beside what another decoder reads in the upstream files.

In: a dataset, its places and a published store. Out: what came of comparing a few fields. Nothing is written but the tmp folder.
"""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from reformatters_dagster.core.check.opened import FieldComparison, OpenedStore
from reformatters_dagster.core.check.wording import degrees, text_of
from reformatters_dagster.core.field.expected import expected_values
from reformatters_dagster.core.grib.second_decoder import Box, SecondDecoder, SecondReading
from reformatters_dagster.core.job.grib_job import GribRegionJob
from reformatters_dagster.core.job.positions import label_of
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.sampled_fields import NothingToCompare, SampledField, generator_of, sampled_fields
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import (
    CorruptMessage,
    SecondDecoderMissing,
    SourceFileMissing,
    SourceFileUnavailable,
)
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.retries import Patience
from reformatters_dagster.core.spec.values import MOMENT, Timestamp
from reformatters_dagster.core.spec.wording import spell_label
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

POINTS = 256
"""Most points of a field that are compared."""
SAME_PLACE = 0.1
"""How far from a point of the store a point of a message may lie, as a share of the distance to the next one."""
CROSSCHECK_PATIENCE = Patience(attempts=2, deadline=20.0, timeout=15.0, asked_for=60.0)
"""Archives, in seconds. A field whose file does not come is left out, and the other checks wait meanwhile."""
PARTITIONS_TRIED = 8
"""How many of the newest partitions are looked at until one has an entry."""

type Numbers = npt.NDArray[np.float64]


def compare_with_upstream(
    dataset: Declaration,
    workspace: Workspace,
    opened: OpenedStore,
    most: int,
    now: Timestamp,
    patience: Patience = CROSSCHECK_PATIENCE,
) -> list[FieldComparison]:
    """Compare fields of the newest partition, and half as many of an earlier one, with the files they are made from.

    After an archive has refused a file, no other is asked for.

    Raises
    ------
    SecondDecoderMissing
        When ecCodes cannot be loaded.
    """
    if not issubclass(dataset.region_job, GribRegionJob):
        return []
    workspace = replace(workspace, upstream=workspace.upstream.asked_with(patience))
    compared: list[FieldComparison] = []
    may_ask = True
    with SecondDecoder() as decoder:
        for label, entry, share in _partitions(opened, most):
            random = generator_of(opened.dataset_id, partition_key(label), opened.labels[-1], "values")
            job = _job_of(dataset, workspace, opened, label, now)
            for drawn in sampled_fields(job, entry, share, random):
                if isinstance(drawn, NothingToCompare):
                    name = drawn.data_var.name
                    compared.append(FieldComparison(repr(name), name, text_of(label), skipped=drawn.reason))
                    continue
                comparison = _Comparison(job, opened, entry, drawn, random)
                if not may_ask:
                    compared.append(comparison.skipped("an archive had refused another file"))
                    continue
                try:
                    compared.append(comparison.made(workspace.tmp, decoder))
                except SecondDecoderMissing:
                    raise
                except (SourceFileMissing, SourceFileUnavailable, CorruptMessage) as error:
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    compared.append(comparison.skipped(reason))
                    may_ask = not isinstance(error, SourceFileUnavailable)
    return compared


def _partitions(opened: OpenedStore, most: int) -> Iterator[tuple[Timestamp, LedgerEntry, int]]:
    """The newest partition that the ledger tells of, and an earlier one, with how many fields to draw."""
    assert opened.ledger is not None
    labels = [labels[0] for labels in opened.shards()][::-1]
    for at, label in enumerate(labels[:PARTITIONS_TRIED]):
        if (entry := opened.ledger.entry_of(label)) is not None:
            yield label, entry, most
            if earlier := labels[at + 1 :]:
                other = earlier[int(generator_of(opened.dataset_id, opened.labels[-1]).integers(len(earlier)))]
                if (entry := opened.ledger.entry_of(other)) is not None:
                    yield other, entry, max(most // 2, 1)
            return


def _job_of(
    dataset: Declaration, workspace: Workspace, opened: OpenedStore, label: Timestamp, now: Timestamp
) -> GribRegionJob[Any]:
    template_ds = dataset.template_config.get_template(opened.labels[-1] + MOMENT)
    (job,) = dataset.region_job.get_jobs(dataset.context(workspace, now), template_ds, contains=[label])
    assert isinstance(job, GribRegionJob)
    return job


@dataclass(frozen=True)
class _Points:
    """Points that a message and a chunk of the store share: their places in both."""

    of_message: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]


class _Comparison:
    """One field, and the files that it is made from."""

    def __init__(
        self,
        job: GribRegionJob[Any],
        opened: OpenedStore,
        entry: LedgerEntry,
        drawn: SampledField,
        random: np.random.Generator,
    ) -> None:
        self.job, self.opened, self.entry, self.drawn, self.random = job, opened, entry, drawn, random
        self.variable, self.place = drawn.data_var.name, drawn.coords[0].out_loc()
        self.label = text_of(label_of(job, drawn.coords[0]))
        words = ", ".join(f"{dim} {spell_label(label)}" for dim, label in self.place.items())
        self.field = f"{self.variable!r} at {words}"

    def skipped(self, reason: str) -> FieldComparison:
        return FieldComparison(self.field, self.variable, self.label, skipped=reason)

    def made(self, tmp: Path, decoder: SecondDecoder) -> FieldComparison:
        """Fetch, read and compare."""
        data_var, coords = self.drawn.data_var, self.drawn.coords
        chunk = self._chunk()
        tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="crosscheck-", dir=tmp) as folder:
            files = [self.job.download_file(coord, [data_var], Path(folder)) for coord in coords]
            messages = [_message(one, self.variable) for one in files]
        latitude, longitude, cell = _where(chunk)
        where = ", ".join(coord.key() for coord in coords)
        reading = decoder.read(messages, _box(latitude, longitude, cell), f"{self.variable!r} of {where}")
        points = _shared(reading, latitude, longitude, cell, self.random)
        if not points.rows.size:
            if self.job.source_grid(coords[0]) != self.job.context.template_config.grid:
                return self.skipped("no point of its coarser source lies in the chunk that was drawn")
            told = f"{self.field}: no point of the file {where} lies at a point of the store ({reading.words[0]})"
            return self._told(chunk, told, 0, np.zeros(0, np.bool_), points)
        return self._compared(chunk, reading, points, files)

    def _chunk(self) -> xr.DataArray:
        """One chunk of the field, in memory."""
        array = self.opened.ds[self.variable]
        field = array.sel(dict(self.place))
        sizes = [int(one) for one in array.encoding["chunks"][-2:]]
        starts = [int(self.random.integers(-(-field.shape[at] // sizes[at]))) * sizes[at] for at in (0, 1)]
        window = {dim: slice(start, start + size) for dim, start, size in zip(field.dims, starts, sizes, strict=True)}
        return self.opened.load(field.isel(window))

    def _compared(
        self, chunk: xr.DataArray, reading: SecondReading, points: _Points, files: list[Downloaded]
    ) -> FieldComparison:
        data_var, coords = self.drawn.data_var, self.drawn.coords
        factors = tuple(data_var.scale_factor_at(self.job.times(coord, data_var)[0]) for coord in coords)
        numbers = reading.values[:, points.of_message]
        expected = expected_values(numbers, data_var, factors, self.drawn.windows)
        published = chunk.to_numpy()[points.rows, points.columns].astype(np.float64)
        differing = expected.differing(published)
        if type(self.job).read_data is not GribRegionJob.read_data:  # the dataset masks values of its source
            differing &= ~np.isnan(published)
        if not differing.any():
            return FieldComparison(self.field, self.variable, self.label, published.size)
        again = [
            one.key()
            for one, file in zip(coords, files, strict=True)
            if self.entry.etags.get(one.key()) not in {None, "", file.etag}
        ]
        off = np.where(differing, np.nan_to_num(np.abs(published - expected.values), nan=np.inf), -1.0)
        worst = int(np.argmax(off))
        at = points.of_message[worst]
        where = f"{degrees(reading.latitude[at], 'N', 'S')} {degrees(_east(reading.longitude[at]), 'E', 'W')}"
        told = (
            f"{self.field} differs at {int(differing.sum())} of {published.size} points, most at {where}: the store has "
            f"{published[worst]:.6g} {data_var.units}, the source {expected.values[worst]:.6g} "
            f"({self._sources(reading, numbers[:, worst], files)})"
        )
        if again:
            told += f"; {again[0]} was published again after it was used"
        return replace(self._told(chunk, told, published.size, differing, points), published_again=bool(again))

    def _sources(self, reading: SecondReading, numbers: Numbers, files: list[Downloaded]) -> str:
        """Each file with its message and what that says at the point."""
        told = zip(files, self.drawn.coords, reading.words, numbers, strict=True)
        return " and ".join(
            f"{file.archive}/{coord.key()}, message {self.job.field_at(coord, self.drawn.data_var).element}: {number:.6g} "
            f"by ecCodes, which calls it {words}"
            for file, coord, words, number in told
        )

    def _told(
        self, chunk: xr.DataArray, told: str, compared: int, differing: npt.NDArray[np.bool_], points: _Points
    ) -> FieldComparison:
        array = self.opened.ds[self.variable]
        at = {dim: int(array.indexes[dim].get_indexer([label])[0]) for dim, label in self.place.items()}
        latitude, longitude, _ = _where(chunk)
        rows, columns = points.rows[differing], points.columns[differing]
        box = None
        if rows.size:
            lat, lon = latitude[rows, columns], longitude[rows, columns]
            box = float(lat.min()), float(lat.max()), float(lon.min()), float(lon.max())
        return FieldComparison(
            self.field, self.variable, self.label, compared, int(differing.sum()), told, at=at, box=box
        )


def _message(downloaded: Downloaded, variable: str) -> bytes:
    if variable not in downloaded.spans:
        raise CorruptMessage(downloaded.reasons[variable])
    offset, length = downloaded.spans[variable]
    with downloaded.path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _where(chunk: xr.DataArray) -> tuple[Numbers, Numbers, tuple[float, float]]:
    """Latitude and longitude of each point of a chunk, and how far apart rows and columns are, in degrees."""
    latitude, longitude = (chunk[name].to_numpy().astype(np.float64) for name in ("latitude", "longitude"))
    if latitude.ndim == 1:
        latitude, longitude = np.meshgrid(latitude, longitude, indexing="ij")
    cell = [
        float(np.median(np.abs(_turn(np.diff(one, axis=axis))))) if one.shape[axis] > 1 else 1e-3
        for one, axis in ((latitude, 0), (longitude, 1))
    ]
    return latitude, longitude, (cell[0], cell[1])


def _box(latitude: Numbers, longitude: Numbers, cell: tuple[float, float]) -> Box:
    east = _turn(longitude - longitude.flat[0])
    middle, reach = (east.min() + east.max()) / 2, (east.max() - east.min()) / 2
    south, north = latitude.min() - SAME_PLACE * cell[0], latitude.max() + SAME_PLACE * cell[0]
    meridian = float(longitude.flat[0] + middle)
    return Box(float(south), float(north), meridian, float(min(reach + SAME_PLACE * cell[1], 180.0)))


def _shared(
    reading: SecondReading,
    latitude: Numbers,
    longitude: Numbers,
    cell: tuple[float, float],
    random: np.random.Generator,
) -> _Points:
    """Draw points that lie at the same place in a message and in a chunk."""
    drawn = random.permutation(reading.latitude.size)[: 4 * POINTS]
    found: list[tuple[int, int, int]] = []
    for at in drawn:
        north = np.abs(latitude - reading.latitude[at]) / cell[0]
        east = np.abs(_turn(longitude - reading.longitude[at])) / cell[1]
        nearest = int(np.argmin(np.maximum(north, east)))
        row, column = divmod(nearest, latitude.shape[1])
        if max(north[row, column], east[row, column]) <= SAME_PLACE:
            found.append((int(at), row, column))
        if len(found) == POINTS:
            break
    of_message, rows, columns = np.array(found, np.intp).reshape(-1, 3).T
    return _Points(of_message, rows, columns)


def _turn(degrees_east: Numbers) -> Numbers:
    """The same turn, between -180 and 180."""
    turned: Numbers = (degrees_east + 180) % 360 - 180
    return turned


def _east(longitude: float) -> float:
    return float((longitude + 180) % 360 - 180)
