"""What sensors launch at a site, and what the ops of a launched run do."""

from dataclasses import replace

from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.launches import (
    Budget,
    survey_incomplete,
    survey_unpublished,
)
from reformatters_dagster.core.run.plan import plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from tests.datasets import (
    Site,
)

LATE = Timedelta("7h")
"""After an init time, the soft deadline has passed."""


def launches(site: Site, now: Timestamp) -> list[Launch]:
    return survey_unpublished(site.dataset, site.workspace, now, Budget(20)).launches


def heals(site: Site, now: Timestamp) -> list[Launch]:
    return survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches


def run(site: Site, launch: Launch, now: Timestamp) -> None:
    """What the ops of a launched run do."""
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, launch.request, now)
    context = dataset.context(workspace, now)
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    commit_partition(dataset, workspace, plan, outcomes, run_id=context.run_id, now=now)


def giving_up(launch: Launch) -> Launch:
    """What the sensor makes of a launch once it was tried often enough."""
    return replace(launch, request=launch.request.model_copy(update={"accept_missing": True}))
