"""The run queue in virtual time: do updates keep their deadlines while a backfill of 10,000 partitions runs?

In: datasets, how long their runs take, and a `Scenario`. Out: an `Outcome`. Dagster's own queue (`QueuedRunCoordinatorDaemon`),
configured by our coordinator, decides from the tags of our own jobs what is launched; only storage and clock stand in.
Nothing sleeps, and the same scenario always ends the same.
"""

import heapq
import itertools
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from benchmarks.scaling import Backfill
from reformatters_dagster.core.check.current_data import CheckCurrentData
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import BACKFILL_TAG, EXCLUSIVE_TAG, HEAL, MODE_TAG, PRIORITY_TAG
from reformatters_dagster.orchestration.run_coordinator import DatasetRunCoordinator

LIMITS = (
    {"key": EXCLUSIVE_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
    {"key": BACKFILL_TAG, "limit": 12},
    {"key": MODE_TAG, "value": HEAL, "limit": 6},
)
"""Tag limits of the chart."""
EXCLUSIVE = LIMITS[:1]
"""One update of a dataset at a time, and no other limit."""
RUNS = 20
"""Runs at a time of the chart."""
LOOK = 15.0
"""Seconds between two looks of the queue. Dagster's looks every 5 s."""
TICK = 60.0
"""Seconds between two ticks of a sensor."""
DAY = 86_400.0
HOUR = 3_600.0

ARRIVES = {
    "noaa-gfs": 5.0,
    "noaa-gefs": 8.0,
    "noaa-hrrr": 2.0,
    "ecmwf-aifs": 7.0,
    "ecmwf-ifs": 8.75,
    "dwd-icon": 4.0,
    "contrib-mrms": 1.5,
}
"""Hours after a label at which the last file that an update needs is there, by the model: an assumption."""


@dataclass(frozen=True)
class Service:
    """A dataset that is kept up to date."""

    dataset: DynamicalDataset
    period: float
    """Seconds between two of its labels; an hour at least, as files of hourly analyses come in bunches."""
    arrives: float
    """Seconds after a label."""
    update: float
    """Seconds of a run of `__update`."""
    tags: Mapping[str, str]
    """Of such a run, from the job's own definition."""

    @property
    def deadline(self) -> float:
        """Seconds after a label at which its validator calls the data late."""
        delay = next(one.max_delay for one in self.dataset.validators if isinstance(one, CheckCurrentData))
        return delay / pd.Timedelta("1s")


@dataclass(frozen=True)
class Scenario:
    """What the queue is told, and what it meets."""

    name: str
    runs: int = RUNS
    limits: Sequence[Mapping[str, Any]] = LIMITS
    backfill: int = 10_000
    """Runs of a backfill that are queued at the start."""
    backfill_seconds: float = 100.0
    """Of each of them, more or less a fifth."""
    has_priorities: bool = True
    """Whether runs have the priorities that our jobs and our coordinator give them."""
    hung: int = 0
    """How many of the backfill's first runs never end by themselves."""
    hours: float = 24.0

    def tagged(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags of a run in this scenario."""
        return {key: value for key, value in tags.items() if self.has_priorities or key != PRIORITY_TAG}


@dataclass
class Outcome:
    """What became of a scenario."""

    scenario: Scenario
    waits: dict[str, float] = field(default_factory=dict)
    """By dataset, the longest time in seconds that an update was queued."""
    slack: dict[str, float] = field(default_factory=dict)
    """By dataset, the least time in seconds that was left to its deadline; negative where it was missed."""
    updates: int = 0
    late: int = 0
    backfilled: int = 0

    @property
    def longest_wait(self) -> float:
        return max(self.waits.values())

    def waited(self, update: "Update", seconds: float) -> None:
        """An update was queued for so long."""
        self.waits[update.name] = max(self.waits.get(update.name, 0.0), seconds)

    def note(self, update: "Update", age: float) -> None:
        """Data were so old when readers saw them."""
        left = update.service.deadline - age
        self.updates += 1
        self.late += left < 0
        self.slack[update.name] = min(self.slack.get(update.name, DAY), left)


class VirtualRuns:
    """Just as much of a Dagster instance as its queue asks for, in memory."""

    def __init__(self, scenario: Scenario) -> None:
        limits = [dict(limit) for limit in scenario.limits]
        self.run_coordinator = DatasetRunCoordinator(
            max_concurrent_runs=scenario.runs,
            tag_concurrency_limits=limits,
            block_op_concurrency_limited_runs={"enabled": False},
        )
        self.queued: list[dg.DagsterRun] = []
        """Oldest first, as their ids are."""
        self.active: dict[str, dg.DagsterRun] = {}
        self._numbers = itertools.count()

    def enqueue(self, tags: Mapping[str, str]) -> dg.DagsterRun:
        # The queue reads no status of a run: the storage that it asks filters by it.
        run = dg.DagsterRun("job", run_id=f"{next(self._numbers):08d}", tags=dict(tags))
        self.queued.append(run)
        return run

    def launch(self, run: dg.DagsterRun) -> None:
        del self.queued[bisect_left(self.queued, run.run_id, key=_id_of)]
        self.active[run.run_id] = run

    def end(self, run_id: str) -> None:
        del self.active[run_id]

    def get_run_records(self, filters: dg.RunsFilter) -> list[SimpleNamespace]:
        assert list(filters.statuses) == list(ACTIVE_RUN_STATUSES)
        return [SimpleNamespace(dagster_run=run) for run in self.active.values()]

    def get_runs(
        self, filters: dg.RunsFilter, *, cursor: str | None, limit: int, ascending: bool
    ) -> list[dg.DagsterRun]:
        assert (list(filters.statuses), ascending) == ([dg.DagsterRunStatus.QUEUED], True)
        first = 0 if cursor is None else bisect_right(self.queued, cursor, key=_id_of)
        return self.queued[first : first + limit]


def _id_of(run: dg.DagsterRun) -> str:
    return run.run_id


class Queue:
    """Dagster's queue over virtual runs."""

    def __init__(self, runs: VirtualRuns) -> None:
        self._runs = runs
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=LOOK)
        self._config: Any = SimpleNamespace(
            run_queue_config=runs.run_coordinator.get_run_queue_config(), pool_config=None
        )
        logging.getLogger("dagster.daemon").setLevel(logging.WARNING)

    def look(self, now: float) -> list[dg.DagsterRun]:
        """Launch what may be launched, in the order that Dagster chooses."""
        instance: Any = self._runs
        chosen = self._daemon._get_runs_to_dequeue(instance, self._config, fixed_iteration_time=now)  # noqa: SLF001
        for run in chosen:
            self._runs.launch(run)
        return chosen


def services(backfills: Mapping[str, Backfill]) -> list[Service]:
    """Every dataset as its own definitions describe it. An update of a shard of many labels costs a tenth of the shard."""
    found = []
    for backfill in backfills.values():
        dataset = backfill.one.dataset
        axis = dataset.template_config
        definitions = build_definitions([dataset], Settings(store="memory://scaling"))
        tags = definitions.resolve_job_def(dataset.job_name("update")).tags
        whole = axis.shard_length == 1
        found.append(
            Service(
                dataset=dataset,
                period=max(HOUR, axis.append_dim.frequency / pd.Timedelta("1s")),
                arrives=HOUR * next(hours for model, hours in ARRIVES.items() if dataset.dataset_id.startswith(model)),
                update=backfill.run if whole else backfill.start + backfill.work / 10,
                tags=tags,
            )
        )
    return found


def backfill_tags(dataset: DynamicalDataset) -> dict[str, str]:
    """Tags of a run of `__backfill`, from the job's own definition."""
    definitions = build_definitions([dataset], Settings(store="memory://scaling"))
    return dict(definitions.resolve_job_def(dataset.job_name("backfill")).tags)


@dataclass(order=True)
class Update:
    """One label of a dataset that is to be published."""

    seen: float
    """When its sensor saw it."""
    number: int
    label: float
    service: Service = field(compare=False)

    @property
    def name(self) -> str:
        return self.service.dataset.dataset_id


def simulate(scenario: Scenario, kept: Sequence[Service], backfill_tags: Mapping[str, str]) -> Outcome:
    """Let a backfill begin at 0, and updates go on for the scenario's hours."""
    simulation = _Simulation(scenario, kept)
    simulation.begin_backfill(backfill_tags)
    until, now = scenario.hours * HOUR, 0.0
    while now <= until:
        if simulation.end_runs(now) | simulation.see_arrivals(now):
            simulation.launch(now)
        now += LOOK
    return simulation.outcome_at(until)


class _Simulation:
    """What is queued, what runs, and what is to come."""

    def __init__(self, scenario: Scenario, kept: Sequence[Service]) -> None:
        self._scenario, self._runs, self._outcome = scenario, VirtualRuns(scenario), Outcome(scenario)
        self._queue = Queue(self._runs)
        self._arrivals = sorted(_arrivals(kept, scenario.hours * HOUR))
        self._seconds: dict[str, float] = {}
        """Of each run, by its id."""
        self._updates: dict[str, Update] = {}
        """By the id of the run, from queue to end."""
        self._ends: list[tuple[float, str]] = []

    def begin_backfill(self, tags: Mapping[str, str]) -> None:
        random, scenario = Random(14), self._scenario
        many = scenario.tagged({**tags, BACKFILL_TAG: "many"})
        for number in range(scenario.backfill):
            run = self._runs.enqueue(many)
            usual = scenario.backfill_seconds * random.uniform(0.8, 1.2)
            self._seconds[run.run_id] = 10 * DAY if number < scenario.hung else usual

    def end_runs(self, now: float) -> bool:
        """Whether any run ended."""
        before = len(self._ends)
        while self._ends and self._ends[0][0] <= now:
            ended, run_id = heapq.heappop(self._ends)
            self._runs.end(run_id)
            if (update := self._updates.pop(run_id, None)) is None:
                self._outcome.backfilled += 1
            else:
                self._outcome.note(update, ended - update.label)
        return len(self._ends) < before or not now

    def see_arrivals(self, now: float) -> bool:
        """Whether a sensor launched anything. It launches one update of a dataset at a time, and else looks again."""
        busy = {update.name for update in self._updates.values()}
        launched = False
        while self._arrivals and self._arrivals[0].seen <= now:
            update = heapq.heappop(self._arrivals)
            if update.name in busy:
                heapq.heappush(self._arrivals, replace(update, seen=update.seen + TICK))
                continue
            run = self._runs.enqueue(self._scenario.tagged(update.service.tags))
            self._seconds[run.run_id], self._updates[run.run_id] = update.service.update, update
            busy.add(update.name)
            launched = True
        return launched

    def launch(self, now: float) -> None:
        for run in self._queue.look(now):
            heapq.heappush(self._ends, (now + self._seconds[run.run_id], run.run_id))
            if (update := self._updates.get(run.run_id)) is not None:
                self._outcome.waited(update, now - update.seen)

    def outcome_at(self, until: float) -> Outcome:
        """The outcome, with updates that are not done by then and are late already."""
        for run_id, update in self._updates.items():
            if run_id not in self._runs.active:
                self._outcome.waited(update, until - update.seen)
            if until - update.label > update.service.deadline:
                self._outcome.note(update, until - update.label)
        for update in self._arrivals:  # those that wait for the update before them
            if until - update.label > update.service.deadline:
                self._outcome.note(update, until - update.label)
        return self._outcome


def _arrivals(kept: Sequence[Service], until: float) -> Iterator[Update]:
    """Every label that arrives within some seconds; a tick may pass before a sensor sees it."""
    for number, service in enumerate(kept):
        first = -(service.arrives // service.period) * service.period
        for label in itertools.count(first, service.period):
            seen = label + service.arrives
            if seen >= until:
                break
            if seen >= 0:
                yield Update(seen + TICK, number, label, service)
