"""Which upstream files a job wants.

In: a job's hooks. Out: coords, their positions, and the keys of the objects that they are made of.
"""

import fnmatch
import re
from collections.abc import Sequence
from typing import Any

import xarray as xr

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import (
    label_of,
    positions_of,
    processing_positions,
    region_positions,
    template_at,
)
from reformatters_dagster.core.source.archives import Archive
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar


def wanted_files[Coord: SourceFileCoord](
    job: RegionHooks[Coord], region_ds: xr.Dataset, data_vars: Sequence[DataVar]
) -> list[Coord]:
    """The files of a group, without what the source has not yet, and without `known_missing_files`."""
    coords = list(job.generate_source_file_coords(region_ds, data_vars))
    starts = [data_var.available_from for data_var in data_vars if data_var.available_from is not None]
    if len(starts) == len(data_vars):
        first = min(starts)
        coords = [coord for coord in coords if label_of(job, coord) >= first]
    if job.known_missing_files:
        known = re.compile("|".join(map(fnmatch.translate, job.known_missing_files)))
        coords = [coord for coord in coords if not known.match(coord.key())]
    return coords


def files_of_region[Coord: SourceFileCoord](job: RegionHooks[Coord], data_vars: Sequence[DataVar]) -> dict[Coord, int]:
    """Every file of the region that a group is read from, with its position."""
    files = wanted_files(job, template_at(job, region_positions(job)), data_vars)
    return dict(zip(files, positions_of(job, files), strict=True))


def files_beside[Coord: SourceFileCoord](job: RegionHooks[Coord], data_vars: Sequence[DataVar]) -> dict[Coord, int]:
    """Files beside the region that a group is read from too, and how many steps away from the region they are."""
    region, processing = region_positions(job), processing_positions(job)
    beside: dict[Coord, int] = {}
    for part in (slice(processing.start, region.start), slice(region.stop, processing.stop)):
        if part.start < part.stop:
            files = wanted_files(job, template_at(job, part), data_vars)
            for coord, at in zip(files, positions_of(job, files), strict=True):
                beside[coord] = region.start - at if at < region.start else at - region.stop + 1
    return beside


def comparable_archives(job: RegionHooks[Any]) -> frozenset[str | None]:
    """Archives whose ETags can be compared with what is listed.

    None is among them: the published shard was already made from the file, and its ETag is the one known from then.
    """
    listed = job.context.upstream.listed_for(job.label, job.context.now)
    return frozenset({None, None if listed is None else listed.name})


def upstream_objects[Coord: SourceFileCoord](
    job: RegionHooks[Coord], since: Timestamp | None = None, archive: Archive | None = None
) -> dict[str, tuple[str, ...]]:
    """See `RegionJob.upstream_objects`."""
    region_ds = template_at(job, processing_positions(job))
    if since is not None:
        region_ds = region_ds.sel({job.append_dim: slice(since, None)})
    coords = {coord for group in job.source_groups(job.data_vars) for coord in wanted_files(job, region_ds, group)}
    return {coord.key(): job.object_keys(coord, archive) for coord in coords}
