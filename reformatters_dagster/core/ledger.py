"""What the platform knows of each published partition: how many files it was made from, and which it lacks.

In: a store's internal location and an entry. Out: the entry, as sensors, checks and people read it back. An entry lies
at `ledger/<partition>.json` and is written after the commit it tells of.
"""

import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_serializer, model_validator

from reformatters_dagster.core.config import Frozen, Time
from reformatters_dagster.core.errors import ReformatError
from reformatters_dagster.core.object_store import Store
from reformatters_dagster.core.types import JSON

FOLDER = "ledger"

type PartitionKey = Annotated[str, StringConstraints(pattern=r"^[^/]+$")]


class MissingFile(Frozen):
    """A source file that a variable was to be made from and was not."""

    file: str
    """Its key, or its URL."""
    labels: str
    """Where its data would have gone, such as `init_time=2026-07-29T18:00 lead_time=6h`."""
    reason: str


class VariableCoverage(Frozen):
    """How much of one variable of a partition there is."""

    expected: int = Field(ge=0)
    succeeded: int = Field(ge=0)
    missing: tuple[MissingFile, ...] = ()
    complete_through: dict[str, float] = Field(default_factory=dict)
    """Forecasts: per init time the longest lead time, in seconds, up to which every file was used."""

    @property
    def is_complete(self) -> bool:
        return self.succeeded >= self.expected


class LedgerEntry(Frozen):
    """One partition as its last run left it."""

    # An entry outlives the code that wrote it.
    model_config = ConfigDict(extra="ignore")

    partition: PartitionKey
    dataset_id: str
    version: str
    region: tuple[Time, Time]
    """First and last label of the partition along the append dimension."""
    variables: dict[str, VariableCoverage]
    etags: dict[str, str] = Field(default_factory=dict)
    """ETag of each source file that was used, by its key."""
    extent: tuple[Time, Time]
    """First and last label that readers of the store saw after the commit."""
    template_hash: str
    code_version: str
    run_id: str
    written_at: Time

    @property
    def is_complete(self) -> bool:
        return all(coverage.is_complete for coverage in self.variables.values())

    @model_serializer(mode="wrap")
    def _name_files_once(self, dump: Any) -> JSON:
        """A file that many variables lack is written once, and referred to by its position."""
        dumped: JSON = dump(self)
        positions: dict[tuple[str, ...], int] = {}
        for coverage in dumped["variables"].values():
            files = [(missing["file"], missing["labels"], missing["reason"]) for missing in coverage["missing"]]
            coverage["missing"] = [positions.setdefault(file, len(positions)) for file in files]
        return {**dumped, "missing_files": [list(file) for file in positions]}

    @model_validator(mode="before")
    @classmethod
    def _restore_files(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "missing_files" not in data:
            return data
        files = [dict(zip(("file", "labels", "reason"), row, strict=True)) for row in data["missing_files"]]
        variables = {
            name: {**coverage, "missing": [files[position] for position in coverage["missing"]]}
            for name, coverage in data["variables"].items()
        }
        return {**data, "variables": variables}


def merge(previous: LedgerEntry | None, run: LedgerEntry) -> LedgerEntry:
    """What is known after a run of some variables: its own coverage, and that of the variables it left alone.

    Where variables were left alone the ETags they were made from win, so that a file published anew since is still seen
    to differ, until a run of all variables has read it.
    """
    left_alone = {} if previous is None else {k: v for k, v in previous.variables.items() if k not in run.variables}
    if previous is None or not left_alone:
        return run
    return run.model_copy(update={"variables": left_alone | run.variables, "etags": run.etags | previous.etags})


def write_ledger(store: Store, entry: LedgerEntry) -> None:
    """Replace the entry of a partition.

    Parameters
    ----------
    store : Store
        The dataset's internal location.
    """
    store.put(_key(entry.partition), entry.model_dump_json(indent=1).encode())


def read_ledger(store: Store, partition: str) -> LedgerEntry | None:
    """The entry of a partition; None when it was never committed.

    Raises
    ------
    ReformatError
        When an object is there and is no entry.
    """
    found = store.get_or_none(_key(partition))
    if found is None:
        return None
    try:
        return LedgerEntry.model_validate(json.loads(found[0]))
    except (ValidationError, ValueError, LookupError, TypeError) as error:
        raise ReformatError(
            f"the ledger entry of partition {partition!r} was asked for; {store.url}/{_key(partition)} is none: {error}; "
            "run the partition again to replace it"
        ) from error


def list_ledger(store: Store, newest: int | None = None) -> list[str]:
    """Partition keys that have an entry, oldest first; with `newest`, the last so many."""
    keys = sorted(key.removeprefix(f"{FOLDER}/").removesuffix(".json") for key, _ in store.list(FOLDER))
    return keys if newest is None else keys[max(len(keys) - newest, 0) :]


def _key(partition: str) -> str:
    return f"{FOLDER}/{partition}.json"
