"""What is to be launched: upstream, ledger and store compared, and nothing remembered in between.

In: a dataset, its places, the time it is. Out: at most a few partitions worth a run, each with the reason, and what was seen.

Every answer follows from what stands in the upstream, the ledger and the store, so asking twice, or losing a sensor's
cursor, changes nothing.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry, previous_entry, read_version, write_ledger
from reformatters_dagster.core.run.arrivals import Arrivals, find_elsewhere
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.errors import LedgerUnreadable, ObjectMoved, SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.wording import spell_duration
from reformatters_dagster.core.spec.zarr_documents import arrays_of
from reformatters_dagster.core.store.location import Etag
from reformatters_dagster.core.store.reading import published_labels, read_root
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """A partition worth a run now."""

    label: Timestamp
    arrivals: Arrivals
    reason: str
    accept_missing: bool = False
    """Publish it even if nothing of it can be had: nothing is there, and it is given up."""
    past_give_up: bool = False
    """It is past the give-up age, a later one has begun to arrive, and files of it are there: to be given up as well, once
    it has been tried often enough with the same files."""
    variables: tuple[str, ...] = ()
    """Only these are to be made; empty means all."""


@dataclass
class Survey:
    """What one look at the upstream found."""

    launches: list[Launch] = field(default_factory=list)
    seen: list[Arrivals] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Why other partitions are not launched, for the one who asks the sensor."""
    given_up: list[Timestamp] = field(default_factory=list)


class Budget:
    """Time for one look; a sensor that takes longer than Dagster allows is killed."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ends = clock() + seconds
        self._clock = clock

    @property
    def is_spent(self) -> bool:
        return self._clock() >= self._ends


def survey_unpublished(dataset: DynamicalDataset, workspace: Workspace, now: Timestamp, budget: Budget) -> Survey:
    """Look at every partition the store does not publish yet, and pick the one to publish next.

    The newest are listed first, so that what is observed of the upstream is fresh even when the budget ends early; the
    oldest is the one launched, since commits go in order. It is launched when its files are complete, or some are there and
    the soft deadline has passed, or when it is past the give-up age and a later one has begun to arrive. The launch says so
    then: of one that has no files, nothing is waited for any more, and one whose files cannot be used must not hold up the
    later ones for ever.

    Raises
    ------
    StoreUnavailable
        When the store cannot be read; it is not thereby empty.
    """
    survey = Survey()
    labels = unpublished_labels(dataset, workspace, now)
    if not labels:
        survey.waiting.append("everything that has begun is published")
        return survey
    first, past_give_up = labels[0], _past_give_up(dataset, labels[0], now)
    arrivals = _list(dataset, workspace, now, first, survey, budget)
    for label in reversed(labels[1:]):
        if budget.is_spent:
            survey.waiting.append(f"the listing budget ended before {partition_key(label)}")
            break
        # Of later ones it matters only whether any has begun to arrive, for the first to be given up.
        matters = past_give_up and not any(one.present for one in survey.seen if one.label > first)
        _list(dataset, workspace, now, label, survey, budget if matters else None)
    if arrivals is None:
        return survey
    late = past_give_up and any(one.present for one in survey.seen if one.label > first)
    if not late and (reason := _why_wait(dataset, workspace, arrivals, now)) is not None:
        survey.waiting.append(f"{partition_key(first)} {reason}")
    elif (launch := _launch(dataset, arrivals, now, late=late)) is not None:
        survey.launches.append(launch)
    else:
        survey.waiting.append(f"{partition_key(first)} has {_count(arrivals)}")
    return survey


def _launch(dataset: DynamicalDataset, arrivals: Arrivals, now: Timestamp, *, late: bool) -> Launch | None:
    """The launch of an unpublished partition; `late` where it is past the give-up age and a later one has begun to arrive."""
    label, also = arrivals.label, "; it is past its give-up age, and later ones have arrived" if late else ""
    if arrivals.complete:
        return Launch(label, arrivals, f"all files have arrived{_where(arrivals)}{also}", past_give_up=late)
    if arrivals.present and now - label >= dataset.soft_deadline:
        reason = f"the soft deadline has passed with {_count(arrivals)}{also}"
        return Launch(label, arrivals, reason, past_give_up=late)
    if late:
        reason = f"given up with {_count(arrivals)}; later ones have arrived"
        return Launch(label, arrivals, reason, accept_missing=True)
    return None


def survey_incomplete(dataset: DynamicalDataset, workspace: Workspace, now: Timestamp, budget: Budget) -> Survey:
    """Look at the published partitions of the heal window, newest first, for holes that the upstream can fill by now.

    A partition is worth a run when it lacks files and the upstream lists something else than at its last run, when archives
    refused a file at its last run that they list, or when a file it was made from has been published again; and its variables
    that no run has written yet are worth one by themselves. One that is past the give-up age is marked as known missing in the
    ledger, unless a run has written it meanwhile. One whose entry cannot be read waits for somebody to run it again.
    """
    survey, stored = Survey(), _stored_variables(dataset, workspace)
    for label in _recent_published(dataset, workspace, now):
        if budget.is_spent:
            survey.waiting.append(f"the listing budget ended before {partition_key(label)}")
            break
        try:
            entry, version = read_version(workspace.stores.internal, partition_key(label))
        except LedgerUnreadable as error:
            log.warning("%s", error)
            survey.waiting.append(f"{partition_key(label)} has no readable entry: {error}")
            continue
        if _past_give_up(dataset, label, now):
            _give_up(dataset, workspace, entry, version, label, survey)
            continue
        if entry is not None and now - entry.written_at < dataset.heal_cool_down:
            survey.waiting.append(f"{partition_key(label)} {_cools_down(entry, now)}")
            continue
        arrivals = _list(dataset, workspace, now, label, survey)
        if arrivals is None:
            continue
        if (reason := _why_heal(dataset, entry, arrivals, now)) is not None:
            survey.launches.append(Launch(label, arrivals, reason))
        elif unwritten := _unwritten(dataset, entry, arrivals, stored, now):
            reason = f"{len(unwritten)} variables were never written, and {_count(arrivals)} are there"
            survey.launches.append(Launch(label, arrivals, reason, variables=unwritten))
    return survey


def _stored_variables(dataset: DynamicalDataset, workspace: Workspace) -> frozenset[str]:
    """Variables of the template that the store has arrays for: one that was added has none until it is published."""
    root = read_root(workspace.stores.primary)
    return frozenset(dataset.template_config.variables) & (arrays_of(root).keys() if root is not None else set())


def _unwritten(
    dataset: DynamicalDataset,
    entry: LedgerEntry | None,
    arrivals: Arrivals,
    stored: frozenset[str],
    now: Timestamp,
) -> tuple[str, ...]:
    """Variables that no run of a partition has been about, where its files are there."""
    if entry is None or not (arrivals.complete or (arrivals.present and now - arrivals.label >= dataset.soft_deadline)):
        return ()
    return tuple(sorted(stored - entry.variables.keys()))


def unpublished_labels(dataset: DynamicalDataset, workspace: Workspace, now: Timestamp) -> list[Timestamp]:
    """First labels of every shard that has begun and is not wholly published, oldest first."""
    template = dataset.template_config
    published = len(published_labels(workspace.stores.primary, template.append_dim.name))
    first = template.append_dim.start + (published // template.shard_length) * template.shard_duration
    return [label.as_unit("us") for label in pd.date_range(first, now, freq=template.shard_duration)]


def _why_wait(dataset: DynamicalDataset, workspace: Workspace, arrivals: Arrivals, now: Timestamp) -> str | None:
    """Why a shard of many labels, of which some are published, is not continued yet; None where it may be."""
    if dataset.template_config.shard_length == 1:
        return None
    entry = previous_entry(workspace.stores.internal, arrivals.label)
    # A heal has seen the files of new labels and left them alone: they are new to an update.
    if entry is not None and entry.published and entry.upstream == arrivals.fingerprint:
        if not entry.retry and not _to_be_asked_again(entry, arrivals):
            return "has nothing new since its last run"
        if now - entry.written_at < dataset.heal_cool_down:
            return _cools_down(entry, now)
    if not arrivals.complete and arrivals.newest is not None and now - arrivals.newest < dataset.quiet:
        return f"got its newest file at {arrivals.newest:%H:%M}; more of the bunch are waited for"
    return None


def _cools_down(entry: LedgerEntry, now: Timestamp) -> str:
    return f"ran {spell_duration(now - entry.written_at)} ago and cools down"


def is_whole(dataset: DynamicalDataset, entry: LedgerEntry) -> bool:
    """Whether every variable of the template has every file."""
    return entry.is_complete and set(entry.variables) >= set(dataset.template_config.variables)


def _recent_published(dataset: DynamicalDataset, workspace: Workspace, now: Timestamp) -> Iterator[Timestamp]:
    """Published shards that have begun, up to one past the give-up age, newest first.

    How many does not depend on the archive's length, nor on how far into the future its metadata was extended.
    """
    template = dataset.template_config
    published = published_labels(workspace.stores.primary, template.append_dim.name)
    if not len(published):
        return
    start, length = template.append_dim.start, template.shard_duration
    label = start + (min(published[-1], now) - start) // length * length
    oldest = max(now - dataset.give_up_age - 4 * template.shard_duration, template.append_dim.start)
    while label >= oldest:
        yield label
        label -= template.shard_duration


def _list(
    dataset: DynamicalDataset,
    workspace: Workspace,
    now: Timestamp,
    label: Timestamp,
    survey: Survey,
    elsewhere: Budget | None = None,
) -> Arrivals | None:
    """What has arrived of a partition, noted in the survey; None where that could not be found out.

    With a budget the other archives are asked as well, once the soft deadline has passed and the first has nothing of it.
    """
    entry = previous_entry(workspace.stores.internal, label) if dataset.template_config.shard_length > 1 else None
    arrivals: Arrivals | None = None
    try:
        arrivals = dataset.arrivals(workspace, label, now, entry)
    except SourceFileUnavailable as error:
        log.warning("partition=%s could not be listed: %s", partition_key(label), error)
        survey.waiting.append(f"{partition_key(label)} could not be listed: {error}")
    nothing = arrivals is None or not arrivals.present
    if elsewhere is not None and nothing and now - label >= dataset.soft_deadline:
        since = None if entry is None else (now - dataset.give_up_age).floor("1D")
        context = dataset.context(workspace, now)
        found = find_elsewhere(
            dataset.region_job, context, label, known=entry, since=since, is_late=lambda: elsewhere.is_spent
        )
        arrivals = found or arrivals
    if arrivals is not None:
        survey.seen.append(arrivals)
    return arrivals


def _why_heal(dataset: DynamicalDataset, entry: LedgerEntry | None, arrivals: Arrivals, now: Timestamp) -> str | None:
    if entry is None:
        due = arrivals.complete or (arrivals.present and now - arrivals.label >= dataset.soft_deadline)
        return f"never written, and {_count(arrivals)} are there" if due else None
    if entry.upstream == arrivals.fingerprint:
        if refused := len(_to_be_asked_again(entry, arrivals)):
            return f"{refused} files that archives refused are asked for again"
        if not entry.retry:
            return None
    if again := len(entry.published_again(arrivals.etags)):
        return f"{again} files were published again"
    lacking = {
        missing.file
        for coverage in entry.variables.values()
        for missing in coverage.missing
        # Labels that readers do not see yet are for an update.
        if missing.label is None or missing.label <= entry.extent[1]
    }
    if arrived := len(lacking & arrivals.etags.keys()):
        return f"{arrived} files that were missing have arrived"
    fallen_due = _due_since(dataset, entry, arrivals)
    settled = arrivals.complete or arrivals.newest is None or now - arrivals.newest >= dataset.quiet
    return f"{fallen_due} files that were not due at its last run have arrived" if fallen_due and settled else None


def _to_be_asked_again(entry: LedgerEntry, arrivals: Arrivals) -> set[str]:
    """Files that are there, and that no archive handed over at the last run."""
    missing = (lost for coverage in entry.variables.values() for lost in coverage.missing)
    return {lost.file for lost in missing if lost.was_refused} & arrivals.etags.keys()


def _due_since(dataset: DynamicalDataset, entry: LedgerEntry, arrivals: Arrivals) -> int:
    """Files that are there, and that a run of all variables did not want: they were not due then.

    Of a shard of many labels they are those of new labels, which an update publishes.
    """
    template = dataset.template_config
    if template.shard_length > 1 or not set(entry.variables) >= set(template.variables):
        return 0
    return len(arrivals.etags.keys() - entry.etags.keys())


def _past_give_up(dataset: DynamicalDataset, label: Timestamp, now: Timestamp) -> bool:
    """Whether the last label of a shard, not only its first, is older than what is still waited for."""
    template = dataset.template_config
    last = label + template.shard_duration - template.append_dim.frequency
    return bool(now - last >= dataset.give_up_age)


def _give_up(
    dataset: DynamicalDataset,
    workspace: Workspace,
    entry: LedgerEntry | None,
    version: Etag | None,
    label: Timestamp,
    survey: Survey,
) -> None:
    if entry is None or entry.known_missing or is_whole(dataset, entry):
        return
    try:
        write_ledger(workspace.stores.internal, entry.model_copy(update={"known_missing": True}), only_if=version)
    except ObjectMoved:
        survey.waiting.append(f"{partition_key(label)} was written by a run a moment ago")
        return
    survey.given_up.append(label)
    log.warning(
        "partition=%s is incomplete past its give-up age and is known missing from now on", partition_key(label)
    )


def _count(arrivals: Arrivals) -> str:
    of = f"{arrivals.expected} files" if arrivals.asked is None else f"{arrivals.asked} files asked for"
    return f"{arrivals.present} of {of}{_where(arrivals)}"


def _where(arrivals: Arrivals) -> str:
    """Empty for the archive that is listed as a rule."""
    return f" in {arrivals.elsewhere!r}" if arrivals.elsewhere else ""
