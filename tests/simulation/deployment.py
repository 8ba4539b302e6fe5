"""Sensors and runs of one dataset, launched as Dagster launches them.

In: a dataset, places, a scheduler. Out: processes that survey, plan, process and commit with the real code; a journal of runs.

The rules of `orchestration/sensors.py` that are not in `core`: one update at a time, no run beside another of its partition, and
cool-downs after attempts with the same files.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from reformatters_dagster.core.ledger.lease import Sign, sweep_leases
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import Budget, survey_incomplete, survey_unpublished
from reformatters_dagster.core.run.outcomes import GroupOutcome
from reformatters_dagster.core.run.plan import PartitionPlan, PartitionRequest, plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.errors import ReformatError
from reformatters_dagster.core.spec.retries import STORE_PATIENCE, UPSTREAM_PATIENCE, Patience
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.store.settings import Workspace
from reformatters_dagster.core.store.stores import StoreSet
from tests.simulation.chance import chance
from tests.simulation.dataset import VARIABLES
from tests.simulation.faults import Faults
from tests.simulation.layouts import START
from tests.simulation.objects import Bucket, SimulatedObstore, SimulatedStore
from tests.simulation.scheduler import Process, Scheduler

log = logging.getLogger(__name__)

LOOKED_WITHIN = Timedelta("2h")
"""Its sensors tick less often than those of a deployment."""
MAX_HEALS = 2
MAX_ATTEMPTS, COOL_DOWN, LONGEST_COOL_DOWN = 3, 900.0, 6 * 3600.0
RESTARTED_AFTER = 300.0
"""Seconds after which a run whose process has died is begun again, or not."""


@dataclass(eq=False)
class Run:
    """One run of one partition."""

    process: Process
    label: Timestamp
    kind: str
    created: float
    fingerprint: str = ""
    number: int = 1
    error: BaseException | None = None
    root_run: str = ""
    plan: PartitionPlan | None = None
    outcomes: list[GroupOutcome] = field(default_factory=list)
    request: PartitionRequest | None = None


@dataclass(eq=False)
class Deployment:
    """All that works on one dataset."""

    seed: int
    scheduler: Scheduler
    faults: Faults
    declared: DynamicalDataset
    primary: Bucket
    internal: Bucket
    replicas: list[Bucket]
    tmp: Path
    obstore: SimulatedObstore
    on_end: Callable[[Run], None]
    tell: Callable[[str], None]
    runs: list[Run] = field(default_factory=list)
    by_hand: list[Process] = field(default_factory=list)
    """Updates without Dagster."""
    ticks: int = 0
    signs: dict[str, Sign] = field(default_factory=dict)
    """What the last heal tick saw of leases, as its cursor keeps it."""
    last_launch: float = 0.0
    cools_until: float = 0.0
    """When every launch that waits may be made that a sensor has found worth one."""

    wanted: dict[Timestamp, float] = field(default_factory=dict)
    """When a sensor has last found a partition worth a run."""

    def __post_init__(self) -> None:
        terms = replace(self.declared.lease_terms, sleep=self.scheduler.sleep, clock=self.scheduler.monotonic)
        self.dataset = replace(self.declared, lease_terms=terms)
        self.faults.on_stall = self._stalled
        self._ours, self._theirs = self._patient(STORE_PATIENCE), self._patient(UPSTREAM_PATIENCE)

    def workspace(self) -> Workspace:
        """The places, opened as every process opens them anew."""

        def opened(bucket: Bucket) -> SimulatedStore:
            return SimulatedStore(bucket, self.obstore, self._ours, VARIABLES)

        stores = StoreSet(opened(self.primary), tuple(map(opened, self.replicas)), opened(self.internal))
        return Workspace(stores=stores, upstream=Upstream(self.dataset.archives, patience=self._theirs), tmp=self.tmp)

    def _patient(self, patience: Patience) -> Patience:
        return replace(
            patience,
            sleep=self.scheduler.sleep,
            clock=self.scheduler.monotonic,
            jitter=lambda low, high: (low + high) / 2,
        )

    def process(self, name: str) -> Process:
        """A new process, whose clock may be wrong."""
        name = f"{name}@{self.scheduler.now / 60:.0f}"
        rng, error = chance(self.seed, name, "clock"), 0.0
        if not self.faults.calm and rng.random() < self.faults.families.clock_errors:
            error = rng.choice((-7200.0, -300.0, 300.0, 7200.0, 3 * 86400.0))
            if not self.faults.occurs(f"clock of {name} is {error:+.0f} s off"):
                error = 0.0
        return Process(name, error)

    def now(self, process: Process) -> Timestamp:
        """The time as a process knows it."""
        microseconds = int(1e6 * (self.scheduler.now + process.clock_error))
        return START + timedelta(microseconds=microseconds)

    def spawn(self, process: Process, call: Callable[[], None]) -> None:
        """Begin the main call of a process."""

        def main() -> None:
            try:
                call()
            finally:
                process.ended = True

        self.scheduler.spawn(process, main)

    def tick(self, kind: str) -> None:
        """Begin one look of a sensor."""
        process = self.process(f"sensor-{kind}")
        self.ticks += 1
        self.spawn(process, lambda: self._look(process, kind))

    def _look(self, process: Process, kind: str) -> None:
        if kind == "update" and any(run.kind == "update" and not run.process.ended for run in self.runs):
            return
        survey = survey_unpublished if kind == "update" else survey_incomplete
        budget = Budget(20.0, self.scheduler.monotonic)
        try:
            if kind == "heal":
                self.signs = sweep_leases(
                    self.workspace().stores.internal, self.signs, self.now(process), LOOKED_WITHIN
                )
            found = survey(self.dataset, self.workspace(), self.now(process), budget)
        except ReformatError as error:
            self.tell(f"{process.name} failed: {error}")
            return
        self.tell(f"{process.name}: {len(found.launches)} launches; {'; '.join(found.waiting)}")
        self.wanted |= dict.fromkeys((launch.label for launch in found.launches), self.scheduler.now)
        at_work = sum(run.kind == kind and not run.process.ended for run in self.runs)
        most = 1 if kind == "update" else MAX_HEALS - at_work
        for launch in found.launches:
            if most > 0:
                most -= self._launch(launch, kind)

    def _launch(self, launch: Launch, kind: str) -> bool:
        """Begin a run, unless it has to wait; whether it was begun."""
        if any(run.label == launch.label and not run.process.ended for run in self.runs):
            return False
        same = [run for run in self.runs if (run.label, run.fingerprint) == (launch.label, launch.arrivals.fingerprint)]
        if launch.few_attempts and len(same) >= MAX_ATTEMPTS:
            return False
        if len(same) >= MAX_ATTEMPTS:
            cooling = min(COOL_DOWN * 2 ** (len(same) - MAX_ATTEMPTS), LONGEST_COOL_DOWN)
            if self.scheduler.now < same[-1].created + cooling:
                self.cools_until = max(self.cools_until, same[-1].created + cooling)
                return False
        request = launch.request
        if launch.past_give_up and len(same) >= MAX_ATTEMPTS:
            request = request.model_copy(update={"accept_missing": True})
        self.tell(f"launch {kind} of {launch.label}: {launch.reason}")
        self.start(kind, request, launch.arrivals.fingerprint, number=len(same) + 1)
        return True

    def start(self, kind: str, request: PartitionRequest, fingerprint: str = "", number: int = 1) -> Run:
        """Begin a run of one partition."""
        process = self.process(f"{kind}-{request.label:%d%H}")
        run = Run(process, request.label, kind, self.scheduler.now, fingerprint, number, root_run=process.name)
        run.request = request.model_copy(update={"root_run": process.name})
        self._begin(run)
        return run

    def update_by_hand(self) -> None:
        """Begin `reformat update` in a process of its own."""
        process = self.process("update-by-hand")

        def update() -> None:
            try:
                self.dataset.reformat_operational_update(
                    self.workspace(), run_id=process.name, now=self.now(process), root_run=process.name
                )
                self.tell(f"{process.name} ended well")
            except ReformatError as error:
                self.tell(f"{process.name} failed: {type(error).__name__}: {error}")

        self.by_hand.append(process)
        self.tell(f"{process.name} begins")
        self.spawn(process, update)

    def by_hand_beside(self, label: Timestamp, kind: str) -> None:
        """Begin a run of a partition whoever else writes it."""
        keeps = kind == "heal-by-hand"
        self.start(kind, PartitionRequest(label=label, publish=False, keep_published=keeps))

    def is_wanted_again(self, run: Run) -> bool:
        """Whether a sensor has found the partition of a run worth another since it was launched."""
        return self.wanted.get(run.label, 0.0) > run.created

    def is_written(self, label: Timestamp) -> bool:
        """Whether a run may be writing a partition."""
        return any(run.label == label and not run.process.ended for run in self.runs) or any(
            not process.ended for process in self.by_hand
        )

    def _stalled(self, name: str, seconds: float) -> None:
        """Dagster takes a run that stands still for lost, and begins it again, or a person begins another."""
        run = next((run for run in self.runs if run.process.name == name), None)
        if run is None or seconds <= RESTARTED_AFTER:
            return
        rng = chance(self.seed, name, "lost")
        drawn, at = rng.random(), self.scheduler.now + rng.uniform(20, 120)
        if drawn < 0.4:
            self.scheduler.call_at(at, partial(self._again, run))
        elif drawn < 0.8:
            self.scheduler.call_at(at, partial(self.by_hand_beside, run.label, "heal-by-hand"))

    def _begin(self, run: Run) -> None:
        self.runs.append(run)
        self.last_launch = self.scheduler.now
        self.spawn(run.process, lambda: self._carry_out(run))
        self._watch(run)

    def _watch(self, run: Run) -> None:
        """Begin a run again whose process has died, or not."""

        def look() -> None:
            if not run.process.ended:
                self.scheduler.call_at(self.scheduler.now + RESTARTED_AFTER, look)
            elif run.process.dead and chance(self.seed, run.process.name, "again").random() < 0.5:
                self._again(run)

        self.scheduler.call_at(self.scheduler.now + RESTARTED_AFTER, look)

    def _again(self, run: Run) -> None:
        process = self.process(f"{run.kind}-{run.label:%d%H}-again")
        again = replace(run, process=process, created=self.scheduler.now, outcomes=list(run.outcomes), error=None)
        self.tell(f"{process.name} continues {run.process.name}")
        self._begin(again)

    def _carry_out(self, run: Run) -> None:
        assert run.request is not None
        process = run.process
        try:
            if run.plan is None:
                run.plan = plan_partition(self.dataset, self.workspace(), run.request, self.now(process))
            done = {name for outcome in run.outcomes for name in outcome.results}
            for group in run.plan.groups:
                if not done.issuperset(group):
                    workspace = self.workspace()
                    context = replace(
                        self.dataset.context(workspace, run.plan.now, run_id=process.name, force=run.request.force),
                        cpus=1,
                    )
                    run.outcomes.append(process_group(self.dataset, context, run.plan, group))
            workspace, now = self.workspace(), self.now(process)
            commit_partition(self.dataset, workspace, run.plan, run.outcomes, run_id=process.name, now=now)
            self.tell(f"{process.name} committed")
        except Exception as error:
            run.error = error
            self.tell(f"{process.name} failed: {type(error).__name__}: {error}")
        finally:
            process.ended = True
            self.on_end(run)
