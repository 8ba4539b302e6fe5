"""A folder on the tmp disk for one job. It is removed when the job ends; after a kill, when the next job begins.

In: a parent folder and a name. Out: a folder that nobody else writes to.
"""

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

log = logging.getLogger(__name__)


@contextmanager
def tmp_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder below `parent` that is removed when the block ends. Folders of killed jobs of this name are removed first.

    The process holds a lock on a file beside the folder. The system releases the lock when the process dies, in whatever way.
    So a folder whose file can be locked belongs to no process.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, name)
    folder = parent / f"{name}-{uuid4().hex[:12]}"
    lock = folder.with_name(f"{folder.name}.lock")
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("folder=%s cannot be locked (%s): if this job is killed, it stays", folder, error)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def sweep(parent: Path, name: str) -> None:
    """Remove the folders of killed jobs of a name."""
    for lock in parent.glob(f"{name}-????????????.lock"):
        try:
            with lock.open("r+") as found:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.warning("folder=%s was left by a job that was killed, and is removed", lock.with_suffix(""))
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        except OSError as error:
            log.debug(
                "folder=%s stays, since its job lives or nothing can be locked here: %s", lock.with_suffix(""), error
            )
