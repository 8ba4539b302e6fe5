"""The HRRR datasets: real messages on their grid, and every special rule from upstream to the reader."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dataset_defs.noaa.hrrr.analysis import DATASET as ANALYSIS
from dataset_defs.noaa.hrrr.archives import CONUS_3KM, forecast_length, hrrr_key
from dataset_defs.noaa.hrrr.forecast import DATASET as FORECAST
from dataset_defs.noaa.hrrr.variables import HRRR_ANALYSIS_DATA_VARS, HRRR_DATA_VARS
from reformatters_dagster.core.grib.header import read_header
from reformatters_dagster.core.grib.messages import decode
from reformatters_dagster.core.run.backfill import BackfillRequest, backfill
from reformatters_dagster.core.run.dataset import DynamicalDataset
from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.errors import CorruptMessage
from reformatters_dagster.core.spec.grids import LambertGrid
from reformatters_dagster.core.spec.projection import latitudes_longitudes, on_plain_map
from reformatters_dagster.core.spec.values import MOMENT, Array2D, Timedelta, Timestamp
from reformatters_dagster.core.spec.variables import DataVar
from reformatters_dagster.core.store.settings import Settings
from reformatters_dagster.orchestration.build import build_definitions
from reformatters_dagster.orchestration.names import asset_key
from reformatters_dagster.sample_upstream.hrrr import ARCHIVE, HRRR_FIELDS, hrrr_values, write_hrrr_files
from tests.core.grib.ordered import to_grid
from tests.orchestration.deployments import QUIET
from tests.tiny import TinyTemplate

HOUR = Timedelta("1h")
INIT = pd.Timestamp("2026-07-29T18")
SMALL = LambertGrid(
    y=RegularAxis(first=1_500_000.0, step=-300_000.0, size=11),
    x=RegularAxis(first=-2_550_000.0, step=300_000.0, size=18),
    latitude_of_origin=38.5,
    central_meridian=-97.5,
    standard_parallels=(38.5, 38.5),
)
LEADS = range(4)
REAL = "hrrr/mpiannucci__gribberish--hrrr.t06z.wrfsfcf01-TMP.grib2"
EARLY = "hrrr/blaylockbk__Herbie--subset_20201214_hrrr.t00z.wrfsfcf12.grib2"
NAMES = tuple(HRRR_FIELDS)


# The grid


def expected_of(shared_data: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / f"{name}.expected.json").read_text())["messages"]
    return found


@pytest.mark.parametrize("name", [REAL, EARLY])
def test_real_messages_lie_on_the_grid_with_the_values_another_decoder_found(shared_data: Path, name: str) -> None:
    data = (shared_data / name).read_bytes()
    latitude, longitude = latitudes_longitudes(CONUS_3KM)
    for expected in expected_of(shared_data, name):
        message = data[expected["offset"] : expected["offset"] + expected["total_length"]]
        header = read_header(message, name)
        values = decode(message, source_fill_value=None, scale_factor=1.0, add_offset=0.0, where=name)
        field = to_grid(values, header.grid, CONUS_3KM, name)
        for point in expected["points"]:
            row, column = divmod(point["flat_index"], 1799)
            at = (1058 - row, column)
            assert latitude[at] == pytest.approx(point["lat"], abs=1e-5)
            assert longitude[at] % 360 == pytest.approx(point["lon"], abs=1e-5)
            assert field[at] == pytest.approx(point["value"], rel=1e-6)


def test_another_cone_spacing_or_corner_is_refused(shared_data: Path) -> None:
    message = (shared_data / REAL).read_bytes()
    header, values = read_header(message, REAL), np.zeros(CONUS_3KM.shape, np.float32)
    others = {
        "cone": CONUS_3KM.model_copy(update={"latitude_of_origin": 39.0}),
        "spacing": CONUS_3KM.model_copy(update={"x": CONUS_3KM.x.model_copy(update={"step": 3360.0})}),
        "corner": CONUS_3KM.model_copy(update={"y": CONUS_3KM.y.model_copy(update={"first": 1589693.8})}),
    }
    for grid in others.values():
        with pytest.raises(CorruptMessage, match=r"template expects .*; a new grid needs a new dataset version"):
            to_grid(values, header.grid, grid, REAL)
    with pytest.raises(CorruptMessage, match=r"has shape \(1059, 1799\), template expects \(11, 18\)"):
        to_grid(values, header.grid, SMALL, REAL)


TODAY, OF_HRRR_1 = (21.138123, 237.280472), (21.138, 237.28)


def moved(message: bytes, latitude: float, longitude: float) -> bytes:
    """A real message whose header puts its first point elsewhere."""
    for found, other in zip(TODAY, (latitude, longitude), strict=True):
        packed = round(found * 1e6).to_bytes(4, "big")
        assert message.count(packed) == 1
        message = message.replace(packed, round(other * 1e6).to_bytes(4, "big"))
    return message


def test_a_first_point_written_to_three_decimals_is_still_the_grids(shared_data: Path) -> None:
    today = (shared_data / REAL).read_bytes()
    assert moved(today, *TODAY) == today
    early = moved(today, *OF_HRRR_1)
    assert early != today
    np.testing.assert_array_equal(decode(early, grid=CONUS_3KM), decode(today, grid=CONUS_3KM))


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ((0.1, 0.0), "y -1587006 m, x -2697520 m"),
        ((0.0, 0.1), "y -1587306 m, x -2697220 m"),
        ((1.0, 0.0), "y -1584306 m, x -2697520 m"),
        ((0.0, -1.0), "y -1587306 m, x -2700520 m"),
    ],
)
def test_a_first_point_of_another_grid_is_refused(shared_data: Path, steps: tuple[float, float], found: str) -> None:
    north, east = (3000.0 * step for step in steps)
    corner = CONUS_3KM.model_copy(
        update={
            "y": RegularAxis(first=CONUS_3KM.y.first + CONUS_3KM.y.step * 1058 + north, step=3000.0, size=1),
            "x": RegularAxis(first=CONUS_3KM.x.first + east, step=3000.0, size=1),
        }
    )
    latitude, longitude = (float(degrees[0, 0]) for degrees in latitudes_longitudes(corner))
    message = moved((shared_data / REAL).read_bytes(), latitude, longitude % 360)
    expected = (
        f"spacing (3000.0, 3000.0) and its first point at {found} of the projection, template expects "
        "(38.5, -97.5, 38.5, 38.5), (3000.0, 3000.0) and y -1587306 m, x -2697520 m; a new grid needs a new dataset version"
    )
    with pytest.raises(CorruptMessage, match=re.escape(expected)):
        decode(message, grid=CONUS_3KM, where=REAL)


def test_a_field_is_seen_on_a_plain_map() -> None:
    latitude, _ = latitudes_longitudes(SMALL)
    plain, rows, columns = on_plain_map(latitude.astype(np.float32), SMALL, columns=60)
    seen = np.isfinite(plain)
    assert plain.shape == (rows.size, columns.size)
    assert 0.4 < seen.mean() < 0.95
    assert np.abs(plain - rows[:, None])[seen].max() < 2.0


def test_forecasts_became_longer() -> None:
    found = {time: forecast_length(pd.Timestamp(time)) / HOUR for time in ("2018-07-13T12", "2020-12-02T06")}
    assert found == {"2018-07-13T12": 36, "2020-12-02T06": 36}
    assert forecast_length(pd.Timestamp("2020-12-02T12")) == 48 * HOUR
    assert forecast_length(pd.Timestamp("2026-07-29T19")) == 18 * HOUR
    ds = FORECAST.template_config.get_template(pd.Timestamp("2018-07-14"))
    assert set(pd.TimedeltaIndex(ds["expected_forecast_length"].to_numpy())) == {36 * HOUR}


# From upstream to the reader


def rows_of(data_vars: tuple[DataVar, ...]) -> tuple[DataVar, ...]:
    return tuple(row for row in data_vars if row.name in NAMES)


def small(dataset: DynamicalDataset, folder: Path, rows: tuple[DataVar, ...], **changes: Any) -> DynamicalDataset:
    """A dataset on a coarse grid, its template committed to a folder."""
    config = dataset.template_config
    fields: dict[str, Any] = {
        "dataset_version": "0.1.0",
        "attributes": config.attributes,
        "grid": SMALL,
        "data_vars": rows_of(rows),
        **changes,
    }
    template = TinyTemplate(folder=folder, **fields)
    template.update_template()
    return replace(dataset, template_config=template)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hrrr")
    write_hrrr_files(folder, [INIT], LEADS, SMALL, NAMES)
    write_hrrr_files(folder, [INIT + hour * HOUR for hour in range(-1, 8)], [0, 1], SMALL, NAMES)
    return folder


def settings_in(folder: Path, mirror: Path) -> Settings:
    return Settings(store=str(folder / "stores"), upstream=str(mirror), tmp=str(folder / "tmp"))


def materialize(dataset: DynamicalDataset, settings: Settings, label: Timestamp, **config: Any) -> dict[str, Any]:
    """One partition through Dagster; the metadata of its materialization."""
    definitions = build_definitions([dataset], settings)
    job = definitions.resolve_job_def(dataset.job_name("backfill"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            partition_key=label.strftime("%Y-%m-%dT%H:%M"),
            run_config=QUIET | {"ops": {asset_key(dataset).to_python_identifier(): {"config": config}}},
        )
        (event,) = result.asset_materializations_for_node(asset_key(dataset).to_python_identifier())[-1:]
    return {name: value.value for name, value in event.metadata.items()}


def truth(row: DataVar, init: Timestamp, lead: int) -> Array2D:
    """What the store is to hold of a file, by the formulas the sample was made from."""
    if row.deaccumulation is not None:
        since = lead - 1
        later = hrrr_values(row.name, init, lead, SMALL, since)
        return (later / 3600).astype(np.float32)
    values = hrrr_values(row.name, init, lead, SMALL)
    values = np.where(values == row.source_fill_value, np.nan, values)
    return (values * row.scale_factor + row.add_offset).astype(np.float32)


def assert_true(found: xr.DataArray, row: DataVar, init: Timestamp, lead: int) -> None:
    wanted, packing = truth(row, init, lead), HRRR_FIELDS[row.name].resolution * row.scale_factor
    if row.deaccumulation is not None:
        packing *= 2 / 3600
    bits = 23 if row.keep_mantissa_bits is None else row.keep_mantissa_bits
    tolerance = packing * 0.51 + (np.abs(wanted) + packing) * 2.0**-bits
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=f"{row.name} {init} {lead}")
    assert np.nan_to_num(np.abs(found - wanted) - tolerance).max() <= 0, f"{row.name} {init} {lead}"


@pytest.fixture
def forecast(tmp_path: Path) -> DynamicalDataset:
    return small(
        FORECAST,
        tmp_path / "templates",
        HRRR_DATA_VARS,
        dataset_id="test-hrrr-forecast",
        append_dim=AppendAxis(name="init_time", start=INIT, frequency="6h"),
        dims=(lead_time(hourly_to="3h"),),
        chunks={"init_time": 1, "lead_time": 4, "y": 6, "x": 6},
        shards={"init_time": 1, "lead_time": 4, "y": 12, "x": 18},
    )


def test_a_forecast_from_its_files_to_readers(forecast: DynamicalDataset, mirror: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, mirror)
    shown = materialize(forecast, settings, INIT)
    assert shown["fields_missing"] == 0
    assert shown["map"].startswith("![temperature_2m")
    ds = xr.open_zarr(settings.stores(forecast.template_config).primary.url, chunks=None, decode_timedelta=True).load()
    assert ds["temperature_2m"].dims == ("init_time", "lead_time", "y", "x")
    latitude, longitude = latitudes_longitudes(SMALL)
    np.testing.assert_array_equal(ds["latitude"], latitude.astype(np.float32))
    np.testing.assert_array_equal(ds["longitude"], longitude.astype(np.float32))
    for row in forecast.template_config.data_vars:
        for lead in LEADS:
            field = ds[row.name].sel(init_time=INIT, lead_time=lead * HOUR)
            if lead == 0 and not row.has_hour_0:
                assert field.isnull().all(), row.name
            else:
                assert_true(field, row, INIT, lead)
    assert ds["percent_frozen_precipitation_surface"].isel(lead_time=1).isnull().any()
    assert ds["geopotential_height_cloud_ceiling"].isel(lead_time=1).isnull().any()


@pytest.fixture
def analysis(tmp_path: Path) -> DynamicalDataset:
    return small_analysis(tmp_path / "templates", 4)


def small_analysis(folder: Path, shard: int) -> DynamicalDataset:
    return small(
        ANALYSIS,
        folder,
        HRRR_ANALYSIS_DATA_VARS,
        dataset_id="test-hrrr-analysis",
        append_dim=AppendAxis(name="time", start=INIT, frequency="1h"),
        chunks={"time": shard, "y": 6, "x": 6},
        shards={"time": shard, "y": 12, "x": 18},
    )


def test_an_analysis_from_its_files_to_readers(analysis: DynamicalDataset, mirror: Path, tmp_path: Path) -> None:
    """Instants come from the forecast that begins then; rates, and what lead time 0 lacks, from the hour before."""
    settings, end = settings_in(tmp_path, mirror), INIT + 7 * HOUR
    workspace = analysis.workspace(settings)
    analysis.initialise(workspace, end + MOMENT, end)
    for label in (INIT + 4 * HOUR, INIT):
        assert materialize(analysis, settings, label)["fields_missing"] == 0
    apart = xr.open_zarr(workspace.stores.primary.url, chunks=None).load()
    together = small_analysis(tmp_path / "long", 8)
    long = together.workspace(settings.model_copy(update={"store": str(tmp_path / "long-stores")}))
    backfill(together, long, BackfillRequest(), run_id="long", now=end)
    once = xr.open_zarr(long.stores.primary.url, chunks=None).load()
    for row in analysis.template_config.data_vars:
        np.testing.assert_array_equal(apart[row.name], once[row.name], err_msg=row.name)
        for hour in apart.indexes["time"]:
            field, lead = apart[row.name].sel(time=hour), int(not row.has_hour_0)
            if hour == INIT and row.deaccumulation is not None:
                assert field.isnull().all()
            else:
                assert_true(field, row, hour - lead * HOUR, lead)


def test_an_analysis_grows_hour_by_hour(analysis: DynamicalDataset, mirror: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, tmp_path / "upstream")
    arrived = tmp_path / "upstream" / ARCHIVE
    for hour in range(-1, 3):
        for lead in (0, 1):
            key = hrrr_key(INIT + hour * HOUR, lead)
            for suffix in ("", ".idx"):
                (arrived / key).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(f"{mirror / ARCHIVE / key}{suffix}", f"{arrived / key}{suffix}")
    workspace = analysis.workspace(settings)
    analysis.reformat_operational_update(workspace, run_id="one", now=INIT + 3 * HOUR)
    ds = xr.open_zarr(workspace.stores.primary.url, chunks=None)
    assert ds.indexes["time"][-1] == INIT + 2 * HOUR, "of the third hour there are rates only"
