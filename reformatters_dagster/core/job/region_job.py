"""`RegionJob`: one region of one dataset, from upstream files to published chunks.

In: a region, some variables, and the run's context. Out: published chunks, and what became of every source file.

`process` is the table of contents of this project. It calls the stages in order, each a module of this room, and owns all
concurrency: while one variable uploads, the next is read and compressed, and the next group of variables downloads.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import xarray as xr

from reformatters_dagster.core.field.buffer import spare_arena
from reformatters_dagster.core.job.context import JobContext
from reformatters_dagster.core.job.cutting import batches_of, regions_of
from reformatters_dagster.core.job.download import download_group, remove_downloads
from reformatters_dagster.core.job.files import upstream_objects, wanted_files
from reformatters_dagster.core.job.folder import job_folder, sweep_job_folders
from reformatters_dagster.core.job.group_plan import plan_group
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.kept import kept_results, remember_doubt, stuck_results, uploaded_before
from reformatters_dagster.core.job.parts import make_parts
from reformatters_dagster.core.job.pools import OneBehind, job_pools, one_ahead
from reformatters_dagster.core.job.read import read_variable
from reformatters_dagster.core.job.upload import upload_variable
from reformatters_dagster.core.job.write import write_variable
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import Results, SourceFileCoord
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.template_files import write_arrays
from reformatters_dagster.core.spec.values import Names, Timestamp
from reformatters_dagster.core.spec.variables import DataVar


@dataclass(frozen=True, kw_only=True)
class RegionJob[Coord: SourceFileCoord](RegionHooks[Coord]):
    """One region (one whole shard along the append dimension) x some variables.

    A dataset overrides the hooks it needs; providers' base classes implement most.
    """

    def process(self) -> Results:
        """Download, read, transform, write and upload every variable; metadata is not touched.

        - A variable that an earlier attempt of this run has uploaded is not done again.
        - Where the context knows what is published, only what is new is downloaded, and the published shards are continued.
        - Nothing is uploaded of a variable that has no success. Nor is its published shard replaced by one that lacks a file
          which that is made from, unless the context forces it, nor continued where an object of it is damaged.

        Returns
        -------
        dict of variable name to sequence of FileResult
            What became of every file of the region. Files of neighbouring steps, which deaccumulation and interpolation
            need, are told of where they failed.

        Raises
        ------
        TmpDiskFull
            Before anything is fetched when the tmp folder is too small; later when it ran out.
        ReformatError
            When chunks could not be written or uploaded. One bad file does not raise.
        """
        results = uploaded_before(self)
        left = [data_var for data_var in self.data_vars if data_var.name not in results]
        if not left:
            sweep_job_folders(self)
            return results
        self.context.on_progress("variables", 0, len(left))
        plans = [plan for group in self.source_groups(left) for plan in plan_group(self, group)]
        with spare_arena() as arena, job_folder(self) as folder, job_pools(self.context) as pools:
            tmp_store = folder / "region-tmp.zarr"
            write_arrays(self.template_ds, [data_var.name for data_var in left], tmp_store)
            downloads = one_ahead(
                pools.coordinate, [partial(download_group, self, plan, folder, pools) for plan in plans]
            )
            uploads = OneBehind(pools.upload)
            for plan, files in zip(plans, downloads, strict=True):
                parts = make_parts(self, plan, files, folder, arena)
                for data_var in plan.data_vars:
                    found = read_variable(self, plan, parts, data_var, pools.read)
                    if plan.continues:
                        remember_doubt(self, data_var)
                    kept = kept_results(self, plan, data_var, found.results)
                    if kept is None:
                        try:
                            write_variable(self, plan, parts, data_var, found.withheld, tmp_store)
                        except CorruptShard as error:
                            kept = stuck_results(self, data_var, found.results, error)
                        else:
                            uploads.submit(partial(upload_variable, self, data_var, found.results, tmp_store))
                    if kept is not None:
                        self.context.on_progress(f"keep {data_var.name}", 1, 1)
                    results[data_var.name] = found.results if kept is None else kept
                remove_downloads(files)
            uploads.wait()
        return {data_var.name: results[data_var.name] for data_var in self.data_vars}

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
        """Regions x batches of variables, regions ascending; the same list in every process.

        Parameters
        ----------
        start, end, contains
            See `region.filter_regions`; whole shards are always returned.
        variables : names, optional
            None means all.
        max_vars_per_job : int, optional
            Source groups are cut into batches of at most so many. Without it one job takes all variables of a region.

        Raises
        ------
        UnknownVariable
            Naming the ones that are known.
        """
        template = context.template_config
        selected = template.select(variables)
        batches = [selected] if selected else []
        if max_vars_per_job is not None:
            batches = batches_of(cls.source_groups(selected), max_vars_per_job)
        return [
            cls(context=context, template_ds=template_ds, region=region, data_vars=batch)
            for region in regions_of(template, template_ds, start=start, end=end, contains=contains)
            for batch in batches
        ]

    def source_files(self, region_ds: xr.Dataset, data_vars: Sequence[DataVar]) -> list[Coord]:
        """As `generate_source_file_coords`, without what the source has not yet, and without `known_missing_files`."""
        return wanted_files(self, region_ds, data_vars)

    def upstream_objects(
        self, since: Timestamp | None = None, archive: Archive | None = None
    ) -> dict[str, tuple[str, ...]]:
        """Every file the job is going to read, by key, with the keys of the objects that it is made of.

        Parameters
        ----------
        since : Timestamp, optional
            Only files of labels from here on.
        archive : Archive, optional
            Whose names those keys are; default: those that every archive has.
        """
        return upstream_objects(self, since, archive)
