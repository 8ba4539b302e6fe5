"""A template drives every run, and grows along its append dimension alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reformatters_dagster.core.spec.axes import AppendAxis, RegularAxis, lead_time
from reformatters_dagster.core.spec.errors import TemplateDrift, UnknownVariable
from reformatters_dagster.core.spec.grids import LatLonGrid
from reformatters_dagster.core.spec.template import DatasetAttributes
from tests.core.spec.on_disk import END, NEVER, SIZES, START, committed, document
from tests.tiny import TinyTemplate, shard_labels, tiny_analysis, tiny_template, tiny_var


def other(template: TinyTemplate, **changes: Any) -> TinyTemplate:
    """The template as code that has moved on from what is committed."""
    return template.model_copy(update=changes)


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
    assert shard_labels(tiny_template(NEVER), pd.Timestamp(end)) == [pd.Timestamp(label) for label in labels]


@settings(max_examples=30)
@given(shard=st.integers(1, 12), hours=st.integers(0, 1000))
def test_every_label_lies_in_one_shard(shard: int, hours: int) -> None:
    template = tiny_template(NEVER, chunks={**SIZES, "init_time": 1}, shards={**SIZES, "init_time": shard})
    end = START + pd.Timedelta(hours=hours)
    firsts = shard_labels(template, end)
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
    assert started.append_dim.start == shard_labels(template, pd.Timestamp("2026-07-29T19"))[-1]


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
    assert [label for label in shard_labels(started, end) if label >= START] == [
        label for label in shard_labels(template, end) if label >= first
    ]
