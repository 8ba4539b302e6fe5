"""Why a partition gets a run now, or waits: three tables over what has arrived and what the ledger says.

In: a dataset, the arrivals of one partition, its ledger entry, the time it is. Out: a `Launch`, or why there is none.
Nothing is read or written here. `launches` picks the partitions that are asked about, and holds back those that cool down or
are given up.
"""

from collections.abc import Collection
from dataclasses import dataclass

from reformatters_dagster.core.ledger.entries import LedgerEntry, MissingFile, OutdatedValue
from reformatters_dagster.core.run.arrivals import Arrivals
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.plan import PartitionRequest
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.wording import spell_duration


@dataclass(frozen=True)
class Launch:
    """A partition worth a run now."""

    request: PartitionRequest
    arrivals: Arrivals
    reason: str
    past_give_up: bool = False
    """Past the give-up age, though files of it are there; an unpublished one also needs a later one that has begun to arrive. It
    is given up once it has been tried often enough with the same files."""

    few_attempts: bool = False
    """Older than what is looked at as a rule: it is left to a person, once it was tried often enough with the same files."""

    @property
    def label(self) -> Timestamp:
        return self.request.label


def why_publish(
    dataset: Declaration, arrivals: Arrivals, entry: LedgerEntry | None, now: Timestamp, *, late: bool
) -> Launch | str:
    """Whether the oldest unpublished partition is updated now. The first row that fits decides.

    =====================================================================  =====================
    the partition                                                          gets
    =====================================================================  =====================
    is not late, holds many labels, and `why_continue_later` has a reason  no run yet
    has all its files, or wants none                                       a run
    has some of its files, and the soft deadline has passed                a run
    is late                                                                a run that gives it up
    any other                                                              no run yet
    =====================================================================  =====================

    Parameters
    ----------
    entry : LedgerEntry, optional
        What the ledger says of a shard of many labels.
    late : bool
        It is past the give-up age, and a later partition has begun to arrive.

    Returns
    -------
    Launch or str
        The run, or why there is none yet.
    """
    if not late and (wait := why_continue_later(dataset, arrivals, entry, now)) is not None:
        return wait
    also = "; it is past its give-up age, and later ones have arrived" if late else ""
    request = PartitionRequest(label=arrivals.label, publish=True, upstream=arrivals.fingerprint)
    if not arrivals.expected:
        return Launch(request, arrivals, f"no file of it is expected{also}", past_give_up=late)
    if arrivals.complete:
        return Launch(request, arrivals, f"all files have arrived{_where(arrivals)}{also}", past_give_up=late)
    if _is_due(dataset, arrivals, now):
        reason = f"the soft deadline has passed with {_count(arrivals)}{also}"
        return Launch(request, arrivals, reason, past_give_up=late)
    if late:
        giving_up = request.model_copy(update={"accept_missing": True})
        return Launch(giving_up, arrivals, f"given up with {_count(arrivals)}; later ones have arrived")
    return f"has {_count(arrivals)}"


def why_continue_later(
    dataset: Declaration, arrivals: Arrivals, entry: LedgerEntry | None, now: Timestamp
) -> str | None:
    """Why a shard of many labels, some of them published, is not continued yet; None where it may be.

    =============================================================================  =========
    the shard                                                                      waits for
    =============================================================================  =========
    was updated with the files that are there, and no file can be asked for again  a file
    was updated with the files that are there, within the heal cool-down           its end
    got a file within the last `quiet`, and is not complete                        the bunch
    =============================================================================  =========

    A run by a clock that is behind wants fewer files than are there. Those are asked for as well.
    """
    if dataset.template_config.shard_length == 1:
        return None
    # A run that fills holes has seen the files of new labels, and left them to an update.
    if entry is not None and entry.published and entry.upstream == arrivals.fingerprint:
        may_give_more = entry.retry or _asked_again(entry, arrivals) or _waited_for_still(entry, arrivals)
        if not may_give_more and not _unwanted(entry, arrivals):
            return "has nothing new since its last run"
        if (cooling := why_cool_down(dataset, entry, now)) is not None:
            return cooling
    if not arrivals.complete and not _is_settled(dataset, arrivals, now):
        return f"got its newest file at {arrivals.newest:%H:%M}; more of the bunch are waited for"
    return None


def why_cool_down(dataset: Declaration, entry: LedgerEntry, now: Timestamp) -> str | None:
    """Why a partition is not run again yet: it ran a moment ago; None where it may be.

    An entry from the future was written by a clock that is ahead. It holds nothing up for longer than the cool-down.
    """
    since = now - entry.written_at
    if abs(since) >= dataset.heal_cool_down:
        return None
    if since < Timedelta(0):
        return f"ran a moment ago, by a clock that is {spell_duration(-since)} ahead, and cools down"
    return f"ran {spell_duration(since)} ago and cools down"


def why_heal(
    dataset: Declaration,
    arrivals: Arrivals,
    entry: LedgerEntry | None,
    now: Timestamp,
    *,
    stored: frozenset[str],
    abandoned: bool = False,
    published: Timestamp | None = None,
    unwritten: Collection[str] = (),
) -> Launch | None:
    """Whether a published partition is run again to fill its holes. The first row that fits decides.

    =======================================================================  ===========================
    the partition                                                            is run for
    =======================================================================  ===========================
    was never written, and is due                                            all variables
    has shards of a run that ended before its commit                         all variables
    has published labels that no run has written, with files that are there  all variables
    lacks files that archives refused, and they are listed                   all variables
    has values that wait for files, and these are listed                     all variables
    has the same files as at its last run, and that one had what it wanted   the last row, if that fits
    was made from files that were published again                            all variables
    lacks files, and they have arrived                                       all variables
    has shards that could not be continued, since an object is damaged       all variables
    has files that were not due at its last run, and no more come            all variables
    lacks variables that the store has, and is due                           those variables
    =======================================================================  ===========================

    A value waits for a file that was used before and failed when the value was to be made, or made again. With the same files as
    at its last run, it waits only for those that archives refused, or that are listed in the version that was used before:
    another may fail for good.

    Parameters
    ----------
    stored : names
        Variables of the template that the store has arrays for.
    abandoned : bool
        Some upload to the partition is noted, and nobody holds its lease: the ledger may not be true of its shards.
    published : Timestamp, optional
        Last label that readers see; default: the last one that they saw after the entry's commit.
    unwritten : keys
        Files of labels that readers see, and that no run has wanted files of: metadata was extended since.
    """
    request = PartitionRequest(label=arrivals.label, publish=False, keep_published=True, upstream=arrivals.fingerprint)
    is_due = arrivals.complete or _is_due(dataset, arrivals, now)
    if entry is None:
        return Launch(request, arrivals, f"never written, and {_count(arrivals)} are there") if is_due else None
    if abandoned:
        return Launch(request, arrivals, "a run ended after it had begun to upload, and before its commit")
    if there := len(set(unwritten) & arrivals.etags.keys()):
        return Launch(request, arrivals, f"files of published labels that no run has written: {there}")
    if (reason := _why_all_variables(dataset, arrivals, entry, now, published or entry.extent[1])) is not None:
        return Launch(request, arrivals, reason)
    if is_due and (unwritten := tuple(sorted(stored - entry.variables.keys()))):
        reason = f"variables never written: {len(unwritten)}; {_count(arrivals)} are there"
        return Launch(request.model_copy(update={"variables": unwritten}), arrivals, reason)
    return None


def _why_all_variables(
    dataset: Declaration, arrivals: Arrivals, entry: LedgerEntry, now: Timestamp, published: Timestamp
) -> str | None:
    """The rows of `why_heal` that lie between the third and the last."""
    waited_for = _waited_for(entry) & arrivals.etags.keys()
    if entry.upstream == arrivals.fingerprint:
        if refused := len(_asked_again(entry, arrivals)):
            return f"files that archives refused, asked for again: {refused}"
        waited_for = _waited_for_still(entry, arrivals)
        if not entry.retry and not waited_for:
            return None
    if again := len(entry.published_again(arrivals.etags)):
        return f"files published again: {again}"
    if arrived := len(_lacking(entry, published) & arrivals.etags.keys()):
        return f"missing files that have arrived: {arrived}"
    if damaged := sum(bool(coverage.damaged) for coverage in entry.variables.values()):
        return f"variables with damaged shards, made anew: {damaged}"
    if waited_for:
        return f"files that values waited for, now there: {len(waited_for)}"
    if (arrivals.complete or _is_settled(dataset, arrivals, now)) and (
        fallen_due := _due_since(dataset, entry, arrivals)
    ):
        return f"files that were not due at its last run: {fallen_due}"
    return None


def _is_due(dataset: Declaration, arrivals: Arrivals, now: Timestamp) -> bool:
    """Whether some files are there, and the soft deadline has passed."""
    return bool(arrivals.present and now - arrivals.label >= dataset.soft_deadline)


def _is_settled(dataset: Declaration, arrivals: Arrivals, now: Timestamp) -> bool:
    """Whether no file has arrived within the last `quiet`. One from the future was written by a clock that is ahead."""
    return arrivals.newest is None or bool(abs(now - arrivals.newest) >= dataset.quiet)


def _asked_again(entry: LedgerEntry, arrivals: Arrivals) -> set[str]:
    """Files that are listed, and that no archive handed over at the last run."""
    return {lost.file for lost in entry.missing_files if lost.was_refused} & arrivals.etags.keys()


def _unwanted(entry: LedgerEntry, arrivals: Arrivals) -> set[str]:
    """Files that are listed, and that the last run neither used nor lacked."""
    return arrivals.etags.keys() - entry.etags.keys() - entry.lacking


def _lacking(entry: LedgerEntry, published: Timestamp) -> set[str]:
    """Files that a partition lacks of labels that readers see, up to the last one; the others are for an update."""
    return {lost.file for lost in entry.missing_files if lost.label is None or lost.label <= published}


def _waited_for(entry: LedgerEntry, *, only_refused: bool = False) -> set[str]:
    """Files that were used before, and failed when values were to be made from what is new beside them."""
    values: list[MissingFile | OutdatedValue] = []
    for coverage in entry.variables.values():
        values += [*coverage.missing, *coverage.outdated]
    return {one.waits_for for one in values if one.waits_for is not None and (one.was_refused or not only_refused)}


def _waited_for_still(entry: LedgerEntry, arrivals: Arrivals) -> set[str]:
    """Those that are listed as at the last run, and may be read this time: archives refused them, or they were read before."""
    newer = set(entry.published_again(arrivals.etags))
    return _waited_for(entry) & arrivals.etags.keys() - (newer - _waited_for(entry, only_refused=True))


def _due_since(dataset: Declaration, entry: LedgerEntry, arrivals: Arrivals) -> int:
    """How many files are there that the last run, of all variables, did not want: they were not due then.

    In a shard of many labels such files belong to new labels, which an update publishes: they do not count.
    """
    template = dataset.template_config
    if template.shard_length > 1 or not set(entry.variables) >= set(template.variables):
        return 0
    return len(arrivals.etags.keys() - entry.etags.keys())


def _count(arrivals: Arrivals) -> str:
    of = f"{arrivals.expected} files" if arrivals.asked is None else f"{arrivals.asked} files asked for"
    return f"{arrivals.present} of {of}{_where(arrivals)}"


def _where(arrivals: Arrivals) -> str:
    """Empty for the archive that is listed as a rule."""
    return f" in {arrivals.elsewhere!r}" if arrivals.elsewhere else ""
