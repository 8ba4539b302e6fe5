"""What the platform knows of each published partition: how many files it was made from, and which it lacks.

In: a store's internal location and an entry. Out: the entry, as sensors, checks and people read it back. The entry is the
object `ledger/<partition>.json`. It is written after the commit that it tells of.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from reformatters_dagster.core.spec.errors import LedgerUnreadable, SourceFileUnavailable
from reformatters_dagster.core.spec.partition import partition_key
from reformatters_dagster.core.spec.values import JSON, Frozen, Time, Timedelta, Timestamp
from reformatters_dagster.core.store.location import Etag, Expected, Store

log = logging.getLogger(__name__)

FOLDER = "ledger"

type PartitionKey = Annotated[str, StringConstraints(pattern=r"^[^/]+$")]


class Recorded(Frozen):
    """A part of an entry. An entry outlives the code that wrote it: fields of a later version are ignored."""

    model_config = ConfigDict(extra="ignore")


class MissingFile(Recorded):
    """A source file that a variable lacks."""

    file: str
    """Its key, or its URL."""
    labels: str
    """Where its data would be, such as `init_time=2026-07-29 18:00:00 lead_time=0 days 06:00:00`."""
    reason: str
    label: Time | None = None
    """Label of the append dimension that it lies at."""
    waits_for: str | None = None
    """Key of a file that was used before and failed now, where that is why its value was not made."""

    @property
    def was_refused(self) -> bool:
        """Whether archives refused the file, or the one that it waits for. They may give it the next time."""
        refused = SourceFileUnavailable.__name__
        return self.reason.startswith(refused) or (self.waits_for is not None and f": {refused}" in self.reason)

    @property
    def may_be_held(self) -> bool:
        """Whether the published shard may hold its value all the same: the entry that would tell could not be read."""
        return self.reason.startswith(LedgerUnreadable.__name__)


class OutdatedValue(Recorded):
    """A published value that is not made from all files that were used: one that it needs failed when it was to be made."""

    file: str
    """Key of the file at whose place it is."""
    labels: str
    """Where it is, as in `MissingFile`."""
    reason: str
    waits_for: str
    """Key of the file that failed."""
    label: Time | None = None
    """Label of the append dimension that it lies at."""

    @property
    def was_refused(self) -> bool:
        """Whether archives refused the file that it waits for. They may give it the next time."""
        return f": {SourceFileUnavailable.__name__}" in self.reason


class VariableCoverage(Recorded):
    """How much of one variable a partition has."""

    expected: int = Field(ge=0)
    succeeded: int = Field(ge=0)
    missing: tuple[MissingFile, ...] = ()
    outdated: tuple[OutdatedValue, ...] = ()
    complete_through: dict[str, float] = Field(default_factory=dict)
    """Of forecasts: per init time the lead time, in seconds, up to which every file was used."""
    through: Time | None = None
    """Last label of the append dimension that the variable's last run wanted files of."""
    implausible: str = ""
    """Why the rates of the last run cannot be right; empty when they are plausible."""
    damaged: str = ""
    """Why its published shards could not be continued: an object of them is damaged or gone. Empty where none was found so,
    and once a run has made the shards anew."""

    @property
    def is_complete(self) -> bool:
        return self.succeeded >= self.expected and not self.outdated and not self.damaged

    @property
    def first_reason(self) -> str | None:
        """Why it lacks the first file that it lacks, or why its first outdated value is outdated, or why its shards are
        damaged; None when it is complete."""
        reasons = [*(lost.reason for lost in self.missing), *(value.reason for value in self.outdated), self.damaged]
        return reasons[0] or None


class LedgerEntry(Recorded):
    """One partition as its last run left it."""

    partition: PartitionKey
    dataset_id: str
    version: str
    region: tuple[Time, Time]
    """First and last label of the partition along the append dimension."""
    variables: dict[str, VariableCoverage]
    etags: dict[str, str] = Field(default_factory=dict)
    """ETag of each source file that was used, beside the region too, by its key; empty when it cannot be compared: the file
    is from an archive that is not listed, or names no versions."""
    extent: tuple[Time, Time]
    """First and last label that readers of the store saw after the commit."""
    template_hash: str
    code_version: str
    run_id: str
    root_run: str = ""
    """First of the chain of retries the run belongs to."""
    ran: tuple[str, ...] = ()
    """Variables that the chain has tried so far."""
    made: tuple[str, ...] = ()
    """Those of them whose shards it has made, and of which the entry tells; of the others earlier shards were kept."""
    written_at: Time
    upstream: str = ""
    """Fingerprint of what the upstream listed when the run was launched; empty when no sensor looked, when not all was tried,
    or when earlier runs that ended before their commit may have tried some of it, of what was listed then."""
    published: bool = False
    """Whether the run could publish new labels."""
    retry: bool = False
    """Whether the last run kept shards or was refused files: another run may get more of the files that were listed."""
    known_missing: bool = False
    """Incomplete past the give-up age: nobody waits for the missing files any more."""

    def published_again(self, listed: Mapping[str, str]) -> tuple[str, ...]:
        """Keys of used files of which another version is listed. A file from another archive cannot be compared."""
        return tuple(key for key, etag in self.etags.items() if etag and listed.get(key, etag) != etag)

    @property
    def lacking(self) -> frozenset[str]:
        """Keys of the files that some variable lacks."""
        return frozenset(lost.file for lost in self.missing_files)

    @property
    def missing_files(self) -> Iterator[MissingFile]:
        """What its variables lack, variable by variable."""
        return (lost for coverage in self.variables.values() for lost in coverage.missing)

    @property
    def is_complete(self) -> bool:
        return all(coverage.is_complete for coverage in self.variables.values())


@dataclass(frozen=True)
class LedgerView:
    """The ledger of a store by the first labels of partitions, and when their files are due."""

    entry_of: Callable[[Timestamp], LedgerEntry | None]
    """None where there is none, or it cannot be read."""
    soft_deadline: Timedelta
    """After a label, its files are due."""
    give_up_age: Timedelta
    """After a label, its files are no longer waited for."""
    why_unreadable: Callable[[Timestamp], str] = lambda label: ""  # noqa: ARG005 the shape of the seam
    """Why an entry cannot be read; empty where it can be, or there is none."""


def merge(previous: LedgerEntry | None, run: LedgerEntry) -> LedgerEntry:
    """What is known after a run of some variables: their new coverage, and the previous coverage of the others.

    When there are others, the previous ETags win. A file that was published again since is then still seen to differ, until
    a run of all variables has read it.
    """
    left_alone = {} if previous is None else {k: v for k, v in previous.variables.items() if k not in run.variables}
    if previous is None or not left_alone:
        return run
    return run.model_copy(update={"variables": left_alone | run.variables, "etags": run.etags | previous.etags})


def write_ledger(store: Store, entry: LedgerEntry, *, only_if: Expected | None = None) -> None:
    """Replace the entry of a partition.

    Parameters
    ----------
    store : Store
        The dataset's internal location.
    only_if : "absent" or ETag, optional
        Write the entry only if there is none, or the one that has this ETag.

    Raises
    ------
    ObjectMoved
        When another entry stands there.
    """
    store.put(_key(entry.partition), json.dumps(_to_json(entry), indent=1).encode(), only_if=only_if)


def ledger_partitions(store: Store) -> list[str]:
    """Keys of the partitions that have an entry, oldest first."""
    return [key.rpartition("/")[2].removesuffix(".json") for key, _ in store.list(FOLDER)]


def read_ledger(store: Store, partition: str) -> LedgerEntry | None:
    """The entry of a partition; None when it was never committed. Raises `LedgerUnreadable` as `read_version` does."""
    return read_version(store, partition)[0]


def read_version(store: Store, partition: str) -> tuple[LedgerEntry | None, Etag | None]:
    """The entry of a partition, and its ETag; both None when the partition was never committed.

    Raises
    ------
    LedgerUnreadable
        When the object is no entry.
    """
    found = store.get_or_none(_key(partition))
    if found is None:
        return None, None
    try:
        return _from_json(json.loads(found[0])), found[1]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LedgerUnreadable(
            f"the ledger entry of partition {partition!r} was asked for; {store.url}/{_key(partition)} is none: "
            f"{' '.join(str(error).split())[:300]}; run the partition again to replace it"
        ) from error


def previous_entry(internal: Store, label: Timestamp) -> LedgerEntry | None:
    """The entry of a partition, by its first label; None when there is none, or it cannot be read."""
    try:
        return read_ledger(internal, partition_key(label))
    except LedgerUnreadable as error:
        log.warning("%s", error)
        return None


def standing_entry(internal: Store, partition: str) -> tuple[LedgerEntry | None, Expected]:
    """As `previous_entry`, and what `write_ledger` takes to replace the object that stands there, readable or not."""
    try:
        entry, version = read_version(internal, partition)
    except LedgerUnreadable as error:
        log.warning("%s", error)
        return None, internal.head(_key(partition))[1]
    return entry, "absent" if version is None else version


def was_recorded(internal: Store, label: Timestamp) -> bool:
    """Whether a partition, by its first label, was ever committed: there is an entry, which can be read or not."""
    return internal.exists(_key(partition_key(label)))


def why_unreadable(internal: Store, label: Timestamp) -> str:
    """Why the entry of a partition cannot be read; empty where it can be, and where there is none."""
    try:
        read_ledger(internal, partition_key(label))
    except LedgerUnreadable as error:
        return str(error)
    return ""


def _to_json(entry: LedgerEntry) -> JSON:
    """An entry in which each missing file is written once, and variables refer to it by its position.

    Outdated values stand beside the variables, and only where there are some: code that does not know them ignores them.
    """
    positions: dict[MissingFile, int] = {}
    dumped = entry.model_dump(mode="json")
    outdated = {name: values for name, coverage in dumped["variables"].items() if (values := coverage.pop("outdated"))}
    for name, coverage in entry.variables.items():
        dumped["variables"][name]["missing"] = [positions.setdefault(lost, len(positions)) for lost in coverage.missing]
    dumped["missing_files"] = [lost.model_dump(mode="json", exclude_none=True) for lost in positions]
    return {**dumped, "outdated": outdated} if outdated else dumped


def _from_json(dumped: JSON) -> LedgerEntry:
    """The inverse of `_to_json`."""
    files = dumped["missing_files"]
    for coverage in dumped["variables"].values():
        coverage["missing"] = [files[position] for position in coverage["missing"]]
    for name, values in dumped.get("outdated", {}).items():
        dumped["variables"][name]["outdated"] = values
    return LedgerEntry.model_validate(dumped)


def _key(partition: str) -> str:
    return f"{FOLDER}/{partition}.json"
