"""`RegionJob`: one region of one dataset, from upstream files to published chunks.

`process` is the table of contents of this project. It calls the stages in order and owns all concurrency: while one variable
uploads, the next is read and compressed, and the next group of variables downloads.
"""

import itertools
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import pandas as pd
import xarray as xr

from reformatters_dagster.core.field.buffer import Arena, FieldBuffer, spare_arena, spatial_windows
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.pools import Pools, job_pools, result_of
from reformatters_dagster.core.ledger.changes import (
    Changed,
    Judgement,
    PublishedShard,
    Stretch,
    changed_positions,
    cut_stretches,
    judge,
)
from reformatters_dagster.core.ledger.progress import Upload
from reformatters_dagster.core.shard.tmp_folder import tmp_folder
from reformatters_dagster.core.shard.writer import continue_shards, on_tmp_disk, write_shards
from reformatters_dagster.core.source.files import Downloaded, FileResult, Results, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.spec.errors import CorruptShard, ReformatError, TmpDiskFull
from reformatters_dagster.core.spec.region import shard_index
from reformatters_dagster.core.spec.template_files import write_arrays
from reformatters_dagster.core.spec.values import Dim, Float32Array, Window
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.spec.zarr_documents import shard_keys
from reformatters_dagster.core.store.upload import publish_chunks

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegionJob[Coord: SourceFileCoord](RegionHooks[Coord]):
    """One region (one whole shard along the append dimension) x some variables.

    A dataset overrides the hooks it needs; providers' base classes implement most.
    """

    def process(self) -> Results:
        """Download, read, transform, write and upload every variable; metadata is not touched.

        A variable of which no file succeeded uploads nothing, and neither does one whose published shard was made from more
        files, unless the context forces it. One that an earlier attempt of this run has uploaded is not done again. Where the
        context knows what is published, only what is new is downloaded, and the published shards are continued with it.

        Returns
        -------
        dict of variable name to sequence of FileResult
            What became of every file of the region; and, where they failed, of files of the neighbouring steps that are read for
            deaccumulation and interpolation.

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
        work = [planned for group in self.source_groups(left) for planned in self._plans(group)]
        with spare_arena() as arena, self._workspace() as folder, job_pools(self.context) as pools:
            tmp_store = folder / "region-tmp.zarr"
            write_arrays(self.template_ds, [data_var.name for data_var in left], tmp_store)
            upload: Future[None] | None = None
            for group, plan, files in self._downloaded_groups(work, folder, pools):
                parts = self._parts(plan, files, folder, arena)
                for data_var in group:
                    filled = self._fill(parts, plan, data_var, pools.read)
                    results[data_var.name] = filled.results
                    has_nothing_new = plan.changed is not None and not any(file.was_read for file in filled.results)
                    if not parts or has_nothing_new:
                        continue
                    if (standing := self._standing(data_var, filled.results)) is not None:
                        results[data_var.name] = standing
                        continue
                    self._write(parts, plan, data_var, filled.withheld, tmp_store)
                    if upload is not None:
                        result_of(upload)
                    upload = pools.upload.submit(self._upload, data_var, filled.results, tmp_store)
                for downloaded in (one for part in files for one in part.values()):
                    if isinstance(downloaded, Downloaded):
                        downloaded.path.unlink(missing_ok=True)
            if upload is not None:
                result_of(upload)
        return {data_var.name: results[data_var.name] for data_var in self.data_vars}

    def _plans(self, group: tuple[DataVar, ...]) -> "Iterator[tuple[tuple[DataVar, ...], _Plan[Coord]]]":
        """What of the region is to be computed for a group: all of it, but for variables whose shards can be continued."""
        known = self.context.published
        changed: dict[DataVar, Changed] = {}
        if known is not None and not self.context.force:
            changed = dict(self._changed(known, group))
        if anew := tuple(data_var for data_var in group if data_var not in changed):
            yield anew, _Plan([Stretch(read=self._processing, write=self._own)], self._coords(anew), None)
        if continued := tuple(changed):
            positions = frozenset[int]().union(*(one.to_read for one in changed.values()))
            steps = max(self.reach(data_var) for data_var in continued)
            stretches = cut_stretches(positions, self._own, self._processing, steps)
            names, read = (
                ",".join(one.name for one in continued),
                sum(one.read.stop - one.read.start for one in stretches),
            )
            log.info("region=%s variables=%s labels=%d of the published shards are read again", self.label, names, read)
            lacking = {data_var.name: one for data_var, one in changed.items()}
            yield continued, _Plan(stretches, self._coords(continued), lacking)

    def _changed(self, known: PublishedShard, group: Sequence[DataVar]) -> Iterator[tuple[DataVar, Changed]]:
        """Those variables of a group whose published shards can be continued, with what the shards lack."""
        labels = pd.DatetimeIndex(self.template_ds.indexes[self.append_dim])[: self._own.stop]
        coords = self._coords(group)
        for data_var in group:
            upload = self.context.uploads.get(data_var.name)
            found = changed_positions(known, data_var.name, coords, labels, upload)
            if found is not None and self._is_published(data_var):
                yield data_var, found

    def _coords(self, group: Sequence[DataVar]) -> dict[Coord, int]:
        """Every file of the region that a group is read from, with its position."""
        files = self.source_files(self._over(self._own), group)
        return dict(zip(files, self._positions(files), strict=True))

    def _is_published(self, data_var: DataVar) -> bool:
        """Whether every shard object of the region stands in the final store."""
        template = self.context.template_config
        shard = shard_index(self.region, template.shard_length)
        shape = self.template_ds[data_var.name].shape
        wanted = shard_keys((1, *shape[1:]), (1, *list(template.shards.values())[1:]))
        found = self._stored_objects(data_var)
        return found >= {f"{data_var.name}/c/{shard}/{key.split('/', 2)[2]}" for key in wanted}

    def _stored_objects(self, data_var: DataVar) -> set[str]:
        """Keys of the region's shard objects that stand in the final store."""
        shard = shard_index(self.region, self.context.template_config.shard_length)
        return {key for key, _ in self.context.stores.primary.list(f"{data_var.name}/c/{shard}")}

    def _parts(
        self, plan: "_Plan[Coord]", files: "Sequence[Files[Coord]]", folder: Path, arena: Arena
    ) -> "list[_Part[Coord]]":
        """A buffer for every stretch; together they stay within the budget."""
        template = self.context.template_config
        shape = self.template_ds[self.data_vars[0].name].shape
        fields = sum(one.read.stop - one.read.start for one in plan.stretches) * prod(shape[1:-2])
        budget = self.context.buffer_bytes // (4 * max(fields, 1))
        rows, columns = list(template.shards.values())[-2:]
        windows = spatial_windows((shape[-2], shape[-1]), (rows, columns), budget)
        shapes = [(one.read.stop - one.read.start, *shape[1:]) for one in plan.stretches]
        memories = arena.cut([FieldBuffer.size(one, windows) for one in shapes])
        parts = []
        for number, (stretch, fetched) in enumerate(zip(plan.stretches, files, strict=True)):
            spool = folder / f"stretch-{number}"
            spool.mkdir(exist_ok=True)
            region_ds = self._over(stretch.read)
            buffer = FieldBuffer(shapes[number], windows, memories[number], spool)
            positions = _positions_of(fetched, region_ds, template.dim_names[:-2])
            parts.append(_Part(stretch, region_ds, positions, buffer, fetched))
        return parts

    def _finished_before(self) -> Results:
        """Results of variables that an earlier attempt has uploaded, made from the files that are wanted now."""
        finished: Results = {}
        for data_var in self.data_vars:
            upload = self.context.uploads.get(data_var.name)
            if upload is None or self.context.tracker is None or not self.context.tracker.is_own(upload):
                continue
            if (made := self._made_from(data_var, upload)) is not None:
                finished[data_var.name] = made
        if finished:
            log.info("region=%s variables=%s were uploaded by an earlier attempt", self.label, ",".join(finished))
        return finished

    def _downloaded_groups(
        self, work: "Sequence[tuple[tuple[DataVar, ...], _Plan[Coord]]]", folder: Path, pools: Pools
    ) -> "Iterator[tuple[tuple[DataVar, ...], _Plan[Coord], Sequence[Files[Coord]]]]":
        """Each group with its files; the next group downloads while the caller works on the one it got."""

        def submit(group: tuple[DataVar, ...], plan: "_Plan[Coord]") -> "Future[Sequence[Files[Coord]]]":
            return pools.coordinate.submit(self._download_group, group, plan, folder, pools)

        ahead: Future[Sequence[Files[Coord]]] | None = submit(*work[0]) if work else None
        for i, (group, plan) in enumerate(work):
            assert ahead is not None
            files = result_of(ahead)
            if i + 1 < len(work):
                ahead = submit(*work[i + 1])
            yield group, plan, files

    def _download_group(
        self, group: tuple[DataVar, ...], plan: "_Plan[Coord]", folder: Path, pools: Pools
    ) -> "Sequence[Files[Coord]]":
        """The files of every stretch."""
        wanted = [self.source_files(self._over(one.read), group) for one in plan.stretches]
        coords = [coord for stretch in wanted for coord in stretch]
        names = ",".join(data_var.name for data_var in group)
        done = itertools.count(1)

        def download(coord: Coord) -> Downloaded | str:
            if pools.stop.is_set():
                return "the run was stopped"
            try:
                return self.download_file(coord, group, folder)
            except Exception as error:
                log.debug("file=%s %s", coord.key(), error)
                return self._reason_of(error, coord)
            finally:
                self.context.on_progress(f"download {names}", next(done), len(coords))

        with self.stats.timed("download") as seconds:
            fetched = dict(zip(coords, pools.download.map(download, coords), strict=True))
        missing = sum(isinstance(one, str) for one in fetched.values())
        size = sum(one.size for one in fetched.values() if isinstance(one, Downloaded))
        self.stats.bytes_in += size
        log.log(
            self._level(missing),
            "region=%s variables=%s files=%d missing=%d bytes=%d seconds=%.1f",
            self.label,
            names,
            len(coords),
            missing,
            size,
            seconds(),
        )
        return [{coord: fetched[coord] for coord in stretch} for stretch in wanted]

    def _fill(
        self, parts: "Sequence[_Part[Coord]]", plan: "_Plan[Coord]", data_var: DataVar, pool: ThreadPoolExecutor
    ) -> Judgement:
        """Read every file of one variable into the buffers, and say what became of every file of the region."""
        done = itertools.count(1)
        total = sum(len(part.files) for part in parts)
        read: list[FileResult] = []
        with self.stats.timed("read") as seconds:
            for part in parts:

                def read_one(item: tuple[Coord, Downloaded | str], part: "_Part[Coord]" = part) -> FileResult:
                    result = self._read_into(part, data_var, *item)
                    self.context.on_progress(f"read {data_var.name}", next(done), total)
                    return result

                part.buffer.clear()
                read.extend(pool.map(read_one, part.files.items()))
        found = self._judge(plan, data_var, read)
        failed = sum(not result.succeeded for result in found.results)
        log.log(
            self._level(failed),
            "region=%s variable=%s files=%d missing=%d seconds=%.1f",
            self.label,
            data_var.name,
            len(found.results),
            failed,
            seconds(),
        )
        return found

    def _level(self, missing: int) -> int:
        """Log level for missing files: INFO while they may still arrive, WARNING after the give-up age."""
        return (
            logging.WARNING if missing and self.context.now - self.label >= self.context.give_up_age else logging.INFO
        )

    def _judge(self, plan: "_Plan[Coord]", data_var: DataVar, read: Sequence[FileResult]) -> Judgement:
        """Results of the region; a file of a neighbouring step counts where it fails, since values are made from it."""
        if plan.changed is None:
            in_region = [result for result in read if result.coord in plan.coords or not result.succeeded]
            return Judgement(in_region, frozenset())
        assert self.context.published is not None
        etags = self.context.published.entry.etags
        placed = zip(self._positions([result.coord for result in read]), read, strict=True)
        return judge(plan.coords, plan.changed[data_var.name], list(placed), etags.get, self.reach(data_var))

    def _read_into(
        self, part: "_Part[Coord]", data_var: DataVar, coord: Coord, downloaded: Downloaded | str
    ) -> FileResult:
        result = FileResult(coord=coord)
        if isinstance(downloaded, str):
            return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded)
        if (span := downloaded.spans.get(data_var.name)) is None:
            return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded.reasons[data_var.name])
        size = span[1] if downloaded.fetched is None else downloaded.fetched
        result = result.model_copy(update={"bytes": size, "etag": downloaded.etag, "archive": downloaded.archive})
        try:
            part.buffer.fill(part.positions[coord], lambda out: self.read_into(coord, data_var, downloaded, out))
        except Exception as error:
            log.debug("file=%s variable=%s %s", coord.key(), data_var.name, error)
            return result.advance(SourceFileStatus.READ_FAILED, self._reason_of(error, coord))
        return result.advance(SourceFileStatus.SUCCEEDED)

    def _reason_of(self, error: Exception, coord: Coord) -> str:
        """Why a file failed, which fails no other; raises what is no fault of the file."""
        if not isinstance(error, ReformatError):
            if isinstance(error, OSError | MemoryError):
                raise error
            if self.stats.is_first(type(error).__name__):
                log.error("file=%s an error nobody expected, as if the file were bad", coord.key(), exc_info=error)
        return f"{type(error).__name__}: {error}"

    def _standing(self, data_var: DataVar, results: Sequence[FileResult]) -> Sequence[FileResult] | None:
        """What to say of a variable whose shards are left as they stand; None where those of this job replace them."""
        made = self._made_from(data_var, self.context.uploads.get(data_var.name))
        if results and not any(result.succeeded for result in results):
            log.warning("region=%s variable=%s no file succeeded; nothing is uploaded", self.label, data_var.name)
            return results if made is None else made
        lost = [] if self.context.force else self._lost(data_var, results)
        if not lost or not self._stored_objects(data_var):
            return None
        log.warning(
            "region=%s variable=%s the shard that stands is made from %d files that failed now, such as %s (%s); it is kept "
            "(force replaces it)",
            self.label,
            data_var.name,
            len(lost),
            lost[0].coord.key(),
            lost[0].reason,
        )
        if made is None:
            self.stats.kept.append(data_var.name)
        return results if made is None else made

    def _made_from(self, data_var: DataVar, upload: Upload | None) -> Sequence[FileResult] | None:
        """What an upload that has ended made shards from, if it wanted every file that is wanted now."""
        if upload is None or not upload.finished:
            return None
        wanted = self._coords([data_var]).keys()
        return upload.results if wanted <= {file.coord for file in upload.results} else None

    def _lost(self, data_var: DataVar, results: Sequence[FileResult]) -> list[FileResult]:
        """Files that failed, and that the shards which stand are made from, or may be."""
        failed = [result for result in results if not result.succeeded]
        upload = self.context.uploads.get(data_var.name)
        coverage = self.context.coverage(self.label, data_var.name) if failed else None
        before = frozenset[str]() if upload is None else upload.used
        if coverage is not None:
            missing = {one.file for one in coverage.missing}
            of_then = [
                one for one in results if coverage.through is None or self._label_of(one.coord) <= coverage.through
            ]
            keys = {one.coord.key() for one in of_then}
            if len(of_then) == coverage.expected:
                before |= keys - missing
            elif sum(one.succeeded for one in of_then) < coverage.succeeded:
                # Others were wanted then, and which of them were used is unknown.
                before |= keys
        return [result for result in failed if result.coord.key() in before]

    def _write(
        self,
        parts: "Sequence[_Part[Coord]]",
        plan: "_Plan[Coord]",
        data_var: DataVar,
        withheld: Collection[int],
        tmp_store: Path,
    ) -> None:
        """Transform and write one variable, window by window of the grid."""
        name, threads = data_var.name, self.context.cpus
        for pieces in zip(*(part.buffer.pieces() for part in parts), strict=True):
            patches: list[tuple[int, Float32Array]] = []
            for part, (window, values) in zip(parts, pieces, strict=True):
                with self.stats.timed("transform"):
                    self.apply_data_transformations(values, data_var, part.seen_through(window, name))
                for run in _runs(part.stretch.write, withheld):
                    own = values[run.start - part.stretch.read.start : run.stop - part.stretch.read.start]
                    patches.append((run.start - self.region.start, own))
            with self.stats.timed("write"):
                if plan.changed is None:
                    write_shards(patches[0][1], tmp_store, name, self.region, window=pieces[0][0], threads=threads)
                else:
                    continue_shards(
                        patches,
                        self._published_object,
                        tmp_store,
                        name,
                        self.region,
                        window=pieces[0][0],
                        threads=threads,
                    )

    def _published_object(self, key: str) -> memoryview:
        primary = self.context.stores.primary
        found = primary.get_buffer(key)
        if found is None:
            raise CorruptShard(f"{primary.url}/{key} was to be continued; it is gone: backfill this partition anew")
        return found

    def _upload(self, data_var: DataVar, results: Sequence[FileResult], tmp_store: Path) -> None:
        shard = shard_index(self.region, self.context.template_config.shard_length)
        with self.stats.timed("upload") as seconds:
            self.context.check_writer()
            if self.context.tracker is not None:
                self.context.tracker.begin(data_var.name, results, self.context.uploads.get(data_var.name))
            stop = self.context.upstream.stop
            published = publish_chunks(tmp_store, self.context.stores, data_var.name, shard, stop=stop)
        self.stats.bytes_out += published.bytes
        self.stats.objects_out += published.objects
        if self.context.tracker is not None:
            self.context.tracker.record(data_var.name, results)
        self.context.on_progress(f"upload {data_var.name}", 1, 1)
        log.info(
            "region=%s variable=%s objects=%d bytes=%d seconds=%.1f",
            self.label,
            data_var.name,
            published.objects,
            published.bytes,
            seconds(),
        )

    @contextmanager
    def _workspace(self) -> Iterator[Path]:
        """A folder for this job's tmp store and downloads."""
        dataset_id = self.context.template_config.dataset_id
        with tmp_folder(self.context.tmp, dataset_id) as folder:
            size = self._over(self.get_processing_region())[self.data_vars[0].name].nbytes
            needed = 2 * size + (size if size > self.context.buffer_bytes else 0)
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise TmpDiskFull(
                    f"region {self.label} of {dataset_id} needs {needed:,} bytes in {self.context.tmp}; {free:,} are free: "
                    "point REFORMATTERS_TMP at a larger disk"
                )
            with on_tmp_disk(folder):
                yield folder


type Files[Coord: SourceFileCoord] = Mapping[Coord, Downloaded | str]
"""What was fetched of each file, or why nothing was."""


@dataclass(frozen=True)
class _Plan[Coord: SourceFileCoord]:
    """What is computed of a region for a group of variables."""

    stretches: Sequence[Stretch]
    coords: Mapping[Coord, int]
    """Every file of the region, with its position."""
    changed: Mapping[str, Changed] | None
    """By variable, what the published shards lack; None when they are made anew altogether."""


@dataclass(frozen=True)
class _Part[Coord: SourceFileCoord]:
    """One stretch with its files and its buffer."""

    stretch: Stretch
    region_ds: xr.Dataset
    positions: Mapping[Coord, tuple[int, ...]]
    """Where each file's fields lie along the dimensions before the grid."""
    buffer: FieldBuffer
    files: "Files[Coord]"

    def seen_through(self, window: Window, variable: str) -> xr.Dataset:
        """The template over the stretch and a window of the grid, with `has_file` where a field was read."""
        *dims, rows, columns = self.region_ds[variable].dims
        part = self.region_ds.isel({rows: window[0], columns: window[1]})
        return part.assign(has_file=(dims, self.buffer.placed.copy()))


def _positions_of[Coord: SourceFileCoord](
    coords: Collection[Coord], region_ds: xr.Dataset, dims: Sequence[Dim]
) -> dict[Coord, tuple[int, ...]]:
    labels = [coord.out_loc() for coord in coords]
    along = [region_ds.indexes[dim].get_indexer(pd.Index([one[dim] for one in labels])).tolist() for dim in dims]
    return dict(zip(coords, zip(*along, strict=True), strict=True))


def _runs(positions: slice, without: Collection[int]) -> Iterator[slice]:
    """A slice cut up around some positions."""
    start = positions.start
    for hole in [*sorted(at for at in without if positions.start <= at < positions.stop), positions.stop]:
        if start < hole:
            yield slice(start, hole)
        start = hole + 1
