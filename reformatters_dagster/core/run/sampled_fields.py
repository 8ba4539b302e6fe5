"""Which published fields are compared with the upstream, and what each of them is made from.

In: the job of a partition, and its ledger entry. Out: fields drawn at random, the same ones whenever the same draw is repeated.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reformatters_dagster.core.field.expected import WindowsOfRate
from reformatters_dagster.core.job.files import files_beside, files_of_region
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import label_of, labels_text, processing_positions, template_at
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar

_TRIES = 16
"""How many files of a variable are drawn until one makes a value by itself."""


@dataclass(frozen=True)
class SampledField:
    """One field of a variable, and the files that it is made from: its own and, of a rate, perhaps the one before."""

    data_var: DataVar
    coords: tuple[SourceFileCoord, ...]
    windows: WindowsOfRate | None = None
    """Of a rate."""


@dataclass(frozen=True)
class NothingToCompare:
    """A variable of which no field can be compared, and why."""

    data_var: DataVar
    reason: str


def generator_of(*words: object) -> np.random.Generator:
    """A random generator that is the same for the same words."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, words)).encode()))


def sampled_fields(
    job: RegionJob[Any], entry: LedgerEntry, most: int, random: np.random.Generator
) -> Iterator[SampledField | NothingToCompare]:
    """Draw fields of a partition that were made from files, each of another variable while there are enough variables."""
    written = [one for one in job.data_vars if one.name in entry.variables and entry.variables[one.name].succeeded]
    if not written:
        return
    groups = {data_var: group for group in job.source_groups(job.data_vars) for data_var in group}
    order = [written[at] for at in random.permutation(len(written))]
    for number in range(most):
        data_var = order[number % len(order)]
        if reason := _changed_by_dataset(job):
            yield NothingToCompare(data_var, reason)
        else:
            yield _drawn(job, data_var, groups[data_var], entry, random)


def _changed_by_dataset(job: RegionJob[Any]) -> str:
    """Why values do not follow from messages by the row of a variable alone; empty where they do."""
    if type(job).apply_data_transformations is not RegionHooks.apply_data_transformations:
        return f"{type(job).__name__} transforms values in a way of its own"
    return ""


def _drawn(
    job: RegionJob[Any], data_var: DataVar, group: Sequence[DataVar], entry: LedgerEntry, random: np.random.Generator
) -> SampledField | NothingToCompare:
    coverage = entry.variables[data_var.name]
    lost = {(one.file, one.labels) for one in coverage.missing} | {(one.file, one.labels) for one in coverage.outdated}
    upstream, now = job.context.upstream, job.context.now
    own, beside = files_of_region(job, group), files_beside(job, group)
    used = {
        frozenset(coord.out_loc().items()): coord
        for coord in (*own, *beside)
        if (coord.key(), labels_text(coord)) not in lost
    }
    candidates = [coord for coord in used.values() if coord in own and _was_wanted(job, coord, coverage.through)]
    kept = {label: bool(upstream.archives_for(label, now)) for label in {label_of(job, one) for one in candidates}}
    there = [coord for coord in candidates if kept[label_of(job, coord)]]
    if candidates and not there:
        return NothingToCompare(data_var, "no archive keeps its files any more")
    for at in random.permutation(len(there))[:_TRIES]:
        coord = there[at]
        if data_var.deaccumulation is None:
            return SampledField(data_var, (coord,))
        rate = _rate_from(job, data_var, coord, used)
        if rate is not None:
            return rate
    return NothingToCompare(data_var, "no value of it was made from files alone")


def _was_wanted(job: RegionJob[Any], coord: SourceFileCoord, through: Timestamp | None) -> bool:
    return through is None or label_of(job, coord) <= through


def _rate_from(
    job: RegionJob[Any],
    data_var: DataVar,
    coord: SourceFileCoord,
    used: dict[frozenset[Any], SourceFileCoord],
) -> SampledField | None:
    """What a rate at the place of a file is made from; None where there is no rate, or it is not made from used files alone."""
    rule, place = data_var.deaccumulation, coord.out_loc()
    assert rule is not None
    region_ds = template_at(job, processing_positions(job))
    dim = "lead_time" if "lead_time" in place else job.append_dim
    steps = pd.Index(region_ds.indexes[dim])
    between = job.steps_without_files(region_ds)
    if between is not None:
        steps = steps[~between]
    at = int(steps.get_indexer(pd.Index([place[dim]]))[0])
    if at < 1:
        return None
    until, before = (_seconds(steps[one]) for one in (at, at - 1))
    restart = 0.0
    if rule.reset is not None:
        reset = rule.reset.total_seconds()
        restart = (math.ceil(until / reset) - 1) * reset
    if before <= restart:
        return SampledField(data_var, (coord,), WindowsOfRate(until - restart))
    previous = used.get(frozenset({**place, dim: steps[at - 1]}.items()))
    if previous is None:
        return None
    return SampledField(data_var, (coord, previous), WindowsOfRate(until - restart, before - restart))


def _seconds(step: Timedelta | Timestamp) -> float:
    """Since the forecast began, or since 1970."""
    since = step if isinstance(step, Timedelta) else step - Timestamp(0)
    return float(since.total_seconds())
