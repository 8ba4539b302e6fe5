"""What travels through the run of a partition, between its steps and to whoever shows it.

In: the decisions of `DynamicalDataset` and what became of its region jobs. Out: values, plain enough to travel between pods.
"""

from dataclasses import dataclass, field

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.source.files import Results, dump_result
from reformatters_dagster.core.spec.values import JSON, Frozen, Time, Timestamp


class PartitionPlan(Frozen):
    """What one partition's run is going to do."""

    label: Time
    """First label of the partition's shard."""
    end: Time
    """The template the run works with covers the append dimension up to here, exclusively."""
    publish: bool
    """Whether the commit may grow the published extent."""
    groups: tuple[tuple[str, ...], ...]
    """Variables of each region job."""
    now: Time
    """When the plan was made: a retry in another pod does the same work."""
    force: bool = False
    accept_missing: bool = False
    """Publish the partition even if nothing of it is there: it is given up, and known to be missing. What archives merely
    refuse is not, unless `force` is set too."""
    upstream: str = ""
    """Fingerprint of what the upstream listed when the run was launched."""
    root_run: str = ""
    """First of a chain of retries, which share progress and lease; empty where nothing is to be resumed."""
    continues: bool = False
    """Whether what the published shard holds is kept, and only what it lacks is downloaded."""
    redo: tuple[str, ...] = ()
    """Keys of source files that were published again since the shard was made."""

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group)


@dataclass(frozen=True)
class GroupOutcome:
    """What became of one region job."""

    results: Results
    stats: JobStats
    built_on: str | None = None
    """The run whose entry stood in the ledger when this began, empty for none; None where nobody looked."""

    def to_json(self) -> JSON:
        """Plain values; `DynamicalDataset.read_outcome` is the inverse."""
        files = {name: [dump_result(result) for result in found] for name, found in self.results.items()}
        return {"results": files, "stats": self.stats.to_json(), "built_on": self.built_on}


@dataclass(frozen=True)
class CommitReport:
    """What one partition's commit did."""

    plan: PartitionPlan
    results: Results
    stats: JobStats
    entry: LedgerEntry
    labels: int
    """Labels of the append dimension that readers see now."""

    @property
    def told(self) -> frozenset[str]:
        """Variables of which the ledger says what their shards are made from."""
        return frozenset(
            name
            for name, files in self.results.items()
            if name not in self.stats.kept and (not files or any(file.succeeded for file in files))
        )


@dataclass
class RunReport:
    """What a backfill or update did, partition by partition."""

    partitions: list[Timestamp]
    """Those that were to be done."""
    commits: list[CommitReport] = field(default_factory=list)
    failures: dict[Timestamp, str] = field(default_factory=dict)
    """Partitions of which nothing could be had, and why."""
    unread: list[Timestamp] = field(default_factory=list)
    """Those of the failures that are published: what readers see of them stays."""
    done_before: list[Timestamp] = field(default_factory=list)
    """Partitions that the run which is resumed has committed."""
