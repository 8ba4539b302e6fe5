"""Source archives: where upstream files lie, and what an HTTP status means at each host.

In: what `dataset_defs` knows of a provider. Out: frozen values that `core/source` opens.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import model_validator

from reformatters_dagster.core.spec.values import Duration, Frozen, Time

type Answer = Literal["missing", "throttled", "retry", "refused"]

STATUS_ANSWERS: Mapping[int, Answer] = {
    404: "missing",
    429: "throttled",
    500: "retry",
    502: "retry",
    503: "throttled",
    504: "retry",
}
"""What an HTTP status means at a host that keeps to the standard. `failures` says what all others mean.

>>> redirecting = {**STATUS_ANSWERS, 302: "throttled"}
>>> redirecting[404]
'missing'
"""


class SourceArchive(Frozen):
    """One place that source files are read from.

    >>> archive = SourceArchive(url="s3://noaa-gfs-bdp-pds", folder="noaa-gfs-bdp-pds", region="us-east-1")
    >>> archive.newest is None
    True
    """

    url: str
    """Where the archive's keys start: `s3://bucket`, `gs://bucket`, `https://host/path`."""
    folder: str
    """Folder of a mirror (`REFORMATTERS_UPSTREAM`) that stands for the archive: the bucket, or host and path."""
    region: str | None = None
    """Bucket region, where the archive is on S3."""
    newest: Duration | None = None
    """How long after the append label files are kept; None keeps them for good."""
    until: Time | None = None
    """Append label after which there are no files; None while there are new ones."""
    requests_per_minute: int | None = None
    """What the host tolerates of all processes that write to one store; None sets no limit."""
    answers: Mapping[int, Answer] = STATUS_ANSWERS
    """What each HTTP status means at this host."""

    @model_validator(mode="after")
    def _folder_is_relative(self) -> Self:
        if self.folder.startswith("/") or ".." in self.folder.split("/"):
            raise ValueError(f"folder {self.folder!r} must be relative and stay inside the mirror")
        return self
