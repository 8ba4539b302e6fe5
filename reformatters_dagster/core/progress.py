"""Which variables of a partition a run has uploaded, so that a retried run does them no second time.

In: results, variable by variable, as their shards are up. Out: the same, to a run with the same root.
"""

import json
from collections.abc import Sequence

from reformatters_dagster.core.object_store import Store
from reformatters_dagster.core.source_file import FileResult, Results, SourceFileCoord, dump_result, load_result

FOLDER = "progress"


class UpdateProgressTracker:
    """Progress of one partition, kept in the dataset's internal location under the root run.

    A variable is finished when all its shards are in every store; its results are kept with it, since the commit needs those
    of every variable.

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
        self._partition = f"{FOLDER}/{partition}"
        self._prefix = f"{self._partition}/{root_run}"
        self._coord = coord

    def finished(self) -> Results:
        """Results of every finished variable."""
        results: Results = {}
        for key, _ in self._store.list(self._prefix):
            found = self._store.get_or_none(key)
            if found is not None:
                variable = key.rpartition("/")[2].removesuffix(".json")
                results[variable] = [load_result(self._coord, dumped) for dumped in json.loads(found[0])]
        return results

    def record(self, variable: str, files: Sequence[FileResult]) -> None:
        """Remember that a variable is uploaded."""
        self._store.put(f"{self._prefix}/{variable}.json", json.dumps([dump_result(file) for file in files]).encode())

    def clear(self) -> None:
        """Forget everything about the partition: the commit has it now, and what other runs left of it is overtaken."""
        for key, _ in self._store.list(self._partition):
            self._store.delete(key)
