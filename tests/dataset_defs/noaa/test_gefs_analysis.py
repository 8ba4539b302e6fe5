"""The GEFS analysis from upstream files to readers: eras, steps between files, shard edges, and how far it is published."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.gefs.analysis import DATASET, TEMPLATE, has_no_file, newest_inits
from dataset_defs.noaa.gefs.variables import GEFS_ANALYSIS_DATA_VARS
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.run.launches import Budget, survey_incomplete
from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.sample_upstream.gefs import (
    GefsFile,
    Kind,
    current_file,
    former_file,
    reforecast_file,
    write_gefs_files,
)
from tests.gefs import (
    ALOFT,
    COARSE,
    FINE,
    GRID,
    HALF,
    HEIGHT,
    PRESSURE,
    RAIN,
    STEP,
    SUN,
    TEMPERATURE,
    Source,
    assert_instant,
    assert_rate,
    deployed,
)
from tests.orchestration.deployments import Deployment
from tests.tiny import shrunk

pytest_plugins = ["tests.datasets"]

ROWS = {row.name: row for row in GEFS_ANALYSIS_DATA_VARS}
AB: tuple[Kind, Kind] = ("a", "b")
VARIABLES = (TEMPERATURE, RAIN, SUN, PRESSURE, HEIGHT, ALOFT)
REFORECAST_STEMS = {
    TEMPERATURE: "tmp_2m",
    RAIN: "apcp_sfc",
    SUN: "dswrf_sfc",
    PRESSURE: "pres_msl",
    HEIGHT: "hgt_pres_abv700mb",
}


def times(start: str, end: str) -> pd.DatetimeIndex:
    return pd.date_range(start, end, freq="3h", inclusive="left", unit="us")


def analysis(folder: Path, start: str, shard: int, variables: Sequence[str] = VARIABLES) -> DynamicalDataset:
    """The dataset on a grid of 15 degrees, in shards of so many steps."""
    changes: dict[str, Any] = {
        "append_dim": AppendAxis(name="time", start=start, frequency="3h"),
        "grid": GRID,
        "chunks": {"time": shard, "latitude": 13, "longitude": 12},
        "shards": {"time": shard, "latitude": 13, "longitude": 12},
        "data_vars": tuple(ROWS[name] for name in variables),
    }
    return replace(DATASET, template_config=shrunk(TEMPLATE, folder, **changes))


def backfilled(folder: Path, upstream: Path, start: str, shard: int, last: str) -> xr.Dataset:
    """What readers see after every shard up to a step has been made."""
    site = deployed(folder, upstream, analysis(folder / "templates", start, shard))
    site.backfill(now=pd.Timestamp(last))
    return site.read()


def instant(ds: xr.Dataset, variable: str, time: str, *sources: Source) -> None:
    assert_instant(ds[variable].sel(time=time), ROWS[variable], *sources)


def rate(ds: xr.Dataset, time: str, total: Source, before: Source | None, hours: int) -> None:
    assert_rate(ds[RAIN].sel(time=time), ROWS[RAIN], total, before, hours)


# The end of the reforecast


def reforecasts(*inits: str) -> list[GefsFile]:
    return [
        reforecast_file(pd.Timestamp(init), variable, stem, range(3, 27, 3), STEP)
        for init in inits
        for variable, stem in REFORECAST_STEMS.items()
    ]


def former(*inits: str) -> list[GefsFile]:
    return [former_file(pd.Timestamp(init), lead, kind, step=STEP) for init in inits for lead in (0, 6) for kind in AB]


def current(*inits: str) -> list[GefsFile]:
    return [
        current_file(pd.Timestamp(init), lead, kind, step=STEP)
        for init in inits
        for lead in (0, 3, 6)
        for kind in ("s", "a", "b")
    ]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both edges of the eras, and some hours around them."""
    folder = tmp_path_factory.mktemp("gefs-upstream")
    of_2020 = ["2020-01-01T00", "2020-01-01T06", "2020-01-01T12", "2020-01-01T18", "2020-01-02T00"]
    before_12, from_12 = ["2020-09-22T18", "2020-09-23T00", "2020-09-23T06"], ["2020-09-23T12", "2020-09-23T18"]
    files = [
        *reforecasts("2019-12-30", "2019-12-31"),
        *former(*of_2020, *before_12),
        *current(*from_12, "2020-09-24T00"),
    ]
    write_gefs_files(folder, files, VARIABLES)
    return folder


@pytest.fixture(scope="module")
def new_year(tmp_path_factory: pytest.TempPathFactory, upstream: Path) -> xr.Dataset:
    """Two shards, made by Dagster."""
    folder = tmp_path_factory.mktemp("new-year")
    site = deployed(folder, upstream, analysis(folder / "templates", "2019-12-31", 8))
    with dg.DagsterInstance.ephemeral() as instance:
        deployment = Deployment(site, instance)
        deployment.run("initialise", end="2020-01-02")
        for partition in ("2019-12-31", "2020-01-01"):
            deployment.run("backfill", pd.Timestamp(partition))
    return site.read()


@pytest.fixture(scope="module")
def september(tmp_path_factory: pytest.TempPathFactory, upstream: Path) -> xr.Dataset:
    """Two shards, of which the first ends on a step between files."""
    return backfilled(tmp_path_factory.mktemp("september"), upstream, "2020-09-23", 4, "2020-09-23T21")


def test_the_reforecast_gives_way_to_the_version_before_12(new_year: xr.Dataset) -> None:
    for variable in (TEMPERATURE, PRESSURE):
        instant(new_year, variable, "2019-12-31T00", Source("2019-12-30T00", 24, FINE))
        instant(new_year, variable, "2019-12-31T03", Source("2019-12-31T00", 3, FINE))
        instant(new_year, variable, "2019-12-31T21", Source("2019-12-31T00", 21, FINE))
    instant(new_year, HEIGHT, "2019-12-31T21", Source("2019-12-31T00", 21, HALF))
    for variable in (TEMPERATURE, PRESSURE, HEIGHT, ALOFT):
        instant(new_year, variable, "2020-01-01T00", Source("2020-01-01T00", 0, COARSE))
        instant(new_year, variable, "2020-01-01T06", Source("2020-01-01T06", 0, COARSE))
    instant(new_year, SUN, "2020-01-01T00", Source("2019-12-31T00", 24, FINE))
    instant(new_year, SUN, "2020-01-01T06", Source("2020-01-01T00", 6, COARSE))


def test_rates_run_across_the_years(new_year: xr.Dataset) -> None:
    at = {hour: Source("2019-12-31T00", hour, FINE) for hour in (18, 21, 24)}
    assert new_year[RAIN].sel(time="2019-12-31T00").isnull().all(), "nothing lies before the archive's first step"
    rate(new_year, "2019-12-31T21", at[21], None, 3)
    rate(new_year, "2020-01-01T00", at[24], at[21], 3)
    rate(new_year, "2020-01-01T06", Source("2020-01-01T00", 6, COARSE), None, 6)


def test_steps_between_files_are_interpolated(new_year: xr.Dataset, september: xr.Dataset) -> None:
    new_year_0, six = Source("2020-01-01T00", 0, COARSE), Source("2020-01-01T06", 0, COARSE)
    instant(new_year, TEMPERATURE, "2020-01-01T03", new_year_0, six)
    instant(
        september, TEMPERATURE, "2020-09-23T09", Source("2020-09-23T06", 0, COARSE), Source("2020-09-23T12", 0, FINE)
    )
    rates = new_year[RAIN].sel(time=["2020-01-01T00", "2020-01-01T03", "2020-01-01T06"]).to_numpy()
    np.testing.assert_allclose(rates[1], (rates[0] + rates[2]) / 2, rtol=0.02, atol=1e-9)


def test_what_the_reforecast_lacks_is_nan_and_not_called_missing(
    new_year: xr.Dataset, upstream: Path, tmp_path: Path
) -> None:
    assert new_year[ALOFT].sel(time=slice("2019-12-31", "2019-12-31T21")).isnull().all()
    site = deployed(tmp_path, upstream, analysis(tmp_path / "templates", "2019-12-31", 16, [TEMPERATURE, ALOFT]))
    report = site.backfill(now=pd.Timestamp("2020-01-01T21"))
    (commit,) = report.commits
    known = commit.entry.variables[ALOFT]
    assert (known.expected, known.succeeded) == (4, 4)
    known = commit.entry.variables[TEMPERATURE]
    assert (known.expected, known.succeeded) == (12, 12)


def test_version_12_begins_with_its_first_init_time(september: xr.Dataset) -> None:
    for variable in (TEMPERATURE, PRESSURE):
        instant(september, variable, "2020-09-23T06", Source("2020-09-23T06", 0, COARSE))
        instant(september, variable, "2020-09-23T12", Source("2020-09-23T12", 0, FINE))
        instant(september, variable, "2020-09-23T15", Source("2020-09-23T12", 3, FINE))
    for variable in (HEIGHT, ALOFT):
        instant(september, variable, "2020-09-23T15", Source("2020-09-23T12", 3, HALF))
    instant(september, SUN, "2020-09-23T12", Source("2020-09-23T06", 6, COARSE))
    instant(september, SUN, "2020-09-23T15", Source("2020-09-23T12", 3, FINE))
    rate(september, "2020-09-23T12", Source("2020-09-23T06", 6, COARSE), None, 6)
    rate(september, "2020-09-23T15", Source("2020-09-23T12", 3, FINE), None, 3)
    rate(september, "2020-09-23T18", Source("2020-09-23T12", 6, FINE), Source("2020-09-23T12", 3, FINE), 3)


# Shard edges


@pytest.mark.parametrize(("name", "start", "shard"), [("new_year", "2019-12-31", 16), ("september", "2020-09-23", 8)])
def test_adjacent_shards_made_apart_equal_one_long_run(
    name: str, start: str, shard: int, upstream: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    apart: xr.Dataset = request.getfixturevalue(name)
    last = pd.Timestamp(start) + Timedelta(hours=3 * (shard - 1))
    together = backfilled(tmp_path, upstream, start, shard, str(last))
    assert apart.sizes["time"] == together.sizes["time"] == shard
    for variable in VARIABLES:
        np.testing.assert_array_equal(apart[variable], together[variable], variable)


# Which forecast a valid time is taken from


@pytest.mark.parametrize(
    ("time", "instant", "windowed"),
    [
        ("2000-01-01T03", "2000-01-01T00", "2000-01-01T00"),
        ("2019-12-31T00", "2019-12-30T00", "2019-12-30T00"),
        ("2019-12-31T21", "2019-12-31T00", "2019-12-31T00"),
        ("2020-01-01T00", "2020-01-01T00", "2019-12-31T00"),
        ("2020-01-01T06", "2020-01-01T06", "2020-01-01T00"),
        ("2020-09-23T12", "2020-09-23T12", "2020-09-23T06"),
        ("2026-07-29T15", "2026-07-29T12", "2026-07-29T12"),
        ("2026-07-29T18", "2026-07-29T18", "2026-07-29T12"),
    ],
)
def test_the_shortest_lead_time_is_taken(time: str, instant: str, windowed: str) -> None:
    for has_hour_0, init in ((True, instant), (False, windowed)):
        found = newest_inits(pd.DatetimeIndex([time]), has_hour_0=has_hour_0)
        assert list(found) == [pd.Timestamp(init)]


def test_only_the_version_before_12_leaves_steps_out() -> None:
    edges = pd.DatetimeIndex(
        [
            "2019-12-31T21",
            "2020-01-01T00",
            "2020-01-01T03",
            "2020-09-23T06",
            "2020-09-23T09",
            "2020-09-23T12",
            "2020-09-23T15",
        ]
    )
    assert has_no_file(edges).tolist() == [False, False, True, False, True, False, False]


# How far it is published


def test_updates_follow_the_instants_and_end_in_the_values_of_a_single_run(tmp_path: Path) -> None:
    """Windows reach one step further, into the next shard even, and publish nothing by themselves."""
    variables = [TEMPERATURE, RAIN, SUN]
    first, second, third = "2026-07-29T00", "2026-07-29T06", "2026-07-29T12"
    site = deployed(tmp_path, tmp_path / "upstream", analysis(tmp_path / "templates", first, 4, variables))
    for init, leads, last in (
        (first, (0, 3, 6), "2026-07-29T03"),
        (second, (0,), "2026-07-29T06"),
        (second, (3, 6), "2026-07-29T09"),
        (third, (0, 3), "2026-07-29T15"),
    ):
        files = [current_file(pd.Timestamp(init), lead, "s", step=STEP) for lead in leads]
        write_gefs_files(tmp_path / "upstream", files, variables)
        if init != first:
            holes = survey_incomplete(site.dataset, site.workspace, pd.Timestamp("2026-07-29T21"), Budget(20))
            assert holes.launches == [], "steps that are new are for an update"
        site.update(now=pd.Timestamp("2026-07-29T20"))
        published = site.read()
        assert list(published.indexes["time"]) == list(times(first, f"{last}:01"))
        for variable in variables:
            assert not published[variable].isel(time=-1).isnull().any()
    once = deployed(tmp_path / "once", tmp_path / "upstream", site.dataset)
    once.update(now=pd.Timestamp("2026-07-29T20"))
    xr.testing.assert_identical(once.read(), published)


# Files that were never made


def test_a_file_that_was_never_made_is_not_asked_for(tmp_path: Path, upstream: Path) -> None:
    """Hour 0 of one init time lacks its file of kind b, which holds winds aloft; temperature comes from another."""
    dataset = analysis(tmp_path / "templates", "2021-02-11", 8, (TEMPERATURE, ALOFT))
    job = deployed(tmp_path, upstream, dataset).job(pd.Timestamp("2021-02-11"))
    wanted = {
        name: [coord.key() for coord in job.source_files(job.template_ds, [ROWS[name]])]
        for name in (TEMPERATURE, ALOFT)
    }
    assert [len(wanted[TEMPERATURE]), len(wanted[ALOFT])] == [9, 8]
    assert wanted[TEMPERATURE][0] == "gefs.20210211/00/atmos/pgrb2sp25/gec00.t00z.pgrb2s.0p25.f000"
    assert wanted[ALOFT][0] == "gefs.20210211/00/atmos/pgrb2bp5/gec00.t00z.pgrb2b.0p50.f003"
