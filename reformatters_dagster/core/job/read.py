"""Downloaded files of one variable into memory.

In: the parts of a group, with their files. Out: filled buffers, and a result for each file of the region.
"""

import itertools
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from reformatters_dagster.core.job.bad_files import log_level, reason_of
from reformatters_dagster.core.job.group_plan import GroupPlan, judge_read
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.parts import Part
from reformatters_dagster.core.ledger.judgement import Judgement
from reformatters_dagster.core.source.files import Downloaded, FileResult, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.spec.variables import DataVar

log = logging.getLogger(__name__)


def read_variable[Coord: SourceFileCoord](
    job: RegionHooks[Coord],
    plan: GroupPlan[Coord],
    parts: Sequence[Part[Coord]],
    data_var: DataVar,
    pool: ThreadPoolExecutor,
) -> Judgement:
    """Read every file of one variable into the buffers, and say what became of every file of the region."""
    done = itertools.count(1)
    total = sum(len(part.files) for part in parts)
    read: list[FileResult] = []
    with job.stats.timed("read") as seconds:
        for part in parts:

            def read_one(item: tuple[Coord, Downloaded | str], part: Part[Coord] = part) -> FileResult:
                result = _read_file(job, part, data_var, *item)
                job.context.on_progress(f"read {data_var.name}", next(done), total)
                return result

            part.buffer.clear()
            read.extend(pool.map(read_one, part.files.items()))
    found = judge_read(job, plan, data_var, read)
    failed = sum(not result.succeeded for result in found.results)
    log.log(
        log_level(job, failed),
        "region=%s variable=%s files=%d missing=%d seconds=%.1f",
        job.label,
        data_var.name,
        len(found.results),
        failed,
        seconds(),
    )
    return found


def _read_file[Coord: SourceFileCoord](
    job: RegionHooks[Coord], part: Part[Coord], data_var: DataVar, coord: Coord, downloaded: Downloaded | str
) -> FileResult:
    result = FileResult(coord=coord)
    if isinstance(downloaded, str):
        return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded)
    if (span := downloaded.spans.get(data_var.name)) is None:
        return result.advance(SourceFileStatus.DOWNLOAD_FAILED, downloaded.reasons[data_var.name])
    size = span[1] if downloaded.fetched is None else downloaded.fetched
    result = result.model_copy(update={"bytes": size, "etag": downloaded.etag, "archive": downloaded.archive})
    try:
        part.buffer.fill(part.positions[coord], lambda out: job.read_into(coord, data_var, downloaded, out))
    except Exception as error:
        log.debug("file=%s variable=%s %s", coord.key(), data_var.name, error)
        return result.advance(SourceFileStatus.READ_FAILED, reason_of(job, error, coord))
    return result.advance(SourceFileStatus.SUCCEEDED)
