"""Two datasets of coarse grids as a code location, for tests that need Dagster's own processes.

`TEST_TEMPLATES` names the folder their templates are committed to; the rest is the usual settings.
"""

import os
from dataclasses import replace
from pathlib import Path

import dagster as dg

from reformatters_dagster.core.check.shards import CheckExpectedShards
from reformatters_dagster.core.run.declaration import Resources
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key
from reformatters_dagster.orchestration.step_pods import step_pods_executor
from tests.datasets import gfs_analysis, gfs_forecast

TEMPLATES = Path(os.environ["TEST_TEMPLATES"])
FORECAST = replace(gfs_forecast(TEMPLATES), validators=(CheckExpectedShards(),))
ANALYSIS = replace(gfs_analysis(TEMPLATES), resources=Resources(cpu="500m", memory="24Gi", ephemeral_storage="1500Mi"))
STEP_PODS = dg.define_asset_job(
    "step_pods",
    selection=dg.AssetSelection.assets(asset_key(ANALYSIS)),
    executor_def=step_pods_executor.configured({"max_concurrent": 2}),
)
defs = dg.Definitions.merge(build_definitions([FORECAST, ANALYSIS]), dg.Definitions(jobs=[STEP_PODS]))


def backfill_job() -> dg.JobDefinition:
    """What `dg.reconstructable` needs."""
    return defs.resolve_job_def(FORECAST.job_name("backfill"))


def step_pods_job() -> dg.JobDefinition:
    """As `backfill_job`."""
    return defs.resolve_job_def("step_pods")
