"""A dataset of coarse grids as a code location, for tests that need Dagster's own processes.

`TEST_TEMPLATES` names the folder its template is committed to; the rest is the usual settings.
"""

import os
from pathlib import Path

import dagster as dg

from reformatters_dagster.orchestration.build import build_definitions
from tests.datasets import gfs_forecast

DATASET = gfs_forecast(Path(os.environ["TEST_TEMPLATES"]))
defs = build_definitions([DATASET])


def backfill_job() -> dg.JobDefinition:
    """What `dg.reconstructable` needs."""
    return defs.resolve_job_def(DATASET.job_name("backfill"))
