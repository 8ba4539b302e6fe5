"""A template is written the same everywhere, drives every run, and grows along its append dimension alone."""

import json
import os
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.errors import TemplateDrift, UnknownVariable
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.template import DatasetAttributes
from reformatters_dagster.core.spec.template_files import differing_files, write_metadata
from reformatters_dagster.core.spec.zarr_documents import shard_keys
from tests.tiny import TinyTemplate, tiny_analysis, tiny_template, tiny_var

CHECKOUT = Path(__file__).parents[3]
START = pd.Timestamp("2024-02-28T00")
END = pd.Timestamp("2024-03-01T07")
NEVER = Path("never-written")
ELSEWHERE = {
    "PYTHONHASHSEED": "4711",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "C",
    "TZ": "Asia/Kolkata",
}
WRITE_IT = "import sys, pathlib, tests.tiny as t; t.tiny_template(pathlib.Path(sys.argv[1])).update_template()"


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> TinyTemplate:
    return committed(tiny_template(tmp_path_factory.mktemp("templates")))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> TinyTemplate:
    return committed(tiny_analysis(tmp_path_factory.mktemp("templates")))


def committed(template: TinyTemplate) -> TinyTemplate:
    template.update_template()
    return template


def other(template: TinyTemplate, **changes: Any) -> TinyTemplate:
    """The template as code that has moved on from what is committed."""
    return template.model_copy(update=changes)


def opened(path: Path, *, consolidated: bool = True) -> xr.Dataset:
    ds: xr.Dataset = xr.open_zarr(path, chunks=None, decode_timedelta=True, consolidated=consolidated)
    return ds


def written(ds: xr.Dataset, folder: Path) -> Path:
    path = folder / "written-tmp.zarr"
    write_metadata(ds, path)
    return path


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    return found


def chunk_files(path: Path) -> set[str]:
    return {
        file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"
    }


# Structure


def test_two_of_the_same_are_equal() -> None:
    one, two = tiny_template(NEVER), tiny_template(NEVER)
    assert one.variables.keys() == {"temperature_2m", "wind_u_10m"}
    assert one == two
    assert one != tiny_template(NEVER, dataset_version="1.2.4")
    assert one != tiny_template(NEVER, data_vars=(*one.data_vars, tiny_var("pressure_surface")))


def test_variables_are_in_name_order_however_they_are_listed() -> None:
    template = tiny_template(NEVER)
    assert [data_var.name for data_var in template.data_vars] == ["temperature_2m", "wind_u_10m"]
    assert tiny_template(NEVER, data_vars=template.data_vars[::-1]) == template


SIZES = {"init_time": 2, "lead_time": 4, "latitude": 4, "longitude": 4}
HALVES = {"init_time": 1, "lead_time": 2, "latitude": 2, "longitude": 2}
ROW = tiny_var("wind_u_10m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunks": {"lead_time": 4, "init_time": 2, "latitude": 4, "longitude": 4}}, "chunks name .* in that order"),
        ({"chunks": {"init_time": 2, "lead_time": 4, "longitude": 4, "latitude": 4}}, "chunks name .* in that order"),
        ({"chunks": {"lead_time": 4, "latitude": 4, "longitude": 4}}, "chunks name .* in that order"),
        ({"shards": {**SIZES, "time": 1}}, "shards name .* in that order"),
        ({"dims": (lead_time(hourly_to="2h"), lead_time(hourly_to="2h"))}, "chunks name .* in that order"),
        ({"chunks": {**SIZES, "latitude": 3}}, "shard of 4 along 'latitude' is no multiple of chunk 3"),
        ({"chunks": {**SIZES, "longitude": 8}}, "shard of 4 along 'longitude' is no multiple of chunk 8"),
        ({"chunks": {**SIZES, "init_time": 0}}, "greater than 0"),
        ({"shards": {**SIZES, "init_time": 0}}, "greater than 0"),
        ({"shards": {**SIZES, "init_time": -2}}, "greater than 0"),
        ({"data_vars": (ROW, tiny_var("wind_u_10m", units="m s-1"))}, "'wind_u_10m' is defined twice"),
        ({"data_vars": (ROW, ROW)}, "'wind_u_10m' is defined twice"),
        ({"dataset_id": "Tiny_forecast"}, "dataset_id"),
        ({"dataset_version": "1"}, "dataset_version"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_an_impossible_structure_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_template(NEVER, **changes)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"start": "2024-02-28T00+01:00"}, "carries a time zone; times are naive UTC"),
        ({"start": pd.Timestamp("2024-02-28", tz="UTC")}, "carries a time zone; times are naive UTC"),
        ({"frequency": "0h"}, "frequency"),
        ({"frequency": "-6h"}, "frequency"),
        ({"name": "lead_time"}, "name"),
    ],
)
def test_an_impossible_append_dimension_is_refused(axis: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AppendAxis(**({"name": "init_time", "start": "2024-02-28", "frequency": "6h"} | axis))


def test_a_template_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        tiny_template(NEVER).dataset_id = "tiny-other"  # type: ignore[misc]


def test_attributes_of_a_forecast_and_of_an_analysis() -> None:
    attributes = tiny_template(NEVER).dataset_attributes()
    assert attributes["dataset_id"] == "tiny-forecast"
    assert attributes["dataset_version"] == "1.2.3"
    assert attributes["time_domain"] == "Forecasts initialized 2024-02-28 00:00:00 UTC to Present"
    assert attributes["forecast_domain"] == "0-2 hours"
    assert "forecast_resolution" not in attributes
    assert tiny_analysis(NEVER).dataset_attributes()["time_domain"] == "2024-02-28 00:00:00 UTC to Present"


def test_variables_are_selected_in_template_order() -> None:
    template = tiny_template(NEVER)
    assert template.select(None) == template.data_vars
    assert template.select(["wind_u_10m", "temperature_2m", "wind_u_10m"]) == template.data_vars
    assert template.select(("wind_u_10m",)) == (template.variables["wind_u_10m"],)
    assert template.select([]) == ()


def test_unknown_variables_are_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownVariable) as refusal:
        tiny_template(NEVER).select(["temperature_2m", "temprature_2m", "WIND"])
    assert str(refusal.value) == (
        "variables ['WIND', 'temprature_2m'] were asked for; tiny-forecast has temperature_2m, wind_u_10m: "
        "did you mean 'temperature_2m'?"
    )


# Written


def test_a_template_is_written_the_same_twice(forecast: TinyTemplate, tmp_path: Path) -> None:
    forecast.write_template(tmp_path / "latest.zarr")
    assert differing_files(forecast.path, tmp_path / "latest.zarr") == []
    (tmp_path / "latest.zarr" / "stray").write_text("left by hand")
    forecast.write_template(tmp_path / "latest.zarr")
    assert differing_files(forecast.path, tmp_path / "latest.zarr") == []


def test_a_template_is_written_the_same_on_another_machine(forecast: TinyTemplate, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITE_IT, str(tmp_path)]
    subprocess.run(command, check=True, cwd=CHECKOUT, env=os.environ | ELSEWHERE, timeout=120)
    assert differing_files(forecast.path, tiny_template(tmp_path).path) == []


def test_differences_are_named(forecast: TinyTemplate, tmp_path: Path) -> None:
    one = tmp_path / "latest.zarr"
    forecast.write_template(one)
    (one / "spatial_ref" / "c").unlink()
    (one / "stray").write_text("")
    (one / "zarr.json").write_text((one / "zarr.json").read_text() + " ")
    assert differing_files(one, forecast.path) == ["spatial_ref/c", "stray", "zarr.json"]
    assert differing_files(forecast.path, one) == ["spatial_ref/c", "stray", "zarr.json"]


def test_a_template_holds_coordinates_and_no_data(forecast: TinyTemplate, analysis: TinyTemplate) -> None:
    assert chunk_files(forecast.path) == {
        "expected_forecast_length/c/0",
        "ingested_forecast_length/c/0",
        "init_time/c/0",
        "latitude/c/0",
        "lead_time/c/0",
        "longitude/c/0",
        "spatial_ref/c",
        "valid_time/c/0/0",
    }
    assert chunk_files(analysis.path) == {"latitude/c/0", "longitude/c/0", "spatial_ref/c", "time/c/0"}
    assert opened(forecast.path)["temperature_2m"].shape == (1, 3, 4, 8)


def test_documents_carry_structure_and_not_its_making(forecast: TinyTemplate) -> None:
    array = document(forecast.path / "temperature_2m")
    assert array["dimension_names"] == ["init_time", "lead_time", "latitude", "longitude"]
    assert array["data_type"] == "float32"
    assert array["fill_value"] == "NaN"
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [2, 4, 4, 4]
    (sharding,) = array["codecs"]
    assert sharding["configuration"]["chunk_shape"] == [1, 2, 2, 2]
    assert array["attributes"] == {
        "long_name": "temperature_2m",
        "short_name": "temperature_2m",
        "units": "1",
        "step_type": "instant",
        "comment": "At a height of 2 m.",
    }


def test_the_root_holds_every_array_in_name_order(forecast: TinyTemplate) -> None:
    inside = document(forecast.path)["consolidated_metadata"]["metadata"]
    assert list(inside) == sorted(path.parent.name for path in forecast.path.glob("*/zarr.json"))
    for name, array in inside.items():
        assert array == document(forecast.path / name)


@pytest.mark.parametrize("name", ["v1.2.3.zarr", "latest.zarr.old", "tmp.zarr", "zarr"])
def test_only_templates_and_tmp_stores_are_replaced(forecast: TinyTemplate, tmp_path: Path, name: str) -> None:
    published = tmp_path / name
    published.mkdir()
    (published / "zarr.json").write_text("precious")
    for write in (forecast.write_template, lambda path: write_metadata(forecast.get_template(END), path)):
        with pytest.raises(ValueError, match=r"would be overwritten; only 'latest.zarr' and '\*-tmp.zarr' may be"):
            write(published)
    assert (published / "zarr.json").read_text() == "precious"


@pytest.mark.parametrize("name", ["temperature_2m", "ingested_forecast_length", "latitude"])
def test_an_array_without_a_fill_value_is_refused(forecast: TinyTemplate, tmp_path: Path, name: str) -> None:
    ds = forecast.get_template(END)
    del ds[name].encoding["fill_value"]
    with pytest.raises(ValueError, match=rf"\['{name}'\] have no explicit fill_value.*every array needs one"):
        write_metadata(ds, tmp_path / "a-tmp.zarr")
    assert list(tmp_path.iterdir()) == []


# Extended


@settings(max_examples=25)
@given(minutes=st.integers(-3000, 30_000))
def test_labels_are_the_grid_from_start_inclusive_to_end_exclusive(forecast: TinyTemplate, minutes: int) -> None:
    end = START + pd.Timedelta(minutes=minutes)
    ds = forecast.get_template(end)
    labels = list(ds.indexes["init_time"])
    assert labels == [START + pd.Timedelta("6h") * k for k in range(max(0, -(-minutes // 360)))]
    assert ds.sizes["init_time"] == ds["temperature_2m"].shape[0] == len(labels)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("2024-02-29T06:00", "2024-02-29T00:00"),
        ("2024-02-29T05:59", "2024-02-29T00:00"),
        ("2024-02-29T06:00:00.000001", "2024-02-29T06:00"),
        ("2024-03-01T00:00:01", "2024-03-01T00:00"),
    ],
)
def test_an_end_on_and_off_the_grid(forecast: TinyTemplate, end: str, last: str) -> None:
    assert forecast.get_template(pd.Timestamp(end)).indexes["init_time"][-1] == pd.Timestamp(last)


def test_coordinates_follow_from_the_labels(forecast: TinyTemplate) -> None:
    ds = forecast.get_template(END)
    init, lead = ds["init_time"], ds["lead_time"]
    assert ds["valid_time"].dims == ("init_time", "lead_time")
    np.testing.assert_array_equal(ds["valid_time"], init.to_numpy()[:, None] + lead.to_numpy())
    assert set(ds["expected_forecast_length"].to_numpy()) == {np.timedelta64(2, "h")}
    assert np.isnat(ds["ingested_forecast_length"]).all()
    assert ds["ingested_forecast_length"].dims == ds["expected_forecast_length"].dims == ("init_time",)
    assert list(ds["latitude"].to_numpy()) == [1.5, 0.5, -0.5, -1.5]
    assert ds["spatial_ref"].attrs["grid_mapping_name"] == "latitude_longitude"


def test_an_ellipsoid_is_told_with_its_flattening() -> None:
    axis = RegularAxis(first=0.0, step=1.0, size=3)
    attrs = LatLonGrid(
        latitude=axis, longitude=axis, earth_radius=6378137.0, semi_minor_axis=6356752.314245
    ).spatial_ref_attrs
    assert attrs["inverse_flattening"] == pytest.approx(298.257223563)
    assert 'SPHEROID["unknown",6378137,298.2572235' in str(attrs["crs_wkt"])
    assert attrs["comment"] == (
        "Latitudes and longitudes are those of the source, on this ellipsoid, not geodetic WGS 84 ones."
    )
    with pytest.raises(
        ValueError, match=r"semi-minor axis 2\.0 of an ellipsoid must be less than its semi-major axis 2\.0"
    ):
        LatLonGrid(latitude=axis, longitude=axis, earth_radius=2.0, semi_minor_axis=2.0)


def test_data_variables_are_nan_and_hold_no_memory(forecast: TinyTemplate) -> None:
    ds = forecast.get_template(pd.Timestamp("2424-01-01"))
    assert ds["temperature_2m"].nbytes > 200e6
    for name in ds.data_vars:
        assert ds[name].dtype == np.float32
        assert set(ds[name].data.strides) == {0}
        assert np.isnan(ds[name][1000:1002]).all()
        with pytest.raises(ValueError, match="read-only"):
            ds[name].data[0] = 1


@pytest.mark.parametrize("which", ["forecast", "analysis"])
def test_the_committed_extent_is_read_and_written_back_unchanged(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    template: TinyTemplate = request.getfixturevalue(which)
    one_label = template.get_template(START + template.append_dim.frequency)
    assert differing_files(written(one_label, tmp_path), template.path) == []


def test_attributes_and_encodings_are_those_that_are_committed(tmp_path: Path) -> None:
    template = committed(tiny_template(tmp_path))
    path = template.path / "temperature_2m" / "zarr.json"
    by_hand = json.loads(path.read_text())
    by_hand["codecs"][0]["configuration"]["codecs"][1]["configuration"]["clevel"] = 5
    root = document(template.path)
    root["consolidated_metadata"]["metadata"]["temperature_2m"] = by_hand
    (template.path / "zarr.json").write_text(json.dumps(root))
    reworded = other(
        template,
        data_vars=(tiny_var("temperature_2m", long_name="Another name"), template.variables["wind_u_10m"]),
        attributes=DatasetAttributes.model_validate(template.attributes.model_dump() | {"name": "Another name"}),
    )
    ds = reworded.get_template(END)
    assert ds.attrs["name"] == "Tiny forecast"
    assert ds["temperature_2m"].attrs["long_name"] == "temperature_2m"
    (compressor,) = ds["temperature_2m"].encoding["compressors"]
    assert compressor.clevel == 5


def grid(first_latitude: float, columns: int) -> LatLonGrid:
    return LatLonGrid(
        latitude=RegularAxis(first=first_latitude, step=-1.0, size=4),
        longitude=RegularAxis(first=-180.0, step=45.0, size=columns),
    )


CHANGED = [
    (["latitude"], {"grid": grid(2.5, 8)}),
    (["longitude"], {"grid": grid(1.5, 7)}),
    (["lead_time"], {"dims": (lead_time(hourly_to="3h"),)}),
    (["temperature_2m", "wind_u_10m"], {"chunks": {**SIZES, "init_time": 1}}),
    (["temperature_2m", "wind_u_10m"], {"chunks": HALVES, "shards": {**SIZES, "init_time": 4}}),
    (["wind_u_10m"], {"data_vars": (tiny_var("temperature_2m"),)}),
    (["pressure_surface", "wind_u_10m"], {"data_vars": (tiny_var("temperature_2m"), tiny_var("pressure_surface"))}),
]


@pytest.mark.parametrize(("arrays", "changes"), CHANGED)
def test_code_that_differs_from_the_committed_template_is_refused(
    forecast: TinyTemplate, arrays: list[str], changes: dict[str, Any]
) -> None:
    changed = tiny_template(forecast.folder, **changes)
    with pytest.raises(TemplateDrift) as refusal:
        changed.get_template(END)
    assert str(refusal.value) == (
        f"code and committed template of 'tiny-forecast' differ in {arrays}: "
        "run 'reformat update-template tiny-forecast' and review the diff"
    )


def test_a_template_nobody_wrote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateDrift, match=r"there is none at .*: run 'reformat update-template tiny-forecast'"):
        tiny_template(tmp_path).get_template(END)


def test_a_template_of_another_version_is_refused(forecast: TinyTemplate) -> None:
    with pytest.raises(TemplateDrift, match=r"version '2.0.0' was asked for.*'tiny-forecast' version '1.2.3': run"):
        other(forecast, dataset_version="2.0.0").get_template(END)


def test_a_template_of_another_dataset_is_refused(forecast: TinyTemplate) -> None:
    stranger = tiny_template(forecast.folder, dataset_id="tiny-stranger")
    stranger.path.parent.mkdir(exist_ok=True)
    forecast.write_template(stranger.path)
    with pytest.raises(
        TemplateDrift, match=r"'tiny-stranger' version '1.2.3' was asked for.* describes 'tiny-forecast'"
    ):
        stranger.get_template(END)


# Coordinate objects


@pytest.mark.parametrize(
    ("start", "frequency", "length"),
    [
        ("2021-05-01T00", "6h", 27_740),
        ("2024-04-01T00", "24h", 5_840),
        ("2021-05-01T00", "1h", 166_440),
        ("2026-02-10T00", "6h", 20_440),
        ("2030-01-01T00", "24h", 3_650),
        ("2045-01-01T00", "24h", 3_650),
    ],
)
def test_the_length_of_a_coordinate_chunk(start: str, frequency: str, length: int) -> None:
    axis = AppendAxis(name="init_time", start=start, frequency=frequency)
    assert axis.coordinate_chunk == length


def test_a_dataset_may_plan_for_more_years() -> None:
    axis = AppendAxis(name="init_time", start="2020-10-01", frequency="24h", years=25)
    assert axis.coordinate_chunk == 365 * 30


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("which", ["forecast", "analysis"])
def test_written_coordinates_are_read_back_equal(
    which: str, consolidated: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    template: TinyTemplate = request.getfixturevalue(which)
    ds = template.get_template(END)
    found = opened(written(ds, tmp_path), consolidated=consolidated)
    xr.testing.assert_identical(found.drop_vars(found.data_vars), ds.drop_vars(ds.data_vars))
    assert {name: found[name].shape for name in found.data_vars} == {name: ds[name].shape for name in ds.data_vars}


def test_coordinates_stay_one_object_for_fifteen_years(forecast: TinyTemplate, tmp_path: Path) -> None:
    ds = forecast.get_template(pd.Timestamp("2039-12-31"))
    path = written(ds, tmp_path)
    assert chunk_files(path) == chunk_files(forecast.path)
    xr.testing.assert_identical(opened(path)["valid_time"], ds["valid_time"])


def test_coordinates_that_outgrow_their_chunk_go_on_in_a_second_object(tmp_path: Path) -> None:
    yearly = AppendAxis(name="init_time", start="2030-01-01", frequency="365D")
    template = committed(tiny_template(tmp_path, append_dim=yearly))
    assert yearly.coordinate_chunk == 10
    for labels, objects in ((10, 1), (11, 2), (21, 3)):
        ds = template.get_template(yearly.start + yearly.frequency * labels)
        path = written(ds, tmp_path)
        for name in ("init_time", "expected_forecast_length", "ingested_forecast_length"):
            assert {f"{name}/c/{i}" for i in range(objects)} == {f for f in chunk_files(path) if f.startswith(name)}
        assert {f for f in chunk_files(path) if f.startswith("valid")} == {
            f"valid_time/c/{i}/0" for i in range(objects)
        }
        found = opened(path)
        assert found.sizes["init_time"] == labels
        xr.testing.assert_identical(found.drop_vars(found.data_vars), ds.drop_vars(ds.data_vars))


# Shards


@pytest.mark.parametrize(
    ("end", "labels"),
    [
        ("2024-02-28T00", []),
        ("2023-01-01", []),
        ("2024-02-28T01", ["2024-02-28T00"]),
        ("2024-02-28T12", ["2024-02-28T00"]),
        ("2024-02-28T12:00:01", ["2024-02-28T00", "2024-02-28T12"]),
    ],
)
def test_first_labels_of_shards(end: str, labels: list[str]) -> None:
    assert tiny_template(NEVER).shard_labels(pd.Timestamp(end)) == [pd.Timestamp(label) for label in labels]


@settings(max_examples=30)
@given(shard=st.integers(1, 12), hours=st.integers(0, 1000))
def test_every_label_lies_in_one_shard(shard: int, hours: int) -> None:
    template = tiny_template(NEVER, chunks={**SIZES, "init_time": 1}, shards={**SIZES, "init_time": shard})
    end = START + pd.Timedelta(hours=hours)
    firsts = template.shard_labels(end)
    assert firsts == list(template.append_dim.labels(end)[::shard])
    assert template.shard_length == shard
    assert template.shard_duration == pd.Timedelta("6h") * shard


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2024-02-28T00", "2024-02-28T00"),
        ("2024-02-28T11:59", "2024-02-28T00"),
        ("2024-02-28T12", "2024-02-28T12"),
        ("2026-07-29T18", "2026-07-29T12"),
        ("2024-02-27T23", "2024-02-27T12"),
    ],
)
def test_an_archive_starts_at_a_whole_shard(start: str, first: str) -> None:
    assert tiny_template(NEVER).started_at(pd.Timestamp(start)).append_dim.start == pd.Timestamp(first)


def test_an_archive_of_long_shards_starts_at_a_whole_one() -> None:
    template = tiny_analysis(NEVER)
    started = template.started_at(pd.Timestamp("2026-07-29T18"))
    assert started.append_dim.start == START + 14 * pd.Timedelta("60D")
    assert started.append_dim.start == template.shard_labels(pd.Timestamp("2026-07-29T19"))[-1]


@settings(max_examples=30)
@given(seconds=st.integers(-(10**8), 10**8))
def test_a_started_archive_keeps_the_templates_shards(seconds: int) -> None:
    template, start = tiny_analysis(NEVER), START + pd.Timedelta(seconds=seconds)
    started = template.started_at(start)
    first = started.append_dim.start
    assert first <= start < first + template.shard_duration
    assert (first - START) % template.shard_duration == pd.Timedelta(0)
    assert started.started_at(start) == started
    end = START + pd.Timedelta("2000D")
    assert [label for label in started.shard_labels(end) if label >= START] == [
        label for label in template.shard_labels(end) if label >= first
    ]


@pytest.mark.parametrize("start", ["2026-07-29T18", "2021-01-01T00"])
def test_a_started_archive_differs_in_its_labels_alone(forecast: TinyTemplate, tmp_path: Path, start: str) -> None:
    started = forecast.started_at(pd.Timestamp(start))
    end = started.append_dim.start + pd.Timedelta("18h")
    ds, usual = started.get_template(end), forecast.get_template(START + pd.Timedelta("18h"))
    assert ds.attrs["time_domain"] == f"Forecasts initialized {started.append_dim.start} UTC to Present"
    assert ds.attrs | {"time_domain": ""} == usual.attrs | {"time_domain": ""}
    path, usual_path = tmp_path / "started-tmp.zarr", tmp_path / "usual-tmp.zarr"
    write_metadata(ds, path)
    write_metadata(usual, usual_path)
    assert differing_files(path, usual_path) == ["init_time/c/0", "valid_time/c/0/0", "zarr.json"]
    xr.testing.assert_identical(opened(path)["valid_time"], ds["valid_time"])


@pytest.mark.parametrize(
    ("shape", "shard", "objects"),
    [
        ((7000, 209, 721, 1440), (1, 210, 726, 726), 2),
        ((900, 31, 181, 721, 1440), (1, 31, 192, 374, 368), 8),
        ((900, 85, 51, 721, 1440), (1, 85, 51, 320, 320), 15),
        ((800, 93, 657, 1377), (1, 93, 657, 1377), 1),
        ((12_000, 49, 1059, 1799), (1, 49, 1060, 1800), 1),
        ((60_000, 721, 1440), (2880, 384, 384), 8),
        ((46_000, 721, 1440), (1440, 400, 400), 8),
        ((5,), (2,), 1),
    ],
)
def test_objects_of_one_shard(shape: tuple[int, ...], shard: tuple[int, ...], objects: int) -> None:
    keys = shard_keys(shape[1:], shard[1:])
    assert len(keys) == objects
    assert all(key.split("/")[0] == "c" and key.count("/") == len(shape) - 1 for key in keys)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_objects_tile_an_array(sizes: list[tuple[int, int]]) -> None:
    shape, shard = zip(*sizes, strict=True)
    keys = shard_keys(shape, shard)
    corners = {tuple(int(i) * length for i, length in zip(key.split("/")[1:], shard, strict=True)) for key in keys}
    covered = sum(
        prod(min(at + length, size) - at for at, length, size in zip(corner, shard, shape, strict=True))
        for corner in corners
    )
    assert covered == prod(shape)
    assert len(corners) == len(keys)


@pytest.mark.parametrize(
    ("row", "shuffle"),
    [
        ({"step_type": "instant"}, "bitshuffle"),
        ({"step_type": "max"}, "bitshuffle"),
        ({"step_type": "avg"}, "shuffle"),
        ({"step_type": "accum"}, "shuffle"),
        ({"step_type": "avg", "flag_values": (0, 1), "flag_meanings": "no yes"}, "bitshuffle"),
    ],
)
def test_means_and_totals_are_shuffled_by_bytes_and_all_else_by_bits(
    tmp_path: Path, row: dict[str, Any], shuffle: str
) -> None:
    template = committed(tiny_template(tmp_path, data_vars=(tiny_var("field", **row),)))
    (codec,) = json.loads((template.path / "field/zarr.json").read_text())["codecs"][0]["configuration"]["codecs"][1:]
    assert codec["configuration"] == {
        "cname": "zstd",
        "clevel": 1,
        "shuffle": shuffle,
        "typesize": 4,
        "blocksize": 2**17,
    }
