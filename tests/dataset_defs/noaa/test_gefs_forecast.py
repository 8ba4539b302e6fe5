"""The GEFS forecast from upstream files to readers: members, file kinds, grids, and lead times that arrive next day."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gefs.forecast import DATASET, TEMPLATE
from dataset_defs.noaa.gefs.variables import GEFS_FORECAST_DATA_VARS
from reformatters_dagster.core.run.commit import commit_partition
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import Budget, survey_incomplete, survey_unpublished
from reformatters_dagster.core.run.plan import plan_partition
from reformatters_dagster.core.run.process import process_group
from reformatters_dagster.core.run.reasons import Launch
from reformatters_dagster.core.spec.axes import AppendAxis, ensemble_member
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.sample_upstream.gefs import GefsFile, Kind, current_file, write_gefs_files
from tests.datasets import Site
from tests.gefs import (
    ALOFT,
    CEILING,
    FINE,
    GRID,
    GUST,
    HALF,
    HEIGHT,
    RAIN,
    STEP,
    TEMPERATURE,
    Source,
    assert_instant,
    assert_rate,
    deployed,
)
from tests.orchestration.deployments import Deployment
from tests.tiny import shrunk

pytest_plugins = ["tests.datasets"]

ROWS = {row.name: row for row in GEFS_FORECAST_DATA_VARS}
VARIABLES = (TEMPERATURE, RAIN, HEIGHT, GUST, ALOFT, CEILING)
LEADS = (0, 3, 6, 234, 237, 240, 246, 384, 390, 840)
MEMBERS = (0, 1)
HOUR = Timedelta("1h")


def forecast(folder: Path, start: str, variables: Sequence[str] = VARIABLES) -> DynamicalDataset:
    """The dataset with two members, some of its lead times, on a grid of 15 degrees."""
    (lead_time,) = (dim for dim in TEMPLATE.dims if dim.name == "lead_time")
    shard = {"init_time": 1, "ensemble_member": 2, "lead_time": 10, "latitude": 13, "longitude": 12}
    changes: dict[str, Any] = {
        "append_dim": AppendAxis(name="init_time", start=start, frequency="24h", years=10),
        "dims": (
            ensemble_member(len(MEMBERS)),
            lead_time.model_copy(update={"labels": tuple(lead * 3600.0 for lead in LEADS)}),
        ),
        "grid": GRID,
        "chunks": shard,
        "shards": shard,
        "data_vars": tuple(ROWS[name] for name in variables),
    }
    return replace(DATASET, template_config=shrunk(TEMPLATE, folder, **changes))


def files_of(
    init: str, leads: Sequence[int], kinds: Sequence[Kind], members: Sequence[int] = MEMBERS
) -> list[GefsFile]:
    """Files of some kinds; those of kind s end at 240 h."""
    return [
        current_file(pd.Timestamp(init), lead, kind, member, STEP)
        for lead in leads
        for member in members
        for kind in kinds
        if kind != "s" or lead <= 240
    ]


# What readers get

BEFORE_22, SINCE_22 = "2022-10-18", "2022-10-19"


@pytest.fixture(scope="module")
def october(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two init times, made by Dagster: files of kind s held the ceiling from the second on, and it alone is of the first."""
    folder = tmp_path_factory.mktemp("october")
    before = files_of(BEFORE_22, (0, 240, 246), ("s", "b"))
    lacking = [
        file._replace(variables=file.variables - {CEILING}) if "pgrb2s." in file.key else file for file in before
    ]
    write_gefs_files(folder / "upstream", lacking, [TEMPERATURE, CEILING])
    write_gefs_files(folder / "upstream", files_of(SINCE_22, LEADS, ("s", "a", "b")), VARIABLES)
    site = deployed(folder, folder / "upstream", forecast(folder / "templates", BEFORE_22))
    with dg.DagsterInstance.ephemeral() as instance:
        deployment = Deployment(site, instance)
        deployment.run("initialise", end="2022-10-20")
        deployment.run("backfill", pd.Timestamp(BEFORE_22), variables=[CEILING])
        deployment.run("backfill", pd.Timestamp(SINCE_22))
    return site.read()


def at(ds: xr.Dataset, variable: str, init: str, member: int, lead: int) -> xr.DataArray:
    return ds[variable].sel(init_time=init, ensemble_member=member, lead_time=lead * HOUR)


@pytest.mark.parametrize("member", MEMBERS)
def test_files_of_a_quarter_degree_end_at_240_hours(october: xr.Dataset, member: int) -> None:
    for variable in (TEMPERATURE, GUST):
        for lead, coarseness in ((0, FINE), (240, FINE), (246, HALF), (384, HALF), (390, HALF), (840, HALF)):
            source = Source(SINCE_22, lead, coarseness, member)
            assert_instant(at(october, variable, SINCE_22, member, lead), ROWS[variable], source)
    for variable in (HEIGHT, ALOFT):
        for lead in (0, 240, 246, 840):
            source = Source(SINCE_22, lead, HALF, member)
            assert_instant(at(october, variable, SINCE_22, member, lead), ROWS[variable], source)


def test_the_ceiling_came_into_the_fine_files_later(october: xr.Dataset) -> None:
    for init, coarseness in ((BEFORE_22, HALF), (SINCE_22, FINE)):
        for lead, steps in ((0, coarseness), (240, coarseness), (246, HALF)):
            assert_instant(at(october, CEILING, init, 1, lead), ROWS[CEILING], Source(init, lead, steps, 1))


def test_rates_on_both_sides_of_the_change_of_grids(october: xr.Dataset) -> None:
    assert at(october, RAIN, SINCE_22, 1, 0).isnull().all()
    for lead, before, hours, coarseness in (
        *((3, None, 3, FINE), (6, 3, 3, FINE), (237, None, 3, FINE), (240, 237, 3, FINE)),
        *((246, None, 6, HALF), (390, None, 6, HALF), (840, None, 6, HALF)),
    ):
        total = Source(SINCE_22, lead, coarseness, 1)
        earlier = None if before is None else Source(SINCE_22, before, coarseness, 1)
        assert_rate(at(october, RAIN, SINCE_22, 1, lead), ROWS[RAIN], total, earlier, hours)


def test_members_differ_and_coordinates_are_those_of_an_ensemble(october: xr.Dataset) -> None:
    control, first = (at(october, TEMPERATURE, SINCE_22, member, 240).to_numpy() for member in (0, 1))
    assert (control != first)[1:-1].mean() > 0.5
    assert october.ensemble_member.dtype == np.int16
    assert october.ensemble_member.to_numpy().tolist() == list(MEMBERS)
    assert october.ingested_forecast_length.dims == ("init_time", "ensemble_member")
    ingested = october.ingested_forecast_length
    assert (ingested.sel(init_time=SINCE_22) == np.timedelta64(840, "h")).all()
    assert ingested.sel(init_time=BEFORE_22).isnull().all(), "most variables were never written"
    assert (october.expected_forecast_length == np.timedelta64(840, "h")).all()


# An init time arrives twice

INIT = pd.Timestamp("2026-07-29").as_unit("us")
FIRST_DAY, NEXT_DAY = LEADS[: LEADS.index(384) + 1], LEADS[LEADS.index(390) :]


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What has arrived on either day."""
    folder = tmp_path_factory.mktemp("two-days")
    for name, leads in (("first", FIRST_DAY), ("next", NEXT_DAY)):
        coarse = files_of("2026-07-29", [lead for lead in leads if lead > 240], ("a",))
        write_gefs_files(folder / name, [*files_of("2026-07-29", leads, ("s",)), *coarse], [TEMPERATURE, RAIN])
    return folder


@pytest.fixture
def site(tmp_path: Path, two_days: Path) -> Site:
    """An archive that begins with one init time, of which the first day's files are there."""
    shutil.copytree(two_days / "first", tmp_path / "upstream")
    dataset = forecast(tmp_path / "templates", "2026-07-29", [TEMPERATURE, RAIN])
    return deployed(tmp_path, tmp_path / "upstream", dataset)


def next_day(site: Site, two_days: Path) -> None:
    """Let the other files arrive."""
    shutil.copytree(two_days / "next", site.upstream, dirs_exist_ok=True)


def run(site: Site, launch: Launch, now: Timestamp) -> None:
    """What the ops of a launched run do."""
    dataset, workspace = site.dataset, site.workspace
    plan = plan_partition(dataset, workspace, launch.request, now)
    context = dataset.context(workspace, now)
    outcomes = [process_group(dataset, context, plan, group) for group in plan.groups]
    commit_partition(dataset, workspace, plan, outcomes, run_id=context.run_id, now=now)


def launched(site: Site, now: Timestamp) -> Launch:
    """The one partition to publish."""
    (launch,) = survey_unpublished(site.dataset, site.workspace, now, Budget(20)).launches
    return launch


def healed(site: Site, now: Timestamp) -> list[Launch]:
    return survey_incomplete(site.dataset, site.workspace, now, Budget(20)).launches


def lengths(site: Site) -> list[float]:
    """Ingested forecast length of each member, in hours."""
    found = site.read().ingested_forecast_length.sel(init_time=INIT)
    return [float(length / np.timedelta64(1, "h")) for length in found]


def test_the_first_day_is_published_without_waiting_for_the_next(site: Site) -> None:
    now = INIT + 7 * HOUR
    launch = launched(site, now)
    assert launch.arrivals.complete
    assert launch.reason == "all files have arrived"
    run(site, launch, now)
    entry = site.ledger(INIT)
    assert entry is not None
    assert entry.is_complete, "what is not due is not missing"
    assert {known.expected for known in entry.variables.values()} == {len(MEMBERS) * len(FIRST_DAY), len(MEMBERS) * 7}
    assert lengths(site) == [384.0] * 2
    assert site.read()[TEMPERATURE].sel(lead_time=384 * HOUR).notnull().all()
    assert site.read()[TEMPERATURE].sel(lead_time=390 * HOUR).isnull().all()


def test_the_next_day_is_ingested_once_it_is_due(site: Site, two_days: Path) -> None:
    run(site, launched(site, INIT + 7 * HOUR), INIT + 7 * HOUR)
    assert healed(site, INIT + 27 * HOUR) == []
    next_day(site, two_days)
    assert healed(site, INIT + 27 * HOUR) == [], "files are not looked for before they are due"
    (launch,) = healed(site, INIT + 28 * HOUR)
    assert launch.reason == f"files that were not due at its last run: {len(MEMBERS) * len(NEXT_DAY)}"
    run(site, launch, INIT + 28 * HOUR)
    assert lengths(site) == [840.0] * 2
    for lead in (384, 390, 840):
        source = Source("2026-07-29", lead, HALF, 1)
        assert_instant(at(site.read(), TEMPERATURE, "2026-07-29", 1, lead), ROWS[TEMPERATURE], source)
    assert healed(site, INIT + 40 * HOUR) == []


def test_a_file_that_is_late_on_the_first_day_heals_as_ever(site: Site) -> None:
    late = site.upstream / files_of("2026-07-29", [6], ["s"], [1])[0].key
    hidden = late.with_name("hidden")
    late.rename(hidden)
    now = INIT + 8 * HOUR
    run(site, launched(site, now), now)
    assert lengths(site) == [384.0, 3.0]
    assert healed(site, INIT + 12 * HOUR) == []
    hidden.rename(late)
    (launch,) = healed(site, INIT + 12 * HOUR)
    assert launch.reason == "missing files that have arrived: 1"
    run(site, launch, INIT + 12 * HOUR)
    assert lengths(site) == [384.0] * 2


def test_an_update_by_hand_takes_the_day_before_again(site: Site, two_days: Path) -> None:
    site.update(INIT + 7 * HOUR)
    assert lengths(site) == [384.0] * 2
    next_day(site, two_days)
    site.update(INIT + 31 * HOUR)
    assert lengths(site) == [840.0] * 2
