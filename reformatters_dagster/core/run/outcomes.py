"""What became of a run: of one group of variables, of one partition, of all partitions.

In: results of region jobs and the ledger entry of a commit. Out: values for the next step, and for whoever shows the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from reformatters_dagster.core.job.context import JobStats
from reformatters_dagster.core.ledger.entries import LedgerEntry
from reformatters_dagster.core.run.plan import PartitionPlan
from reformatters_dagster.core.source.files import Results, SourceFileCoord, dump_result, load_result
from reformatters_dagster.core.spec.values import JSON, Timestamp
from reformatters_dagster.core.store.location import Etag


@dataclass(frozen=True)
class GroupOutcome:
    """What became of one region job."""

    results: Results
    stats: JobStats
    built_on: str | None = None
    """The run whose entry stood in the ledger when this job began; empty for none, None where nobody looked."""
    notes: Mapping[str, Etag] = field(default_factory=dict)
    """By variable, the note of an upload that stood when this job began; empty for none. Without those where nobody looked."""
    made_by: str | None = None
    """The attempt that wrote the shards; None where nobody says."""
    goes_on: Sequence[str] = ()
    """Variables of which uploads of other runs were noted when this job began: these may have read some of their files, of what
    was listed then."""

    def to_json(self) -> JSON:
        """Plain values, for the step that commits."""
        files = {name: [dump_result(result) for result in found] for name, found in self.results.items()}
        return {
            "results": files,
            "stats": self.stats.to_json(),
            "built_on": self.built_on,
            "notes": dict(self.notes),
            "made_by": self.made_by,
            "goes_on": list(self.goes_on),
        }

    @classmethod
    def from_json(cls, dumped: JSON, coord: type[SourceFileCoord]) -> Self:
        """The inverse of `to_json`, for files of the region job's class of coords."""
        results: Results = {
            name: [load_result(coord, result) for result in found] for name, found in dumped["results"].items()
        }
        stats = JobStats.from_json(dumped["stats"])
        return cls(
            results,
            stats,
            dumped.get("built_on"),
            dumped.get("notes", {}),
            dumped.get("made_by"),
            tuple(dumped.get("goes_on", ())),
        )


def told_variables(results: Results, stats: JobStats) -> frozenset[str]:
    """Variables whose shards the ledger accounts for after a run: it says which files they are made from."""
    return frozenset(
        name
        for name, files in results.items()
        if name not in stats.kept and (not files or any(file.succeeded for file in files))
    )


@dataclass(frozen=True)
class CommitReport:
    """What one partition's commit did."""

    plan: PartitionPlan
    results: Results
    stats: JobStats
    entry: LedgerEntry
    labels: int
    """Labels of the append dimension that readers see now."""
    new_labels: int
    """How many of them readers did not see before."""

    @property
    def told(self) -> frozenset[str]:
        """See `told_variables`."""
        return told_variables(self.results, self.stats)


@dataclass
class RunReport:
    """What a backfill or update did, partition by partition."""

    partitions: list[Timestamp]
    """All that the run was going to do."""
    commits: list[CommitReport] = field(default_factory=list)
    failures: dict[Timestamp, str] = field(default_factory=dict)
    """Partitions without a single usable file, and why."""
    awaited: list[Timestamp] = field(default_factory=list)
    """Those failures whose files are merely missing: they may come."""
    unread: list[Timestamp] = field(default_factory=list)
    """Those failures that are published: readers still see what they saw before."""
    done_before: list[Timestamp] = field(default_factory=list)
    """Partitions that an earlier attempt at this run has committed."""
