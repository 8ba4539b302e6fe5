"""Results of region jobs become the ledger entry of their partition.

In: what became of every file. Out: coverage by variable, merged with what earlier runs of the partition left; and from that,
how much of each forecast is there.
"""

import hashlib
import importlib.metadata
import logging
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.job.files import comparable_archives, files_beside
from reformatters_dagster.core.job.positions import labels_text
from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, OutdatedValue, VariableCoverage, merge
from reformatters_dagster.core.source.files import FileResult, Results
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import AppendDim, Label, Lengths, Timestamp
from reformatters_dagster.core.spec.zarr_documents import ROOT_KEY

log = logging.getLogger(__name__)


def account_for(
    job: RegionJob[Any],
    results: Results,
    stats: JobStats,
    *,
    previous: LedgerEntry | None,
    labels: int,
    run_id: str,
    now: Timestamp,
) -> LedgerEntry:
    """The ledger entry of a partition after a run.

    A variable that keeps its published shard keeps its earlier coverage too: no file of it succeeded, or the job left the
    shard as it was. Files of labels after those that the coverage tells of are missing. Where an object of the shard could not
    be continued, the coverage says so from then on.

    Parameters
    ----------
    job : RegionJob
        The job of the partition, over the template the run worked with.
    results : Results
        What became of every file, for the variables that ran.
    stats : JobStats
        They name the variables whose published shard was kept.
    previous : LedgerEntry, optional
        The entry before the run.
    labels : int
        Labels of the append dimension that readers see after the commit.
    """
    template = job.context.template_config
    all_labels = pd.DatetimeIndex(job.template_ds.get_index(job.append_dim))
    own = all_labels[job.region]
    known = previous.variables if previous else {}
    unwritten = {name for name, files in results.items() if name in known and not any(f.succeeded for f in files)}
    written = {name: files for name, files in results.items() if name not in unwritten and name not in stats.kept}
    entry = LedgerEntry(
        partition=partition_key(own[0]),
        dataset_id=template.dataset_id,
        version=template.dataset_version,
        region=(own[0], own[-1]),
        variables={
            name: _coverage(
                files,
                job.append_dim,
                _reached(files, job.append_dim, own[-1]),
                stats.implausible.get(name) or _doubt(files, known.get(name)),
            )
            for name, files in written.items()
        },
        etags=_versions(job, written, {} if previous is None else previous.etags),
        extent=(all_labels[0], all_labels[labels - 1]),
        template_hash=template_hash(template),
        code_version=_code_version(),
        run_id=run_id,
        written_at=now,
    )
    entry, stay = merge(previous, entry), {name: files for name, files in results.items() if name not in written}
    return entry if previous is None else _with_kept(entry, previous, stay, job.append_dim)


def ingested_lengths(template: TemplateConfig, entry: LedgerEntry) -> dict[Timestamp, Lengths]:
    """Per init time of a partition, the lead time up to which every variable of the template is complete.

    An array with one lead time for each member, where the template tells members apart; otherwise an array without
    dimensions, with the lead time of the member that has least. NaT where some variable lacks its first file, or was never
    written. A variable that wants no file does not count. Empty for datasets without lead times, and where it is unknown which
    files the published shards hold: the lengths that readers see stay.
    """
    if not template.has_lead_time or any(one.may_be_held for one in entry.missing_files):
        return {}
    init_times = pd.date_range(entry.region[0], entry.region[1], freq=template.append_dim.frequency, unit="us")
    members = next((tuple(dim.index()) for dim in template.dims if dim.name == "ensemble_member"), (None,))
    throughs = [
        {} if name not in entry.variables else entry.variables[name].complete_through
        for name in template.variables
        if name not in entry.variables or entry.variables[name].expected
    ]
    lengths = {}
    for init in init_times:
        runs = [_run(init, member) for member in members]
        seconds = np.array([[through.get(run, np.nan) for run in runs] for through in throughs or [{}]]).min(axis=0)
        lengths[init] = _durations(seconds if template.ingested_by_member else seconds.min())
    return lengths


def template_hash(template: TemplateConfig) -> str:
    """Digest of the committed structure a partition was made with."""
    return hashlib.sha256((template.path / ROOT_KEY).read_bytes()).hexdigest()[:16]


@cache
def _code_version() -> str:
    """Of this code, read from disk once."""
    return importlib.metadata.version("reformatters-dagster")


def _reached(files: Sequence[FileResult], append_dim: AppendDim, last: Timestamp) -> Timestamp:
    """Last label that a variable's results tell of: that of the region, or a later one of an upload by a run that knew more."""
    return max([last, *(_label(file, append_dim) for file in files if file.succeeded)])


def _doubt(files: Sequence[FileResult], known: VariableCoverage | None) -> str:
    """Why rates of earlier runs cannot be right, where a continued shard still holds them; empty elsewhere."""
    is_continued = any(file.succeeded and not file.was_read for file in files)
    return known.implausible if known is not None and is_continued else ""


def _versions(job: RegionJob[Any], written: Results, previous: Mapping[str, str]) -> dict[str, str]:
    """ETags of all files that were used, to be compared later with what is listed; empty where they cannot be.

    Where variables were made from two versions of a file, the one that the ledger told before is told, if it is among them,
    else the one that the published shards were already made from. Of several such, or read ones, all are told, as one text.
    What is listed is then still seen to differ.
    """
    comparable = comparable_archives(job)
    read: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for files in written.values():
        for file in files:
            if file.succeeded:
                versions = (read if file.was_read else kept).setdefault(file.coord.key(), set())
                versions.add(file.etag_among(comparable))
    told = {key: _told(read.get(key, set()), kept.get(key, set()), previous.get(key, "")) for key in kept | read}
    beside = _versions_beside(job, written, previous)
    return told | {key: etag for key, etag in beside.items() if not any(kept.get(key, ()))}


def _told(read: AbstractSet[str], kept: AbstractSet[str], before: str) -> str:
    """Which version of a file to tell of those that this run has read, and those that earlier runs have."""
    known = kept - {""}
    if before in known:
        return before
    return _joined(known or (read | kept))


def _joined(etags: Collection[str]) -> str:
    """The ETag of a file; of several versions, a text that no archive lists. Empty where none is known."""
    return ", ".join(sorted(etag or "unknown" for etag in etags)) if any(etags) else ""


def _versions_beside(job: RegionJob[Any], written: Results, previous: Mapping[str, str]) -> dict[str, str]:
    """The same for files beside the region."""
    told: dict[str, list[str | None]] = {}
    for group in job.source_groups(job.data_vars):
        for coord, distance in files_beside(job, group).items():
            key = coord.key()
            for data_var in group:
                if data_var.name in written and distance <= job.reach(data_var):
                    found = (file.beside.get(key) for file in written[data_var.name])
                    told.setdefault(key, []).append(next((etag for etag in found if etag is not None), None))
    versions = {}
    for key, etags in told.items():
        etag = previous.get(key) if None in etags else None
        used = {one for one in etags if one is not None}
        if etag is not None or used:
            versions[key] = _joined(used) if etag is None else etag
    return versions


def _coverage(
    files: Sequence[FileResult], append_dim: AppendDim, through: Timestamp, implausible: str
) -> VariableCoverage:
    missing = tuple(_missing(file, append_dim) for file in files if not file.succeeded)
    outdated = tuple(
        OutdatedValue(
            file=file.coord.key(),
            labels=labels_text(file.coord),
            reason=file.reason or "",
            waits_for=file.waits_for,
            label=_label(file, append_dim),
        )
        for file in files
        if file.is_outdated and file.waits_for is not None
    )
    return VariableCoverage(
        expected=len(files),
        succeeded=len(files) - len(missing),
        missing=missing,
        outdated=outdated,
        complete_through=_complete_through(files),
        through=through,
        implausible=implausible,
    )


def _with_kept(entry: LedgerEntry, previous: LedgerEntry, results: Results, append_dim: AppendDim) -> LedgerEntry:
    """The entry with the coverage of variables whose published shards stay as they are."""
    kept, last = dict[str, VariableCoverage](), entry.region[1]
    for name, files in results.items():
        if (known := previous.variables.get(name)) is not None:
            through = known.through or previous.region[1]
            coverage = _kept_coverage(known, files, append_dim, through, last)
            # Up to the last label, where it wants no file of the new ones: they lack nothing.
            kept[name] = coverage.model_copy(update={"through": max(through, last)})
    return entry.model_copy(update={"variables": entry.variables | kept})


def _kept_coverage(
    known: VariableCoverage, files: Sequence[FileResult], append_dim: AppendDim, through: Timestamp, last: Timestamp
) -> VariableCoverage:
    """The coverage of a shard that stays as it is, while readers may see labels after the last one it was made for."""
    known = known.model_copy(update={"damaged": _damage(files) or known.damaged})
    new = [file for file in files if _label(file, append_dim) > through]
    if not new:
        return known
    lost = next((file for file in files if not file.succeeded and file not in new), None)
    because = "another file failed" if lost is None else f"a file that failed now, {lost.coord.key()}: {lost.reason}"
    reason = f"KeptShard: the published shard is made from {because}"
    missing = tuple(_missing(file, append_dim, reason if file.succeeded else None) for file in new)
    return known.model_copy(
        update={"expected": known.expected + len(new), "missing": (*known.missing, *missing), "through": last}
    )


def _damage(files: Sequence[FileResult]) -> str:
    """Why the published shards could not be continued by this run; empty where nothing was wrong with them."""
    reasons = (file.reason or "" for file in files if file.was_tried)
    return next((reason for reason in reasons if reason.startswith(CorruptShard.__name__)), "")


def _missing(file: FileResult, append_dim: AppendDim, reason: str | None = None) -> MissingFile:
    return MissingFile(
        file=file.coord.key(),
        labels=labels_text(file.coord),
        reason=reason or file.reason or str(file.status),
        label=_label(file, append_dim),
        waits_for=file.waits_for,
    )


def _label(file: FileResult, append_dim: AppendDim) -> Timestamp:
    label = file.coord.out_loc()[append_dim]
    assert isinstance(label, pd.Timestamp)
    return label


def _complete_through(files: Sequence[FileResult]) -> dict[str, float]:
    """Per init time, and member where there are several, the last lead time, in seconds, before the first missing file."""
    complete: dict[str, float] = {}
    ended: set[str] = set()
    for file in sorted(files, key=_lead_time_and_value):
        place = file.coord.out_loc()
        if "lead_time" not in place:
            return {}
        run, lead = _run(place["init_time"], place.get("ensemble_member")), place["lead_time"]
        assert isinstance(lead, pd.Timedelta)
        if not _gave_its_value(file):
            ended.add(run)
        elif run not in ended:
            complete[run] = lead / pd.Timedelta("1s")
    return complete


def _gave_its_value(file: FileResult) -> bool:
    return file.succeeded and not file.is_outdated


def _lead_time_and_value(file: FileResult) -> tuple[Label, bool]:
    """Order by lead time; a failed file comes before the others of its lead time, such as those of other levels."""
    return file.coord.out_loc().get("lead_time", pd.Timedelta(0)), _gave_its_value(file)


def _run(init_time: Label, member: Label | None) -> str:
    """Key of one run of the model in `VariableCoverage.complete_through`."""
    return str(init_time) if member is None else f"{init_time} {member}"


def _durations(seconds: npt.ArrayLike) -> Lengths:
    """Seconds as timedeltas; NaN becomes NaT."""
    found = np.asarray(seconds, np.float64)
    known = np.nan_to_num(found).round().astype("timedelta64[s]")
    return np.where(np.isnan(found), np.timedelta64("NaT", "s"), known)
