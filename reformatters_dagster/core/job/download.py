"""Upstream files of a group of variables onto the tmp disk.

In: a group's plan. Out: for each of its stretches, what was fetched of each file, or why nothing was.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from reformatters_dagster.core.job.bad_files import log_level, reason_of
from reformatters_dagster.core.job.files import wanted_files
from reformatters_dagster.core.job.group_plan import GroupPlan
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.pools import Pools
from reformatters_dagster.core.job.positions import template_at
from reformatters_dagster.core.source.files import Downloaded, SourceFileCoord

log = logging.getLogger(__name__)

type Fetched[Coord: SourceFileCoord] = Mapping[Coord, Downloaded | str]
"""What was fetched of each file of a stretch, or why nothing was."""


def download_group[Coord: SourceFileCoord](
    job: RegionHooks[Coord], plan: GroupPlan[Coord], folder: Path, pools: Pools
) -> list[Fetched[Coord]]:
    """Download the files of every stretch. One bad file does not raise."""
    wanted = [wanted_files(job, template_at(job, stretch.read), plan.data_vars) for stretch in plan.stretches]
    coords = list(itertools.chain.from_iterable(wanted))
    names = ",".join(data_var.name for data_var in plan.data_vars)
    done = itertools.count(1)

    def download(coord: Coord) -> Downloaded | str:
        if pools.stop.is_set():
            return "the run was stopped"
        try:
            return job.download_file(coord, plan.data_vars, folder)
        except Exception as error:
            log.debug("file=%s %s", coord.key(), error)
            return reason_of(job, error, coord)
        finally:
            job.context.on_progress(f"download {names}", next(done), len(coords))

    with job.stats.timed("download") as seconds:
        fetched = dict(zip(coords, pools.download.map(download, coords), strict=True))
    downloaded = [one for one in fetched.values() if isinstance(one, Downloaded)]
    missing, size = len(fetched) - len(downloaded), sum(one.size for one in downloaded)
    job.stats.bytes_in += size
    log.log(
        log_level(job, missing),
        "region=%s variables=%s files=%d missing=%d bytes=%d seconds=%.1f",
        job.label,
        names,
        len(coords),
        missing,
        size,
        seconds(),
    )
    return [{coord: fetched[coord] for coord in stretch} for stretch in wanted]


def remove_downloads[Coord: SourceFileCoord](files: Sequence[Fetched[Coord]]) -> None:
    """Delete what was fetched from the tmp disk."""
    for one in (one for stretch in files for one in stretch.values()):
        if isinstance(one, Downloaded):
            one.path.unlink(missing_ok=True)
