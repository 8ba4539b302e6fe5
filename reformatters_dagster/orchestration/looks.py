"""What is known of the stores and sensors of a deployment at a glance, for metrics and for the overview.

In: datasets, settings, an instance. Out: reports of stores, and how sensors and schedules tick.

A look reads the metadata and the newest few ledger entries of each store.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.status import PartitionStatus, StatusReport, status
from reformatters_dagster.core.spec.errors import StoreMissing
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.sensors import LISTING_PATIENCE

log = logging.getLogger(__name__)

NEWEST = 8
"""Partitions of each dataset that a look reads unless told otherwise."""
STORES_AT_ONCE = 8


@dataclass
class StoreLooks:
    """What the last look at each store found."""

    datasets: Sequence[DynamicalDataset]
    settings: Settings
    newest: Callable[[DynamicalDataset], int] = lambda _: NEWEST
    """How many partitions of a dataset a look reads."""
    reports: dict[str, StatusReport | None] = field(default_factory=dict)
    """By dataset; None where there is no store. A dataset whose store could not be read keeps what was known."""
    unreadable: set[str] = field(default_factory=set)
    looked_at: Timestamp | None = None

    def look(self, now: Timestamp) -> None:
        with ThreadPoolExecutor(STORES_AT_ONCE, "stores") as pool:
            list(pool.map(self._look_at, self.datasets))
        self.looked_at = now

    def _look_at(self, dataset: DynamicalDataset) -> None:
        name = dataset.dataset_id
        try:
            stores = self.settings.stores(dataset.template_config, LISTING_PATIENCE)
            self.reports[name] = status(dataset.as_begun(stores.primary), stores, self.newest(dataset))
        except StoreMissing:
            self.reports[name] = None
        except Exception:
            log.warning("dataset=%s its store could not be read", name, exc_info=True)
            self.unreadable.add(name)
            return
        self.unreadable.discard(name)


@dataclass(frozen=True)
class Ticking:
    """How a sensor or schedule ticks."""

    name: str
    is_running: bool
    age: float | None
    """Seconds since its last tick; None where it is off, or never ticked."""
    failed: bool
    """Whether that tick failed."""


def ticking(instance: dg.DagsterInstance, seconds: float) -> Iterator[Ticking]:
    """Every sensor and schedule that the instance knows, at a time in seconds since 1970."""
    for state in instance.all_instigator_state():
        if state.instigator_type not in {InstigatorType.SENSOR, InstigatorType.SCHEDULE}:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1) if state.is_running else ()
        yield Ticking(
            state.instigator_name,
            state.is_running,
            seconds - ticks[0].timestamp if ticks else None,
            bool(ticks) and ticks[0].status is TickStatus.FAILURE,
        )


def next_label_due(dataset: DynamicalDataset) -> Timedelta:
    """Age of the newest label at which the update of the next one begins at the latest."""
    due: Timedelta = dataset.template_config.append_dim.frequency + dataset.soft_deadline
    return due


def completeness(variables: Sequence[str], partitions: Sequence[PartitionStatus]) -> float:
    """Share of fields that were used, of those that every variable of some partitions expects."""
    expected = succeeded = 0.0
    for partition in partitions:
        known = partition.entry.variables if partition.entry is not None else {}
        most = max((one.expected for one in known.values()), default=1)
        for name in variables:
            expected += known[name].expected if name in known else most
            succeeded += known[name].succeeded if name in known else 0
    return succeeded / expected if expected else 0.0
