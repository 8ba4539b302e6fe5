"""Shards of the append dimension as Dagster partitions, and back.

In: a template. Out: a partitions definition whose keys are the first labels of the template's shards.
In: a run. Out: the partitions that it is about: one, or a range of them, where a dataset lets a run of a backfill take several.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import pandas as pd
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.instance.types import DynamicPartitionsStore
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from reformatters_dagster.core.spec.partition import PARTITION_FORMAT, partition_key
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import Timedelta, Timestamp


def partition_label(key: str) -> Timestamp:
    """First label of a partition's shard, naive UTC."""
    return pd.Timestamp(datetime.strptime(key, PARTITION_FORMAT)).as_unit("us")  # noqa: DTZ007 naive UTC inside


def exact_cron(start: Timestamp, length: Timedelta) -> str | None:
    """The UTC cron that fires at `start + k * length` for every k, and at no other time; None where no cron does.

    A cron starts anew every day or week, so only lengths that divide a day, and a week itself, are exact.
    """
    hours, rest = divmod(length, pd.Timedelta("1h"))
    if rest or not hours:
        return None
    if hours == 7 * 24:
        return f"{start.minute} {start.hour} * * {(start.weekday() + 1) % 7}"
    if 24 % hours:
        return None
    return f"{start.minute} {','.join(str(hour) for hour in range(start.hour % hours, 24, hours))} * * *"


class GrowingShards(dg.StaticPartitionsDefinition):
    """Shards that no cron can express: all from the start to the one in progress, counted anew on every request."""

    def __init__(self, start: Timestamp, length: Timedelta) -> None:
        self.start, self.length = start, length
        super().__init__(self._keys(datetime.now(UTC)))

    def _keys(self, now: datetime) -> list[str]:
        count = (pd.Timestamp(now.astimezone(UTC).replace(tzinfo=None)) - self.start) // self.length + 1
        return [partition_key(self.start + k * self.length) for k in range(max(count, 0))]

    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: DynamicPartitionsStore | None = None
    ) -> Sequence[str]:
        with partition_loading_context(current_time, dynamic_partitions_store) as context:
            return self._keys(context.effective_dt)


def shard_partitions(template: TemplateConfig) -> dg.PartitionsDefinition[str]:
    """One partition per whole shard, the one in progress included."""
    start, length = template.append_dim.start, template.shard_duration
    if (cron := exact_cron(start, length)) is None:
        return GrowingShards(start, length)
    # Without end_offset a window counts only once it is over, and the shard in progress is not.
    return dg.TimeWindowPartitionsDefinition(
        start=start.to_pydatetime(), cron_schedule=cron, fmt=PARTITION_FORMAT, end_offset=1, timezone="UTC"
    )


def key_range(run: dg.DagsterRun) -> tuple[str, str] | None:
    """First and last partition key of a run; None where it is about no partition."""
    if (only := run.tags.get(PARTITION_NAME_TAG)) is not None:
        return only, only
    first, last = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    return None if first is None or last is None else (first, last)


def is_range(run: dg.DagsterRun) -> bool:
    """Whether a run carries out a range of partitions, which may hold a single one."""
    return ASSET_PARTITION_RANGE_START_TAG in run.tags


def is_about(run: dg.DagsterRun, key: str) -> bool:
    """Whether a partition is among those of a run. Keys are times, and sort as such."""
    found = key_range(run)
    return found is not None and found[0] <= key <= found[1]


def labels_of(run: dg.DagsterRun, template: TemplateConfig) -> list[Timestamp]:
    """First label of each partition of a run, oldest first."""
    found = key_range(run)
    if found is None:
        return []
    first, last = map(partition_label, found)
    return [first + k * template.shard_duration for k in range((last - first) // template.shard_duration + 1)]
