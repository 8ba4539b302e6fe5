"""One upstream file: what it is (`SourceFileCoord`) and what became of it (`FileResult`).

In: labels of a region. Out: values that say which file to fetch, where its data lands, and how that went.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.values import JSON, Duration, Frozen, OutLoc, Time, Timedelta


def whole_hours(lead_time: Timedelta) -> int:
    """Lead time in hours; raises when it is not whole."""
    hours, rest = divmod(lead_time, Timedelta(hours=1))
    if rest:
        raise ValueError(f"lead time {lead_time} is not a whole number of hours")
    return int(hours)


class SourceFileCoord(Frozen):
    """Identity of one source file. Frozen: progress is kept beside it, in `FileResult`."""

    @abstractmethod
    def key(self) -> str:
        """Path of the file within every archive that has it."""

    @abstractmethod
    def get_url(self) -> str:
        """Address in the archive that keeps it for good."""

    @abstractmethod
    def out_loc(self) -> OutLoc:
        """Labels, one per non-spatial dimension, at which the file's fields land."""


class ForecastFileCoord(SourceFileCoord):
    """A file that holds one lead time of one forecast."""

    init_time: Time
    lead_time: Duration

    def out_loc(self) -> OutLoc:
        return {"init_time": self.init_time, "lead_time": self.lead_time}


class SourceFileStatus(StrEnum):
    """How far a file got. `Processing` leads to one of the others, and those are final."""

    PROCESSING = "Processing"
    DOWNLOAD_FAILED = "DownloadFailed"
    READ_FAILED = "ReadFailed"
    SUCCEEDED = "Succeeded"


class Downloaded(Frozen):
    """What was fetched of one source file for a group of variables, verified, on local disk."""

    path: Path
    archive: str
    etag: str | None
    spans: Mapping[str, tuple[int, int]]
    """Per variable, where its message lies in `path`: offset, length."""
    reasons: Mapping[str, str] = {}
    """Per variable the file could not give, why."""
    fetched: int | None = None
    """Bytes that came over the network, where those on disk are other ones, decompressed."""

    @property
    def size(self) -> int:
        """Bytes that came over the network for all variables."""
        return self.path.stat().st_size if self.fetched is None else self.fetched


class FileResult(Frozen):
    """What became of one file, for one variable."""

    coord: SourceFileCoord
    status: SourceFileStatus = SourceFileStatus.PROCESSING
    reason: str | None = None
    """Why it failed; None otherwise."""
    bytes: int = 0
    """Bytes downloaded for this variable."""
    etag: str | None = None
    """Version of the source file, as the archive names it."""
    archive: str | None = None
    """Archive the bytes came from."""
    was_tried: bool = True
    """Whether the run asked for it; not for one that is no longer waited for, whose reason is that of an earlier run."""

    @property
    def succeeded(self) -> bool:
        return self.status is SourceFileStatus.SUCCEEDED

    @property
    def was_read(self) -> bool:
        """Succeeded by being read, rather than by having been read into the published shard before."""
        return self.succeeded and self.archive is not None

    @property
    def was_refused(self) -> bool:
        """Failed now, for archives would not hand it over, which may be otherwise the next time."""
        return self.was_tried and (self.reason or "").startswith(SourceFileUnavailable.__name__)

    @property
    def is_absent(self) -> bool:
        """Failed, for no archive has the file: it may not be there yet."""
        return (self.reason or "").startswith(SourceFileMissing.__name__)

    def advance(self, status: SourceFileStatus, reason: str | None = None) -> Self:
        """The same file, one step further; a final status never changes."""
        if self.status is not SourceFileStatus.PROCESSING:
            raise ValueError(f"{self.coord.key()} is {self.status} and cannot become {status}")
        return self.model_copy(update={"status": status, "reason": reason})


def dump_result(result: FileResult) -> JSON:
    """Plain values, for a result that travels between pods or outlives its process."""
    coord = {name: str(value) for name, value in result.coord}
    return {**result.model_dump(mode="json", exclude={"coord"}, exclude_defaults=True), "coord": coord}


def load_result(coord: type[SourceFileCoord], dumped: JSON) -> FileResult:
    """The inverse of `dump_result`, for coords of a class."""
    return FileResult.model_validate({**dumped, "coord": coord.model_validate(dumped["coord"])})


type Results = dict[str, Sequence[FileResult]]
"""Per variable, one result for each file its region wanted."""


def local_name(coord: SourceFileCoord, ranges: Sequence[tuple[int, int | None]]) -> str:
    """File name for what was downloaded of a source file.

    It carries a digest of the byte ranges: two variable groups that read different parts of one file must not share, and
    then delete, one local copy.
    """
    digest = hashlib.sha256(repr((coord.key(), list(ranges))).encode()).hexdigest()[:16]
    return f"{Path(coord.key()).name}-{digest}"
