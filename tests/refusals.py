"""Archives that do not hand over some files."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.source.files import Downloaded
from reformatters_dagster.core.spec.errors import ReformatError, SourceFileUnavailable
from reformatters_dagster.core.spec.variables import DataVar


def refusing(
    job: type[RegionJob[Any]], refused: Collection[str], error: type[ReformatError] = SourceFileUnavailable
) -> type[RegionJob[Any]]:
    """The job, of archives that do not hand over some files."""

    def download_file(self: Any, coord: Any, data_vars: Sequence[DataVar], folder: Path) -> Downloaded:
        if coord.key() in refused:
            raise error(f"{coord.key()} throttled")
        found: Downloaded = job.download_file(self, coord, data_vars, folder)
        return found

    return type("Refusing", (job,), {"download_file": download_file})
