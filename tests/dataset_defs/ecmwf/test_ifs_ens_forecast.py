"""The IFS ensemble from upstream files to readers: members, control file, renamed and late parameters, run totals, two clouds."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.ecmwf.ifs_ens.forecast import DATASET, TEMPLATE
from dataset_defs.ecmwf.ifs_ens.variables import IFS_ENS_DATA_VARS
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import check_identity
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.source.files import SourceFileStatus
from reformatters_dagster.core.spec.axes import AppendAxis, ensemble_member
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.values import Timedelta
from reformatters_dagster.sample_upstream.ecmwf import IFS_FIELDS, ifs_values, write_ifs_sample
from tests.datasets import Site
from tests.gefs import GRID, STEP, assert_close, deployed
from tests.orchestration.deployments import Deployment
from tests.tiny import shrunk

pytest_plugins = ["tests.datasets"]

ROWS = {row.name: row for row in IFS_ENS_DATA_VARS}
TEMPERATURE, RAIN, SUN, GUST, CLOUD, KIND = (
    "temperature_2m",
    "precipitation_surface",
    "downward_short_wave_radiation_flux_surface",
    "wind_gust_10m",
    "total_cloud_cover_atmosphere",
    "categorical_precipitation_type_surface",
)
MEMBERS, HOUR = (0, 1), Timedelta("1h")
LEADS = (0, 3, 90, 93, 144, 150)
AMAZON = "ecmwf-forecasts"


def forecast(folder: Path, start: str, variables: Sequence[str], leads: Sequence[int] = LEADS) -> DynamicalDataset:
    """The dataset with two members, some of its lead times, on a grid of 15 degrees."""
    (lead_time,) = (dim for dim in TEMPLATE.dims if dim.name == "lead_time")
    shard = {"init_time": 1, "lead_time": len(leads), "ensemble_member": 2, "latitude": 13, "longitude": 12}
    changes: dict[str, Any] = {
        "append_dim": AppendAxis(name="init_time", start=start, frequency="24h"),
        "dims": (
            lead_time.model_copy(update={"labels": tuple(lead * 3600.0 for lead in leads)}),
            ensemble_member(len(MEMBERS)),
        ),
        "grid": GRID,
        "chunks": shard,
        "shards": shard,
        "data_vars": tuple(ROWS[name] for name in variables),
    }
    return replace(DATASET, template_config=shrunk(TEMPLATE, folder, **changes))


def made(folder: Path, start: str, end: str, days: Sequence[str], dataset: DynamicalDataset) -> Site:
    """What Dagster makes of the files of a folder."""
    site = deployed(folder, folder / "upstream", dataset)
    with dg.DagsterInstance.ephemeral() as instance:
        deployment = Deployment(site, instance)
        deployment.run("initialise", end=end)
        for day in days:
            deployment.run("backfill", pd.Timestamp(day))
    assert site.read().init_time[0] == np.datetime64(start)
    return site


def at(ds: xr.Dataset, variable: str, init: str, lead: int, member: int) -> xr.DataArray:
    return ds[variable].sel(init_time=init, lead_time=lead * HOUR, ensemble_member=member)


def assert_instant(ds: xr.Dataset, variable: str, init: str, lead: int, member: int) -> None:
    row = ROWS[variable]
    values = ifs_values(variable, pd.Timestamp(init), lead, member, STEP)
    packed = IFS_FIELDS[variable].resolution * row.scale_factor / 2
    assert_close(at(ds, variable, init, lead, member), values * row.scale_factor + row.add_offset, row, packed)


def assert_rate(ds: xr.Dataset, variable: str, init: str, lead: int, before: int, member: int) -> None:
    """The total of a run, less that of the lead time before."""
    row, seconds = ROWS[variable], (lead - before) * 3600
    total = ifs_values(variable, pd.Timestamp(init), lead, member, STEP)
    earlier = ifs_values(variable, pd.Timestamp(init), before, member, STEP) if before else 0 * total
    packed = IFS_FIELDS[variable].resolution * row.scale_factor / seconds
    # Totals are subtracted in float32.
    packed += np.abs(total).max() * row.scale_factor * 2.0**-22 / seconds
    gain = np.maximum(total - earlier, 0) * row.scale_factor
    assert_close(at(ds, variable, init, lead, member), gain / seconds, row, packed)


# What readers get


@pytest.fixture(scope="module")
def november(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Gusts and kinds of precipitation are there from the second init time on."""
    folder = tmp_path_factory.mktemp("november")
    variables = (TEMPERATURE, RAIN, SUN, GUST, KIND)
    for day, there in (("2024-11-12", variables[:3]), ("2024-11-13", variables)):
        write_ifs_sample(folder / "upstream", pd.Timestamp(day), LEADS, members=MEMBERS, variables=there, step=STEP)
    dataset = forecast(folder / "templates", "2024-11-12", variables)
    return made(folder, "2024-11-12", "2024-11-14", ["2024-11-12", "2024-11-13"], dataset)


def test_every_member_has_its_own_values(november: Site) -> None:
    ds = november.read()
    assert ds[TEMPERATURE].dims[:3] == ("init_time", "lead_time", "ensemble_member")
    for init in ("2024-11-12", "2024-11-13"):
        for lead in LEADS:
            for member in MEMBERS:
                assert_instant(ds, TEMPERATURE, init, lead, member)
    control, first = (at(ds, TEMPERATURE, "2024-11-13", 90, member).to_numpy() for member in MEMBERS)
    assert (control != first)[1:-1].mean() > 0.5


@pytest.mark.parametrize("variable", [RAIN, SUN])
def test_run_totals_become_rates(november: Site, variable: str) -> None:
    ds = november.read()
    assert at(ds, variable, "2024-11-13", 0, 0).isnull().all()
    for before, lead in pairwise(LEADS):
        for member in MEMBERS:
            assert_rate(ds, variable, "2024-11-13", lead, before, member)


def test_gusts_have_another_name_from_93_to_144_hours(november: Site) -> None:
    ds = november.read()
    indexes = sorted((november.upstream).rglob("*.index"))
    named = {name for path in indexes for name in ("10fg", "10fg3") if f'"param": "{name}"' in path.read_text()}
    assert named == {"10fg", "10fg3"}, "the sample does what the source does"
    for lead in (3, 90, 93, 144, 150):
        assert_instant(ds, GUST, "2024-11-13", lead, 1)
    assert at(ds, GUST, "2024-11-13", 0, 1).isnull().all()


def test_what_is_not_available_yet_is_neither_there_nor_missed(november: Site) -> None:
    ds = november.read()
    for variable in (GUST, KIND):
        assert ds[variable].sel(init_time="2024-11-12").isnull().all()
        entry = november.ledger(pd.Timestamp("2024-11-12"))
        assert entry is not None
        assert entry.is_complete
        assert variable not in entry.variables or entry.variables[variable].expected == 0
    kinds = at(ds, KIND, "2024-11-13", 0, 1).to_numpy()
    np.testing.assert_array_equal(kinds, ifs_values(KIND, pd.Timestamp("2024-11-13"), 0, 1, STEP))
    assert (ds.ingested_forecast_length == np.timedelta64(150, "h")).all()


def test_the_control_leaves_the_ensemble_and_files_come_from_the_other_cloud(tmp_path: Path) -> None:
    leads, variables = (0, 3), (TEMPERATURE, RAIN)
    sample: dict[str, Any] = {"variables": variables, "step": STEP}
    before, since = pd.Timestamp("2026-05-12"), pd.Timestamp("2026-05-13")
    write_ifs_sample(tmp_path / "upstream", before, leads, members=MEMBERS, **sample)
    write_ifs_sample(tmp_path / "upstream", since, leads, members=[1], **sample)
    write_ifs_sample(tmp_path / "upstream", since, leads, members=[0], single=True, archive=AMAZON, **sample)
    dataset = forecast(tmp_path / "templates", "2026-05-12", variables, leads)
    site = made(tmp_path, "2026-05-12", "2026-05-14", ["2026-05-12", "2026-05-13"], dataset)
    for init in ("2026-05-12", "2026-05-13"):
        for member in MEMBERS:
            assert_instant(site.read(), TEMPERATURE, init, 3, member)
            assert_rate(site.read(), RAIN, init, 3, 0, member)


def test_a_member_that_is_missing_is_told_of(tmp_path: Path) -> None:
    init = pd.Timestamp("2026-05-12")
    write_ifs_sample(tmp_path / "upstream", init, [0], members=[0], variables=[TEMPERATURE], step=STEP)
    dataset = forecast(tmp_path / "templates", "2026-05-12", [TEMPERATURE], [0])
    site = deployed(tmp_path, tmp_path / "upstream", dataset)
    found = {result.coord.out_loc()["ensemble_member"]: result for result in site.job(init).process()[TEMPERATURE]}
    assert found[0].status is SourceFileStatus.SUCCEEDED
    assert "does not have 2t:sfc:step 0 of member 1" in (found[1].reason or "")


def test_a_member_is_not_filled_at_the_price_of_another_in_the_same_file(tmp_path: Path) -> None:
    init = pd.Timestamp("2026-05-12")
    sample: dict[str, Any] = {"variables": [TEMPERATURE], "step": STEP}
    leads, variables = (0, 3), (TEMPERATURE,)
    write_ifs_sample(tmp_path / "upstream", init, leads, members=MEMBERS, **sample)
    (index,) = (path for path in (tmp_path / "upstream").rglob("*.index") if "-3h-" in path.name)
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if '"number": "1"' not in line))
    dataset = forecast(tmp_path / "templates", "2026-05-12", variables, leads)
    site = made(tmp_path, "2026-05-12", "2026-05-13", ["2026-05-12"], dataset)
    assert at(site.read(), TEMPERATURE, "2026-05-12", 3, 1).isnull().all()
    index.write_text("".join(line for line in lines if '"number": "1"' in line))
    report = site.backfill(init + 12 * HOUR, overwrite_chunks=True)
    assert report.commits[0].stats.kept == [TEMPERATURE]
    assert_instant(site.read(), TEMPERATURE, "2026-05-12", 3, 0)


def test_archives_are_asked_in_order() -> None:
    assert [archive.url for archive in DATASET.archives] == ["gs://ecmwf-open-data", "s3://ecmwf-forecasts"]


# What the catalogue says of the source


def test_rows_are_what_the_catalogue_says_of_the_index(shared_data: Path) -> None:
    catalogue = json.loads((shared_data / "../reference/datasets.json").read_text())
    for name, public in catalogue[DATASET.dataset_id]["data_vars"].items():
        row, source = ROWS[name], public["source"]
        level = f"{source['grib_index_level_type']} {source['grib_index_level_value']}" if "500" in name else None
        assert row.field.element == source["grib_index_param"]
        assert row.field.level == (level or f"pl {source.get('grib_index_level_value')}".replace("pl None", "sfc"))
        since = source.get("date_available")
        assert row.available_from == (None if since is None else pd.Timestamp(since))
        spans = "".join(str(row.param_by_lead_time)).count("Timedelta") if row.param_by_lead_time else 0
        assert (spans > 0) == ("grib_index_param_lead_time_overrides" in source)
    gust = ROWS[GUST]
    assert [gust.param_at(hours * HOUR) for hours in (90, 93, 144, 150)] == ["10fg", "10fg3", "10fg3", "10fg"]


# Real files

REAL = {
    "mpiannucci__gribberish--ecmwf-ifs-oper-surface.grib2": {"ptype": KIND, "tcc": CLOUD},
    "noritada__grib-rs--20240101000000-0h-oper-fc.grib2.0-10.xz": {"tp": RAIN},
}


@pytest.mark.parametrize("name", REAL)
def test_real_messages_are_what_the_rows_say_and_decode_to_known_values(name: str, shared_data: Path) -> None:
    path = shared_data / "ecmwf" / name
    data = lzma.decompress(path.read_bytes()) if name.endswith(".xz") else path.read_bytes()
    known = json.loads(path.with_name(f"{name}.expected.json").read_text())["messages"]
    heights = {"level": 925, "shortName": "gh"}
    rows = [(one, ROWS[REAL[name][one["shortName"]]]) for one in known if one["shortName"] in REAL[name]]
    rows += [(one, ROWS["geopotential_height_925hpa"]) for one in known if heights.items() <= one.items()]
    assert len(rows) == 2
    for one, row in rows:
        message = data[one["offset"] : one["offset"] + one["total_length"]]
        header = read_header(message, name)
        asked: dict[str, Any] = {
            "init_time": pd.Timestamp(str(one["dataDate"])),
            "lead_time": 0 * HOUR,
            "window": None if row.field.statistic == "instant" else 0 * HOUR,
            "where": name,
        }
        check_identity(header, row.field, member=(None, 0), **asked)
        with pytest.raises(CorruptMessage, match="member asked 1, found None"):
            check_identity(header, row.field, member=1, **asked)
        values = decode(message, scale_factor=row.scale_factor, where=name)
        assert header.packing == 42
        for point in one["points"]:
            assert values.reshape(-1)[point["flat_index"]] == pytest.approx(point["value"] * row.scale_factor, rel=1e-6)
        assert values.max() == pytest.approx(one["max"] * row.scale_factor, rel=1e-6)
