"""What the jobs of one run share, and what each job cost.

In: the settings of a dataset and of a run. Out: values that every stage of a job reads, and counters that it adds to.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import Literal, Self
from uuid import uuid4

from reformatters_dagster.core.ledger.changes import PublishedShard
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.ledger.progress import UpdateProgressTracker, Upload
from reformatters_dagster.core.source.upstream import Upstream
from reformatters_dagster.core.spec.template import TemplateConfig
from reformatters_dagster.core.spec.values import JSON, Timedelta, Timestamp
from reformatters_dagster.core.store.stores import StoreSet

FOUR_DAYS = Timedelta("4D")

type OnProgress = Callable[[str, int, int], None]
"""Called with the stage, how many steps are done, and how many there are.

===========================================================  ==========================================================
stage                                                        told
===========================================================  ==========================================================
`partitions`                                                 before each partition of a run: those before it are done
`variables`                                                  when a job begins, with 0: how many it makes
`download A,B`, `read A`, `compress A`, `upload A`           what becomes of variables, one after the other
`keep A`                                                     once, done: the published shard of a variable stays
===========================================================  ==========================================================
"""


def ignore_progress(stage: str, done: int, total: int) -> None:
    """The `OnProgress` of a run that shows no progress."""


def may_always_write() -> None:
    """The `check_writer` of work that holds no lease."""


@dataclass
class JobStats:
    """What a job cost, for the materialization's metadata."""

    seconds: dict[str, float] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    objects_out: int = 0
    kept: list[str] = field(default_factory=list)
    """Variables whose published shard was kept: this job could not read a file that it is made from, or the shard itself."""
    clamped: dict[str, float] = field(default_factory=dict)
    """Per deaccumulated variable, the share of small negative rates that were set to 0; of several pieces the largest."""
    invalid: dict[str, float] = field(default_factory=dict)
    """The same for rates that are too negative to be noise, and were set to NaN."""
    implausible: dict[str, str] = field(default_factory=dict)
    """Deaccumulated variables with more of either than expected, and the message with the figures."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)
    _told: set[str] = field(default_factory=set, repr=False, compare=False)

    def to_json(self) -> JSON:
        """The figures alone."""
        return {name: getattr(self, name) for name in self._figures()}

    @classmethod
    def from_json(cls, dumped: JSON) -> Self:
        """The inverse of `to_json`; figures that only newer code knows are left out."""
        return cls(**{name: dumped[name] for name in cls._figures() if name in dumped})

    @classmethod
    def _figures(cls) -> list[str]:
        return [figure.name for figure in fields(cls) if not figure.name.startswith("_")]

    def __add__(self, other: Self) -> Self:
        seconds = {
            name: self.seconds.get(name, 0.0) + other.seconds.get(name, 0.0) for name in self.seconds | other.seconds
        }
        return type(self)(
            seconds=seconds,
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            objects_out=self.objects_out + other.objects_out,
            kept=[*self.kept, *other.kept],
            clamped=self.clamped | other.clamped,
            invalid=self.invalid | other.invalid,
            implausible=self.implausible | other.implausible,
        )

    def is_first(self, trouble: str) -> bool:
        """Whether a kind of trouble occurs for the first time in this job."""
        with self._lock:
            is_new = trouble not in self._told
            self._told.add(trouble)
            return is_new

    def count_rates(self, variable: str, clamped: float, invalid: float) -> None:
        """Note the shares of negative rates in a piece of a variable."""
        for known, share in ((self.clamped, clamped), (self.invalid, invalid)):
            known[variable] = max(known.get(variable, 0.0), share)

    @contextmanager
    def timed(self, stage: str) -> Iterator[Callable[[], float]]:
        """Add the time that a block takes to a stage; yields a callable for the seconds so far."""
        started = time.perf_counter()

        def taken() -> float:
            return time.perf_counter() - started

        try:
            yield taken
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + taken()


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What every job of one run shares."""

    template_config: TemplateConfig
    stores: StoreSet
    upstream: Upstream
    tmp: Path
    """Folder for tmp stores and downloads."""
    now: Timestamp
    run_id: str = field(default_factory=lambda: uuid4().hex)
    """The run that writes, and holds the leases of partitions."""
    publish_policy: Literal["any", "all"] = "any"
    entry: LedgerEntry | None = None
    """What the ledger says of the partition; None where it was never written."""
    check_writer: Callable[[], None] = may_always_write
    """Raises when the right to write the partition was lost; called before each upload."""
    published: PublishedShard | None = None
    """What the final store holds of the partition, to continue it; None makes everything anew."""
    force: bool = False
    """Replace published shards even by shards that are made from fewer files."""
    tracker: UpdateProgressTracker | None = None
    """Notes uploaded variables for a retried run, and for other runs if this one ends before its commit."""
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    """By variable, the uploads to the partition that the ledger does not tell of."""
    on_progress: OnProgress = ignore_progress
    buffer_bytes: int = 2 * 2**30
    """The most memory for the values of one variable. Larger ones are kept on the tmp disk and processed in pieces."""
    cpus: int = os.process_cpu_count() or 1
    download_threads: int = 16
    give_up_age: Timedelta = FOUR_DAYS
    """So long after an append label a missing file is logged as a warning: it is no longer just late."""
