"""One variable from buffers to shards in the tmp store.

In: parts that were read into. Out: the region's shard objects on the tmp disk, made anew or continued.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from reformatters_dagster.core.job.group_plan import GroupPlan
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.parts import Part, template_in
from reformatters_dagster.core.job.published import published_object
from reformatters_dagster.core.shard.writer import continue_shards, write_shards
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.values import Float32Array
from reformatters_dagster.core.spec.variables import DataVar


def write_variable[Coord: SourceFileCoord](
    job: RegionHooks[Coord],
    plan: GroupPlan[Coord],
    parts: Sequence[Part[Coord]],
    data_var: DataVar,
    withheld: Collection[int],
    tmp_store: Path,
) -> None:
    """Transform and write one variable, window by window of the grid.

    Parameters
    ----------
    withheld : collection of int
        Positions that keep their published values.
    """
    job.context.on_progress(f"compress {data_var.name}", 0, 1)
    if not parts:  # the published objects are put again as they are
        continue_shards(
            [], partial(published_object, job), tmp_store, data_var.name, job.region, threads=job.context.cpus
        )
    for pieces in zip(*(part.buffer.pieces() for part in parts), strict=True):
        window, patches = pieces[0][0], list[tuple[int, Float32Array]]()
        for part, (_, values) in zip(parts, pieces, strict=True):
            with job.stats.timed("transform"):
                region_ds = template_in(part.region_ds, window, data_var.name, part.buffer.placed)
                job.apply_data_transformations(values, data_var, region_ds)
            for run in part.stretch.runs(without=withheld):
                own = values[run.start - part.stretch.read.start : run.stop - part.stretch.read.start]
                patches.append((run.start - job.region.start, own))
        where, threads = (tmp_store, data_var.name, job.region), job.context.cpus
        with job.stats.timed("write"):
            if plan.continues:
                published = partial(published_object, job)
                continue_shards(patches, published, *where, window=window, threads=threads)
            else:
                write_shards(patches[0][1], *where, window=window, threads=threads)
    job.context.on_progress(f"compress {data_var.name}", 1, 1)
