"""One bad file fails no other: the reason that its result carries, and how loud the log is about it.

In: an error that one file met with. Out: words for its result, or the error again where it is no fault of the file.
"""

import logging
from typing import Any

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.source.files import SourceFileCoord
from reformatters_dagster.core.spec.errors import ReformatError

log = logging.getLogger(__name__)


def reason_of(job: RegionHooks[Any], error: Exception, coord: SourceFileCoord) -> str:
    """Why a file failed; raises the error where the machine is at fault, not the file."""
    if not isinstance(error, ReformatError):
        if isinstance(error, OSError | MemoryError):
            raise error
        if job.stats.is_first(type(error).__name__):
            log.error("file=%s an error nobody expected, as if the file were bad", coord.key(), exc_info=error)
    return f"{type(error).__name__}: {error}"


def log_level(job: RegionHooks[Any], failed: int) -> int:
    """INFO while failed files may still arrive, WARNING after the give-up age."""
    is_late = job.context.now - job.label >= job.context.give_up_age
    return logging.WARNING if failed and is_late else logging.INFO
