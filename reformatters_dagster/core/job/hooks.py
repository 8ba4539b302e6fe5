"""What a dataset may say about its region jobs, and how they are cut.

In: a template and filters. Out: jobs, the files they want, and how their values are transformed.
"""

import fnmatch
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.field.transforms import (
    deaccumulate_in_place,
    interpolate_in_place,
    round_in_place,
    seconds_since_reset,
)
from reformatters_dagster.core.job.context import JobContext, JobStats
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Downloaded, Results, SourceFileCoord
from reformatters_dagster.core.spec.errors import ImplausibleRate
from reformatters_dagster.core.spec.region import filter_regions, shard_regions
from reformatters_dagster.core.spec.values import AppendDim, Array2D, Float32Array, Names, Timestamp
from reformatters_dagster.core.spec.variables import DataVar, Deaccumulation

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegionHooks[Coord: SourceFileCoord](ABC):
    """What a region job is asked by its own `process`, and by those who plan: see `RegionJob`."""

    context: JobContext
    template_ds: xr.Dataset
    """The full extent, as `TemplateConfig.get_template` gives it."""
    region: slice
    data_vars: tuple[DataVar, ...]
    stats: JobStats = field(default_factory=JobStats)

    source_file_coord: ClassVar[type[SourceFileCoord]]
    """The coord's class, to read results back from JSON."""
    known_missing_files: ClassVar[tuple[str, ...]] = ()
    """Keys, or shell patterns of keys, of files that were never made: nobody asks for them, or misses them."""

    # Hooks

    def get_processing_region(self) -> slice:
        """The region, plus the neighbours along the append dimension that transforms need. Default: the region."""
        return self.region

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        """Variables that come from the same files, downloaded together. Default: one group.

        The default keeps variables apart that the first step has from those it has not, and ones the source has from
        different times on. Where a dataset does not, files are asked for from the time on from which any of a group is there.
        """
        groups: dict[tuple[bool, Timestamp | None], list[DataVar]] = {}
        for data_var in data_vars:
            groups.setdefault((data_var.has_hour_0, data_var.available_from), []).append(data_var)
        return [tuple(group) for group in groups.values()]

    @abstractmethod
    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> Sequence[Coord]:
        """Every file the variables of a group want over a region: deterministic, and none that the source does not make.

        Single files that should be there, and never were, belong into `known_missing_files`.

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

    def read_into(self, coord: Coord, data_var: DataVar, downloaded: Downloaded, out: Array2D) -> None:
        """As `read_data`, straight into the field's place in memory, which is of no use after an error."""
        out[...] = self.read_data(coord, data_var, downloaded)

    def steps_without_files(self, region_ds: xr.Dataset) -> npt.NDArray[np.bool_] | None:  # noqa: ARG002
        """Steps that the source never has, each between two that it has; they are interpolated. Default: there are none.

        A dataset with such steps has a `reach` of 4: a step between files depends on two rates, those on two totals each.
        """
        return None

    def reach(self, data_var: DataVar) -> int:
        """Steps on either side of a step that a variable's transformed value can depend on."""
        return 2 if data_var.interpolate else int(data_var.deaccumulation is not None)

    def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
        """Deaccumulate, interpolate, round, in place and in that order. Masking and scaling happened at decode.

        Parameters
        ----------
        values : (append_dim, ...) float32
            One variable, over the processing region or the part of it that is computed, and over the whole grid or a window
            of it: grid points must not depend on each other.
        region_ds : xr.Dataset
            The template over the same part, with the boolean `has_file`, over the dimensions before the grid, which says
            where a field was read.
        """
        axis = self._step_axis(region_ds)
        between = self.steps_without_files(region_ds)
        keep, rounded = data_var.keep_mantissa_bits, False
        if data_var.deaccumulation is not None:
            rounded = between is None and not data_var.interpolate
            seconds = _step_seconds(region_ds, data_var.deaccumulation)
            try:
                counts = deaccumulate_in_place(
                    values,
                    seconds,
                    data_var.deaccumulation,
                    axis=axis,
                    skip_step=between,
                    keep_mantissa_bits=keep if rounded else None,
                    threads=self.context.cpus,
                )
                self.stats.count_rates(data_var.name, counts.clamped_fraction, counts.invalid_fraction)
            except ImplausibleRate as error:
                log.exception("region=%s variable=%s rates are implausible", self.label, data_var.name)
                self.stats.implausible[data_var.name] = str(error)
        if between is not None:
            # The ends have a neighbour on one side only; they lie outside what is written, or end the archive.
            between[[0, -1]] = False
            interpolate_in_place(values, between, axis=axis, threads=self.context.cpus)
        if data_var.interpolate:
            isolated = _isolated_missing(region_ds["has_file"], axis)
            interpolate_in_place(values, isolated, axis=axis, threads=self.context.cpus)
        if keep is not None and not rounded:
            round_in_place(values, keep, threads=self.context.cpus)

    def update_template_with_results(self, results: Results) -> xr.Dataset:
        """The template cut to what the results allow to be published.

        Default: up to the newest label at which any variable succeeded, or, where the dataset's publish policy is `all`, up to
        the newest at which every variable had a success; without one, up to the region's start. A variable of which no file
        is wanted has no say.

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
            if files
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
        labels = pd.DatetimeIndex(template_ds.indexes[context.template_config.append_dim.name])
        # Metadata may have been made for labels that are yet to come.
        start = min(published[-1], labels[-1]) if len(published) else None
        return cls.get_jobs(context, template_ds, start=start)

    def upstream_objects(
        self, since: Timestamp | None = None, archive: Archive | None = None
    ) -> dict[str, tuple[str, ...]]:
        """Every file the job is going to read, by key, with the keys of what is read beside it, such as its index.

        Parameters
        ----------
        since : Timestamp, optional
            Only files of labels from here on.
        archive : Archive, optional
            Whose names those keys are; default: those that every archive has.
        """
        region_ds = self._over(self._processing)
        if since is not None:
            region_ds = region_ds.sel({self.append_dim: slice(since, None)})
        groups = self.source_groups(self.data_vars)
        coords = {coord for group in groups for coord in self.source_files(region_ds, group)}
        return {coord.key(): self.object_keys(coord, archive) for coord in coords}

    def object_keys(self, coord: Coord, archive: Archive | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """Keys of a file and of what is read beside it, as an archive names them. Default: the file alone."""
        return (coord.key(),)

    def source_files(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[Coord]:
        """As `generate_source_file_coords`, without what the source has not yet, and without `known_missing_files`."""
        coords = list(self.generate_source_file_coords(region_ds, data_vars))
        starts = [data_var.available_from for data_var in data_vars if data_var.available_from is not None]
        if len(starts) == len(data_vars):
            coords = [coord for coord in coords if self._label_of(coord) >= min(starts)]
        if self.known_missing_files:
            known = re.compile("|".join(map(fnmatch.translate, self.known_missing_files)))
            coords = [coord for coord in coords if not known.match(coord.key())]
        return coords

    @property
    def append_dim(self) -> AppendDim:
        return self.context.template_config.append_dim.name

    @property
    def label(self) -> Timestamp:
        """First label of the region."""
        labels = self.template_ds.indexes[self.append_dim]
        assert isinstance(labels, pd.DatetimeIndex)
        return pd.Timestamp(labels[self.region.start])

    def _label_of(self, coord: SourceFileCoord) -> Timestamp:
        label = coord.out_loc()[self.append_dim]
        assert isinstance(label, Timestamp)
        return label

    @property
    def _own(self) -> slice:
        """The region, up to the last label there is."""
        return slice(self.region.start, min(self.region.stop, len(self.template_ds.indexes[self.append_dim])))

    @property
    def _processing(self) -> slice:
        """The processing region, up to the last label there is."""
        processing, end = self.get_processing_region(), len(self.template_ds.indexes[self.append_dim])
        return slice(processing.start, min(processing.stop, end))

    def _positions(self, coords: Sequence[SourceFileCoord]) -> list[int]:
        """Where each file lies along the append dimension."""
        labels = self.template_ds.indexes[self.append_dim]
        return [int(at) for at in labels.get_indexer(pd.Index([coord.out_loc()[self.append_dim] for coord in coords]))]

    def _over(self, positions: slice) -> xr.Dataset:
        return self.template_ds.isel({self.append_dim: positions})

    def _step_axis(self, region_ds: xr.Dataset) -> int:
        dims = list(region_ds[self.data_vars[0].name].dims)
        return dims.index("lead_time") if "lead_time" in dims else 0


def _step_seconds(region_ds: xr.Dataset, rule: Deaccumulation) -> npt.NDArray[np.float64]:
    """Seconds since the source began to accumulate, for each step."""
    if "lead_time" in region_ds.indexes:
        return pd.TimedeltaIndex(region_ds.indexes["lead_time"]).total_seconds().to_numpy()
    return seconds_since_reset(pd.DatetimeIndex(region_ds.indexes["time"]), rule.reset)


def _isolated_missing(has_file: xr.DataArray, axis: int) -> npt.NDArray[np.bool_]:
    """Steps that no file was read for while both neighbours have one."""
    others = tuple(at for at in range(has_file.ndim) if at != axis)
    missing = ~np.asarray(has_file.to_numpy().any(axis=others), np.bool_)
    isolated = missing.copy()
    isolated[[0, -1]] = False
    isolated[1:-1] &= ~missing[:-2] & ~missing[2:]
    return isolated
