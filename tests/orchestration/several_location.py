"""A forecast of which a run of a backfill makes three partitions, as a code location whose jobs can be executed again.

`TEST_TEMPLATES` names the folder its template is committed to; the rest is the usual settings.
"""

import os
from dataclasses import replace
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from reformatters_dagster.orchestration.build import build_definitions
from tests.datasets import gfs_forecast

FORECAST = replace(gfs_forecast(Path(os.environ["TEST_TEMPLATES"])), partitions_per_run=3)
defs = build_definitions([FORECAST])


def backfill_job() -> dg.JobDefinition:
    """What `dg.reconstructable` needs."""
    return defs.resolve_job_def(FORECAST.job_name("backfill"))


def run(first: str, last: str) -> None:
    """Make a range of partitions in this process, as a run of the instance at `DAGSTER_HOME`; go on with one that was killed."""
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    with dg.DagsterInstance.get() as instance:
        options = None
        for killed in instance.get_runs(limit=1):
            instance.report_run_failed(killed)
            options = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
        job = dg.reconstructable(backfill_job)
        done = dg.execute_job(job, instance, tags=tags, reexecution_options=options)
        raise SystemExit(0 if done.success else 1)
