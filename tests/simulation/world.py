"""One simulation: a deployment, its upstream, and what goes wrong, for one seed.

In: a seed, and what is left out of it. Out: an `Outcome` with the promises that were broken.
"""

import gc
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pandas as pd

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.spec.errors import ReformatError
from tests.simulation import promises, reader
from tests.simulation.arrays import quick_arrays
from tests.simulation.calm import CALM, NEXT_UPDATE, Calm
from tests.simulation.chance import chance
from tests.simulation.dataset import ARCHIVE, COPY, job_of
from tests.simulation.deployment import Deployment, Run
from tests.simulation.disturbances import Disturbance, disturbances
from tests.simulation.faults import Families, Faults, families_of
from tests.simulation.folders import dataset, folder, folders
from tests.simulation.layouts import HOUR, HOURS, LAYOUTS, START, Layout
from tests.simulation.memory import remembering
from tests.simulation.objects import Bucket, SimulatedObstore
from tests.simulation.promises import Broken
from tests.simulation.scheduler import Scheduler
from tests.simulation.threads import CORE, inline_zarr, simulated_threads
from tests.simulation.torn import never_published, torn_reads
from tests.simulation.versions import by_newer_version, by_older_version
from tests.simulation.weather import FileEvent, SimulatedArchive, Upstream, file_events, index_events

END = (HOURS + 1) * HOUR
"""When calm begins."""


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    broken: list[Broken] = field(default_factory=list)
    runs: int = 0
    reads: int = 0
    faults: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    """What happened besides faults, by its name."""
    trace: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Of one core."""

    def __str__(self) -> str:
        verdict = "; ".join(sorted({str(one) for one in self.broken})[:3]) or "ok"
        return (
            f"seed={self.seed} runs={self.runs} reads={self.reads} faults={len(self.faults)} "
            f"seconds={self.seconds:.2f} {verdict}"
        )

    @property
    def promises(self) -> set[str]:
        return {one.promise for one in self.broken}


@dataclass
class Choices:
    """What a seed decides of the deployment."""

    publish_policy: Any
    replicas: Any
    replica_count: int
    give_up_age: pd.Timedelta
    quiet: pd.Timedelta

    @classmethod
    def of(cls, seed: int) -> "Choices":
        rng = chance(seed, "deployment")
        return cls(
            rng.choice(("any", "all")),
            rng.choice(("required", "best_effort")),
            rng.choice((0, 0, 1)),
            pd.Timedelta(rng.choice(("4D", "14h"))),
            pd.Timedelta(rng.choice(("1min", "10min"))),
        )


def layout_of(seed: int) -> Layout:
    """The shape of a seed's dataset: every third is a forecast."""
    return chance(seed, "layout").choice(tuple(LAYOUTS.values()))


class World:
    """Everything of one simulation."""

    def __init__(
        self,
        seed: int,
        families: Families | None = None,
        left_out: Collection[str] = (),
        *,
        trace: bool = False,
        region_job: type[RegionJob[Any]] | None = None,
        codecs: bool = False,
        layout: Layout | None = None,
    ) -> None:
        self.codecs = codecs
        self.layout = layout or layout_of(seed)
        self.outcome = Outcome(seed)
        self.seed, self.traces = seed, trace
        self.scheduler = Scheduler()
        self.families = families if families is not None else families_of(seed)
        self.faults = Faults(seed, self.families, left_out)
        self.choices = Choices.of(seed)
        indexed, has_copies = self.families.index_faults > 0, self.families.second_archive > 0
        self.upstream = Upstream(self.layout, indexed=indexed, has_copies=has_copies)
        self.primary = Bucket("primary", on_change=self._changed)
        self.internal = Bucket("internal", on_change=self._changed)
        self.replicas = [Bucket(f"replica{n}", on_change=self._changed) for n in range(self.choices.replica_count)]
        self.obstore = SimulatedObstore(self.scheduler, self.faults)
        self.extent = 0
        self.written: dict[str, str] = {}
        """When each entry of the ledger was written, as its run says."""
        self.held: dict[int, object] = {}
        """What was last looked at of a shard whose ledger was found to be true."""
        declared = replace(
            dataset(self.layout),
            publish_policy=self.choices.publish_policy,
            replicas=self.choices.replicas,
            give_up_age=self.choices.give_up_age,
            quiet=self.choices.quiet,
            soft_deadline=pd.Timedelta("2h"),
            region_job=region_job or job_of(self.layout, indexed=indexed),
            archives=(ARCHIVE, COPY) if has_copies else (ARCHIVE,),
        )
        self.deployment = Deployment(
            seed=seed,
            scheduler=self.scheduler,
            faults=self.faults,
            declared=declared,
            primary=self.primary,
            internal=self.internal,
            replicas=self.replicas,
            tmp=folder() / "tmp",
            obstore=self.obstore,
            on_end=self._ended,
            tell=self.tell,
        )

    def run(self) -> Outcome:
        """Let everything happen, and look whether the promises hold."""
        started = time.process_time()
        archives = {
            urlsplit(source.url).netloc: SimulatedArchive(
                self.upstream, self.scheduler, self.faults, START.to_pydatetime(), is_copy=source is COPY
            )
            for source in (ARCHIVE, COPY)
        }
        with ExitStack() as stack:
            stack.enter_context(simulated_threads(self.scheduler))
            if not self.codecs:
                stack.enter_context(remembering())
                stack.enter_context(quick_arrays())
                stack.enter_context(inline_zarr())
            stack.enter_context(folders())
            stack.enter_context(patch(f"{CORE}.store.location.obstore", self.obstore))
            stack.enter_context(patch(f"{CORE}.source.clients.S3Store", lambda bucket, **_: archives[bucket]))
            self._schedule()
            self.scheduler.run(END)
            self._begin_calm()
            self.scheduler.run(END + CALM)
            calm = Calm(self.deployment, self.upstream, self.choices.give_up_age, END)
            self.scheduler.run(calm.lasts_until)
            self._look_at_all(calm.broken())
            if calm.needs_next_update:
                self._bring_one_more_label()
                self.scheduler.run(self.scheduler.now + NEXT_UPDATE)
            self._look_at_all(calm.broken_places())
        self.outcome.runs = len(self.deployment.runs)
        self.outcome.faults = list(self.faults.happened)
        self.outcome.counted = self.faults.counted
        self.outcome.seconds = time.process_time() - started
        return self.outcome

    def tell(self, line: str) -> None:
        """Note a line of the trace."""
        if self.traces:
            self.outcome.trace.append(f"{self.scheduler.now / HOUR:8.3f} {line}")

    def broken(self, promise: str, detail: str) -> None:
        assert promise in promises.NAMES, promise
        self.tell(f"BROKEN {promise}: {detail}")
        self.outcome.broken.append(Broken(promise, self.scheduler.now, detail))

    def _schedule(self) -> None:
        for file in range(self.layout.files):
            for event in self._events_of(file):
                if event.at <= END:
                    self.scheduler.call_at(event.at, lambda event=event: self._file(event))  # type: ignore[misc]
        for one in disturbances(self.seed, self.families, HOURS):
            if self.faults.occurs(one.name):
                self.scheduler.call_at(one.at, lambda one=one: self._disturb(one))  # type: ignore[misc]
        for kind, every in (("update", 1500.0), ("heal", 3000.0)):
            self._tick_again(kind, every, 0)

    def _events_of(self, file: int) -> list[FileEvent]:
        """What happens to a file: the usual where its faults are left out."""
        usual, events = (self._story_of(families, file) for families in (Families(), self.families))
        story = ", ".join(f"v{event.version} {event.state} at {event.at / HOUR:.2f} h" for event in events)
        is_usual = events == usual or not self.faults.occurs(f"file {file}: {story or 'never comes'}")
        return usual if is_usual else events

    def _story_of(self, families: Families, file: int) -> list[FileEvent]:
        own = file_events(self.seed, families, self.layout, file)
        return [*own, *index_events(self.seed, families, file, own)] if self.upstream.indexed else own

    def _file(self, event: FileEvent) -> None:
        self.upstream.happen(event, self.scheduler.now)
        self.tell(event.name)
        if self.upstream.has_copies and event.state != "gone":
            lag = chance(self.seed, "copy", event.file, event.version, event.state).choice((0.0, 0.1, 0.7, 3.0))
            at = min(self.scheduler.now + lag * HOUR, END)
            self.scheduler.call_at(at, lambda: self.upstream.copy(event.file))

    def _disturb(self, one: Disturbance) -> None:
        self.tell(one.name)
        if one.what.endswith(" out"):
            self._put_out(one.what, min(self.scheduler.now + one.hours * HOUR, END))
            return
        shards = len(promises.shards(self.primary, self.layout))
        label = self.layout.first_of(int(one.draw * max(shards, 1)))
        match one.what:
            case "object lost":
                # Half of the time one of the shard that is being continued.
                newest = f"/c/{shards - 1}/" if one.draw < 0.5 else "/c/"
                self.primary.lose(one.draw, lambda key: newest in key and promises.is_shard(key))
            case "update by hand":
                self.deployment.update_by_hand()
            case "backfill by hand" | "heal by hand" if shards:
                self.deployment.by_hand_beside(label, one.what.replace(" ", "-"))
            case "newer version" | "older version":
                self._rewrite(one)
            case "ticks":
                for kind in ("update", "update", "heal"):
                    self.deployment.tick(kind)

    def _put_out(self, what: str, until: float) -> None:
        if what == "archive out":
            self.upstream.out_until = until
            return
        for bucket in [self.primary, self.internal] if what == "store out" else self.replicas:
            bucket.out_until = until

    def _rewrite(self, one: Disturbance) -> None:
        """Let another version have written what is noted in the internal location."""
        keys = [*self.internal.below("ledger"), *self.internal.below("progress")]
        rewritten = by_newer_version if one.what == "newer version" else by_older_version
        for key in keys:
            self.internal.put(key, rewritten(self.internal.objects[key][0]))

    def _tick_again(self, kind: str, every: float, number: int) -> None:
        rng = chance(self.seed, "tick", kind, number)
        after = every * rng.uniform(0.6, 1.4)

        def tick() -> None:
            self.deployment.tick(kind)
            self._tick_again(kind, every, number + 1)

        self.scheduler.call_at(self.scheduler.now + after, tick)

    def _begin_calm(self) -> None:
        self.faults.calm = True
        self.tell("calm begins")

    def _changed(self, bucket: Bucket, key: str) -> None:
        self.tell(f"{'put' if key in bucket.objects else 'delete'} {bucket.name}/{key}")
        if bucket is self.primary and key == reader.ROOT:
            self.outcome.reads += 1
            extent = reader.extent(bucket)
            if extent < self.extent:
                self.broken("extent never shrinks", f"{extent} labels after {self.extent}")
            self.extent = extent
        if bucket is self.primary and promises.is_shard(key) and key in bucket.objects:
            self._tear(key)
        if bucket is self.internal and key.startswith("ledger/"):
            written = promises.written_at(bucket, key)
            if written is None:
                return
            # Clocks that differ say nothing of the order.
            if written < self.written.get(key, written) and not self.families.clock_errors:
                self.broken("ledger never goes back", f"{key} of {written} replaced that of {self.written[key]}")
            self.written[key] = written

    def _tear(self, key: str) -> None:
        """Look through the eyes of all who have read the index of an earlier version of a shard that was just replaced."""
        document = reader.arrays(self.primary).get(key.partition("/")[0])
        *earlier, now = self.primary.history[key]
        if document is None or self.primary.objects[key][0] != now:
            return
        shapes = reader.shapes(document)
        for before in earlier[-3:]:
            for number, values in torn_reads(before, now, *shapes):
                self.faults.counted["torn reads that fail" if values is None else "torn reads"] += 1
                if values is not None and never_published(values, number, [*earlier, now], *shapes):
                    self.broken("torn reads are of their label", f"{key} chunk {number}: {values.tolist()}")

    def _ended(self, run: Run) -> None:
        if run.error is not None and not isinstance(run.error, ReformatError):
            self.broken("errors are named", f"{run.process.name}: {type(run.error).__name__}: {run.error}")
        for shard in promises.shards(self.primary, self.layout):
            self._look_at(shard)

    def _look_at(self, shard: int) -> None:
        label = self.layout.first_of(shard)
        if self.deployment.is_written(label) or self.scheduler.late_calls:
            return
        self.outcome.reads += 1
        now = promises.looked_at(self.primary, self.internal, self.upstream, shard)
        if self.held.get(shard) == now:
            return
        for detail in promises.ledger_is_true(self.primary, self.internal, self.upstream, shard):
            self.broken("ledger is true", detail)
            return
        self.held[shard] = now

    def _look_at_all(self, broken: Iterable[tuple[str, str]]) -> None:
        for shard in promises.shards(self.primary, self.layout):
            self._look_at(shard)
        for promise, detail in broken:
            self.broken(promise, detail)

    def _bring_one_more_label(self) -> None:
        self.tell("one more label comes")
        for file in range(self.layout.files, self.layout.files + self.layout.leads):
            for event in self._story_of(Families(), file):
                self._file(replace(event, at=self.scheduler.now))


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for garbage in cycles seldom: what a seed makes is small, and gone at its end."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def simulate(
    seed: int,
    *,
    families: Families | None = None,
    left_out: Collection[str] = (),
    trace: bool = False,
    region_job: type[RegionJob[Any]] | None = None,
    codecs: bool = False,
    layout: Layout | None = None,
) -> Outcome:
    """Run one seed.

    Parameters
    ----------
    layout : Layout, optional
        Default: that of the seed.
    region_job : type of RegionJob, optional
        It may be one that does something wrong, to see that it is found.
    codecs : bool
        Write shards, and read metadata, by zarr and xarray each time: several times slower, and nothing stands for them.
    """
    with warnings.catch_warnings(), rare_collections():
        warnings.simplefilter("ignore")
        return World(seed, families, left_out, trace=trace, region_job=region_job, codecs=codecs, layout=layout).run()
