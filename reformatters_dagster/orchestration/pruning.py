"""Deleting old runs with their events, and none that a page still shows.

In: an instance, and a time. Out: runs that ended before it are gone, but for those that something newer, or a page, goes by.

Dagster has no status of a partition of its own: a partition counts as materialized because the event is there, and as failed
because its newest planned materialization is. So the run that made the newest of either stays, whatever its age.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg
import sqlalchemy as sa
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from reformatters_dagster.core.spec.errors import Refused
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.orchestration.names import BACKFILL_TAG
from reformatters_dagster.orchestration.trouble import ended_at

log = logging.getLogger(__name__)

LEAST_AGE = Timedelta("14D")
"""Sensors count the runs of a partition for twice its give-up age, and Dagster's retries look at the runs before."""
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
NEWEST_OF_PARTITION = "made the newest materialization or observation of a partition"
NEWEST_ATTEMPT = "was the last to try a partition"
NEWEST_CHECK = "holds the last result of a check"
NEWEST_SUCCESS = "is the last success of its job"
FOLLOWED = "a younger run continues it"
BACKFILL_GOES_ON = "its backfill goes on"
ENDED_LATELY = "ended later than that"

type OnBatch = Callable[[int, int], object]


@dataclass
class Pruned:
    """What was done, or would be."""

    deleted: list[str] = field(default_factory=list)
    """Ids of runs, oldest first."""
    kept: Counter[str] = field(default_factory=Counter)
    """How many runs were begun before the time and stay, by the reason."""


def prune_runs(
    instance: dg.DagsterInstance, before: Timestamp, *, batch: int, dry_run: bool, on_batch: OnBatch | None = None
) -> Pruned:
    """Delete runs that ended before a time.

    Parameters
    ----------
    before : Timestamp
        Naive UTC.
    batch : int
        How many runs are read, judged and deleted at a time.
    on_batch : callable, optional
        Takes how many runs were looked at and deleted so far.
    """
    pruned, keeping, seen = Pruned(), _Keeping(instance, before), 0
    for records in _pages(instance, before, batch):
        for record in records:
            reason = keeping.reason(record)
            if reason is not None:
                pruned.kept[reason] += 1
                continue
            if not dry_run:
                instance.delete_run(record.dagster_run.run_id)
            pruned.deleted.append(record.dagster_run.run_id)
        seen += len(records)
        log.info("runs=%d deleted=%d%s", seen, len(pruned.deleted), " dry_run" if dry_run else "")
        if on_batch is not None:
            on_batch(seen, len(pruned.deleted))
    return pruned


def refuse_young(older_than: Timedelta) -> None:
    """Refuse an age at which sensors and retries still go by a run."""
    if older_than < LEAST_AGE:
        raise Refused(
            f"runs older than {older_than / Timedelta('1D'):g} days were to be deleted; sensors and retries go by younger ones: "
            f"give {LEAST_AGE.days}D or more"
        )


def _pages(instance: dg.DagsterInstance, before: Timestamp, batch: int) -> Iterator[Sequence[dg.RunRecord]]:
    """Runs that were begun before a time and have ended, oldest first. The next page is read before one is handed out."""
    chosen = dg.RunsFilter(statuses=ENDED, created_before=before.tz_localize("UTC").to_pydatetime())

    def page(cursor: str | None) -> Sequence[dg.RunRecord]:
        return instance.get_run_records(chosen, limit=batch, cursor=cursor, ascending=True)

    current = page(None)
    while current:
        following = page(current[-1].dagster_run.run_id)
        yield current
        current = following


class _Keeping:
    """Which runs stay. What the instance holds is read once, at the start: what is newer since only frees more runs."""

    def __init__(self, instance: dg.DagsterInstance, before: Timestamp) -> None:
        self._instance = instance
        self._before = before.tz_localize("UTC")
        self._successes: dict[str, str | None] = {}
        self._backfills = {
            backfill.backfill_id
            for status in BulkActionStatus
            if status not in BULK_ACTION_TERMINAL_STATUSES
            for backfill in instance.get_backfills(status=status)
        }
        storage = instance.event_log_storage
        if not isinstance(storage, SqlEventLogStorage):
            raise Refused(
                f"runs of a {type(storage).__name__} were to be deleted, which nobody tried: use Dagster's Postgres or SQLite"
            )
        with storage.index_connection() as connection:
            checked, made = _newest_checks(connection), _newest_asset_events(connection)
        self._reasons = dict.fromkeys(checked, NEWEST_CHECK)
        for key in storage.all_asset_keys():  # type: ignore[no-untyped-call]
            attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
            self._reasons |= dict.fromkeys((run for run, _ in attempts.values()), NEWEST_ATTEMPT)
        self._reasons |= dict.fromkeys(made, NEWEST_OF_PARTITION)

    def reason(self, record: dg.RunRecord) -> str | None:
        """Why a run stays; None where it may go."""
        run = record.dagster_run
        if ended_at(record) >= self._before.timestamp():
            return ENDED_LATELY
        if (shown := self._reasons.get(run.run_id)) is not None:
            return shown
        if run.tags.get(BACKFILL_TAG) in self._backfills:
            return BACKFILL_GOES_ON
        if self._last_success(run.job_name) == run.run_id:
            return NEWEST_SUCCESS
        return FOLLOWED if self._is_followed(run.run_id) else None

    def _last_success(self, job: str) -> str | None:
        if job not in self._successes:
            succeeded = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
            newest = self._instance.get_runs(succeeded, limit=1)
            self._successes[job] = newest[0].run_id if newest else None
        return self._successes[job]

    def _is_followed(self, run_id: str) -> bool:
        """Whether a run that is too young to go was executed again from this one. Dagster finds the group by its first run."""
        since = self._before.to_pydatetime()
        tags = (ROOT_RUN_ID_TAG, PARENT_RUN_ID_TAG)
        return any(
            self._instance.get_runs(dg.RunsFilter(tags={tag: run_id}, created_after=since), limit=1) for tag in tags
        )


def _newest_asset_events(connection: sa.Connection) -> set[str]:
    """Runs that hold the newest materialization, or observation, of any partition of any asset. No event is read as a whole."""
    events = SqlEventLogStorageTable.c
    types = [dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value]
    newest = (
        sa.select(sa.func.max(events.id))
        .where(events.dagster_event_type.in_(types), events.asset_key.is_not(None))
        .group_by(events.asset_key, events.partition, events.dagster_event_type)
    )
    return set(connection.scalars(sa.select(events.run_id).where(events.id.in_(newest))))


def _newest_checks(connection: sa.Connection) -> set[str]:
    checks = AssetCheckExecutionsTable.c
    newest = sa.select(sa.func.max(checks.id)).group_by(checks.asset_key, checks.check_name, checks.partition)
    return set(connection.scalars(sa.select(checks.run_id).where(checks.id.in_(newest))))
