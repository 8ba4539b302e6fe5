"""Which partitions are to be launched: upstream, ledger and store compared, and nothing remembered in between.

In: a dataset, its places, the time it is. Out: a `Survey`: at most a few partitions worth a run, each with the reason, and
what was seen. Every answer follows from upstream, ledger and store, so that asking twice, or losing a sensor's cursor,
changes nothing.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from reformatters_dagster.core.ledger.entries import LedgerEntry, previous_entry, read_version, write_ledger
from reformatters_dagster.core.ledger.progress import abandoned_partitions, noted_uploads
from reformatters_dagster.core.ledger.reach import settled_files, unwritten_labels
from reformatters_dagster.core.run.arrivals import Arrivals, files_of_labels, find_arrivals, find_elsewhere
from reformatters_dagster.core.run.declaration import Declaration
from reformatters_dagster.core.run.plan import PartitionRequest
from reformatters_dagster.core.run.reasons import Launch, why_cool_down, why_heal, why_publish
from reformatters_dagster.core.run.replicas import degraded
from reformatters_dagster.core.spec.errors import LedgerUnreadable, ObjectMoved, SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import Timestamp
from reformatters_dagster.core.spec.zarr_documents import arrays_of
from reformatters_dagster.core.store.location import Etag, Store
from reformatters_dagster.core.store.reading import is_published, published_labels, read_root
from reformatters_dagster.core.store.settings import Workspace

log = logging.getLogger(__name__)

SHARDS_GIVEN_UP = 4
"""Published shards past twice the give-up age that are still looked at, to be marked as known missing."""


@dataclass
class Survey:
    """What one look at the upstream found."""

    launches: list[Launch] = field(default_factory=list)
    seen: list[Arrivals] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Why other partitions are not launched, for the person who reads the sensor's page."""
    given_up: list[Timestamp] = field(default_factory=list)


class Budget:
    """Time for one look; a sensor that takes longer than Dagster allows is killed."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ends = clock() + seconds
        self._clock = clock

    @property
    def is_spent(self) -> bool:
        return self._clock() >= self._ends


def survey_unpublished(dataset: Declaration, workspace: Workspace, now: Timestamp, budget: Budget) -> Survey:
    """Look at every partition the store does not publish yet, and decide about the oldest: see `why_publish`.

    Only the oldest is launched, since commits go in order. It is listed first, and then the newest ones before the older
    ones, so that what is observed of the upstream is fresh even when the budget ends early. A shard that waits for a file is
    launched all the same where replicas lack what is published, since updates mend them.

    Raises
    ------
    StoreUnavailable
        When the store cannot be read; it is not thereby empty.
    """
    survey = Survey()
    published = len(published_labels(workspace.stores.primary, dataset.template_config.append_dim.name))
    labels = _not_wholly_published(dataset, published, now)
    if not labels:
        survey.waiting.append("everything that has begun is published")
        return survey
    first, past_give_up = labels[0], _past_give_up(dataset, labels[0], now)
    entry = _entry_of_long_shard(dataset, workspace, first)
    arrivals = _list(dataset, workspace, now, first, survey, entry=entry, elsewhere=budget, published=published)
    for label in reversed(labels[1:]):
        if budget.is_spent:
            survey.waiting.append(f"the listing budget ended before {partition_key(label)}")
            break
        # Other archives are asked about later ones only until one is known to have begun to arrive: then the first is late.
        matters = past_give_up and not _has_later(survey, first)
        later = _entry_of_long_shard(dataset, workspace, label)
        _list(dataset, workspace, now, label, survey, entry=later, elsewhere=budget if matters else None)
    if arrivals is None:
        return survey
    late = past_give_up and _has_later(survey, first)
    found = why_publish(dataset, arrivals, entry, now, late=late)
    if isinstance(found, Launch):
        survey.launches.append(found)
        return survey
    survey.waiting.append(f"{partition_key(first)} {found}")
    if (mending := _why_mend(dataset, workspace, arrivals, entry, now)) is not None:
        survey.launches.append(mending)
    return survey


def _why_mend(
    dataset: Declaration, workspace: Workspace, arrivals: Arrivals, entry: LedgerEntry | None, now: Timestamp
) -> Launch | None:
    """An update for replicas that lag, of a shard that waits for a file: that may take until the file is given up.

    Its attempts are counted by what the replicas lack, beside those of updates: a replica may stay out.
    """
    if dataset.replicas != "best_effort" or entry is None or entry.upstream != arrivals.fingerprint:
        return None
    lagging = [] if why_cool_down(dataset, entry, now) is not None else degraded(workspace.stores)
    if not lagging:
        return None
    request = PartitionRequest(label=arrivals.label, publish=True, upstream=arrivals.fingerprint)
    marks = sorted((one.replica, one.partition) for one in lagging)
    counted = replace(arrivals, fingerprint=f"replicas-{hashlib.sha256(repr(marks).encode()).hexdigest()[:12]}")
    return Launch(request, counted, f"partitions that replicas lack: {len(lagging)}")


def _has_later(survey: Survey, first: Timestamp) -> bool:
    """Whether a partition after the first one has begun to arrive."""
    return any(one.present for one in survey.seen if one.label > first)


def survey_incomplete(dataset: Declaration, workspace: Workspace, now: Timestamp, budget: Budget) -> Survey:
    """Look at the published partitions of the heal window, newest first, for holes that the upstream can fill by now.

    Then at older ones of which an upload is noted, newest first: a run of them ended early, such as a backfill of history.

    Each is, in this order:

    - left alone, where its entry cannot be read: it waits for a person to run it again;
    - left alone, where it is past the give-up age and whole, never written, or known missing, unless an upload is noted;
    - left to cool down, where it ran a moment ago;
    - launched, where `why_heal` has a reason: past the give-up age too, since its runs may have failed for another reason than
      its files, such as a replica that is down; but only a few times where it is older than the window;
    - marked as known missing in the ledger, where it is past the give-up age and no run has written it meanwhile; past twice
      that age before anything else.
    """
    internal, template = workspace.stores.internal, dataset.template_config
    published = published_labels(workspace.stores.primary, template.append_dim.name)
    noted = abandoned_partitions(internal)
    look = _HealLook(dataset, workspace, now, published, _stored_variables(dataset, workspace), noted)
    recent = list(_recent_published(dataset, published, now))
    older: list[Timestamp] = []
    if noted:
        shown = published[published < recent[-1]] if recent else published
        older = [label for label in shown[:: template.shard_length][::-1] if partition_key(label) in noted]
    for label in [*recent, *older]:
        if budget.is_spent:
            look.survey.waiting.append(f"the listing budget ended before {partition_key(label)}")
            break
        look.look_at(label)
    return replace(
        look.survey, launches=[_seldom(internal, one) if one.label in older else one for one in look.survey.launches]
    )


def _seldom(internal: Store, launch: Launch) -> Launch:
    """A launch of which only a few attempts are made; they are counted for as long as the same uploads are noted."""
    notes = hashlib.sha256(repr(noted_uploads(internal, partition_key(launch.label))).encode()).hexdigest()[:12]
    arrivals = replace(launch.arrivals, fingerprint=f"{launch.arrivals.fingerprint}-{notes}")
    return replace(launch, arrivals=arrivals, few_attempts=True)


@dataclass(frozen=True)
class _HealLook:
    """One look for holes of published partitions."""

    dataset: Declaration
    workspace: Workspace
    now: Timestamp
    published: pd.DatetimeIndex
    stored: frozenset[str]
    """As `_stored_variables`."""
    noted: frozenset[str]
    """As `abandoned_partitions`."""
    survey: Survey = field(default_factory=Survey)

    def look_at(self, label: Timestamp) -> None:
        """Add one partition to the survey: see `survey_incomplete`."""
        dataset, survey, key = self.dataset, self.survey, partition_key(label)
        try:
            entry, version = read_version(self.workspace.stores.internal, key)
        except LedgerUnreadable as error:
            log.warning("%s", error)
            survey.waiting.append(f"{key} has no readable entry: {error}")
            return
        is_old = _past_give_up(dataset, label, self.now)
        shown = _labels_of(dataset, self.published, label)
        settled = entry is None or entry.known_missing or is_whole(dataset, entry, shown)
        if is_old and settled and key not in self.noted:
            return
        if entry is not None and not settled and _past_give_up(dataset, label, self.now, times=2):
            _give_up(self.workspace, entry, version, label, survey)
            return
        if entry is not None and (cooling := why_cool_down(dataset, entry, self.now)) is not None:
            survey.waiting.append(f"{key} {cooling}")
            return
        if (launch := self._launch(label, entry, shown)) is not None:
            survey.launches.append(replace(launch, past_give_up=is_old))
        elif is_old and entry is not None and not settled:
            _give_up(self.workspace, entry, version, label, survey)

    def _launch(self, label: Timestamp, entry: LedgerEntry | None, shown: pd.DatetimeIndex) -> Launch | None:
        """What the upstream lists of a partition, and whether that is worth a run."""
        known = entry if self.dataset.template_config.shard_length > 1 else None
        arrivals = _list(self.dataset, self.workspace, self.now, label, self.survey, entry=known)
        if arrivals is None:
            return None
        return why_heal(
            self.dataset,
            arrivals,
            entry,
            self.now,
            stored=self.stored,
            abandoned=partition_key(label) in self.noted,
            published=shown[-1],
            unwritten=_files_never_wanted(self.dataset, self.workspace, entry, shown, self.now),
        )


def _not_wholly_published(dataset: Declaration, published: int, now: Timestamp) -> list[Timestamp]:
    """First labels of every shard that has begun and is not wholly published, oldest first, where so many labels are."""
    template = dataset.template_config
    start, length = template.append_dim.start, template.shard_duration
    shards = range(published // template.shard_length, (now - start) // length + 1)
    return [(start + shard * length).as_unit("us") for shard in shards]


def is_whole(dataset: Declaration, entry: LedgerEntry, shown: pd.DatetimeIndex | None = None) -> bool:
    """Whether every variable of the template has every file: of all labels that readers see, where these are given."""
    template = dataset.template_config
    if not entry.is_complete or not set(entry.variables) >= set(template.variables):
        return False
    return shown is None or not unwritten_labels(entry, template.data_vars, shown)


def _files_never_wanted(
    dataset: Declaration, workspace: Workspace, entry: LedgerEntry | None, shown: pd.DatetimeIndex, now: Timestamp
) -> frozenset[str]:
    """Files of labels that readers see, and that no run has wanted files of."""
    if entry is None:
        return frozenset()
    return files_of_labels(dataset, workspace, unwritten_labels(entry, dataset.template_config.data_vars, shown), now)


def _labels_of(dataset: Declaration, published: pd.DatetimeIndex, label: Timestamp) -> pd.DatetimeIndex:
    """Published labels of the shard that starts at a label."""
    first = published.searchsorted(label)
    end = published.searchsorted(label + dataset.template_config.shard_duration)
    return published[first:end]


def _recent_published(dataset: Declaration, published: pd.DatetimeIndex, now: Timestamp) -> Iterator[Timestamp]:
    """Published shards that have begun, up to some past the give-up age, newest first.

    How many does not depend on the archive's length, nor on how far into the future its metadata was extended. Those past the
    age are seen for as long again: their heals may have waited for a replica, or nobody may have looked.
    """
    template = dataset.template_config
    if not len(published):
        return
    start, length = template.append_dim.start, template.shard_duration
    label = start + (min(published[-1], now) - start) // length * length
    oldest = max(now - 2 * dataset.give_up_age - SHARDS_GIVEN_UP * length, start)
    while label >= oldest:
        yield label
        label -= length


def _stored_variables(dataset: Declaration, workspace: Workspace) -> frozenset[str]:
    """Variables of the template that the store has arrays for: one that was added has none until it is published."""
    root = read_root(workspace.stores.primary)
    return frozenset(dataset.template_config.variables) & (arrays_of(root).keys() if root is not None else set())


def _entry_of_long_shard(dataset: Declaration, workspace: Workspace, label: Timestamp) -> LedgerEntry | None:
    """What the ledger says of an unpublished shard that may be published in part; of one label there is nothing.

    Nor does an entry count without a store: the run that is launched then says that it was lost.
    """
    if dataset.template_config.shard_length == 1 or not is_published(workspace.stores.primary):
        return None
    return previous_entry(workspace.stores.internal, label)


def _list(
    dataset: Declaration,
    workspace: Workspace,
    now: Timestamp,
    label: Timestamp,
    survey: Survey,
    *,
    entry: LedgerEntry | None,
    elsewhere: Budget | None = None,
    published: int = 0,
) -> Arrivals | None:
    """What has arrived of a partition, noted in the survey; None where that could not be found out.

    With a budget the other archives are asked as well, once a soft deadline has passed. The first row that fits decides:

    ==============================================  =================================================
    the usual archive                               the other ones are asked past the soft deadline of
    ==============================================  =================================================
    is out, or has no file                          the partition's first label
    has no file but those that the entry has        the partition's first label that readers lack
    settled, see `settled_files`
    has another file                                no label
    ==============================================  =================================================

    Parameters
    ----------
    published : int
        How many labels readers see.
    """
    arrivals: Arrivals | None = None
    try:
        arrivals = find_arrivals(dataset, workspace, label, now, known=entry)
    except SourceFileUnavailable as error:
        log.warning("partition=%s could not be listed: %s", partition_key(label), error)
        survey.waiting.append(f"{partition_key(label)} could not be listed: {error}")
    settled = frozenset[str]() if entry is None else settled_files(entry)
    nothing_new = arrivals is None or not arrivals.etags.keys() - settled
    awaited = label
    if arrivals is not None and arrivals.present:
        axis = dataset.template_config.append_dim
        awaited = max(label, axis.start + published * axis.frequency)
    if elsewhere is not None and nothing_new and now - awaited >= dataset.soft_deadline:
        found = find_elsewhere(dataset, workspace, label, now, known=entry, is_late=lambda: elsewhere.is_spent)
        arrivals = found or arrivals
    if arrivals is not None:
        survey.seen.append(arrivals)
    return arrivals


def _past_give_up(dataset: Declaration, label: Timestamp, now: Timestamp, *, times: int = 1) -> bool:
    """Whether the last label of a shard, not only its first, is past the give-up age, or past so many of it."""
    template = dataset.template_config
    last = label + template.shard_duration - template.append_dim.frequency
    return bool(now - last >= times * dataset.give_up_age)


def _give_up(
    workspace: Workspace,
    entry: LedgerEntry,
    version: Etag | None,
    label: Timestamp,
    survey: Survey,
) -> None:
    """Mark an incomplete partition as known missing."""
    try:
        write_ledger(workspace.stores.internal, entry.model_copy(update={"known_missing": True}), only_if=version)
    except ObjectMoved:
        survey.waiting.append(f"{partition_key(label)} was written by a run a moment ago")
        return
    survey.given_up.append(label)
    log.warning(
        "partition=%s is incomplete past its give-up age and is known missing from now on", partition_key(label)
    )
