"""ICON-EU from upstream files to the reader: lead times around the change of step, means, totals, and real messages."""

import bz2
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pygrib
import pytest
import xarray as xr

from dataset_defs.dwd.icon_eu.forecast import TEMPLATE
from dataset_defs.dwd.icon_eu.variables import ICON_EU_DATA_VARS
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.identity import check_identity
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.job.grib_job import window_since_start
from reformatters_dagster.core.run.arrivals import find_arrivals
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.values import Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.sample_upstream.dwd import COPY, ICON_EU_FIELDS, icon_eu_path, write_icon_eu_sample
from tests.core.grib.ordered import to_grid
from tests.datasets import Site
from tests.icon_eu import (
    GRID,
    GUST,
    HOURLY_TO_4,
    INIT,
    RAIN,
    ROWS,
    SUN,
    TEMPERATURE,
    assert_icon_eu_true,
    icon_eu,
    icon_eu_site,
)
from tests.orchestration.deployments import Deployment

VARIABLES = (TEMPERATURE, GUST, RAIN, SUN)
LEADS = [*range(79), *range(81, 121, 3)]
AROUND_THE_CHANGE = [0, 1, 2, 76, 77, 78, 81, 84, 117, 120]

REAL_TEMPERATURE = (
    "earthobservations__testdata--icon-eu_europe_regular-lat-lon_single-level_2020062300_000_T_2M.grib2.bz2"
)
REAL_SUN = "openclimatefix__nwp-consumer--test_icon_europe_000_ASOB_S.grib2"
REAL_RAIN = "nmangue__NGrib--cosmo-d2_germany_regular-lat-lon_single-level_2020103112_012_TOT_PREC.grib2"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def expected_of(shared_data: Path, name: str) -> dict[str, Any]:
    """What ecCodes, GDAL and wgrib2 found in a real file."""
    (message,) = json.loads((shared_data / "dwd_icon" / f"{name}.expected.json").read_text())["messages"]
    found: dict[str, Any] = message
    return found


def read(site: Site, init: Timestamp = INIT) -> xr.Dataset:
    """What readers find at an init time; the store goes on to the present day."""
    ds: xr.Dataset = xr.open_zarr(site.stores.primary.url, chunks=None, decode_timedelta=True)
    return ds.sel(init_time=[init]).load()


# From files to readers


@pytest.mark.parametrize("leads", [AROUND_THE_CHANGE, pytest.param(LEADS, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_lead_time_is_true_on_both_sides_of_the_change_of_step(
    leads: list[int], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (dim,) = TEMPLATE.dims
    assert [label / 3600 for label in dim.labels] == LEADS
    dims = (dim.model_copy(update={"labels": tuple(lead * 3600.0 for lead in leads)}),)
    site = icon_eu_site(tmp_path, icon_eu(tmp_path, variables=VARIABLES, dims=dims))
    write_icon_eu_sample(site.upstream, [INIT], leads, grid=GRID, variables=VARIABLES)
    deployment = Deployment(site, instance)
    assert deployment.run("backfill", INIT).success
    ds = read(site)
    assert [lead / pd.Timedelta("1h") for lead in ds.indexes["lead_time"]] == leads
    assert_icon_eu_true(ds)
    assert ds["ingested_forecast_length"].item() == np.timedelta64(120, "h")
    ledger = site.ledger()
    assert ledger is not None
    assert {name: one.succeeded for name, one in ledger.variables.items()} == dict.fromkeys(VARIABLES, len(leads))
    assert len(ledger.etags) == len(leads) * len(VARIABLES)


def test_every_variable_reaches_readers(tmp_path: Path) -> None:
    site = icon_eu_site(tmp_path, icon_eu(tmp_path, dims=(lead_time(hourly_to="1h"),)))
    write_icon_eu_sample(site.upstream, [INIT], [0, 1], grid=GRID)
    site.backfill()
    ds = site.read()
    assert set(ds.data_vars) == {row.name for row in ICON_EU_DATA_VARS}
    assert_icon_eu_true(ds)


def test_arrivals_are_counted_over_the_folders_of_all_variables(tmp_path: Path) -> None:
    dataset = icon_eu(tmp_path, variables=[TEMPERATURE, RAIN], dims=HOURLY_TO_4)
    site = icon_eu_site(tmp_path, dataset)
    write_icon_eu_sample(site.upstream, [INIT], range(4), grid=GRID, variables=[TEMPERATURE, RAIN])
    arrivals = find_arrivals(dataset, site.workspace, INIT, INIT + Timedelta("4h"))
    assert (arrivals.present, arrivals.expected) == (8, 10)
    write_icon_eu_sample(site.upstream, [INIT], [4], grid=GRID, variables=[TEMPERATURE, RAIN])
    assert find_arrivals(dataset, site.workspace, INIT, INIT + Timedelta("4h")).complete


@pytest.mark.parametrize("lead", [0, 1, 81])
def test_the_sample_is_named_by_another_decoder_as_dwd_names_it(lead: int, tmp_path: Path) -> None:
    """pygrib knows DWD's names by the numbers of discipline, parameter, surfaces and statistic."""
    theirs = {"TQV": "TQV", "CLCT": "CLCT", "CAPE_CON": "CAPE_CON", "ASWDIR_S": "ASWDIR_S", "ASWDIFD_S": "ASWDIFD_S"}
    wmo = {"T_2M": "2t", "TD_2M": "2d", "RELHUM_2M": "2r", "U_10M": "10u", "V_10M": "10v", "PS": "sp", "PMSL": "prmsl"}
    wmo |= {"TOT_PREC": "tp", "CLCL": "ccl", "CLCM": "ccl", "CLCH": "ccl", "H_SNOW": "sde", "W_SNOW": "sd"}
    for path in write_icon_eu_sample(tmp_path, [INIT], [lead], grid=GRID):
        message = pygrib.fromstring(bz2.decompress(path.read_bytes()))
        element = path.name.split(f"_{lead:03d}_")[1].removesuffix(".grib2.bz2")
        assert message.centre == "edzw"
        assert message.packingType == "grid_simple"
        assert element == "VMAX_10M" or message.shortName == (theirs | wmo)[element]
        row = next(row for row in ICON_EU_DATA_VARS if row.field.element == element)
        windowed = {"TOT_PREC": "accum", "ASWDIR_S": "avg", "ASWDIFD_S": "avg", "VMAX_10M": "max"}
        assert message.stepType == windowed.get(element, "instant")
        assert ICON_EU_FIELDS[row.name].field.parameter == row.field.parameter


# Real messages


def test_a_real_file_becomes_the_values_another_decoder_found(
    shared_data: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """It is of 2020, when the grid ended at 45 degrees east."""
    init = Timestamp("2020-06-23T00")
    grid = LatLonGrid(
        latitude=RegularAxis(first=70.5, step=-0.0625, size=657),
        longitude=RegularAxis(first=-23.5, step=0.0625, size=1097),
    )
    axis = AppendAxis(name="init_time", start=init, frequency="6h")
    one_step = (lead_time(hourly_to="0h"),)
    site = icon_eu_site(tmp_path, icon_eu(tmp_path, variables=[TEMPERATURE], grid=grid, dims=one_step, append_dim=axis))
    path = site.upstream / icon_eu_path(TEMPERATURE, init, 0)
    path.parent.mkdir(parents=True)
    shutil.copyfile(shared_data / "dwd_icon" / REAL_TEMPERATURE, path)
    assert REAL_TEMPERATURE.endswith(path.name)
    assert Deployment(site, instance).run("backfill", init).success
    field = read(site, init)[TEMPERATURE].sel(init_time=init, lead_time="0h")
    expected = expected_of(shared_data, REAL_TEMPERATURE)
    assert field.shape == (expected["Ny"], expected["Nx"])
    for point in expected["points"]:
        celsius = point["value"] - 273.15
        found = float(field.sel(latitude=point["lat"], longitude=point["lon"]))
        assert found == pytest.approx(celsius, abs=abs(celsius) * 2.0**-8 + 3e-5), point
    for statistic in ("min", "max", "mean"):
        celsius = expected[statistic] - 273.15
        assert float(getattr(field.astype(float), statistic)()) == pytest.approx(celsius, abs=abs(celsius) * 2.0**-8)
    assert int(field.isnull().sum()) == 0


def test_a_real_file_of_the_older_grid_is_refused(shared_data: Path) -> None:
    message = bz2.decompress((shared_data / "dwd_icon" / REAL_TEMPERATURE).read_bytes())
    with pytest.raises(CorruptMessage, match=r"x has shape \(657, 1097\), template expects \(657, 1377\)"):
        to_grid(decode(message), read_header(message, "x").grid, TEMPLATE.grid, "x")


def of_sun() -> DataVar:
    """The only real file on today's grid holds net radiation, the neighbour of direct radiation in DWD's table."""
    field = ROWS[SUN].field.model_copy(update={"element": "ASOB_S", "parameter": (0, 4, 9)})
    return ROWS[SUN].model_copy(update={"field": field, "deaccumulation": None})


def test_a_real_file_on_the_grid_of_today_reaches_readers(shared_data: Path, tmp_path: Path) -> None:
    init = Timestamp("2024-03-04T00")
    axis = AppendAxis(name="init_time", start=init, frequency="6h")
    one_step = (lead_time(hourly_to="0h"),)
    site = icon_eu_site(
        tmp_path, icon_eu(tmp_path, rows=[of_sun()], grid=TEMPLATE.grid, dims=one_step, append_dim=axis)
    )
    name = icon_eu_path(SUN, init, 0).name.replace("ASWDIR_S", "ASOB_S")
    path = site.upstream / COPY / "2024-03-04T00/asob_s" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(bz2.compress((shared_data / "dwd_icon" / REAL_SUN).read_bytes()))
    site.backfill(now=init + Timedelta("5h"))
    field: xr.DataArray = read(site, init)[SUN].sel(init_time=init, lead_time="0h")
    expected = expected_of(shared_data, REAL_SUN)
    in_its_order = np.ascontiguousarray(field.to_numpy()[::-1], dtype="<f4")
    assert hashlib.md5(in_its_order.tobytes()).hexdigest() == expected["md5_float32_le_missing_nan"]
    assert (float(field.latitude[-1]), float(field.longitude[-1])) == (expected["lat1"], expected["lon2"])


def test_a_real_run_total_is_what_the_row_of_precipitation_asks_for(shared_data: Path) -> None:
    """Of COSMO-D2, whose files are made by the same tools; its edge is missing, by a bit map."""
    message = (shared_data / "dwd_icon" / REAL_RAIN).read_bytes()
    field, lead = ROWS[RAIN].field, Timedelta("12h")
    check_identity(
        read_header(message, "x"),
        field,
        init_time=Timestamp("2020-10-31T12"),
        lead_time=lead,
        window=window_since_start(field.statistic, lead),
        where="x",
    )
    values, expected = decode(message), expected_of(shared_data, REAL_RAIN)
    assert int(np.isnan(values).sum()) == expected["n_missing"]
    for point in expected["points"]:
        wanted = np.nan if point["value"] is None else point["value"]
        np.testing.assert_equal(values.reshape(-1)[point["flat_index"]], np.float32(wanted))
