"""The folder of one job on the tmp disk: its tmp store, downloads and spooled fields.

In: a job. Out: a folder with room for all of it, gone when the job ends.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import processing_positions, template_at
from reformatters_dagster.core.shard.tmp_folder import sweep, tmp_folder
from reformatters_dagster.core.shard.writer import on_tmp_disk
from reformatters_dagster.core.spec.errors import TmpDiskFull


@contextmanager
def job_folder(job: RegionHooks[Any]) -> Iterator[Path]:
    """A folder for a job.

    Raises
    ------
    TmpDiskFull
        When the disk has less room than two variables take, or runs out of it in the block.
    """
    with tmp_folder(job.context.tmp, job.context.template_config.dataset_id) as folder:
        refuse_small_disk(job)
        with on_tmp_disk(folder):
            yield folder


def refuse_small_disk(job: RegionHooks[Any]) -> None:
    """Raise `TmpDiskFull` when the disk of the tmp folder, which stands, has less room than two variables take."""
    tmp = job.context.tmp
    needed, free = _bytes_needed(job), shutil.disk_usage(tmp).free
    if free < needed:
        raise TmpDiskFull(
            f"region {job.label} of {job.context.template_config.dataset_id} needs {needed:,} bytes in {tmp}; {free:,} are "
            "free: point REFORMATTERS_TMP at a larger disk"
        )


def sweep_job_folders(job: RegionHooks[Any]) -> None:
    """Remove what killed jobs of the dataset have left, where this one needs no folder."""
    sweep(job.context.tmp, job.context.template_config.dataset_id)


def _bytes_needed(job: RegionHooks[Any]) -> int:
    """For the shards of two variables, and for the fields of one that is too large for memory."""
    size = template_at(job, processing_positions(job))[job.data_vars[0].name].nbytes
    return 2 * size + (size if size > job.context.buffer_bytes else 0)
