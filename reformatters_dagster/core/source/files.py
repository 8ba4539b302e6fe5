"""One upstream file: which one it is (`SourceFileCoord`), and how its processing went (`FileResult`).

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
    """Identity of one source file. It never changes: `FileResult` tells the progress."""

    @abstractmethod
    def key(self) -> str:
        """Path of the file, the same in every archive."""

    @abstractmethod
    def get_url(self) -> str:
        """Address in the archive that keeps the file for good."""

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
    """How far a file got. `Processing` ends in one of the others, and these are final."""

    PROCESSING = "Processing"
    DOWNLOAD_FAILED = "DownloadFailed"
    READ_FAILED = "ReadFailed"
    SUCCEEDED = "Succeeded"


class Downloaded(Frozen):
    """The verified part of one source file for a group of variables, on local disk."""

    path: Path
    archive: str
    etag: str | None
    spans: Mapping[str, tuple[int, int]]
    """Per variable: offset and length of its message in `path`."""
    reasons: Mapping[str, str] = {}
    """Per variable that the file does not give: why."""
    fetched: int | None = None
    """Bytes that came over the network, where the file on disk was decompressed; None where it is what came."""

    @property
    def size(self) -> int:
        """Bytes that came over the network for all variables."""
        return self.path.stat().st_size if self.fetched is None else self.fetched


class FileResult(Frozen):
    """How the processing of one file went, for one variable."""

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
    """Whether this run asked for it. It does not ask for a file that is given up: the reason is then that of an earlier run."""

    @property
    def succeeded(self) -> bool:
        return self.status is SourceFileStatus.SUCCEEDED

    @property
    def was_read(self) -> bool:
        """Whether this run read the file. Otherwise an earlier run read it, into the published shard."""
        return self.succeeded and self.archive is not None

    @property
    def was_refused(self) -> bool:
        """Whether this run asked for it and no archive handed it over; the next run may succeed."""
        return self.was_tried and (self.reason or "").startswith(SourceFileUnavailable.__name__)

    @property
    def is_absent(self) -> bool:
        """Whether no archive has the file; it may not be there yet."""
        return (self.reason or "").startswith(SourceFileMissing.__name__)

    def advance(self, status: SourceFileStatus, reason: str | None = None) -> Self:
        """The same file, one step further; a final status never changes."""
        if self.status is not SourceFileStatus.PROCESSING:
            raise ValueError(f"{self.coord.key()} is {self.status} and cannot become {status}")
        return self.model_copy(update={"status": status, "reason": reason})


def dump_result(result: FileResult) -> JSON:
    """The result as plain values, which can travel between pods and outlive the process."""
    coord = {name: str(value) for name, value in result.coord}
    return {**result.model_dump(mode="json", exclude={"coord"}, exclude_defaults=True), "coord": coord}


def load_result(coord: type[SourceFileCoord], dumped: JSON) -> FileResult:
    """The inverse of `dump_result`, with the class of the coord."""
    return FileResult.model_validate({**dumped, "coord": coord.model_validate(dumped["coord"])})


type Results = dict[str, Sequence[FileResult]]
"""Per variable, one result for each file that its region wants."""


def local_name(coord: SourceFileCoord, ranges: Sequence[tuple[int, int | None]]) -> str:
    """Local name for the downloaded part of a source file.

    It holds a digest of the byte ranges: two variable groups that read different parts of one file must not share one local
    copy, which the first of them would delete.
    """
    digest = hashlib.sha256(repr((coord.key(), list(ranges))).encode()).hexdigest()[:16]
    return f"{Path(coord.key()).name}-{digest}"
