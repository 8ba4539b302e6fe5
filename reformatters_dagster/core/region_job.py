"""`RegionJob`: one region of one dataset, from upstream files to published chunks.

`process` is the table of contents of this project. It calls the stages in order and owns all concurrency: while one variable
uploads, the next is read and compressed, and the next group of variables downloads.
"""

import itertools
import logging
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.config import DataVar, Deaccumulation
from reformatters_dagster.core.errors import ImplausibleRate, ReformatError, TmpDiskFull
from reformatters_dagster.core.job_context import JobContext, JobStats
from reformatters_dagster.core.region import filter_regions, shard_index, shard_regions
from reformatters_dagster.core.shards import on_tmp_disk, write_shards
from reformatters_dagster.core.source_file import Downloaded, FileResult, Results, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.storage import publish_chunks
from reformatters_dagster.core.template import write_metadata
from reformatters_dagster.core.transforms import (
    deaccumulate_in_place,
    interpolate_in_place,
    round_in_place,
    seconds_since_reset,
)
from reformatters_dagster.core.types import AppendDim, Array2D, Float32Array, Names, Timestamp

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegionJob[Coord: SourceFileCoord](ABC):
    """One region (one whole shard along the append dimension) x some variables.

    A dataset overrides the hooks it needs; providers' base classes implement most.
    """

    context: JobContext
    template_ds: xr.Dataset
    """The full extent, as `TemplateConfig.get_template` gives it."""
    region: slice
    data_vars: tuple[DataVar, ...]
    stats: JobStats = field(default_factory=JobStats)

    source_file_coord: ClassVar[type[SourceFileCoord]]
    """The coord's class, to read results back from JSON."""

    # Hooks

    def get_processing_region(self) -> slice:
        """The region, plus the neighbours along the append dimension that transforms need. Default: the region."""
        return self.region

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        """Variables that come from the same files, downloaded together. Default: one group.

        The default also keeps variables apart that the first step has from those it has not.
        """
        groups: dict[bool, list[DataVar]] = {}
        for data_var in data_vars:
            groups.setdefault(data_var.has_hour_0, []).append(data_var)
        return [tuple(group) for group in groups.values()]

    @abstractmethod
    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> Sequence[Coord]:
        """Every file the variables of a group want over a region: deterministic, and none known not to exist.

        Parameters
        ----------
        region_ds : xr.Dataset
            The template over the processing region.
        data_vars : sequence of DataVar
            One of `source_groups`.
        """

    @abstractmethod
    def download_file(self, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        """Fetch and verify what the variables need of one file.

        Raises
        ------
        ReformatError
            When nothing of the file can be had from any archive; the message becomes the file's reason.
        """

    @abstractmethod
    def read_data(self, coord: Coord, data_var: DataVar, downloaded: Downloaded) -> Array2D:
        """Decode one variable of one downloaded file, in the template's grid order and stored units.

        Raises
        ------
        CorruptMessage
            When the bytes are not the field that was asked for.
        """

    def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
        """Deaccumulate, interpolate, round, in place and in that order. Masking and scaling happened at decode.

        Parameters
        ----------
        values : (append_dim, ...) float32
            One variable over the processing region.
        """
        axis = self._step_axis(region_ds)
        if data_var.deaccumulation is not None:
            seconds = _step_seconds(region_ds, data_var.deaccumulation)
            try:
                counts = deaccumulate_in_place(
                    values, seconds, data_var.deaccumulation, axis=axis, threads=self.context.cpus
                )
                self.stats.clamped[data_var.name] = counts.clamped_fraction
            except ImplausibleRate:
                log.exception("region=%s variable=%s rates are implausible", self.label, data_var.name)
        if data_var.interpolate:
            interpolate_in_place(values, _isolated_missing(values, axis), axis=axis, threads=self.context.cpus)
        if data_var.keep_mantissa_bits is not None:
            round_in_place(values, data_var.keep_mantissa_bits, threads=self.context.cpus)

    def update_template_with_results(self, results: Results) -> xr.Dataset:
        """The template cut to what the results allow to be published.

        Default: up to the newest label at which any variable succeeded, or, where the dataset's publish policy is `all`, up to
        the newest at which every variable had a success; without one, up to the region's start.

        Parameters
        ----------
        results : Results
            Of every variable of the region.

        Returns
        -------
        xr.Dataset
            A part of `template_ds` that starts where it starts.
        """
        newest = [
            max((result.coord.out_loc()[self.append_dim] for result in files if result.succeeded), default=None)
            for files in results.values()
        ]
        reached = [label for label in newest if label is not None]
        if not reached or (self.context.publish_policy == "all" and len(reached) < len(newest)):
            return self.template_ds.isel({self.append_dim: slice(0, self.region.start)})
        last = min(reached) if self.context.publish_policy == "all" else max(reached)
        return self.template_ds.sel({self.append_dim: slice(None, last)})

    # Jobs

    @classmethod
    def get_jobs(
        cls,
        context: JobContext,
        template_ds: xr.Dataset,
        *,
        start: Timestamp | None = None,
        end: Timestamp | None = None,
        contains: Collection[Timestamp] | None = None,
        variables: Names | None = None,
        max_vars_per_job: int | None = None,
    ) -> list[Self]:
        """Regions x variable groups, regions ascending; the same list in every process.

        Parameters
        ----------
        start, end, contains
            See `region.filter_regions`; whole shards are always returned.
        variables : names, optional
            None means all.
        max_vars_per_job : int, optional
            Without it one job takes all variables of a region; with it source groups are cut into batches of at most that.

        Raises
        ------
        UnknownVariable
            Naming the ones that are known.
        """
        template = context.template_config
        labels = template_ds.indexes[template.append_dim.name]
        assert isinstance(labels, pd.DatetimeIndex)
        regions = shard_regions(len(labels), template.shard_length)
        kept = filter_regions(regions, labels, start=start, end=end, contains=contains)
        batches = cls._batches(template.select(variables), max_vars_per_job)
        return [
            cls(context=context, template_ds=template_ds, region=region, data_vars=batch)
            for region in kept
            for batch in batches
        ]

    @classmethod
    def _batches(cls, data_vars: tuple[DataVar, ...], size: int | None) -> list[tuple[DataVar, ...]]:
        if size is None:
            return [data_vars] if data_vars else []
        groups = cls.source_groups(data_vars)
        return [group[i : i + size] for group in groups for i in range(0, len(group), size)]

    @classmethod
    def operational_update_jobs(
        cls, context: JobContext, published: pd.DatetimeIndex, *, end: Timestamp | None = None
    ) -> list[Self]:
        """The jobs that bring a store up to date: its last shard again, and every one since.

        Parameters
        ----------
        published : DatetimeIndex
            Labels the store holds; empty when there is no store.
        end : Timestamp, optional
            Labels before this are wanted; default `context.now`.
        """
        template_ds = context.template_config.get_template(end or context.now)
        start = published[-1] if len(published) else None
        return cls.get_jobs(context, template_ds, start=start)

    def upstream_objects(self) -> dict[str, tuple[str, ...]]:
        """Every file the job is going to read, by key, with the keys of what is read beside it, such as its index."""
        region_ds = self.template_ds.isel({self.append_dim: self.region})
        groups = self.source_groups(self.data_vars)
        coords = {coord for group in groups for coord in self.generate_source_file_coords(region_ds, group)}
        return {coord.key(): self.object_keys(coord) for coord in coords}

    def object_keys(self, coord: Coord) -> tuple[str, ...]:
        """Keys of a file and of what is read beside it. Default: the file alone."""
        return (coord.key(),)

    @property
    def append_dim(self) -> AppendDim:
        return self.context.template_config.append_dim.name

    @property
    def label(self) -> Timestamp:
        """First label of the region."""
        labels = self.template_ds.indexes[self.append_dim]
        assert isinstance(labels, pd.DatetimeIndex)
        return pd.Timestamp(labels[self.region.start])

    # The work

    def process(self) -> Results:
        """Download, read, transform, write and upload every variable; metadata is not touched.

        A variable of which no file succeeded uploads nothing, and neither does one whose published shard was made from more
        files, unless the context forces it. One that an earlier attempt of this run has uploaded is not done again.

        Returns
        -------
        dict of variable name to sequence of FileResult
            What became of every file, within the region (files of a buffer around it are left out).

        Raises
        ------
        TmpDiskFull
            Before anything is fetched when the tmp folder is too small; later when it ran out.
        ReformatError
            When chunks could not be written or uploaded. One bad file does not raise.
        """
        results = self._finished_before()
        left = [data_var for data_var in self.data_vars if data_var.name not in results]
        if not left:
            return results
        region_ds = self.template_ds.isel({self.append_dim: self.get_processing_region()})
        groups = self.source_groups(left)
        with self._workspace(region_ds) as folder, _pools(self.context) as pools:
            tmp_store = folder / "region-tmp.zarr"
            write_metadata(self.template_ds, tmp_store)
            buffer = np.empty(tuple(region_ds[self.data_vars[0].name].shape), dtype=np.float32)
            upload: Future[None] | None = None
            for group, files in self._downloaded_groups(groups, region_ds, folder, pools):
                for data_var in group:
                    results[data_var.name] = in_region = self._fill(buffer, data_var, files, region_ds, pools.read)
                    if not self._worth_publishing(data_var, in_region):
                        continue
                    self._write(buffer, data_var, region_ds, tmp_store)
                    if upload is not None:
                        upload.result()
                    upload = pools.upload.submit(self._upload, data_var, in_region, tmp_store)
                for downloaded in files.values():
                    if isinstance(downloaded, Downloaded):
                        downloaded.path.unlink(missing_ok=True)
            if upload is not None:
                upload.result()
        return {data_var.name: results[data_var.name] for data_var in self.data_vars}

    def _finished_before(self) -> Results:
        if self.context.tracker is None:
            return {}
        own = {data_var.name for data_var in self.data_vars}
        finished = {name: files for name, files in self.context.tracker.finished().items() if name in own}
        if finished:
            log.info("region=%s variables=%s were uploaded by an earlier attempt", self.label, ",".join(finished))
        return finished

    def _downloaded_groups(
        self, groups: Sequence[tuple[DataVar, ...]], region_ds: xr.Dataset, folder: Path, pools: "_Pools"
    ) -> Iterator[tuple[tuple[DataVar, ...], "Files[Coord]"]]:
        """Each group with its files; the next group downloads while the caller works on the one it got."""

        def submit(group: tuple[DataVar, ...]) -> "Future[Files[Coord]]":
            return pools.coordinate.submit(self._download_group, group, region_ds, folder, pools)

        ahead: Future[Files[Coord]] | None = submit(groups[0]) if groups else None
        for i, group in enumerate(groups):
            assert ahead is not None
            files = ahead.result()
            if i + 1 < len(groups):
                ahead = submit(groups[i + 1])
            yield group, files

    def _download_group(
        self, group: tuple[DataVar, ...], region_ds: xr.Dataset, folder: Path, pools: "_Pools"
    ) -> "Files[Coord]":
        coords = self.generate_source_file_coords(region_ds, group)
        names = ",".join(data_var.name for data_var in group)
        done = itertools.count(1)

        def download(coord: Coord) -> Downloaded | str:
            if pools.stop.is_set():
                return "the run was stopped"
            try:
                return self.download_file(coord, group, folder)
            except ReformatError as error:
                log.debug("file=%s %s", coord.key(), error)
                return f"{type(error).__name__}: {error}"
            finally:
                self.context.on_progress(f"download {names}", next(done), len(coords))

        with self.stats.timed("download"):
            fetched = list(pools.download.map(download, coords))
        missing = sum(isinstance(one, str) for one in fetched)
        size = sum(one.path.stat().st_size for one in fetched if isinstance(one, Downloaded))
        self.stats.bytes_in += size
        log.info("region=%s variables=%s files=%d missing=%d bytes=%d", self.label, names, len(coords), missing, size)
        return dict(zip(coords, fetched, strict=True))

    def _fill(
        self,
        buffer: Float32Array,
        data_var: DataVar,
        files: "Files[Coord]",
        region_ds: xr.Dataset,
        pool: ThreadPoolExecutor,
    ) -> Sequence[FileResult]:
        """Read every file of one variable into the buffer; what no file gives is NaN."""
        done = itertools.count(1)

        def read(item: tuple[Coord, Downloaded | str]) -> FileResult:
            result = self._read_into(buffer, data_var, *item, region_ds)
            self.context.on_progress(f"read {data_var.name}", next(done), len(files))
            return result

        with self.stats.timed("read"):
            if any(isinstance(one, Downloaded) and data_var.name in one.spans for one in files.values()):
                buffer.fill(np.nan)
            results = list(pool.map(read, files.items()))
        labels = set(self.template_ds.indexes[self.append_dim][self.region])
        in_region = [result for result in results if result.coord.out_loc()[self.append_dim] in labels]
        failed = sum(not result.succeeded for result in in_region)
        log.info("region=%s variable=%s files=%d missing=%d", self.label, data_var.name, len(in_region), failed)
        return in_region

    def _read_into(
        self,
        buffer: Float32Array,
        data_var: DataVar,
        coord: Coord,
        downloaded: Downloaded | str,
        region_ds: xr.Dataset,
    ) -> FileResult:
        result = FileResult(coord=coord)
        if isinstance(downloaded, str):
            return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded)
        if (span := downloaded.spans.get(data_var.name)) is None:
            return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded.reasons[data_var.name])
        result = result.model_copy(update={"bytes": span[1], "etag": downloaded.etag, "archive": downloaded.archive})
        try:
            values = self.read_data(coord, data_var, downloaded)
        except ReformatError as error:
            log.warning("file=%s variable=%s %s", coord.key(), data_var.name, error)
            return result.advance(SourceFileStatus.READ_FAILED, f"{type(error).__name__}: {error}")
        place = tuple(region_ds.indexes[dim].get_loc(label) for dim, label in coord.out_loc().items())
        buffer[place] = values
        return result.advance(SourceFileStatus.SUCCEEDED)

    def _worth_publishing(self, data_var: DataVar, results: Sequence[FileResult]) -> bool:
        succeeded = sum(result.succeeded for result in results)
        published = self.context.coverage(self.label, data_var.name)
        if succeeded == 0:
            log.warning("region=%s variable=%s no file succeeded; nothing is uploaded", self.label, data_var.name)
            return False
        if succeeded < published and not self.context.force:
            self.stats.kept.append(data_var.name)
            log.warning(
                "region=%s variable=%s %d files succeeded, the published shard has %d; it is kept (force replaces it)",
                self.label,
                data_var.name,
                succeeded,
                published,
            )
            return False
        return True

    def _write(self, buffer: Float32Array, data_var: DataVar, region_ds: xr.Dataset, tmp_store: Path) -> None:
        with self.stats.timed("transform"):
            self.apply_data_transformations(buffer, data_var, region_ds)
        processing = self.get_processing_region()
        stop = min(self.region.stop, len(self.template_ds.indexes[self.append_dim]))
        own = buffer[self.region.start - processing.start : stop - processing.start]
        with self.stats.timed("write"):
            write_shards(own, tmp_store, data_var.name, self.region, threads=self.context.cpus)

    def _upload(self, data_var: DataVar, results: Sequence[FileResult], tmp_store: Path) -> None:
        shard = shard_index(self.region, self.context.template_config.shard_length)
        with self.stats.timed("upload"):
            published = publish_chunks(tmp_store, self.context.stores, data_var.name, shard)
        self.stats.bytes_out += published.bytes
        self.stats.objects_out += published.objects
        if self.context.tracker is not None:
            self.context.tracker.record(data_var.name, results)
        self.context.on_progress(f"upload {data_var.name}", 1, 1)
        log.info(
            "region=%s variable=%s objects=%d bytes=%d", self.label, data_var.name, published.objects, published.bytes
        )

    @contextmanager
    def _workspace(self, region_ds: xr.Dataset) -> Iterator[Path]:
        """A folder for this job's tmp store and downloads, gone whichever way the job ends."""
        folder = self.context.tmp / f"{self.context.template_config.dataset_id}-{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            needed = 2 * region_ds[self.data_vars[0].name].nbytes
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise TmpDiskFull(
                    f"region {self.label} of {self.context.template_config.dataset_id} needs {needed:,} bytes in "
                    f"{self.context.tmp}; {free:,} are free: point REFORMATTERS_TMP at a larger disk"
                )
            with on_tmp_disk(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _step_axis(self, region_ds: xr.Dataset) -> int:
        dims = list(region_ds[self.data_vars[0].name].dims)
        return dims.index("lead_time") if "lead_time" in dims else 0


type Files[Coord: SourceFileCoord] = Mapping[Coord, Downloaded | str]
"""What was fetched of each file, or why nothing was."""


@dataclass(frozen=True)
class _Pools:
    coordinate: ThreadPoolExecutor
    download: ThreadPoolExecutor
    read: ThreadPoolExecutor
    upload: ThreadPoolExecutor
    stop: Event


@contextmanager
def _pools(context: JobContext) -> Iterator[_Pools]:
    """Thread pools of one job; on an error or interrupt queued work is dropped and running work told to stop."""
    pools = _Pools(
        coordinate=ThreadPoolExecutor(1, "coordinate"),
        download=ThreadPoolExecutor(context.download_threads, "download"),
        read=ThreadPoolExecutor(context.cpus, "read"),
        upload=ThreadPoolExecutor(1, "upload"),
        stop=Event(),
    )
    try:
        yield pools
    finally:
        pools.stop.set()
        for pool in (pools.coordinate, pools.download, pools.read, pools.upload):
            pool.shutdown(wait=True, cancel_futures=True)


def _step_seconds(region_ds: xr.Dataset, rule: Deaccumulation) -> npt.NDArray[np.float64]:
    """Seconds since the source began to accumulate, for each step."""
    if "lead_time" in region_ds.indexes:
        return pd.TimedeltaIndex(region_ds.indexes["lead_time"]).total_seconds().to_numpy()
    return seconds_since_reset(pd.DatetimeIndex(region_ds.indexes["time"]), rule.reset)


def _isolated_missing(values: Float32Array, axis: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Steps that are NaN throughout while both neighbours are not."""
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    missing = np.isnan(rows).all(axis=1)
    isolated = missing.copy()
    isolated[[0, -1]] = False
    isolated[1:-1] &= ~missing[:-2] & ~missing[2:]
    return isolated
