"""Variables whose published shards a job leaves as they are.

In: what became of the files of a variable, and what is known of its published shards. Out: what to report of them instead.
"""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from reformatters_dagster.core.job.files import files_of_region
from reformatters_dagster.core.job.group_plan import GroupPlan
from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import label_of, labels_text, region_positions
from reformatters_dagster.core.job.published import stored_keys
from reformatters_dagster.core.ledger.entries import LedgerEntry, VariableCoverage
from reformatters_dagster.core.ledger.progress import Upload
from reformatters_dagster.core.source.files import FileResult, Results, SourceFileCoord, SourceFileStatus
from reformatters_dagster.core.spec.errors import CorruptShard
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.variables import DataVar

log = logging.getLogger(__name__)


def uploaded_before(job: RegionHooks[Any]) -> Results:
    """Results of variables that an earlier attempt of this run has uploaded, made from the files that are wanted now."""
    finished: Results = {}
    tracker = job.context.tracker
    for data_var in job.data_vars:
        upload = job.context.uploads.get(data_var.name)
        if upload is None or tracker is None or not tracker.is_own(upload):
            continue
        if (results := _results_of(job, data_var, upload)) is not None:
            finished[data_var.name] = results
            remember_doubt(job, data_var)
    if finished:
        log.info("region=%s variables=%s were uploaded by an earlier attempt", job.label, ",".join(finished))
    return finished


def remember_doubt(job: RegionHooks[Any], data_var: DataVar) -> None:
    """Tell of rates that cannot be right in shards of an upload that the ledger does not tell of, and that stay or go on."""
    upload = job.context.uploads.get(data_var.name)
    if upload is not None and upload.implausible:
        job.stats.implausible.setdefault(data_var.name, upload.implausible)


def kept_results[Coord: SourceFileCoord](
    job: RegionHooks[Coord], plan: GroupPlan[Coord], data_var: DataVar, results: Sequence[FileResult]
) -> Sequence[FileResult] | None:
    """What to report of a variable whose published shards stay as they are; None when this job replaces them.

    They stay when nothing new was read, when no file succeeded, and, unless the context forces it, when a file failed that
    they are made from. Those that an upload has left half replaced are put again though nothing new was read: then every store
    holds the same objects.
    """
    upload = job.context.uploads.get(data_var.name)
    is_half_replaced = upload is not None and not upload.finished
    if plan.continues and not is_half_replaced and not any(result.was_read for result in results):
        return results
    made_from = None if upload is None or not upload.finished else _results_so_far(job, data_var, upload)
    if results and not any(result.succeeded for result in results):
        if made_from is not None:
            remember_doubt(job, data_var)
        log.info("region=%s variable=%s no file succeeded; nothing is uploaded", job.label, data_var.name)
        return results if made_from is None else made_from
    lost = [] if job.context.force else _lost_files(job, data_var, results)
    if not lost or not stored_keys(job, data_var):
        return None
    log.warning(
        "region=%s variable=%s the published shard is made from %d files that failed now, such as %s (%s); it is kept "
        "(force replaces it)",
        job.label,
        data_var.name,
        len(lost),
        lost[0].coord.key(),
        lost[0].reason,
    )
    if made_from is None:
        job.stats.kept.append(data_var.name)
    else:
        remember_doubt(job, data_var)
    return results if made_from is None else made_from


def stuck_results(
    job: RegionHooks[Any], data_var: DataVar, results: Sequence[FileResult], error: CorruptShard
) -> Sequence[FileResult]:
    """What to report of a variable whose published shards cannot be continued: every file that was read has failed.

    The ledger keeps the reason, and the next run makes the shards anew.
    """
    log.warning("region=%s variable=%s nothing is uploaded: %s", job.label, data_var.name, error)
    job.stats.kept.append(data_var.name)
    failed = {"status": SourceFileStatus.READ_FAILED, "reason": f"{type(error).__name__}: {error}"}
    return [result.model_copy(update=failed) if result.was_read else result for result in results]


def _results_of(job: RegionHooks[Any], data_var: DataVar, upload: Upload) -> Sequence[FileResult] | None:
    """The files an upload made its shards from; None unless it is finished and wanted every file that is wanted now."""
    if not upload.finished:
        return None
    wanted = files_of_region(job, [data_var]).keys()
    return upload.results if wanted <= {file.coord for file in upload.results} else None


def _results_so_far(job: RegionHooks[Any], data_var: DataVar, upload: Upload) -> Sequence[FileResult]:
    """The files a finished upload made its shards from, and those that are wanted only since: the shards lack them."""
    known = {file.coord for file in upload.results}
    new = [coord for coord in files_of_region(job, [data_var]) if coord not in known]
    reason = "KeptShard: the shard that stays was made before this file was wanted"
    return [
        *upload.results,
        *(FileResult(coord=one, was_tried=False).advance(SourceFileStatus.DOWNLOAD_FAILED, reason) for one in new),
    ]


def _lost_files(job: RegionHooks[Any], data_var: DataVar, results: Sequence[FileResult]) -> list[FileResult]:
    """Files that failed, and that the published shards are made from, or may be.

    What an upload that did not end has put is no loss: no commit has claimed it, and not every object may hold it.
    """
    failed = [result for result in results if not result.succeeded]
    if not failed:
        return []
    upload, entry = job.context.uploads.get(data_var.name), job.context.entry
    uploaded = frozenset() if upload is None else upload.settled
    account = None
    if entry is not None and data_var.name in entry.variables:
        account = _Account(job, entry, entry.variables[data_var.name], results)
    return [
        one for one in failed if one.coord.key() in uploaded or (account is not None and account.may_use(one.coord))
    ]


class _Account:
    """What the ledger tells of the files that a variable's published shard is made from.

    Other files may have been wanted then than now, or the same under other keys.
    """

    def __init__(
        self, job: RegionHooks[Any], entry: LedgerEntry, coverage: VariableCoverage, results: Sequence[FileResult]
    ) -> None:
        self._job, self._entry, self._coverage = job, entry, coverage
        self._through = coverage.through or entry.region[1]
        self._last = pd.Timestamp(job.template_ds.get_index(job.append_dim)[region_positions(job).stop - 1])
        # One file may hold several members, of which the ledger lacks some.
        self._missing = {(one.file, one.labels): one for one in coverage.missing}
        beside = sum(one.label is not None and not self._is_own(one.label) for one in coverage.missing)
        labels = [label_of(job, result.coord) for result in results]
        self._wants_as_many = coverage.expected - beside == sum(
            self._is_own(label) and label <= self._through for label in labels
        )

    def may_use(self, coord: SourceFileCoord) -> bool:
        """Whether the shard is made from a file, or may be. The first row that fits decides.

        ============================================================================  =======
        the ledger                                                                    is used
        ============================================================================  =======
        lacks the file, as an earlier entry could not be read                         perhaps
        lacks the file                                                                no
        has no file of the variable, or the file is of labels that came later         no
        names the file among those that any variable used, or names none at all       perhaps
        names it not; it lies in the shard, and as many files as now were wanted then  perhaps
        any other                                                                     no
        ============================================================================  =======

        A file beside the shard came with the label next to it.
        """
        if (lost := self._missing.get((coord.key(), labels_text(coord)))) is not None:
            return lost.may_be_held
        label = label_of(self._job, coord)
        if not self._coverage.succeeded or min(label, self._last) > self._through:
            return False
        if not self._entry.etags or coord.key() in self._entry.etags:
            return True
        return self._is_own(label) and self._wants_as_many

    def _is_own(self, label: Timestamp) -> bool:
        return self._job.label <= label <= self._last
