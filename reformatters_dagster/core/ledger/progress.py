"""Which variables of a partition a run has uploaded, or has begun to, since the ledger was written.

In: results, variable by variable, before and after their shards are uploaded. Out: what a retried run need not do again, and
what no other run may trust the ledger about.
"""

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from reformatters_dagster.core.source.files import FileResult, SourceFileCoord, dump_result, load_result
from reformatters_dagster.core.store.location import Store

log = logging.getLogger(__name__)

FOLDER = "progress"


@dataclass(frozen=True)
class Upload:
    """The last upload of a variable that no ledger entry tells of."""

    root_run: str
    finished: bool
    results: Sequence[FileResult]
    """Of its shards, once it is finished; until then the shards may as well be those that stood before."""
    doubtful: frozenset[str] = frozenset()
    """Keys of files that shards before it may lack, as far as it is not finished."""
    readable: bool = True
    """Whether it could be read; nothing is known of the shards otherwise."""

    @property
    def used(self) -> frozenset[str]:
        """Keys of the files that its shards are made from."""
        return frozenset(file.coord.key() for file in self.results if file.succeeded)

    @property
    def lacking(self) -> frozenset[str]:
        """Keys of the files that the shards may lack."""
        return self.doubtful | {file.coord.key() for file in self.results if not file.succeeded}


def unfinished_runs(store: Store) -> list[str]:
    """Root runs that have begun to upload variables of a partition that nobody has committed yet; they may be at work still."""
    found = [store.get_or_none(key) for key, _ in store.list(FOLDER)]
    return sorted({root for one in found if one is not None and (root := _root_run_of(one[0]))})


def _variable_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _root_run_of(data: bytes) -> str:
    """Empty where it cannot be told."""
    try:
        return str(json.loads(data)["root_run"])
    except (ValueError, TypeError, KeyError):
        return ""


class UpdateProgressTracker:
    """Progress of one partition, kept in the dataset's internal location, an object for each variable.

    A variable is finished when all its shards are in every store; its results are kept with it, since the commit needs those
    of every variable. What a run leaves behind that ends before its commit tells others what the ledger does not.

    Parameters
    ----------
    store : Store
        The dataset's internal location.
    root_run : str
        The first of a chain of retries.
    coord : type of SourceFileCoord
        Of the results.
    """

    def __init__(self, store: Store, partition: str, root_run: str, coord: type[SourceFileCoord]) -> None:
        self._store = store
        self._prefix = f"{FOLDER}/{partition}"
        self._root_run = root_run
        self._coord = coord

    def uploads(self) -> dict[str, Upload]:
        """The last upload of every variable since the ledger was written, by any run."""
        found: dict[str, Upload] = {}
        for key, _ in self._store.list(self._prefix):
            stored = self._store.get_or_none(key)
            if stored is not None:
                found[_variable_of(key)] = self._read(key, stored[0])
        return found

    def _read(self, key: str, data: bytes) -> Upload:
        try:
            document = json.loads(data)
            results = [load_result(self._coord, dumped) for dumped in document["results"]]
            return Upload(document["root_run"], document["finished"], results, frozenset(document["doubtful"]))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read, as if an unknown run were uploading the variable: %s", key, error)
            return Upload("", finished=False, results=(), readable=False)

    def is_own(self, upload: Upload) -> bool:
        """Whether it is of a run with this root."""
        return upload.root_run == self._root_run

    def begin(self, variable: str, files: Sequence[FileResult], before: Upload | None) -> None:
        """Remember that a variable is about to be uploaded, over what an upload before may have left."""
        doubtful = frozenset[str]() if before is None else before.lacking
        if before is not None and not before.readable:
            doubtful = frozenset(file.coord.key() for file in files)
        self._put(variable, files, finished=False, doubtful=doubtful)

    def record(self, variable: str, files: Sequence[FileResult]) -> None:
        """Remember that a variable is uploaded."""
        self._put(variable, files, finished=True, doubtful=frozenset())

    def _put(self, variable: str, files: Sequence[FileResult], *, finished: bool, doubtful: frozenset[str]) -> None:
        document = {
            "root_run": self._root_run,
            "finished": finished,
            "results": [dump_result(file) for file in files],
            "doubtful": sorted(doubtful),
        }
        self._store.put(f"{self._prefix}/{variable}.json", json.dumps(document).encode())

    def clear(self, variables: Collection[str]) -> None:
        """Forget the uploads of variables whose shards the ledger tells of by now, whoever made them.

        What it does not tell of stays: other variables, and those whose shards were kept. Hold the partition's lease.
        """
        for key, _ in self._store.list(self._prefix):
            if _variable_of(key) in variables:
                self._store.delete(key)
