"""Stretches with their files and the memory for them.

In: a group's plan, what was fetched for it, and an arena. Out: one part for each stretch, ready to be read into.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from reformatters_dagster.core.field.buffer import Arena, FieldBuffer, spatial_windows
from reformatters_dagster.core.job.download import Fetched
from reformatters_dagster.core.job.group_plan import GroupPlan
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import template_at
from reformatters_dagster.core.job.stretches import Stretch
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.errors import TemplateDrift
from reformatters_dagster.core.spec.values import Dim, Window


@dataclass(frozen=True)
class Part[Coord: SourceFileCoord]:
    """One stretch with its files and its buffer."""

    stretch: Stretch
    region_ds: xr.Dataset
    """The template over what is read."""
    positions: Mapping[Coord, tuple[int, ...]]
    """Where each file's fields lie along the dimensions before the grid."""
    buffer: FieldBuffer
    files: "Fetched[Coord]"


def template_in(region_ds: xr.Dataset, window: Window, variable: str, placed: npt.NDArray[np.bool_]) -> xr.Dataset:
    """The template over a stretch and a window of the grid, with `has_file` where a field was read."""
    *dims, rows, columns = region_ds[variable].dims
    part = region_ds.isel({rows: window[0], columns: window[1]})
    return part.assign(has_file=(dims, placed.copy()))


def make_parts[Coord: SourceFileCoord](
    job: RegionHooks[Coord], plan: GroupPlan[Coord], files: Sequence[Fetched[Coord]], folder: Path, arena: Arena
) -> list[Part[Coord]]:
    """A buffer for every stretch. Together they stay within `JobContext.buffer_bytes`."""
    template = job.context.template_config
    shape = job.template_ds[job.data_vars[0].name].shape
    fields = sum(stretch.length for stretch in plan.stretches) * prod(shape[1:-2])
    budget = job.context.buffer_bytes // (4 * max(fields, 1))
    rows, columns = list(template.shards.values())[-2:]
    windows = spatial_windows((shape[-2], shape[-1]), (rows, columns), budget)
    shapes = [(stretch.length, *shape[1:]) for stretch in plan.stretches]
    memories = arena.cut([FieldBuffer.size(one, windows) for one in shapes])
    parts = []
    for number, (stretch, fetched) in enumerate(zip(plan.stretches, files, strict=True)):
        spool = folder / f"stretch-{number}"
        spool.mkdir(exist_ok=True)
        region_ds = template_at(job, stretch.read)
        positions = _field_positions(list(fetched), region_ds, template.dim_names[:-2])
        buffer = FieldBuffer(shapes[number], windows, memories[number], spool)
        parts.append(Part(stretch, region_ds, positions, buffer, fetched))
    return parts


def _field_positions[Coord: SourceFileCoord](
    coords: Sequence[Coord], region_ds: xr.Dataset, dims: Sequence[Dim]
) -> dict[Coord, tuple[int, ...]]:
    places = {dim: {label: at for at, label in enumerate(region_ds.get_index(dim))} for dim in dims}
    found = {}
    for coord in coords:
        labels = coord.out_loc()
        for dim in dims:
            if labels[dim] not in places[dim]:
                raise TemplateDrift(
                    f"{coord.key()} was to be read at {dim} {labels[dim]}; the template has no such label: correct "
                    "`generate_source_file_coords`, or the dimension"
                )
        found[coord] = tuple(places[dim][labels[dim]] for dim in dims)
    return found
