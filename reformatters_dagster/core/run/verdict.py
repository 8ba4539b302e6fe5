"""Whether a run is committed, and how far readers see afterwards: two tables over what became of its files.

In: results of region jobs, the request, and what the ledger knew before. Out: a `Worth`, a `Verdict`, a `Growth`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, Self

from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.run.plan import PartitionRequest
from reformatters_dagster.core.source.files import FileResult, Results


@dataclass(frozen=True)
class Worth:
    """What the files of one variable, or of a whole run, are worth to a commit.

    Files that count as nothing: no archive has them yet, the run did not try them, or they fail as the ledger says already.
    """

    read: bool = False
    """Some file was read, by this run or by one that ended before its commit: the ledger does not tell of all that is held."""
    held: bool = False
    """Some file was read by an earlier run, and the published shard still holds it."""
    failed: bool = False
    """Some file failed that the ledger did not know as missing, or that archives refused."""
    refused: bool = False
    """Archives refused some file, which may be otherwise the next time; such a file counts as failed too."""

    def __or__(self, other: Self) -> Self:
        return type(self)(
            self.read or other.read,
            self.held or other.held,
            self.failed or other.failed,
            self.refused or other.refused,
        )

    @classmethod
    def of(cls, files: Sequence[FileResult], missing: Collection[str]) -> Self:
        """The worth of one variable, which the ledger says lacks some files, named by their keys."""
        return cls(
            read=any(file.was_read for file in files),
            held=any(file.succeeded and not file.was_read for file in files),
            failed=any(_is_news(file, missing) for file in files if not file.succeeded),
            refused=any(file.was_refused for file in files),
        )


def _is_news(failed: FileResult, missing: Collection[str]) -> bool:
    if failed.is_absent or not failed.was_tried:
        return False
    return failed.was_refused or failed.coord.key() not in missing


def weigh(results: Results, entry: LedgerEntry | None, *, goes_on: bool = False) -> Worth:
    """The worth of a run: that of all its variables together.

    Parameters
    ----------
    entry : LedgerEntry, optional
        The partition as the ledger has it before the commit.
    goes_on : bool
        It goes on with uploads that no commit has accounted for: what the shards hold still is something to tell of.
    """
    known = {} if entry is None else entry.variables
    missing = {name: {lost.file for lost in coverage.missing} for name, coverage in known.items()}
    worth = Worth()
    for name, files in results.items():
        worth |= Worth.of(files, missing.get(name, ()))
    return replace(worth, read=worth.read or (goes_on and worth.held))


class Verdict(Enum):
    """What a commit does with a run."""

    COMMIT = "publish what there is"
    GIVE_UP = "publish the partition as known missing"
    REFUSE = "leave store and ledger as they are"


def judge(worth: Worth, request: PartitionRequest) -> Verdict:
    """Whether a run is worth a commit. The first row that fits decides.

    ======================================================================  =======
    the run                                                                 verdict
    ======================================================================  =======
    read a file                                                             COMMIT
    read none; published shards hold some, and no other file failed anew    COMMIT
    is to accept missing files, and archives refused none, or it is forced  GIVE_UP
    any other                                                               REFUSE
    ======================================================================  =======
    """
    if worth.read or (worth.held and not worth.failed):
        return Verdict.COMMIT
    if settle(request, worth).accept_missing:
        return Verdict.GIVE_UP
    return Verdict.REFUSE


def settle(request: PartitionRequest, worth: Worth) -> PartitionRequest:
    """The request as a commit carries it out: files that archives refused are given up by force alone."""
    if not request.accept_missing or request.force or not worth.refused:
        return request
    return request.model_copy(update={"accept_missing": False})


class Growth(Enum):
    """How far readers see after a commit."""

    STAYS = "as far as before: no metadata is put"
    TO_PLAN = "up to the end of the plan"
    TO_RESULTS = "up to the newest result; `Retraction` where that is less than before"
    """See `job.publishable` for the newest result."""
    TO_RESULTS_OR_BEFORE = "up to the newest result, or as far as before"


def grow(
    request: PartitionRequest,
    *,
    is_last: bool,
    kept: bool,
    known: bool,
    policy: Literal["any", "all"],
) -> Growth:
    """How far a commit lets readers see. The first row that fits decides.

    =============================================================  ====================
    the run                                                        readers see
    =============================================================  ====================
    is a backfill, or its partition is not the last of the store   STAYS
    is to accept missing files                                     TO_PLAN
    is forced, kept a shard, or the partition is in the ledger     TO_RESULTS_OR_BEFORE
    is of a dataset that publishes where `all` variables are       TO_RESULTS_OR_BEFORE
    any other: nothing explains why there should be less           TO_RESULTS
    =============================================================  ====================

    Parameters
    ----------
    is_last : bool
        No later partition is published, nor planned.
    kept : bool
        The run kept the published shard of some variable, since it could only have made it from fewer files.
    known : bool
        The ledger has an entry of the partition.
    """
    if not request.publish or not is_last:
        return Growth.STAYS
    if request.accept_missing:
        return Growth.TO_PLAN
    if request.force or kept or known or policy == "all":
        return Growth.TO_RESULTS_OR_BEFORE
    return Growth.TO_RESULTS
