"""What of a region a job computes, for variables that are downloaded together.

In: a source group, and what is known of the published shards. Out: plans; one makes shards anew, another continues those that
are published.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reformatters_dagster.core.job.files import comparable_archives, files_beside, files_of_region
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import positions_of, processing_positions, region_positions
from reformatters_dagster.core.job.published import all_shards_stand
from reformatters_dagster.core.job.stretches import Stretch, cut_stretches
from reformatters_dagster.core.ledger.changes import Changed, PublishedShard, changed_positions
from reformatters_dagster.core.ledger.judgement import Judgement, judge
from reformatters_dagster.core.source.files import FileResult, SourceFileCoord
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.variables import DataVar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupPlan[Coord: SourceFileCoord]:
    """What is computed of a region for a group of variables."""

    data_vars: tuple[DataVar, ...]
    stretches: Sequence[Stretch]
    coords: Mapping[Coord, int]
    """Every file of the region, with its position."""
    changed: Mapping[str, Changed] | None = None
    """By variable, what the published shards lack; None when shards are made anew."""

    @property
    def continues(self) -> bool:
        """Whether published shards are continued."""
        return self.changed is not None


def plan_group[Coord: SourceFileCoord](job: RegionHooks[Coord], group: Sequence[DataVar]) -> Iterator[GroupPlan[Coord]]:
    """At most two plans: for variables whose shards are made anew, and for those whose shards can be continued."""
    known = job.context.published
    changed = {} if known is None or job.context.force else dict(_continuable(job, known, group))
    own, processing = region_positions(job), processing_positions(job)
    if anew := tuple(data_var for data_var in group if data_var.name not in changed):
        yield GroupPlan(anew, [Stretch(read=processing, write=own)], files_of_region(job, anew))
    if continued := tuple(data_var for data_var in group if data_var.name in changed):
        positions = frozenset[int]().union(*(one.to_read for one in changed.values()))
        stretches = cut_stretches(positions, own, processing, max(map(job.reach, continued)))
        log.info(
            "region=%s variables=%s labels=%d of the published shards are read again",
            job.label,
            ",".join(data_var.name for data_var in continued),
            sum(stretch.length for stretch in stretches),
        )
        yield GroupPlan(continued, stretches, files_of_region(job, continued), changed)


def _continuable[Coord: SourceFileCoord](
    job: RegionHooks[Coord], known: PublishedShard, group: Sequence[DataVar]
) -> Iterator[tuple[str, Changed]]:
    """Variables of a group whose published shards can be continued, with what the shards lack."""
    labels = pd.DatetimeIndex(job.template_ds.get_index(job.append_dim))[: region_positions(job).stop]
    files = [(coord.key(), position) for coord, position in files_of_region(job, group).items()]
    distances = {coord.key(): distance for coord, distance in files_beside(job, group).items()}
    for data_var in group:
        beside = {key for key, distance in distances.items() if distance <= job.reach(data_var)}
        upload = job.context.uploads.get(data_var.name)
        changed = changed_positions(known, data_var.name, files, labels, upload, beside)
        if changed is not None and not _was_damaged(known, data_var) and all_shards_stand(job, data_var):
            yield data_var.name, changed


def _was_damaged(known: PublishedShard, data_var: DataVar) -> bool:
    """Whether an earlier run found an object of the published shards that it could not continue."""
    coverage = known.entry.variables.get(data_var.name)
    if coverage is None:
        return False
    return bool(coverage.damaged) or any(one.reason.startswith(CorruptShard.__name__) for one in coverage.missing)


def judge_read[Coord: SourceFileCoord](
    job: RegionHooks[Coord], plan: GroupPlan[Coord], data_var: DataVar, read: Sequence[FileResult]
) -> Judgement:
    """What to say of the region's files after some were read.

    A file of a neighbouring step is told of where it fails, if values of the region are made from it. Where it succeeds,
    and every value within its reach is made, the result of one of these tells of it.
    """
    reach, region = job.reach(data_var), region_positions(job)
    made = frozenset[int]().union(*(stretch.wholly_written(region, reach) for stretch in plan.stretches))
    placed = list(zip(positions_of(job, [result.coord for result in read]), read, strict=True))
    if plan.changed is None:
        near = range(region.start - reach, region.stop + reach)
        found = Judgement([one for at, one in placed if one.coord in plan.coords or (not one.succeeded and at in near)])
    else:
        etags = _etags_held(job, data_var)
        found = judge(plan.coords, plan.changed[data_var.name], placed, etags.get, reach, made)
    if not any(result.was_read for result in found.results):
        return found
    beside = [(at, result) for at, result in placed if result.coord not in plan.coords and result.succeeded]
    return _telling_of(job, plan, found, beside, made, reach)


def _etags_held(job: RegionHooks[Any], data_var: DataVar) -> dict[str, str]:
    """ETags of the files that published shards which are continued are made from; empty where they cannot be compared."""
    assert job.context.published is not None
    etags, upload = dict(job.context.published.entry.etags), job.context.uploads.get(data_var.name)
    if upload is not None and upload.settled:
        comparable = comparable_archives(job)
        for file in upload.results:
            if file.coord.key() in upload.settled:
                etags[file.coord.key()] = file.etag_among(comparable)
    return etags


def _telling_of[Coord: SourceFileCoord](
    job: RegionHooks[Coord],
    plan: GroupPlan[Coord],
    found: Judgement,
    beside: Sequence[tuple[int, FileResult]],
    made: Collection[int],
    reach: int,
) -> Judgement:
    """A judgement whose results tell of the files beside the region that values were made from."""
    comparable = comparable_archives(job)
    tellers: dict[SourceFileCoord, dict[str, str]] = {}
    for at, result in beside:
        within = {coord: own for coord, own in plan.coords.items() if abs(own - at) <= reach}
        if within and all(own in made and own not in found.withheld for own in within.values()):
            told = tellers.setdefault(next(iter(within)), {})
            told[result.coord.key()] = result.etag_among(comparable)
    results = [
        one.model_copy(update={"beside": tellers[one.coord]}) if one.coord in tellers else one for one in found.results
    ]
    return Judgement(results, found.withheld)
