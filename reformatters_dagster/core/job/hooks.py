"""What the author of a dataset may override: every hook of a region job, with what it does unless it is overridden.

In: what the job is about, its `context`, `region` and `data_vars`. Out: which files it wants, and how they become values.
`RegionJob` calls the hooks, in the order in which they stand here.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from reformatters_dagster.core.job import cutting
from reformatters_dagster.core.job.context import JobContext, JobStats
from reformatters_dagster.core.job.publishable import cut_to_results
from reformatters_dagster.core.job.transformations import transform_in_place
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Downloaded, Results, SourceFileCoord
from reformatters_dagster.core.spec.values import AppendDim, Array2D, Float32Array, Timestamp
from reformatters_dagster.core.spec.variables import DataVar


@dataclass(frozen=True, kw_only=True)
class RegionHooks[Coord: SourceFileCoord](ABC):
    """One region and some variables, and what a dataset says about them."""

    context: JobContext
    template_ds: xr.Dataset
    """The full extent, as `TemplateConfig.get_template` gives it."""
    region: slice
    """One whole shard along the append dimension, which may end past the template's last label."""
    data_vars: tuple[DataVar, ...]
    stats: JobStats = field(default_factory=JobStats)

    source_file_coord: ClassVar[type[SourceFileCoord]]
    """The class of the coords. Results are read back from JSON with it."""
    known_missing_files: ClassVar[tuple[str, ...]] = ()
    """Keys, or shell patterns of keys, of files that were never made. No run asks for them, and no check misses them."""

    @property
    def append_dim(self) -> AppendDim:
        return self.context.template_config.append_dim.name

    @cached_property
    def label(self) -> Timestamp:
        """First label of the region."""
        return pd.Timestamp(self.template_ds.get_index(self.append_dim)[self.region.start])

    @classmethod
    def operational_update_jobs(
        cls, context: JobContext, published: pd.DatetimeIndex, *, end: Timestamp | None = None
    ) -> list[Self]:
        """The jobs that bring a store up to date. Default: its last shard again, and every one since.

        Parameters
        ----------
        published : DatetimeIndex
            Labels that the store holds; empty when there is no store.
        end : Timestamp, optional
            Labels before this are wanted; default `context.now`.
        """
        template = context.template_config
        template_ds = template.get_template(end or context.now)
        regions = cutting.regions_to_update(template, template_ds, published)
        return [
            cls(context=context, template_ds=template_ds, region=region, data_vars=template.data_vars)
            for region in regions
        ]

    def get_processing_region(self) -> slice:
        """The region, and the neighbours along the append dimension that transforms need. Default: the region."""
        return self.region

    @classmethod
    def source_groups(cls, data_vars: Sequence[DataVar]) -> list[tuple[DataVar, ...]]:
        """Groups of variables that come from the same files and are downloaded together.

        Default: one group for all variables that agree in `has_hour_0` and `available_from`. Where a dataset puts variables
        together that differ in `available_from`, the files of the group are wanted from the earliest of these times on.
        """
        return cutting.groups_by_files(data_vars)

    @abstractmethod
    def generate_source_file_coords(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> Sequence[Coord]:
        """Every file that a group of variables wants: the same at every call, and none that the source does not make.

        A single file that should be there, and never was, belongs in `known_missing_files`.

        Parameters
        ----------
        region_ds : xr.Dataset
            The template over the processing region, or over a part of it.
        data_vars : sequence of DataVar
            One of `source_groups`.
        """

    def object_keys(self, coord: Coord, archive: Archive | None = None) -> tuple[str, ...]:  # noqa: ARG002
        """Keys of a file and of what is read beside it, such as an index, as an archive names them. Default: the file alone.

        Parameters
        ----------
        archive : Archive, optional
            Default: the keys that every archive has.
        """
        return (coord.key(),)

    @abstractmethod
    def download_file(self, coord: Coord, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        """Fetch and verify what a group of variables needs of one file.

        Raises
        ------
        ReformatError
            When no archive can give anything of the file. The message becomes the file's reason.
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
        """As `read_data`, straight into the field's place in memory; after an error `out` may hold anything."""
        out[...] = self.read_data(coord, data_var, downloaded)

    def steps_without_files(self, region_ds: xr.Dataset) -> npt.NDArray[np.bool_] | None:  # noqa: ARG002
        """Steps that the source never has, each between two that it has. They are interpolated. Default: there are none.

        A dataset with such steps has a `reach` of 4: a step between files depends on two rates, and each of these on two
        totals.
        """
        return None

    def reach(self, data_var: DataVar) -> int:
        """How many steps away, on either side, a file can be that a variable's transformed value depends on."""
        return 2 if data_var.interpolate else int(data_var.deaccumulation is not None)

    def apply_data_transformations(self, values: Float32Array, data_var: DataVar, region_ds: xr.Dataset) -> None:
        """Turn decoded fields into the variable's values, in place. Default: deaccumulate, interpolate, round, in that order.

        Masking and scaling were done when the fields were decoded.

        Parameters
        ----------
        values : (append_dim, ...) float32
            One variable, over the processing region or the part of it that is computed, and over the whole grid or a window
            of it: grid points must not depend on each other.
        region_ds : xr.Dataset
            The template over the same part, with the boolean `has_file`, over the dimensions before the grid, which says
            where a field was read.
        """
        transform_in_place(
            values,
            data_var,
            region_ds,
            between=self.steps_without_files(region_ds),
            threads=self.context.cpus,
            stats=self.stats,
            label=self.label,
        )

    def update_template_with_results(self, results: Results) -> xr.Dataset:
        """The template cut to what the results allow to be published.

        Default: up to the newest label at which any variable succeeded. Where the publish policy is `all`: up to the newest
        label that every variable has reached. A variable that wants no file is not asked. Without such a label: up to the
        region's start.

        Parameters
        ----------
        results : Results
            Of every variable of the region.

        Returns
        -------
        xr.Dataset
            A part of `template_ds` that starts where it starts.
        """
        return cut_to_results(self.template_ds, self.append_dim, self.region, results, self.context.publish_policy)
