"""Shards of one variable from the tmp store to the final stores.

In: the region's shard objects on the tmp disk. Out: the same objects in every store, and a note of it for later runs.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reformatters_dagster.core.job.hooks import RegionHooks
from reformatters_dagster.core.job.positions import shard_of
from reformatters_dagster.core.source.files import FileResult
from reformatters_dagster.core.spec.errors import LandedLate
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.upload import publish_chunks

UPLOAD = "upload"
"""First word of this stage's progress, which is told once a note of the run stands: from then on it can be resumed."""

log = logging.getLogger(__name__)


def upload_variable(job: RegionHooks[Any], data_var: DataVar, results: Sequence[FileResult], tmp_store: Path) -> None:
    """Publish a variable's shards.

    A note is put before the first object and after the last one. Until the ledger does, it tells later runs which files the
    shards are made from, and whether their rates can be right. An object that landed though the right to write was lost
    meanwhile is noted too.
    """
    context, name = job.context, data_var.name
    implausible = job.stats.implausible.get(name, "")
    with job.stats.timed("upload") as seconds:
        context.check_writer()
        if context.tracker is not None:
            context.tracker.begin(name, results, context.uploads.get(name), implausible=implausible)
        context.on_progress(f"{UPLOAD} {name}", 0, 1)
        try:
            published = publish_chunks(tmp_store, context.stores, name, shard_of(job), stop=context.upstream.stop)
        except LandedLate:
            if context.tracker is not None:
                context.tracker.doubt(name, results)
            raise
    job.stats.bytes_out += published.bytes
    job.stats.objects_out += published.objects
    if context.tracker is not None:
        context.tracker.record(name, results, implausible=implausible)
    context.on_progress(f"{UPLOAD} {name}", 1, 1)
    log.info(
        "region=%s variable=%s objects=%d bytes=%d seconds=%.1f",
        job.label,
        name,
        published.objects,
        published.bytes,
        seconds(),
    )
