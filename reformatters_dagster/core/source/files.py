"""One upstream file: which one it is (`SourceFileCoord`), and how its processing went (`FileResult`).

In: labels of a region. Out: values that say which file to fetch, where its data lands, and how that went.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

from reformatters_dagster.core.spec.errors import SourceFileMissing, SourceFileUnavailable
from reformatters_dagster.core.spec.values import JSON, Duration, Frozen, OutLoc, Time, Timedelta


def whole_hours(lead_time: Timedelta) -> int:
    """Lead time in hours; raises when it is not whole.

    >>> whole_hours(pd.Timedelta("1D 6h"))
    30
    """
    hours, rest = divmod(lead_time, Timedelta(hours=1))
    if rest:
        raise ValueError(f"lead time {lead_time} is not a whole number of hours")
    return int(hours)


class SourceFileCoord(Frozen):
    """Identity of one source file. It never changes: `FileResult` tells the progress.

    >>> class HourCoord(SourceFileCoord):
    ...     time: Time
    ...
    ...     def key(self) -> str:
    ...         return f"{self.time:%Y%m%d%H}.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    ...
    ...     def out_loc(self) -> OutLoc:
    ...         return {"time": self.time}
    >>> HourCoord(time="2026-01-01T06").get_url()
    'https://example.org/2026010106.grib2'
    """

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
    """A file that holds one lead time of one forecast.

    >>> class FileCoord(ForecastFileCoord):
    ...     def key(self) -> str:
    ...         return f"{self.init_time:%Y%m%d%H}/f{whole_hours(self.lead_time):03d}.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    >>> FileCoord(init_time="2026-01-01T06", lead_time="9h").key()
    '2026010106/f009.grib2'
    """

    init_time: Time
    lead_time: Duration

    def out_loc(self) -> OutLoc:
        return {"init_time": self.init_time, "lead_time": self.lead_time}


class EnsembleFileCoord(ForecastFileCoord):
    """A file, or the part of one, that holds one lead time of one member of a forecast.

    >>> class MemberCoord(EnsembleFileCoord):
    ...     def key(self) -> str:
    ...         return f"{self.init_time:%Y%m%d%H}/m{self.ensemble_member:02d}_f{whole_hours(self.lead_time):03d}.grib2"
    ...
    ...     def get_url(self) -> str:
    ...         return f"https://example.org/{self.key()}"
    >>> coord = MemberCoord(init_time="2026-01-01T06", lead_time="9h", ensemble_member=3)
    >>> list(coord.out_loc())
    ['init_time', 'lead_time', 'ensemble_member']
    """

    ensemble_member: int
    """0 is the control."""

    def out_loc(self) -> OutLoc:
        return {**super().out_loc(), "ensemble_member": self.ensemble_member}


class SourceFileStatus(StrEnum):
    """How far a file got. `Processing` ends in one of the others, and these are final."""

    PROCESSING = "Processing"
    DOWNLOAD_FAILED = "DownloadFailed"
    READ_FAILED = "ReadFailed"
    SUCCEEDED = "Succeeded"


class Downloaded(Frozen):
    """The verified part of one source file for a group of variables, on local disk.

    >>> from pathlib import Path
    >>> Downloaded(path=Path("f006-1a2b"), archive="example.org", etag=None, spans={"temperature_2m": (0, 1024)}).spans
    {'temperature_2m': (0, 1024)}
    """

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
    """Why it failed, or why the value at its place is outdated; None otherwise."""
    bytes: int = 0
    """Bytes downloaded for this variable."""
    etag: str | None = None
    """Version of the source file, as the archive names it."""
    archive: str | None = None
    """Archive the bytes came from."""
    waits_for: str | None = None
    """Key of a file that was used before and failed now. Where this one succeeded, the published value at its place is
    outdated; where not, that file is why."""
    beside: Mapping[str, str] = {}
    """Files beside the region from which this run also made a value within this file's reach: their ETags, by key."""
    was_tried: bool = True
    """Whether this run asked for it. It does not ask for a file that is given up: the reason is then that of an earlier run."""

    @property
    def succeeded(self) -> bool:
        return self.status is SourceFileStatus.SUCCEEDED

    @property
    def is_outdated(self) -> bool:
        """Whether the published value at its place is outdated.

        A file that it is made from failed when it was to be made again.
        """
        return self.succeeded and self.waits_for is not None

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

    def etag_among(self, archives: Collection[str | None]) -> str:
        """Its version, where it came from one of some archives; empty elsewhere, and where it is unknown."""
        return (self.etag or "") if self.archive in archives else ""

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
    """The inverse of `dump_result`, with the class of the coord. Fields of a later version are ignored."""
    known = {name: value for name, value in dumped.items() if name in FileResult.model_fields}
    return FileResult.model_validate({**known, "coord": coord.model_validate(dumped["coord"])})


type Results = dict[str, Sequence[FileResult]]
"""Per variable, one result for each file that its region wants.

>>> def succeeded(results: Results) -> int:
...     return sum(result.succeeded for files in results.values() for result in files)
>>> succeeded({"temperature_2m": []})
0
"""


def local_name(coord: SourceFileCoord, ranges: Sequence[tuple[int, int | None]]) -> str:
    """Local name for the downloaded part of a source file.

    It holds a digest of the byte ranges: two variable groups that read different parts of one file must not share one local
    copy, which the first of them would delete.
    """
    digest = hashlib.sha256(repr((coord.key(), list(ranges))).encode()).hexdigest()[:16]
    return f"{Path(coord.key()).name}-{digest}"
