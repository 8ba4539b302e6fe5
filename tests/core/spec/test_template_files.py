"""A template is written the same everywhere, and read back as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

from reformatters_dagster.core.spec.axes import AppendAxis
from reformatters_dagster.core.spec.template_files import differing_files, metadata_objects, write_metadata
from tests.core.spec.on_disk import END, START, chunk_files, committed, document, opened, written
from tests.tiny import TinyTemplate, tiny_template

CHECKOUT = Path(__file__).parents[3]
ELSEWHERE = {
    "PYTHONHASHSEED": "4711",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "C",
    "TZ": "Asia/Kolkata",
}
WRITE_IT = "import sys, pathlib, tests.tiny as t; t.tiny_template(pathlib.Path(sys.argv[1])).update_template()"


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


def test_a_template_is_the_same_in_memory_as_on_disk(forecast: TinyTemplate, tmp_path: Path) -> None:
    ds, path = forecast.get_template(END), tmp_path / "a-tmp.zarr"
    write_metadata(ds, path)
    on_disk = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert metadata_objects(ds) == on_disk


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


@pytest.mark.parametrize("which", ["forecast", "analysis"])
def test_the_committed_extent_is_read_and_written_back_unchanged(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    template: TinyTemplate = request.getfixturevalue(which)
    one_label = template.get_template(START + template.append_dim.frequency)
    assert differing_files(written(one_label, tmp_path), template.path) == []


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
