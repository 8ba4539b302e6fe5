"""Region jobs of a site, and what they made of its files."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from reformatters_dagster.core.job.region_job import RegionJob
from reformatters_dagster.core.source.files import FileResult, Results, SourceFileStatus
from reformatters_dagster.core.spec.values import MOMENT, Timedelta, Timestamp
from reformatters_dagster.core.store.initialise import create_store
from tests.datasets import IN_ORDER, INIT, SOON, THIRD, Site

BAD = 3
ALL_SUCCEEDED = {variable: {SourceFileStatus.SUCCEEDED} for variable in IN_ORDER}
HOUR = Timedelta("1h")


def processed(site: Site, job: RegionJob[Any]) -> tuple[Results, xr.Dataset]:
    """Results of a job, and what a reader sees of it."""
    create_store(site.dataset.template_config, site.workspace, INIT + MOMENT)
    return job.process(), site.read()


def chunk_keys(site: Site) -> set[str]:
    return {key for key, _ in site.stores.primary.list() if "/c/" in key}


def statuses(results: Results) -> dict[str, set[SourceFileStatus]]:
    return {variable: {result.status for result in files} for variable, files in results.items()}


def of_lead(files: Sequence[FileResult], lead: int) -> FileResult:
    (found,) = (file for file in files if file.coord.out_loc()["lead_time"] == lead * HOUR)
    return found


def jobs_of(site: Site, last: Timestamp = THIRD, **filters: Any) -> list[RegionJob[Any]]:
    """Jobs over labels up to the last one."""
    template_ds = site.dataset.template_config.get_template(last + MOMENT)
    context = site.dataset.context(site.workspace, THIRD + SOON)
    return list(site.dataset.region_job.get_jobs(context, template_ds, **filters))
